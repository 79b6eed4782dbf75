"""Lines that people drew, moved to the neurites that they meant.

A person's line lies beside its neurite by a pixel or two, and by two or three slices where the neurite runs along z.
Taught as it is, it tells the network that the dark beside a neurite is neurite, and the neurite background.
"""

import numpy as np
from scipy import ndimage

from pipeline import intensity, swc
from pipeline.swc import Tree, um_to_voxel, voxel_to_um

# Slices and pixels that a node may move by, and the price in grey (0..1): of a voxel from its place, squared, and of
# a voxel from the move of its neighbour, squared.
SLICES, PIXELS = 3, 2
TETHER, STIFFNESS = 0.003, 0.05


def to_ridge(tree: Tree, image: np.ndarray, voxel_size: tuple[float, float, float]) -> Tree:
    """The tree with its lines where the image is bright near them; nodes are at most a pixel (in plane) apart.

    image: light in units of the noise (z, y, x). Of all moves of the nodes the cheapest together (dynamic programming
    from the tips to the root), smoothed along the lines.
    """
    fine = _subdivided(tree, min(voxel_size[1:]))
    grey = intensity.curve(ndimage.gaussian_filter(image.astype(np.float32), (0, 1, 1)))
    moves = np.argwhere(np.ones((2 * SLICES + 1, 2 * PIXELS + 1, 2 * PIXELS + 1))) - [SLICES, PIXELS, PIXELS]
    moves = moves[np.hypot(moves[:, 1], moves[:, 2]) <= PIXELS]
    place = um_to_voxel(fine.xyz, voxel_size)
    last = np.array(image.shape) - 1
    at = np.clip(np.rint(place[:, None] + moves), 0, last).astype(int)
    price = TETHER * (moves**2).sum(1) - grey[tuple(np.moveaxis(at, -1, 0))]
    moved = moves[_cheapest(fine.parent, price, STIFFNESS * ((moves[:, None] - moves) ** 2).sum(2))]
    # A line that leaves the image has nothing to be moved to.
    outside = np.any((place < -0.5) | (place > last + 0.5), axis=1)
    moved = _smoothed(fine.parent, np.where(outside[:, None], 0, moved).astype(float), rounds=4)
    return Tree(voxel_to_um(place + moved, voxel_size), fine.radius, fine.parent, fine.type)


def _subdivided(tree: Tree, step_um: float) -> Tree:
    """The same lines, parents before children, edges of at most step_um."""
    tree = swc.sorted_tree(tree)
    pieces = np.maximum(np.ceil(swc.edge_lengths(tree) / step_um).astype(int), 1)
    pieces[tree.parent < 0] = 1
    ends = np.cumsum(pieces)  # row i of the tree becomes row ends[i] - 1, behind the new nodes of its edge
    row = np.repeat(np.arange(len(tree)), pieces)
    part = (np.arange(len(row)) - (ends - pieces)[row] + 1) / pieces[row]
    above = np.where(tree.parent >= 0, tree.parent, np.arange(len(tree)))[row]
    first = part * pieces[row] <= 1.5
    parent = np.where(first, np.where(tree.parent[row] >= 0, ends[above] - 1, -1), np.arange(len(row)) - 1)
    part = part[:, None]
    return Tree(
        tree.xyz[above] * (1 - part) + tree.xyz[row] * part,
        tree.radius[above] * (1 - part[:, 0]) + tree.radius[row] * part[:, 0],
        parent,
        tree.type[row],
    )


def _cheapest(parent: np.ndarray, price: np.ndarray, between: np.ndarray) -> np.ndarray:
    """(n,) the choice of each node so that the sum of price (n, k) and between (k, k) along edges is least.

    Parents come before their children.
    """
    total = price.astype(np.float64)
    choice = np.zeros(price.shape, np.int16)
    for node in range(len(parent) - 1, 0, -1):
        if parent[node] >= 0:
            each = between + total[node]  # row: the parent's choice
            choice[node] = each.argmin(1)
            total[parent[node]] += each.min(1)
    best = np.zeros(len(parent), int)
    for node in range(len(parent)):
        best[node] = total[node].argmin() if parent[node] < 0 else choice[node, best[parent[node]]]
    return best


def _smoothed(parent: np.ndarray, values: np.ndarray, *, rounds: int) -> np.ndarray:
    """Each value the mean of itself and its neighbours in the tree, `rounds` times."""
    child = np.flatnonzero(parent >= 0)
    count = 1 + np.bincount(parent[child], minlength=len(parent)) + (parent >= 0)
    for _ in range(rounds):
        total = values.copy()
        np.add.at(total, parent[child], values[child])
        total[child] += values[parent[child]]
        values = total / count[:, None]
    return values
