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


Points = tuple[
    np.ndarray, np.ndarray
]  # the edges (q,) that they lie on and where on them, 0 child to 1 parent


class _Ways:
    """The ways in a tree between points on its edges."""

    def __init__(self, tree: Tree, edges: Edges) -> None:
        self.tree, self.edges = tree, edges
        self.ladder = doublings(tree.parent)
        self.steps = sums_to_root(tree.parent, (tree.parent >= 0).astype(np.int64))  # (n,) to the root
        self.distance = path_distance(tree)  # (n,) um to the root

    def to_root(self, points: Points) -> np.ndarray:
        """(q,) um from each point to its root."""
        edge, along = points
        return self.distance[self.edges.child[edge]] - along * self.edges.length[edge]

    def meeting(self, one: Points, two: Points) -> np.ndarray:
        """(q,) rows of the nodes where the ways down from the root to the ends of both edges part."""
        first, second = self.edges.child[one[0]], self.edges.child[two[0]]
        return lowest_common_ancestor(self.ladder, self.steps, first, second)

    def highest(self, one: Points, two: Points) -> np.ndarray:
        """(q,) um to the root from the highest point of the way between two points."""
        meeting = self.distance[self.meeting(one, two)]
        return np.minimum(meeting, np.minimum(self.to_root(one), self.to_root(two)))

    def length(self, one: Points, two: Points) -> np.ndarray:
        """(q,) um along the way between two points."""
        return self.to_root(one) + self.to_root(two) - 2 * self.highest(one, two)

    def corners(self, one: Points, two: Points) -> tuple[np.ndarray, np.ndarray]:
        """(k, 3) the corners of the ways, with their ends, and (k,) the way that each is on."""
        first, second = self.edges.child[one[0]], self.edges.child[two[0]]
        meeting = self.meeting(one, two)
        # From the first child's parent up to the meeting, then down to the second's. A point lies above its child: the
        # child itself is on the way only where the other end is below it. Two points on one edge have nothing between.
        up = np.maximum(self.steps[first] - self.steps[meeting], 1)
        down = np.maximum(self.steps[second] - self.steps[meeting] - 1, 0)
        up[first == second] = 0
        way, number = spread(up + down + 2)
        rises, falls = number <= up[way], (number > up[way]) & (number <= (up + down)[way])
        corners = np.empty((len(way), 3))
        for rows, child, steps in (
            (rises, first, number - (first == meeting)[way]),
            (falls, second, (up + down + 1)[way] - number),
        ):
            corners[rows] = self.tree.xyz[climb(self.ladder, child[way[rows]], steps[rows])]
        corners[number == 0] = self.edges.at(*one)
        corners[number == (up + down + 1)[way]] = self.edges.at(*two)
        return corners, way


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
    groups = _groups(_Ways(other, edges), near)
    path, one, two = _pairs(groups, len(centres))
    # The lengths of the ways between two groups fill the range between the extremes. The shortest way stands for all:
    # it leaves the balls no more than it must.
    begin, end = _shortest(groups, one, two)
    wanted = length[chosen[path]]
    fits = groups.ways.length(begin, end) <= LONGEST * wanted
    fits[fits] = _longest(groups, one[fits], two[fits]) >= SHORTEST * wanted[fits]
    todo = np.flatnonzero(fits)
    # The first way of each path, then the second of those that the first does not do for, ...
    while len(todo):
        tried, first = np.unique(path[todo], return_index=True)
        now = todo[first]
        corners, way = groups.ways.corners(_choose(begin, now), _choose(end, now))
        answer[tried] = _stay_near(corners, way, corridors, chosen[tried], radius=radius)
        todo = np.delete(todo, first)
        todo = todo[~answer[path[todo]]]
    return answer


@dataclass(frozen=True)
class _Groups:
    """The connected groups of pieces inside balls, with what the ways between them need.

    pieces: (q,) the pieces in the order of their groups; first: (g + 1,) where each group begins among them. ball: (g,).
    top: the point of each nearest to the root. ends: the two points of each farthest from each other.
    """

    ways: _Ways
    near: _Nearby
    pieces: np.ndarray
    first: np.ndarray
    ball: np.ndarray
    top: Points
    ends: tuple[Points, Points]


