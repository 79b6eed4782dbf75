"""Distance between trees, point to segment: Vaa3D's ESA, DSA and PDS.

Nodes are not compared with nodes: the geometry of a tree is the set of straight edges from each node to its
parent, so order, ids, roots and isolated nodes do not matter.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pipeline.arrays import spread
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree

BATCH = 50_000  # points in memory at once, times candidates / 6; more are shared out to threads
FIRST_CANDIDATES = 6
CROWD_SAMPLES = 200  # places at which a crowd is measured
HAIR = 1e-9  # of a limit
FIRST_WITHIN = 16  # pieces asked for round a place; where all are within reach, four times as many
PIECE = 0.75  # times the mean edge length: the longest piece of an edge in the KD-tree
FEW = 20_000  # point-edge pairs up to which comparing all is faster than a KD-tree


class Edges:
    """The edges of a tree, with a KD-tree to find the nearest one. Build it once a tree.

    start, end: (m, 3) float64, child and parent end, in row order of the children. child: (m,) int64 rows.
    """

    def __init__(self, tree: Tree) -> None:
        self.child = np.flatnonzero(tree.parent >= 0)
        self.start = tree.xyz[self.child]
        self.end = tree.xyz[tree.parent[self.child]]
        self.vector = self.end - self.start
        self.length = np.sqrt((self.vector**2).sum(1))
        self._squared = np.maximum((self.vector**2).sum(1), np.finfo(float).tiny)
        self._index: cKDTree | None = None

    @property
    def has_cable(self) -> bool:
        """Whether any edge is longer than 0."""
        return bool(self.length.any())

    def lifted(self, height: np.ndarray) -> "Edges":
        """The same edges in one dimension more, each at its own height (m,): those of one height are a tree apart."""
        other = copy(self)
        other.start, other.end = (np.column_stack([one, height]) for one in (self.start, self.end))
        other.vector = other.end - other.start
        other._index = None
        return other

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Exact distance (n,) float64 of each point (n, 3) to the nearest edge, and that edge's number (n,)."""
        if len(points) > BATCH:
            self._pieces()  # before the threads ask for it at once
        distance, edge = (np.concatenate(one) for one in zip(*in_parts(self._nearest, points, size=BATCH)))
        return distance, edge

    def within(self, centres: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a centre (n, 3) and an edge that may lie within `radius` of it, a few that do not among them.

        Two (q,) int64, ordered by centre, then edge.
        """
        index = self._pieces()
        reach = inclusive(radius + self._longest_piece / 2)
        found, todo, most = [], np.arange(len(centres)), FIRST_WITHIN
        while len(todo):
            # The k nearest within reach, as arrays: four times as fast as lists of all.
            most = min(most, index.n)
            apart, piece = index.query(centres[todo], k=np.arange(1, most + 1), distance_upper_bound=reach)
            there = np.isfinite(apart)
            full = there[:, -1] & (most < index.n)
            there[full] = False
            row, place = np.nonzero(there)
            found.append(todo[row] * len(self.child) + self._edge_of_piece[piece[row, place]])
            todo, most = todo[full], 4 * most
        pair = np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)
        pair = pair[np.diff(pair, prepend=-1) > 0]  # several pieces of an edge make one pair
        return pair // len(self.child), pair % len(self.child)

    def crowd(self, centres: np.ndarray, radius: float) -> float:
        """About how many pairs `within` finds for each of the centres (n, 3): the mean over some, at least 1."""
        if not len(centres):
            return 1.0
        index = self._pieces()
        some = centres[np.random.default_rng(0).integers(len(centres), size=CROWD_SAMPLES)]
        counts = index.query_ball_point(some, radius + self._longest_piece / 2, return_length=True)
        return max(float(counts.mean()), 1.0)

    def distance_to(self, points: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """Distance of points (..., 3) to one given edge (...) each."""
        away = points - self.start[edge] - self.foot(points, edge)[..., None] * self.vector[edge]
        return np.sqrt(np.einsum("...i,...i", away, away))

    def at(self, edge: np.ndarray, along: np.ndarray) -> np.ndarray:
        """(n, 3) the points at `along` (n,), 0 child to 1 parent, of the edges (n,)."""
        return self.start[edge] + along[:, None] * self.vector[edge]

    def foot(self, points: np.ndarray, edge: np.ndarray) -> np.ndarray:
        """Where on one given edge (...) each the nearest point to points (..., 3) lies: 0 child, 1 parent."""
        along = np.einsum("...i,...i", points - self.start[edge], self.vector[edge])
        return np.clip(along / self._squared[edge], 0, 1)

    def _nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(points) * len(self.child) <= FEW:
            every = self.distance_to(points[:, None], np.arange(len(self.child))[None])
            edge = every.argmin(1)
            return every[np.arange(len(points)), edge], edge
        # The KD-tree holds midpoints of pieces no longer than p. A piece that is not among the k nearest
        # midpoints has its midpoint at d_k or farther, and so lies at d_k - p / 2 or farther: a best
        # candidate within that bound is the nearest. Points that fail ask for four times as many candidates.
        index = self._pieces()
        best, edge = np.empty(len(points)), np.empty(len(points), np.int64)
        todo = np.arange(len(points))
        candidates = FIRST_CANDIDATES
        while len(todo):
            candidates = min(candidates, index.n)
            left = []
            size = max(1, BATCH * FIRST_CANDIDATES // candidates)
            for rows in np.split(todo, range(size, len(todo), size)):
                apart, piece = index.query(points[rows], k=np.arange(1, candidates + 1))
                near = self._edge_of_piece[piece]
                distance = self.distance_to(points[rows, None], near)
                chosen = distance.argmin(1)
                best[rows] = distance[np.arange(len(rows)), chosen]
                edge[rows] = near[np.arange(len(rows)), chosen]
                if candidates < index.n:
                    left.append(rows[best[rows] > apart[:, -1] - self._longest_piece / 2])
            todo = np.concatenate(left) if left else todo[:0]
            candidates *= 4
        return best, edge

    def _pieces(self) -> cKDTree:
        if self._index is None:
            # Of about the mean edge length: at most 7/3 times as many pieces as edges, however long the longest.
            longest = max(PIECE * self.length.mean(), np.finfo(float).tiny)
            count = np.maximum(np.ceil(self.length / longest), 1).astype(np.int64)
            self._longest_piece = (self.length / count).max()
            self._edge_of_piece, step = spread(count)
            along = (step + 0.5) / count[self._edge_of_piece]
            self._index = cKDTree(self.at(self._edge_of_piece, along))
        return self._index


def in_parts(function: Callable[[np.ndarray], Any], rows: np.ndarray, *, size: int) -> list[Any]:
    """The function of each `size` rows, in order; in threads where there are several: most of its time is NumPy's."""
    parts = np.split(rows, range(size, len(rows), size))
    if len(parts) == 1:
        return [function(rows)]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(function, parts))


