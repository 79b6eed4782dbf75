"""Arms that leave a soma by one stem: two lines side by side within a thick neurite become one that branches."""

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph

# A node lies in the stem of another arm where it is nearer to its line than this share of the stem's radius.
WITHIN = 1.0


def shared(tree: Tree) -> tuple[Tree, np.ndarray]:
    """The tree with each stem once, and the rows of `tree` that are left.

    tree: one root, parents before children. Of the arms of a soma the longest keeps its line; another that begins
    within it leaves it where it comes out of it, and is gone where it never does.
    """
    parent, keep = tree.parent.copy(), np.ones(len(tree), bool)
    children = graph.children(tree)
    below = _cable_below(tree)
    for soma in np.flatnonzero(tree.type == swc.SOMA):
        arms = sorted(children[soma], key=lambda row: (-below[row], row))
        lines: list[int] = []
        for arm in arms:
            if lines:
                _leave_line(tree, arm, np.array(lines), children, parent, keep)
            lines += [row for row in _subtree(arm, children) if keep[row]]
    rows = np.flatnonzero(keep)
    # A parent may come after its child now.
    made = swc.take(Tree(tree.xyz, tree.radius, parent, tree.type), rows)
    order = swc.depth_first(made)
    return swc.take(made, order), rows[order]


def _leave_line(
    tree: Tree, arm: int, lines: np.ndarray, children: list[list[int]], parent: np.ndarray, keep: np.ndarray
) -> None:
    """Take an arm's nodes within other lines out, from its first one on; what comes after them leaves these lines."""
    near = cKDTree(tree.xyz[lines])
    todo = [(arm, -1)]
    while todo:
        row, left = todo.pop()
        away, place = near.query(tree.xyz[row])
        if away < WITHIN * tree.radius[lines[place]] and tree.type[row] != swc.SOMA:
            keep[row] = False
            todo += [(child, int(lines[place])) for child in children[row]]
        elif left >= 0:
            parent[row] = left


def _subtree(row: int, children: list[list[int]]) -> list[int]:
    found = [row]
    for here in found:
        found += children[here]
    return found


def _cable_below(tree: Tree) -> np.ndarray:
    """(n,) um of cable from each node's parent to all tips beyond it."""
    cable = swc.edge_lengths(tree)
    for row in range(len(tree) - 1, 0, -1):
        if tree.parent[row] >= 0:
            cable[tree.parent[row]] += cable[row]
    return cable
