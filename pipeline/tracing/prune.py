"""Branches that do not earn their place go: spurs, haze, lines parallel to a thicker one."""

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph


def prune(
    tree: Tree,
    probability: np.ndarray,
    *,
    doubt: float,
    spur_um: float,
    spur_radii: float,
    cover_radii: float,
) -> Tree:
    """Keep the branches whose gain is worth a tip.

    tree: one root. probability: (n,) 0..1 at the nodes. An edge gains its length times (p - doubt) /
    (1 - doubt): certain foreground its um, a gap a loss. The tree is taken apart into paths, the greatest
    gain first (from the root to the best tip, then from that path to the next best ...). Each is cut where
    its sum of gains is greatest; what lies within cover_radii * radius of paths already taken gains nothing; and
    it stays when its gain is at least spur_um + spur_radii * the radius where it leaves. The root path always stays.
    A path that first runs beside the one it leaves is cut loose there and joined where it departs.
    """
    gain = swc.edge_lengths(tree) * _edge_value(tree, probability, doubt)
    parent = tree.parent.copy()
    kept = np.zeros(len(tree), bool)
    for path in _paths(tree, gain):
        if parent[path[0]] < 0:
            kept[path[: 1 + np.cumsum(gain[path]).argmax()]] = True
            continue
        start = parent[path[0]]
        if not kept[start]:
            continue
        taken = np.flatnonzero(kept)
        away, nearest = cKDTree(tree.xyz[taken]).query(tree.xyz[path])
        covered = away < cover_radii * np.maximum(tree.radius[taken[nearest]], tree.radius[path])
        value = np.cumsum(np.where(covered, np.minimum(gain[path], 0), gain[path]))
        end = 1 + value.argmax()
        if value[end - 1] < spur_um + spur_radii * tree.radius[start] or covered[:end].all():
            continue
        first = covered[:end].argmin()
        if first:
            parent[path[first]] = taken[nearest[first]]
        kept[path[first:end]] = True
    return swc.take(Tree(tree.xyz, tree.radius, parent, tree.type), np.flatnonzero(kept))


def _edge_value(tree: Tree, probability: np.ndarray, doubt: float) -> np.ndarray:
    mean = (probability + probability[tree.parent]) / 2
    return np.where(tree.parent >= 0, (mean - doubt) / (1 - doubt), 0.0)


def _paths(tree: Tree, gain: np.ndarray) -> list[np.ndarray]:
    """Greatest-first paths: rows from the node below the branch point down to a tip, by falling gain."""
    depth = graph.depth(tree)
    order = np.argsort(-depth, kind="stable")
    levels = np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
    best = np.zeros(len(tree))  # greatest gain from a node down to where it is best to stop
    heir = np.full(len(tree), -1)  # the child on that way
    for level in levels[:-1]:
        # Rising: the last writer, hence the greatest, wins.
        rising = level[np.argsort(best[level] + gain[level], kind="stable")]
        heir[tree.parent[rising]] = rising
        best[tree.parent[rising]] = np.maximum(best[rising] + gain[rising], 0)
    first = np.flatnonzero((tree.parent < 0) | (heir[tree.parent] != np.arange(len(tree))))
    first = first[np.lexsort((first, depth[first], -(best + gain)[first]))]
    top = np.where(np.isin(np.arange(len(tree)), first), np.arange(len(tree)), tree.parent)
    while (top != top[top]).any():
        top = top[top]
    rank = np.empty(len(tree), np.int64)
    rank[first] = np.arange(len(first))
    order = np.lexsort((depth, rank[top]))
    return np.split(order, np.flatnonzero(np.diff(rank[top][order])) + 1)