def inclusive(limit: float) -> float:
    """A limit a hair larger, lest rounding decide of trees that lie just so far apart, as those on a grid may."""
    return limit * (1 + HAIR)


def stretch_near(offset: np.ndarray, vector: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """(q,) (q,) from where to where, in t, offset + t * vector (q, 3) lies within `radius` of 0: first > last: nowhere.

    A vector of no length stands for a line that is inside (about -1e100 to 1e100) or outside as a whole.
    """
    squared = np.maximum(np.einsum("ij,ij->i", vector, vector), 1e-200)
    # Both ways from the foot of the perpendicular: no digits are lost on a long vector.
    foot = -np.einsum("ij,ij->i", offset, vector) / squared
    apart = offset + foot[:, None] * vector
    room = radius * radius - np.einsum("ij,ij->i", apart, apart)
    reach = np.sqrt(np.maximum(room, 0) / squared)
    return np.where(room < 0, 1.0, foot - reach), np.where(room < 0, 0.0, foot + reach)


@dataclass(frozen=True)
class Profile:
    """Distance to another tree along the edges of a tree, known at both ends of intervals.

    own, other: the edges of both trees. edge: (m,) int32, the edge that each interval is part of. first, last: (m,)
    float64, where on it the interval begins and ends, 0 child, 1 parent. distance_first, distance_last: (m,)
    float64, distances there. edge_first, edge_last: (m,) int32, the nearest edges of the other tree there.
    """

    own: Edges
    other: Edges
    edge: np.ndarray
    first: np.ndarray
    last: np.ndarray
    distance_first: np.ndarray
    distance_last: np.ndarray
    edge_first: np.ndarray
    edge_last: np.ndarray

    def __len__(self) -> int:
        return len(self.edge)

    @property
    def length(self) -> np.ndarray:
        """(m,) length of each interval."""
        return self.own.length[self.edge] * (self.last - self.first)


INTERVAL = ("edge", "first", "last", "distance_first", "distance_last", "edge_first", "edge_last")


def choose(profile: Profile, which: np.ndarray) -> Profile:
    """Some of the intervals."""
    return replace(profile, **{name: getattr(profile, name)[which] for name in INTERVAL})


def divide(profile: Profile, count: np.ndarray) -> Profile:
    """Each interval as `count` (m,) equal ones, in their order, measured where they meet."""
    owner, number = spread(count)
    whole = choose(profile, owner)
    step = (whole.last - whole.first) / count[owner]
    begins, ends = np.flatnonzero(number > 0), np.flatnonzero(number < count[owner] - 1)
    meeting = whole.first[begins] + number[begins] * step[begins]
    distance, nearest = profile.other.nearest(profile.own.at(whole.edge[begins], meeting))
    # choose has copied the arrays.
    for rows, name in ((begins, "first"), (ends, "last")):
        getattr(whole, name)[rows] = meeting
        getattr(whole, f"distance_{name}")[rows] = distance
        getattr(whole, f"edge_{name}")[rows] = nearest
    return whole


def sample_counts(edges: Edges) -> np.ndarray:
    """(m,) number of Vaa3D's samples on each edge of length L: floor(L + 1.5)."""
    return np.floor(edges.length + 1.5).astype(np.int64)


def profile(tree: Tree, own: Edges, other: Edges) -> Profile:
    """Distances from `tree` (whose edges are `own`) to `other`, in the intervals between Vaa3D's samples.

    An edge of length L has N = floor(L + 1.5) samples, both ends included; one of N = 1 is an interval as well.
    The intervals of an edge lie together, from child to parent. A node is measured once though every edge that ends
    there counts it.
    """
    count = np.maximum(sample_counts(own), 2)
    edge, step = spread(count - 2)
    inner = own.at(edge, (step + 1) / (count[edge] - 1))
    parent = tree.parent[own.child]
    used = np.unique(np.concatenate([own.child, parent]))  # an isolated node is never looked at
    distance, nearest = np.empty(len(tree) + len(inner)), np.empty(len(tree) + len(inner), np.int32)
    for rows, points in ((used, tree.xyz[used]), (np.arange(len(tree), len(distance)), inner)):
        distance[rows], nearest[rows] = other.nearest(points)

    # The points of each edge in order: child, inner ones, parent.
    edge, place = spread(count)
    is_last = place == count[edge] - 1
    row = (
        len(tree) + (np.cumsum(count - 2) - count)[edge] + place + 1
    )  # inner points of all edges follow the nodes
    row[place == 0] = own.child
    row[is_last] = parent
    along = place / (count[edge] - 1)
    begin, end = np.flatnonzero(~is_last), np.flatnonzero(place > 0)
    return Profile(
        own,
        other,
        edge[begin].astype(np.int32),
        along[begin],
        along[end],
        distance[row[begin]],
        distance[row[end]],
        nearest[row[begin]],
        nearest[row[end]],
    )


def samples(profile: Profile) -> np.ndarray:
    """(n,) the distances that Vaa3D averages, of a profile as `profile` makes it.

    All ends of the intervals of an edge; of an edge of N = 1 only the child's.
    """
    ends_sampled_edge = (profile.last == 1) & (sample_counts(profile.own)[profile.edge] > 1)
    # In the order of Vaa3D: the intervals of an edge follow each other and share their ends.
    both = np.stack([profile.distance_first, profile.distance_last], axis=1)
    return both[np.stack([np.ones_like(ends_sampled_edge), ends_sampled_edge], axis=1)]


def esa(forward: Profile, backward: Profile, *, threshold: float = 2.0) -> Scores:
    """Entire-structure average, different-structure average, percentage (0..1) of different structure.

    forward: from the prediction (1) to the reference (2); backward: the reverse. In one direction esa is the
    mean distance of the samples, pds the share of samples at the threshold or farther, dsa the mean distance of
    those. esa and pds of a pair are the means of both directions; dsa is the mean of those that are defined, and
    0 with a reason when none is (Vaa3D's convention). threshold and the sampling step of 1 are in the unit of
    the coordinates: scaling the trees changes more than the unit.

    Peng et al. 2010, Nat. Biotechnol. 28:348. The arithmetic is in double precision where Vaa3D's is single.
    """
    scores: Scores = {}
    for direction, found in (("12", samples(forward)), ("21", samples(backward))):
        apart = found[found >= threshold]
        scores[f"esa_{direction}"] = float(found.mean())
        scores[f"pds_{direction}"] = len(apart) / len(found)
        if len(apart):
            scores[f"dsa_{direction}"] = float(apart.mean())
        else:
            scores |= undefined("no sample reaches the threshold", f"dsa_{direction}")
    defined = [value for name in ("dsa_12", "dsa_21") if not np.isnan(value := scores[name])]
    scores |= {
        "esa": (scores["esa_12"] + scores["esa_21"]) / 2,
        "dsa": float(np.mean(defined)) if defined else 0.0,
        "pds": (scores["pds_12"] + scores["pds_21"]) / 2,
    }
    # One order of the columns, whether defined or not.
    scores = {name: scores[name] for name in ESA_NAMES} | scores
    if not defined:
        scores["dsa_reason"] = "no sample reaches the threshold in either direction: 0 by Vaa3D's convention"
    return scores


ESA_NAMES = tuple(f"{name}{way}" for way in ("", "_12", "_21") for name in ("esa", "dsa", "pds"))
