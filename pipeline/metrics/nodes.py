"""Critical nodes: branch points and tips, and how many of them two trees share."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pipeline.metrics.distance import inclusive
from pipeline.metrics.scores import Scores, precision_recall, undefined
from pipeline.swc import Tree, edge_lengths


def merged(tree: Tree) -> np.ndarray:
    """(n,) int64: for each row the row that stands for its place, after zero-length edges are contracted."""
    above = np.where((tree.parent >= 0) & (edge_lengths(tree) == 0), tree.parent, np.arange(len(tree)))
    # Each round looks twice as far up, so chains of doubled nodes cost their logarithm.
    while True:
        higher = above[above]
        if np.array_equal(higher, above):
            return above
        above = higher


def degrees(tree: Tree) -> np.ndarray:
    """(n,) int64: edges that meet at each node once zero-length edges are contracted; 0 for merged rows."""
    place = merged(tree)
    rows = np.flatnonzero(tree.parent >= 0)
    child, parent = place[rows], place[tree.parent[rows]]
    real = child != parent
    return np.bincount(np.concatenate([child[real], parent[real]]), minlength=len(tree))


def branch_points(tree: Tree) -> np.ndarray:
    """(k, 3) um: places where three or more edges meet. A root with two children is none."""
    return tree.xyz[degrees(tree) >= 3]


def tips(tree: Tree) -> np.ndarray:
    """(k, 3) um: places where one edge ends, a root among them."""
    return tree.xyz[degrees(tree) == 1]


@dataclass(frozen=True)
class Matching:
    """Pairs of rows: prediction[i] with reference[i], `distance` apart."""

    prediction: np.ndarray
    reference: np.ndarray
    distance: np.ndarray


def match(prediction: np.ndarray, reference: np.ndarray, *, radius: float) -> Matching:
    """One-to-one pairs of points (n, 3) no farther apart than radius: most pairs first, then least total distance.

    Nearest first would lose pairs. The assignment is solved for each connected group of candidate pairs, so its
    cubic cost never meets the whole tree.
    """
    none = np.zeros(0, np.int64)
    if not len(prediction) or not len(reference):
        return Matching(none, none, np.zeros(0))
    radius = inclusive(radius)
    # A hair more again, so that the KD-tree's rounding loses no pair.
    near = cKDTree(prediction).query_ball_point(reference, inclusive(radius), return_sorted=True)
    r = np.repeat(np.arange(len(reference)), [len(one) for one in near])
    p = np.concatenate([np.asarray(one, np.int64) for one in near])
    distance = np.sqrt(((prediction[p] - reference[r]) ** 2).sum(1))
    keep = distance <= radius
    p, r, distance = p[keep], r[keep], distance[keep]

    size = len(prediction) + len(reference)
    graph = coo_array((np.ones(len(p)), (p, len(prediction) + r)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group[p], kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[p][order])) + 1) if len(p) else []
    pairs = [one if len(one) == 1 else _assign(p, r, distance, one) for one in groups]
    chosen = np.concatenate(pairs) if pairs else none
    return Matching(p[chosen], r[chosen], distance[chosen])


def _assign(p: np.ndarray, r: np.ndarray, distance: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Of the candidate pairs in a group, those of the best assignment."""
    rows, row = np.unique(p[group], return_inverse=True)
    columns, column = np.unique(r[group], return_inverse=True)
    # No sum of distances makes up for a pair less.
    outside = distance[group].sum() + 1
    cost = np.full((len(rows), len(columns)), outside)
    number = np.full(cost.shape, -1)
    cost[row, column] = distance[group]
    number[row, column] = group
    found = number[linear_sum_assignment(cost)]
    return found[found >= 0]


def scores(prediction: np.ndarray, reference: np.ndarray, *, radius: float, prefix: str, what: str) -> Scores:
    """<prefix>precision, recall, f1 of points (n, 3) and mean distance of the pairs."""
    matching = match(prediction, reference, radius=radius)
    n = len(matching.distance)
    result = precision_recall(n, len(prediction), n, len(reference), prefix=prefix, what=what)
    if n:
        result[f"{prefix}distance"] = float(matching.distance.mean())
    else:
        result |= undefined("no pair within the radius", f"{prefix}distance")
    return result
