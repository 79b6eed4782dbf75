"""Centre lines finer than a voxel, and the radius along them."""

import numpy as np
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu

from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.sampling import sample

# Sampling of a cross-section: points a side of the square, its half edge in radii.
GRID, REACH = 11, 2.0
# Directions in which a radius is measured.
RAYS = 16


def resample(tree: Tree, step_um: float) -> Tree:
    """The same lines with nodes about `step_um` apart; roots, branch points and tips stay where they are."""
    fixed = np.flatnonzero((graph.degree(tree) != 2) | (tree.parent < 0))
    number = np.full(len(tree), -1)
    number[fixed] = np.arange(len(fixed))
    values = np.column_stack([tree.xyz, tree.radius])
    parts, edges, count = [values[fixed]], [], len(fixed)
    for section in graph.sections(tree):
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(tree.xyz[section], axis=0), axis=1))])
        place = np.linspace(0, along[-1], max(1, round(along[-1] / step_um)) + 1)[1:-1]
        parts.append(np.column_stack([np.interp(place, along, column) for column in values[section].T]))
        chain = np.concatenate([[number[section[0]]], count + np.arange(len(place)), [number[section[-1]]]])
        edges.append(np.stack([chain[:-1], chain[1:]], 1))
        count += len(place)
    values = np.concatenate(parts)
    root = number[np.flatnonzero(tree.parent < 0)[0]]
    links = np.concatenate(edges) if edges else np.zeros((0, 2), np.int64)
    return graph.rooted(values[:, :3], values[:, 3], links, root=int(root))


def smooth(tree: Tree, values: np.ndarray, length_um: float) -> np.ndarray:
    """Values (n, ...) at the nodes, averaged along the tree over about `length_um`; ends stay fixed.

    Solves (1 - length^2 d2/ds2) v = values on the tree: an exponential kernel of that length, which
    passes through branch points as through any other node.
    """
    if len(tree) < 3 or not length_um:
        return values
    child, parent = graph.edges(tree).T
    step = np.maximum(graph.edge_length(tree)[child], 1e-3)
    weight = (length_um / step) ** 2
    nodes = len(tree)
    rows, columns = np.concatenate([child, parent]), np.concatenate([parent, child])
    pull = coo_array((np.tile(weight, 2), (rows, columns)), shape=(nodes, nodes)).tocsr()
    loose = (graph.degree(tree) > 1).astype(float)
    pull = pull.multiply(loose[:, None]).tocsr()
    total = np.asarray(pull.sum(1)).ravel()
    system = (eye_array(nodes) + coo_array((total, (np.arange(nodes),) * 2), shape=(nodes, nodes)) - pull).tocsc()
    return splu(system).solve(np.ascontiguousarray(values, float))


def centred(
    tree: Tree, weight: np.ndarray, voxel_size: tuple[float, float, float], *, rounds: int, smooth_um: float
) -> Tree:
    """Move each node to the weighted centroid of its cross-section, `rounds` times, smoothed in between.

    weight: (z, y, x), any real type >= 0. A cross-section is the disc of two radii (at least two voxels in plane)
    around the node, across the tree's direction there.
    """
    for _ in range(rounds):
        across = _across(tree)
        reach = np.maximum(REACH * tree.radius, 2 * min(voxel_size))
        side = np.linspace(-1, 1, GRID)
        disc = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
        disc = disc[(disc**2).sum(1) <= 1]
        shift = reach[:, None, None] * np.einsum("di,nij->ndj", disc, across)
        mass = sample(weight, tree.xyz[:, None] + shift, voxel_size)
        total = mass.sum(1)
        centre = np.einsum("nd,ndj->nj", mass, shift) / np.maximum(total, 1e-6)[:, None]
        tree = Tree(smooth(tree, tree.xyz + centre, smooth_um), tree.radius, tree.parent, tree.type)
    return tree


def _across(tree: Tree) -> np.ndarray:
    """(n, 2, 3) two unit vectors across the tree's direction at each node."""
    ahead = tree.xyz.copy()
    child = np.flatnonzero(tree.parent >= 0)
    # The last child in row order stands for all: any of them will do at a branch point.
    ahead[tree.parent[child]] = tree.xyz[child]
    behind = np.where((tree.parent >= 0)[:, None], tree.xyz[tree.parent], tree.xyz)
    along = ahead - behind
    along /= np.maximum(np.linalg.norm(along, axis=1), 1e-9)[:, None]
    other = np.eye(3)[np.abs(along).argmin(1)]
    first = np.cross(along, other)
    first /= np.maximum(np.linalg.norm(first, axis=1), 1e-9)[:, None]
    return np.stack([first, np.cross(along, first)], 1)


def measured(
    tree: Tree, probability: np.ndarray, voxel_size: tuple[float, float, float], *, smooth_um: float
) -> Tree:
    """Radii from rays: the median way from a node, across its direction, to where the probability falls below 1/2.

    probability: uint8 (z, y, x). Linear between samples, so finer than a voxel; the median of RAYS directions
    overlooks a branch that leaves to one side and the axial blur. No radius is below half a voxel in plane.
    Smoothed along the tree. Rodriguez et al. 2006 (Rayburst sampling), doi:10.1038/nprot.2006.313.
    """
    half = min(voxel_size) / 2
    angle = np.arange(RAYS) * 2 * np.pi / RAYS
    rays = np.einsum("rd,ndj->nrj", np.stack([np.cos(angle), np.sin(angle)], 1), _across(tree))
    reach = 3 * tree.radius + 2 * max(voxel_size)
    steps = np.arange(1 + int(np.ceil(reach.max() / half))) * half
    points = tree.xyz[:, None, None] + steps[:, None] * rays[:, :, None]
    value = sample(probability, points, voxel_size) / 255
    inside = np.logical_and.accumulate(value >= 0.5, axis=2)
    last = np.maximum(inside.sum(2) - 1, 0)
    beyond = np.minimum(last + 1, len(steps) - 1)
    here, next_ = (np.take_along_axis(value, at[..., None], 2)[..., 0] for at in (last, beyond))
    part = np.clip((here - 0.5) / np.maximum(here - next_, 1e-6), 0, 1)
    radius = np.maximum(np.median((last + part) * half, axis=1), half)
    return Tree(tree.xyz, smooth(tree, radius, smooth_um), tree.parent, tree.type)
