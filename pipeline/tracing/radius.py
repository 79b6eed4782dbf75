"""Centre lines finer than a voxel, and the radius along them."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.field import Field

# Rays in a cross-section, and how far they look, in radii.
RAYS, REACH = 16, 3.0
# Places on rays that are looked at together: a place takes some 60 bytes.
PLACES = 2_000_000


def resample(tree: Tree, step_um: float) -> tuple[Tree, np.ndarray]:
    """The same lines with nodes about `step_um` apart; roots, branch points and tips stay where they are.

    Also (n,) int64: the row of `tree` whose edge to its parent each new edge lies on (its middle), -1 for the root.
    """
    fixed = np.flatnonzero((graph.degree(tree) != 2) | (tree.parent < 0))
    number = np.full(len(tree), -1)
    number[fixed] = np.arange(len(fixed))
    values = np.column_stack([tree.xyz, tree.radius])
    parts, edges, count = [values[fixed]], [], len(fixed)
    origin = [np.full(len(fixed), -1)]
    for section in graph.sections(tree):
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(tree.xyz[section], axis=0), axis=1))])
        place = np.linspace(0, along[-1], max(1, round(along[-1] / step_um)) + 1)[1:-1]
        parts.append(np.column_stack([np.interp(place, along, column) for column in values[section].T]))
        chain = np.concatenate([[number[section[0]]], count + np.arange(len(place)), [number[section[-1]]]])
        edges.append(np.stack([chain[:-1], chain[1:]], 1))
        ends = np.concatenate([[0], place, along[-1:]])
        lies_on = section[np.maximum(np.searchsorted(along, (ends[:-1] + ends[1:]) / 2), 1)]
        origin[0][chain[-1]] = lies_on[-1]
        origin.append(lies_on[:-1])
        count += len(place)
    values = np.concatenate(parts)
    root = number[np.flatnonzero(tree.parent < 0)[0]]
    links = np.concatenate(edges) if edges else np.zeros((0, 2), np.int64)
    return graph.rooted(values[:, :3], values[:, 3], links, root=int(root)), np.concatenate(origin)


def smooth(tree: Tree, values: np.ndarray, length_um: float) -> np.ndarray:
    """Values (n, ...) at the nodes, averaged along the tree over about `length_um`; ends stay fixed.

    Solves (1 - length^2 d2/ds2) v = values on the tree: an exponential kernel of that length, which
    passes through branch points as through any other node.
    """
    if len(tree) < 3 or not length_um:
        return values
    child, parent = graph.edges(tree).T
    step = np.maximum(swc.edge_lengths(tree)[child], 1e-3)
    weight = (length_um / step) ** 2
    nodes = len(tree)
    rows, columns = np.concatenate([child, parent]), np.concatenate([parent, child])
    pull = coo_array((np.tile(weight, 2), (rows, columns)), shape=(nodes, nodes)).tocsr()
    loose = (graph.degree(tree) > 1).astype(float)
    pull = pull.multiply(loose[:, None]).tocsr()
    total = np.asarray(pull.sum(1)).ravel()
    system = (
        eye_array(nodes) + coo_array((total, (np.arange(nodes),) * 2), shape=(nodes, nodes)) - pull
    ).tocsc()
    return splu(system).solve(np.ascontiguousarray(values, float))


def centred(tree: Tree, field: Field, *, rounds: int, smooth_um: float) -> Tree:
    """Move each node to the middle of its cross-section, `rounds` times, the moves smoothed along the tree.

    The middle is the centroid of the polygon that the ends of the rays make; a ray that
    does not end within reach (it looks into a branch) counts as the median one. Other than a weighted mean
    over a disc this sees the neurite it is in and no neighbour, and is right for cross-sections that the axial
    blur has stretched.
    """
    for _ in range(rounds):
        way, length, closed = _rays(tree, field)
        length = np.where(closed, length, np.median(length, axis=1, keepdims=True))
        corner = way * length[..., None]
        wedge = (length * np.roll(length, -1, axis=1))[..., None]  # twice its area, but for the common sine
        shift = (wedge * (corner + np.roll(corner, -1, axis=1)) / 3).sum(1) / wedge.sum(1)
        # Beyond the border the outermost voxels repeat: no line leaves the volume for them.
        xyz = np.clip(tree.xyz + smooth(tree, shift, smooth_um), 0, field.last_xyz())
        tree = Tree(xyz, tree.radius, tree.parent, tree.type)
    return tree


def measured(tree: Tree, field: Field, *, smooth_um: float) -> Tree:
    """Radii: the median length of the rays across each node, no less than half a voxel in plane, smoothed.

    The median overlooks a branch that leaves to one side, and the axial blur.
    """
    _, length, _ = _rays(tree, field)
    radius = np.maximum(np.median(length, axis=1), min(field.voxel_size) / 2)
    return Tree(tree.xyz, smooth(tree, radius, smooth_um), tree.parent, tree.type)


def _rays(tree: Tree, field: Field):
    """From each node across its direction: unit vectors (n, RAYS, 3), lengths (n, RAYS) um, ended (n, RAYS) bool.

    A ray ends where the probability falls below half of that at the node, linear between samples half a voxel
    apart; it is cut at three radii and two voxels. Ray i + RAYS / 2 is opposite to ray i.
    Rodriguez et al. 2006 (Rayburst sampling), doi:10.1038/nprot.2006.313.
    """
    angle = np.arange(RAYS) * 2 * np.pi / RAYS
    way = np.einsum("rd,ndj->nrj", np.stack([np.cos(angle), np.sin(angle)], 1), across(tree))
    step = min(field.voxel_size) / 2
    reach = REACH * tree.radius + 2 * max(field.voxel_size)
    length, closed = np.empty(way.shape[:2]), np.empty(way.shape[:2], bool)
    for rows in _like_groups(reach, step):
        length[rows], closed[rows] = _looked_along(field, tree.xyz[rows], way[rows], reach[rows], step)
    return way, length, closed


def _like_groups(reach: np.ndarray, step: float) -> Iterator[np.ndarray]:
    """Rows by growing reach, so many at once that their rays have PLACES places: one thick node costs no others."""
    order = np.argsort(reach, kind="stable")
    places = RAYS * (2 + (reach[order] / step).astype(np.int64))
    first = 0
    while first < len(order):
        together = np.arange(1, len(order) - first + 1) * places[first:]
        last = first + max(1, int(np.searchsorted(together, PLACES, side="right")))
        yield order[first:last]
        first = last


def _looked_along(field: Field, xyz, way, reach, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and ends of the rays from some nodes, all looked along as far as the farthest of them."""
    steps = np.arange(2 + int(reach.max() / step)) * step
    value = field.at(xyz[:, None, None] + steps[:, None] * way[:, :, None])
    edge = value[:, :, :1] / 2
    inside = np.logical_and.accumulate((value >= edge) & (steps <= reach[:, None, None]), axis=2)
    last = np.minimum(inside.sum(2), len(steps) - 1) - 1
    here, beyond = (np.take_along_axis(value, at[..., None], 2)[..., 0] for at in (last, last + 1))
    part = np.clip((here - edge[..., 0]) / np.maximum(here - beyond, 1e-3), 0, 1)
    return (last + part) * step, beyond < edge[..., 0]


def across(tree: Tree) -> np.ndarray:
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