def _groups(ways: _Ways, near: _Nearby) -> _Groups:
    pieces = np.argsort(near.group, kind="stable")
    count = int(near.group.max(initial=-1)) + 1
    first = np.searchsorted(near.group[pieces], np.arange(count + 1))
    low, high = (near.edge, near.along[:, 0]), (near.edge, near.along[:, 1])
    top = _choose(high, _least(ways.to_root(high), near.group))
    # Farthest from the root is one of the two farthest from each other; farthest from it is the second.
    deepest = _choose(low, _least(-ways.to_root(low), near.group))
    both = np.tile(near.edge, 2), near.along.T.ravel()
    group = np.tile(near.group, 2)
    second = _choose(both, _least(-ways.length(both, _choose(deepest, group)), group))
    return _Groups(ways, near, pieces, first, near.ball[pieces[first[:-1]]], top, (deepest, second))


def _choose(points: Points, which: np.ndarray) -> Points:
    return points[0][which], points[1][which]


def _least(value: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(g,) of each group, numbered from 0 without gaps, the index of its least value."""
    order = np.lexsort([value, group])
    return order[np.flatnonzero(np.diff(group[order], prepend=-1))]


def _pairs(groups: _Groups, balls: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Path, group near its one end, group near its other end, of one tree: all; balls 2i, 2i + 1 are the ends of path i."""
    order = np.argsort(groups.ball, kind="stable")
    first = np.searchsorted(groups.ball[order], np.arange(balls + 1))
    here, there = first[0:-1:2], first[1::2]
    sizes = there - here, first[2::2] - there
    path, number = spread(sizes[0] * sizes[1])
    one = order[here[path] + number // sizes[1][path]]
    two = order[there[path] + number % sizes[1][path]]
    edges = groups.ways.edges
    root = root_of(groups.ways.tree.parent)[edges.child[groups.top[0]]]
    joined = root[one] == root[two]
    return path[joined], one[joined], two[joined]


def _longest(groups: _Groups, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(q,) um: length of the longest way between points of two groups.

    From any point, the farthest of a group is one of its two that are farthest from each other.
    """
    ways = [
        groups.ways.length(_choose(begin, one), _choose(end, two))
        for begin in groups.ends
        for end in groups.ends
    ]
    return np.max(ways, axis=0)


def _shortest(groups: _Groups, one: np.ndarray, two: np.ndarray) -> tuple[Points, Points]:
    """The ends of the shortest way between two groups: their tops, but where one group is on the other's way up."""
    begin, end = _choose(groups.top, one), _choose(groups.top, two)
    highest = groups.ways.highest(begin, end)
    passes = highest == groups.ways.to_root(begin)
    passed = ~passes & (highest == groups.ways.to_root(end))
    for rows, group, moved, fixed in ((passes, one, begin, end), (passed, two, end, begin)):
        found = _nearest_on(groups, group[rows], _choose(fixed, np.flatnonzero(rows)))
        for whole, part in zip(moved, found):
            whole[rows] = part
    return begin, end


def _nearest_on(groups: _Groups, group: np.ndarray, points: Points) -> Points:
    """The point of each group (q,) that is nearest by way of the tree to a point (q,) each."""
    ways, near = groups.ways, groups.near
    owner, number = spread(groups.first[group + 1] - groups.first[group])
    piece = groups.pieces[groups.first[group][owner] + number]
    edge, fixed = near.edge[piece], _choose(points, owner)
    child = ways.distance[ways.edges.child[edge]]
    # Where the way from the fixed point comes down to the piece, or passes it.
    to_root = np.clip(
        np.minimum(ways.distance[ways.meeting((edge, edge), fixed)], ways.to_root(fixed)),
        ways.to_root((edge, near.along[piece, 1])),
        ways.to_root((edge, near.along[piece, 0])),
    )
    along = np.divide(
        child - to_root, ways.edges.length[edge], out=np.zeros(len(edge)), where=ways.edges.length[edge] > 0
    )
    best = _least(ways.length((edge, along), fixed), owner)
    return edge[best], along[best]


def _stay_near(
    corners: np.ndarray, way: np.ndarray, corridors: Edges, path: np.ndarray, *, radius: float
) -> np.ndarray:
    """(q,) bool: whether each way stays within 2 radii of its path (q,); corners (k, 3), of which way each is (k,).

    Measured every 2 radii first; the distance changes by no more than the length, so that what lies between two
    points is measured, down to every half radius, only where it may be too far.
    """
    answer = np.ones(len(path), bool)
    # All ways one after another on a line, 1 apart.
    step = np.sqrt((np.diff(corners, axis=0) ** 2).sum(1))
    step[np.diff(way) > 0] = 1
    at = np.concatenate([[0], np.cumsum(step)])
    bounds = np.searchsorted(way, np.arange(len(path) + 1))
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
