"""Edges to rooted trees and back: the few graph steps that every part of the tracer shares."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from pipeline.swc import Tree


def rooted(
    xyz: np.ndarray,
    radius: np.ndarray,
    edges: np.ndarray,
    *,
    root: int | None = None,
    kept: np.ndarray | None = None,
) -> Tree:
    """Orient undirected edges into a forest.

    xyz: (n, 3) um. radius: (n,) um. edges: (m, 2) rows of xyz. Cycles are opened by leaving out their longest
    edge, none of those that `kept`, bool (m,), marks as long as there is another. The component of `root` hangs
    from it, every other one from its first node; all nodes stay.
    """
    count = len(xyz)
    # 1e-9: two nodes at one place still make an edge, which a sparse matrix would not store as 0.
    length = np.linalg.norm(xyz[edges[:, 0]] - xyz[edges[:, 1]], axis=1) + 1e-9
    if kept is not None:
        length = np.where(kept, 1e-9, length)
    edges, length = np.sort(edges, axis=1), length
    edges, first = np.unique(edges, axis=0, return_index=True)
    graph = coo_array((length[first], (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    forest = minimum_spanning_tree(graph).tocoo()
    _, piece = connected_components(forest, directed=False)
    start = np.unique(piece, return_index=True)[1]
    if root is not None:
        start[piece[root]] = root
    # One extra node, `count`, above all roots: a single walk then orders the whole forest.
    rows = np.concatenate([forest.row, np.full(len(start), count)])
    columns = np.concatenate([forest.col, start])
    joined = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count + 1, count + 1)).tocsr()
    _, parent = breadth_first_order(joined, count, directed=False)
    parent = np.where(parent[:count] == count, -1, parent[:count]).astype(np.int64)
    return Tree(xyz, radius, parent, np.zeros(count, np.int64))


def edges(tree: Tree) -> np.ndarray:
    """(m, 2) int64 rows: child, parent."""
    child = np.flatnonzero(tree.parent >= 0)
    return np.stack([child, tree.parent[child]], 1)


def pieces(tree: Tree) -> np.ndarray:
    """(n,) the number 0, 1, ... of the connected piece of each node."""
    child, parent = edges(tree).T
    graph = coo_array((np.ones(len(child)), (child, parent)), shape=(len(tree), len(tree)))
    return connected_components(graph, directed=False)[1]


def degree(tree: Tree) -> np.ndarray:
    """(n,) number of edges at each node."""
    return np.bincount(edges(tree).ravel(), minlength=len(tree))


def depth(tree: Tree) -> np.ndarray:
    """(n,) number of edges from each node up to its root, by pointer jumping (log2 n rounds)."""
    up = np.where(tree.parent < 0, np.arange(len(tree)), tree.parent)
    steps = (tree.parent >= 0).astype(np.int64)
    while steps.any() and (up != up[up]).any():
        steps, up = steps + steps[up], up[up]
    return steps


def children(tree: Tree) -> list[list[int]]:
    """Of each node the rows whose parent it is."""
    found: list[list[int]] = [[] for _ in range(len(tree))]
    for row, above in enumerate(tree.parent.tolist()):
        if above >= 0:
            found[above].append(row)
    return found


def sections(tree: Tree) -> list[np.ndarray]:
    """Unbranched stretches as rows from a root, branch point or tip down to the next, both included."""
    below = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree))
    # The head of a section is the first node below a branch point or root; pointer jumping finds it.
    node = np.arange(len(tree))
    inner = (tree.parent >= 0) & (below[tree.parent] == 1) & (tree.parent[tree.parent] >= 0)
    head = np.where(inner, tree.parent, node)
    while (head != head[head]).any():
        head = head[head]
    order = np.lexsort((depth(tree), head))
    order = order[tree.parent[order] >= 0]
    parts = np.split(order, np.flatnonzero(np.diff(head[order])) + 1) if len(order) else []
    return [np.concatenate([tree.parent[part[:1]], part]) for part in parts]
