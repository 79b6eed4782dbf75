"""Walks along a rooted forest without a loop over nodes: sums to the root, the next ancestor of a kind, other roots."""

import numpy as np

from pipeline.swc import SOMA, Tree, edge_lengths, take


def sums_to_root(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(n,) sum of `value` over each node and all its ancestors. Each round doubles the stretch that is summed."""
    total, above = np.array(value), parent.copy()
    while len(rows := np.flatnonzero(above >= 0)):
        total[rows] += total[above[rows]]
        above[rows] = above[above[rows]]
    return total


def path_distance(tree: Tree) -> np.ndarray:
    """(n,) um: length of the path from each node to its root."""
    return sums_to_root(tree.parent, edge_lengths(tree))


def root_of(parent: np.ndarray) -> np.ndarray:
    """(n,) row of the root of each node."""
    top = np.where(parent < 0, np.arange(len(parent)), parent)
    while not np.array_equal(higher := top[top], top):
        top = higher
    return top


def next_above(parent: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(n,) row of the nearest proper ancestor of each node that is `kept` (n,) bool, -1 where there is none."""
    above = parent.copy()
    while len(rows := np.flatnonzero((above >= 0) & ~kept[above])):
        # above[rows] is skipped, with all that it has been seen to skip itself.
        above[rows] = above[above[rows]]
    return above


def doublings(parent: np.ndarray) -> list[np.ndarray]:
    """For each power of 2 up to the greatest depth (n,) the row that many steps above; the root where there is none."""
    steps = int(sums_to_root(parent, np.ones(len(parent), np.int64)).max(initial=1))
    ladder = [np.where(parent < 0, np.arange(len(parent)), parent)]
    while 2 ** len(ladder) < steps:
        ladder.append(ladder[-1][ladder[-1]])
    return ladder


def climb(ladder: list[np.ndarray], rows: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(q,) the row `steps` (q,) above each of `rows` (q,); ladder: the doublings of the forest."""
    for power, up in enumerate(ladder):
        rows = np.where(steps >> power & 1, up[rows], rows)
    return rows


def lowest_common_ancestor(
    ladder: list[np.ndarray], depth: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """(q,) rows; each pair of rows (q,) (q,) must be of one tree. A node is its own ancestor here.

    ladder: the doublings of the forest. depth: (n,) steps of each node to its root.
    """
    first, second = np.where(depth[first] >= depth[second], [first, second], [second, first])
    first = climb(ladder, first, depth[first] - depth[second])
    for up in reversed(ladder):
        apart = up[first] != up[second]
        first, second = np.where(apart, up[first], first), np.where(apart, up[second], second)
    return np.where(first == second, first, ladder[0][first])


def child_counts(parent: np.ndarray) -> np.ndarray:
    """(n,) number of children of each node."""
    return np.bincount(parent[parent >= 0], minlength=len(parent))


def max_order(tree: Tree) -> int:
    """Most branch points on a way from a root to a tip: 0 for an unbranched neurite."""
    if not len(tree):
        return 0
    branching = child_counts(tree.parent) >= np.where(tree.parent < 0, 3, 2)
    return int(sums_to_root(tree.parent, branching.astype(np.int64)).max())


def rerooted(tree: Tree, row: int) -> Tree:
    """The same forest with `row` as the root of its tree: the edges on the way to the old root turn round."""
    parent = tree.parent.copy()
    above, below = row, -1
    while above >= 0:
        parent[above], below, above = below, above, tree.parent[above]
    return Tree(tree.xyz, tree.radius, parent, tree.type)


def one_tree(tree: Tree, root: int) -> Tree:
    """The tree of the forest whose root is `root`, the root first."""
    rows = np.flatnonzero(root_of(tree.parent) == root)
    return take(tree, np.concatenate([[root], rows[rows != root]]))


def centre(tree: Tree) -> int:
    """Row of the first soma node, else of the first root."""
    soma = np.flatnonzero(tree.type == SOMA)
    return int(soma[0] if len(soma) else np.flatnonzero(tree.parent < 0)[0])


def nearest_node(tree: Tree, point: np.ndarray, *, radius: float) -> int | None:
    """Row of the node nearest to a point (3,), None when none lies within the radius."""
    apart = np.sqrt(((tree.xyz - point) ** 2).sum(1))
    return int(apart.argmin()) if len(tree) and apart.min() <= radius else None
