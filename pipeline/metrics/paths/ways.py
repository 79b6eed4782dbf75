"""Ways through a tree: between points on its edges, and between the groups of pieces of it that lie inside balls.

Nothing walks node by node: ancestors are found by doubling, and what all points of a group have in common, once.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.arrays import spread
from pipeline.metrics.distance import Edges, stretch_near
from pipeline.metrics.paths.rooted import (
    climb,
    doublings,
    lowest_common_ancestor,
    path_distance,
    root_of,
    sums_to_root,
)
from pipeline.swc import Tree

# The edges (q,) that they lie on, and where on them (q,), 0 child to 1 parent.
Points = tuple[np.ndarray, np.ndarray]


class Ways:
    """The ways in a tree between points on its edges."""

    def __init__(self, tree: Tree, edges: Edges) -> None:
        self.tree, self.edges = tree, edges
        self.ladder = doublings(tree.parent)
        self.steps = sums_to_root(tree.parent, (tree.parent >= 0).astype(np.int64))  # (n,) to the root
        self.distance = path_distance(tree)  # (n,) um to the root
        self.root = root_of(tree.parent)

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


@dataclass(frozen=True)
class Nearby:
    """Pieces of edges inside balls: which ball, which edge, from where to where along it, and which connected group."""

    ball: np.ndarray
    edge: np.ndarray
    along: np.ndarray  # (q, 2), 0 child to 1 parent
    group: np.ndarray


def _inside_balls(tree: Tree, edges: Edges, centres: np.ndarray, radius: float) -> Nearby:
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
    return Nearby(ball, edge, along, group[: len(ball)])


@dataclass(frozen=True)
class Groups:
    """The connected groups of pieces inside balls, with what the ways between them need.

    pieces: (q,) the pieces in the order of their groups. first: (g + 1,) where each group begins there. ball: (g,).
    top: the point of each nearest to the root. ends: the two points of each farthest from each other, and
    extent: (g,) um, how far that is by way of the tree.
    """

    ways: Ways
    near: Nearby
    pieces: np.ndarray
    first: np.ndarray
    ball: np.ndarray
    top: Points
    ends: tuple[Points, Points]
    extent: np.ndarray


def groups_inside(ways: Ways, centres: np.ndarray, radius: float) -> Groups:
    """The connected groups of what lies of a tree inside each ball round `centres` (b, 3)."""
    near = _inside_balls(ways.tree, ways.edges, centres, radius)
    pieces = np.argsort(near.group, kind="stable")
    count = int(near.group.max(initial=-1)) + 1
    first = np.searchsorted(near.group[pieces], np.arange(count + 1))
    low, high = (near.edge, near.along[:, 0]), (near.edge, near.along[:, 1])
    top = choose_points(high, _least(ways.to_root(high), near.group))
    # Farthest from the root is one of the two farthest from each other; farthest from it is the second.
    deepest = choose_points(low, _least(-ways.to_root(low), near.group))
    both = np.tile(near.edge, 2), near.along.T.ravel()
    group = np.tile(near.group, 2)
    second = choose_points(both, _least(-ways.length(both, choose_points(deepest, group)), group))
    ball, extent = near.ball[pieces[first[:-1]]], ways.length(deepest, second)
    return Groups(ways, near, pieces, first, ball, top, (deepest, second), extent)


def choose_points(points: Points, which: np.ndarray) -> Points:
    """Some of the points."""
    return points[0][which], points[1][which]


def _least(value: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(g,) of each group, numbered from 0 without gaps, the index of its least value."""
    order = np.lexsort([value, group])
    return order[np.flatnonzero(np.diff(group[order], prepend=-1))]


def pairs(groups: Groups, balls: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of a group in the one ball of a path and one of the same tree in its other ball: path, group, group.

    balls: (p, 2) the two of each path.
    """
    ways = groups.ways
    root = ways.root[ways.edges.child[groups.top[0]]]
    key = groups.ball * len(ways.tree) + root
    order = np.argsort(key, kind="stable")
    key = key[order]

    def members(lowest: np.ndarray, highest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the ranges of keys (r,) a group is in, and the group: all."""
        first, last = np.searchsorted(key, lowest), np.searchsorted(key, highest, side="right")
        owner, number = spread(last - first)
        return owner, order[first[owner] + number]

    path, one = members(balls[:, 0] * len(ways.tree), (balls[:, 0] + 1) * len(ways.tree) - 1)
    wanted = balls[path, 1] * len(ways.tree) + root[one]
    index, two = members(wanted, wanted)
    return path[index], one[index], two


def longest(groups: Groups, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(q,) um: length of the longest way between points of two groups.

    From any point, the farthest of a group is one of its two that are farthest from each other.
    """
    ways = [
        groups.ways.length(choose_points(begin, one), choose_points(end, two))
        for begin in groups.ends
        for end in groups.ends
    ]
    return np.max(ways, axis=0)


def shortest(groups: Groups, one: np.ndarray, two: np.ndarray) -> tuple[Points, Points]:
    """The ends of the shortest way between two groups: their tops, but where one group is on the other's way up."""
    begin, end = choose_points(groups.top, one), choose_points(groups.top, two)
    highest = groups.ways.highest(begin, end)
    passes = highest == groups.ways.to_root(begin)
    passed = ~passes & (highest == groups.ways.to_root(end))
    for rows, group, moved, fixed in ((passes, one, begin, end), (passed, two, end, begin)):
        found = _nearest_on(groups, group[rows], choose_points(fixed, np.flatnonzero(rows)))
        for whole, part in zip(moved, found):
            whole[rows] = part
    return begin, end


def _nearest_on(groups: Groups, group: np.ndarray, points: Points) -> Points:
    """The point of each group (q,) that is nearest by way of the tree to a point (q,) each."""
    ways, near = groups.ways, groups.near
    owner, number = spread(groups.first[group + 1] - groups.first[group])
    piece = groups.pieces[groups.first[group][owner] + number]
    edge, fixed = near.edge[piece], choose_points(points, owner)
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
