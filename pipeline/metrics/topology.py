"""Path topology: which paths of a tree are there in another one, and joined as they are.

After NetMets (Mayerich et al. 2012, J. Biomed. Opt.), with every rule pinned: a tree is cut at its branch points and
tips into paths. A path is *present* when at least 90 % of its length lies within the tolerance of the other tree. It
is *connected* when, besides, a point of the other tree near its one end (within the node radius) and one near its
other end are joined there by a way that stays within two node radii of the path and is 0.8 to 1.25 times as long.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.metrics.distance import Edges, Profile, spread, stretch_near
from pipeline.metrics.length import lengths_within
from pipeline.metrics.nodes import degrees, merged
from pipeline.metrics.rooted import (
    climb,
    doublings,
    lowest_common_ancestor,
    next_above,
    path_distance,
    root_of,
    sums_to_root,
)
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree

PRESENT = 0.9  # share of a path's length
SHORTEST, LONGEST = 0.8, 1.25  # a way's length over the path's


@dataclass(frozen=True)
class Paths:
    """A tree cut at its branch points and tips.

    tree: the tree with zero-length edges contracted; merged rows are roots without children. label: (n,) the path
    that the edge above each row belongs to, -1 without one. ends: (k, 2) rows of the two ends of each path.
    """

    tree: Tree
    label: np.ndarray
    ends: np.ndarray


def cut(tree: Tree) -> Paths:
    """Paths of a forest; a root that only two edges meet at ends none."""
    place, degree = merged(tree), degrees(tree)
    rows = np.arange(len(tree))
    parent = np.where((place == rows) & (tree.parent >= 0), place[tree.parent], -1)
    critical = (degree >= 3) | (degree == 1)
    below = rows.copy()
    passing = np.flatnonzero((parent >= 0) & ~critical[parent])
    below[parent[passing]] = passing
    # From each node down to the end of its path; a root that is no end has two ways down and takes neither.
    below = np.where(critical | (parent < 0), rows, below)
    while not np.array_equal(lower := below[below], below):
        below = lower
    bottom = np.unique(below[parent >= 0])
    top = next_above(parent, critical | (parent < 0))[bottom]
    # The two paths that meet at such a root are one.
    meeting = np.flatnonzero(~critical[top])
    order = meeting[np.argsort(top[meeting], kind="stable")]
    first, second = order[0::2], order[1::2]
    ends = np.stack([bottom, top], axis=1)
    ends[first, 1] = bottom[second]
    number = np.arange(len(bottom))
    number[second] = first
    kept, renumbered = np.unique(number, return_inverse=True)
    label = np.full(len(tree), -1)
    hanging = np.flatnonzero(parent >= 0)
    label[hanging] = renumbered[np.searchsorted(bottom, below[hanging])]
    return Paths(Tree(tree.xyz, tree.radius, parent, tree.type), label, ends[kept])


def faults(profile: Profile, tree: Tree, other: Tree, *, tolerance: float, radius: float) -> dict[str, float]:
    """Length and number of all paths of `tree`, of those missing in `other` and of those present but not connected.

    profile: that of the distances from `tree` to `other`.
    """
    edges = profile.own
    paths = cut(tree)
    count = len(paths.ends)
    child = merged(tree)[edges.child]  # zero-length edges join their place; they weigh nothing
    label = paths.label[child]
    real = label >= 0
    length = np.bincount(label[real], edges.length[real], count)
    owner = label[profile.edge]
    on = owner >= 0
    covered = np.bincount(owner[on], lengths_within(profile, tolerance)[on], count)
    present = covered >= PRESENT * length - 1e-9 * length
    broken = present.copy()
    corridors = edges.lifted(label * 4 * radius)
    broken[present] = ~_connected(
        paths, np.flatnonzero(present), length, corridors, other, profile.other, radius
    )
    return {
        "length": float(length.sum()),
        "missing": float(length[~present].sum()),
        "broken": float(length[broken].sum()),
        "paths": count,
        "paths_missing": int((~present).sum()),
        "paths_broken": int(broken.sum()),
    }


def all_missing(tree: Tree, length: float) -> dict[str, float]:
    """What faults gives for a tree of that cable length when the other tree has no cable."""
    count = len(cut(tree).ends) if length else 0
    return {
        "length": length,
        "missing": length,
        "broken": 0.0,
        "paths": count,
        "paths_missing": count,
        "paths_broken": 0,
    }


def topology(reference: dict[str, float], prediction: dict[str, float]) -> Scores:
    """Shares of length: path_missing, path_broken and their sum path_error of the reference, path_excess and
    path_wrong_link of the prediction; paths_...: the same as counts. Undefined for a tree without cable.
    """
    scores: Scores = {}
    for found, which, shares, counts in (
        (reference, "reference", SHARES[:3], COUNTS[:3]),
        (prediction, "prediction", SHARES[3:], COUNTS[3:]),
    ):
        if found["length"]:
            missing, broken = found["missing"] / found["length"], found["broken"] / found["length"]
            scores |= dict(zip(shares, (missing, broken, missing + broken)))
        else:
            scores |= undefined(f"the {which} has no cable", *shares)
        scores |= dict(zip(counts, (found["paths"], found["paths_missing"], found["paths_broken"])))
    return scores


SHARES = ("path_missing", "path_broken", "path_error", "path_excess", "path_wrong_link")
COUNTS = ("paths_reference", "paths_missing", "paths_broken", "paths", "paths_excess", "paths_wrong_link")


@dataclass(frozen=True)
class _Nearby:
    """Pieces of edges inside balls: which ball, which edge, from where to where along it, and which connected group."""

    ball: np.ndarray
    edge: np.ndarray
    along: np.ndarray  # (q, 2), 0 child to 1 parent
    group: np.ndarray


def _inside_balls(tree: Tree, edges: Edges, centres: np.ndarray, radius: float) -> _Nearby:
    ball, edge = edges.within(centres, radius)
    along = np.stack(stretch_near(edges.start[edge] - centres[ball], edges.vector[edge], radius), axis=1)
    real = (along[:, 0] <= along[:, 1]) & (along[:, 0] <= 1) & (along[:, 1] >= 0)
    along = np.clip(along, 0, 1)
    ball, edge, along = ball[real], edge[real], along[real]
    # Pieces are joined where both reach a node inside the ball.
    size = len(tree)
    nodes = np.stack([edges.child[edge], tree.parent[edges.child[edge]]], axis=1)
    reached = np.stack([along[:, 0] <= 0, along[:, 1] >= 1], axis=1)
    key, vertex = np.unique((ball[:, None] * size + nodes)[reached], return_inverse=True)
    piece = np.broadcast_to(np.arange(len(ball))[:, None], reached.shape)[reached]
    total = len(ball) + len(key)
    graph = coo_array((np.ones(len(piece)), (piece, len(ball) + vertex)), shape=(total, total))
    _, group = connected_components(graph, directed=False)
    return _Nearby(ball, edge, along, group[: len(ball)])


@dataclass(frozen=True)
class _Ways:
    """Ways in a tree between pairs of pieces of its edges: what they need of the whole tree, found once."""

    tree: Tree
    edges: Edges
    near: _Nearby
    ladder: list[np.ndarray]
    depth: np.ndarray  # (n,) steps to the root
    distance: np.ndarray  # (n,) um to the root


def _connected(
    paths: Paths,
    chosen: np.ndarray,
    length: np.ndarray,
    corridors: Edges,
    other: Tree,
    edges: Edges,
    radius: float,
) -> np.ndarray:
    """(len(chosen),) bool: whether each chosen path has its way in the other tree.

    corridors: the edges of the paths, lifted to the height of the path's number times 4 radii, so that no other path
    is within twice the radius.
    """
    answer = np.zeros(len(chosen), bool)
    if not len(chosen):
        return answer
    centres = paths.tree.xyz[paths.ends[chosen]].reshape(-1, 3)  # ball 2i and 2i + 1: ends of chosen path i
    near = _inside_balls(other, edges, centres, radius)
    path, one, two = _pairs_of_pieces(near, len(centres))
    top = root_of(other.parent)
    joined = top[edges.child[near.edge[one]]] == top[edges.child[near.edge[two]]]
    path, one, two = path[joined], one[joined], two[joined]
    if not len(path):
        return answer
    depth = sums_to_root(other.parent, (other.parent >= 0).astype(np.int64))
    ways = _Ways(other, edges, near, doublings(other.parent), depth, path_distance(other))
    shortest, longest = _lengths(ways, one, two)
    # The lengths of the ways between two connected groups fill the range between the extremes of their pieces. The
    # shortest stands for all: it leaves the balls no more than it must.
    pair = near.group[one] * (near.group.max() + 1) + near.group[two]
    order = np.lexsort([shortest, pair])
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    example, most = order[starts], np.maximum.reduceat(longest[order], starts)
    path, one, two = path[example], one[example], two[example]
    wanted = length[chosen[path]]
    todo = np.flatnonzero((shortest[example] <= LONGEST * wanted) & (most >= SHORTEST * wanted))
    # The first way of each path, then the second of those that the first does not do for, ...
    while len(todo):
        tried, first = np.unique(path[todo], return_index=True)
        now = todo[first]
        answer[tried] = _stay_near(ways, one[now], two[now], corridors, chosen[tried], radius=radius)
        todo = np.delete(todo, first)
        todo = todo[~answer[path[todo]]]
    return answer


def _pairs_of_pieces(near: _Nearby, balls: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Path, piece near its one end, piece near its other end: all pairs; balls 2i, 2i + 1 are the ends of path i."""
    order = np.argsort(near.ball, kind="stable")
    first = np.searchsorted(near.ball[order], np.arange(balls + 1))
    here, there = first[0:-1:2], first[1::2]
    sizes = there - here, first[2::2] - there
    path, number = spread(sizes[0] * sizes[1])
    one = order[here[path] + number // sizes[1][path]]
    two = order[there[path] + number % sizes[1][path]]
    return path, one, two


def _lengths(ways: _Ways, one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(q,) (q,) um: least and largest length of the way in the tree between pieces `one` and `two` of edges."""
    near, edges = ways.near, ways.edges
    first, second = edges.child[near.edge[one]], edges.child[near.edge[two]]
    meeting = ways.distance[lowest_common_ancestor(ways.ladder, ways.depth, first, second)]
    ends = [
        ways.distance[child, None] - near.along[piece] * edges.length[near.edge[piece], None]
        for child, piece in ((first, one), (second, two))
    ]
    a, b = ends[0][:, :, None], ends[1][:, None, :]
    lengths = (a + b - 2 * np.minimum(np.minimum(a, b), meeting[:, None, None])).reshape(len(one), 4)
    # Two pieces of one edge that overlap are no distance apart.
    overlap = (first == second) & (
        np.maximum(*near.along[[one, two], 0]) <= np.minimum(*near.along[[one, two], 1])
    )
    return np.where(overlap, 0, lengths.min(1)), lengths.max(1)


def _stay_near(
    ways: _Ways,
    one: np.ndarray,
    two: np.ndarray,
    corridors: Edges,
    path: np.ndarray,
    *,
    radius: float,
) -> np.ndarray:
    """(q,) bool: whether the way between the middles of pieces `one`, `two` (q,) stays within 2 radii of `path` (q,).

    Measured every 2 radii first; the distance changes by no more than the length, so that what lies between two
    points is measured, down to every half radius, only where it may be too far.
    """
    way, corners = _corners(ways, one, two)
    answer = np.ones(len(one), bool)
    # All ways one after another on a line, 1 apart.
    step = np.sqrt((np.diff(corners, axis=0) ** 2).sum(1))
    step[np.diff(way) > 0] = 1
    at = np.concatenate([[0], np.cumsum(step)])
    bounds = np.searchsorted(way, np.arange(len(one) + 1))
    begin, end = at[bounds[:-1]], at[bounds[1:] - 1]

    def measured(owner: np.ndarray, place: np.ndarray) -> np.ndarray:
        points = [np.interp(place, at, corners[:, axis]) for axis in range(3)]
        return corridors.nearest(np.column_stack([*points, path[owner] * 4 * radius]))[0]

    count = np.maximum(np.ceil((end - begin) / (2 * radius)), 1).astype(np.int64)
    index, number = spread(count + 1)
    place = begin[index] + (end - begin)[index] * (number / count[index])
    apart = measured(index, place)
    first, last = np.flatnonzero(number < count[index]), np.flatnonzero(number > 0)
    owner, place, apart = index[first], place[[first, last]], apart[[first, last]]
    while len(owner):
        answer[owner[(apart > 2 * radius).any(0)]] = False
        length = place[1] - place[0]
        unsure = answer[owner] & (apart.sum(0) + length > 4 * radius) & (length > radius / 2)
        owner, place, apart = owner[unsure], place[:, unsure], apart[:, unsure]
        middle = place.mean(0)
        there = measured(owner, middle)
        owner = np.tile(owner, 2)
        place, apart = (
            np.concatenate([[ends[0], half], [half, ends[1]]], axis=1)
            for ends, half in ((place, middle), (apart, there))
        )
    return answer


def _corners(ways: _Ways, one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners (k, 3) of the ways between the middles of pieces `one` and `two` (q,), and whose each is (k,)."""
    edges, near, depth = ways.edges, ways.near, ways.depth
    first, second = edges.child[near.edge[one]], edges.child[near.edge[two]]
    meeting = lowest_common_ancestor(ways.ladder, depth, first, second)
    # From the first child's parent up to the meeting, then down to the second's. A piece lies above its child: the
    # child itself is on the way only where the other end is below it. Two pieces of one edge have nothing between.
    up = np.maximum(depth[first] - depth[meeting], 1)
    down = np.maximum(depth[second] - depth[meeting] - 1, 0)
    up[first == second] = 0
    index, number = spread(up + down + 2)
    number -= 1
    rises, falls = (number >= 0) & (number < up[index]), (number >= up[index]) & (number < (up + down)[index])
    corners = np.empty((len(index), 3))
    for rows, child, steps in (
        (rises, first, number + (first != meeting)[index]),
        (falls, second, (up + down)[index] - number),
    ):
        corners[rows] = ways.tree.xyz[climb(ways.ladder, child[index[rows]], steps[rows])]
    corners[number < 0] = edges.at(near.edge[one], near.along[one].mean(1))
    corners[number == (up + down)[index]] = edges.at(near.edge[two], near.along[two].mean(1))
    return index, corners
