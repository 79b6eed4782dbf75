"""Path topology: which paths of a tree are there in another one, and joined as they are.

After NetMets (Mayerich et al. 2012, J. Biomed. Opt.), with every rule pinned: a tree is cut at its branch points and
tips into paths. A path is *present* when at least 90 % of its length lies within the tolerance of the other tree. It
is *connected* when, besides, a point of the other tree near its one end (within the node radius) and one near its
other end are joined there by a way that stays within two node radii of the path and is 0.8 to 1.25 times as long.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import spread
from pipeline.metrics.distance import Edges, Profile
from pipeline.metrics.nodes import degrees, merged
from pipeline.metrics.paths import ways
from pipeline.metrics.paths.rooted import next_above
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree

PIECES = 200_000  # of edges in the balls round the ends of paths, at a time: bounds the memory
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


def faults(profile: Profile, near: np.ndarray, tree: Tree, other: Tree, *, radius: float) -> dict[str, float]:
    """Length and number of all paths of `tree`, of those missing in `other` and of those present but not connected.

    profile: that of the distances from `tree` to `other`. near: (m,) the lengths of its intervals within the tolerance.
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
    covered = np.bincount(owner[on], near[on], count)
    present = covered >= PRESENT * length - 1e-9 * length
    broken = present.copy()
    corridors = edges.lifted(label * 4 * radius)
    through = ways.Ways(other, profile.other)
    chosen = np.flatnonzero(present)
    ends = paths.tree.xyz[paths.ends[chosen]].reshape(-1, 3)
    size = int(PIECES // profile.other.crowd(ends, radius)) + 1
    for part in np.split(chosen, range(size, len(chosen), size)):
        broken[part] = ~_connected(paths, part, length, corridors, through, radius=radius)
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
            faulty = np.array([found["missing"], found["broken"], found["missing"] + found["broken"]])
            scores |= dict(zip(shares, (faulty / found["length"]).tolist()))
        else:
            scores |= undefined(f"the {which} has no cable", *shares)
        scores |= dict(zip(counts, (found["paths"], found["paths_missing"], found["paths_broken"])))
    return scores


SHARES = ("path_missing", "path_broken", "path_error", "path_excess", "path_wrong_link")
COUNTS = ("paths_reference", "paths_missing", "paths_broken", "paths", "paths_excess", "paths_wrong_link")


def _connected(
    paths: Paths,
    chosen: np.ndarray,
    length: np.ndarray,
    corridors: Edges,
    through: ways.Ways,
    *,
    radius: float,
) -> np.ndarray:
    """(len(chosen),) bool: whether each chosen path has its way in the other tree.

    corridors: the edges of the paths, lifted to the height of the path's number times 4 radii, so that no other path
    is within twice the radius. through: the ways in the other tree.
    """
    answer = np.zeros(len(chosen), bool)
    if not len(chosen):
        return answer
    rows, ball = np.unique(paths.ends[chosen], return_inverse=True)  # paths that meet share a ball
    groups = ways.groups_inside(through, paths.tree.xyz[rows], radius)
    path, one, two = ways.pairs(groups, ball.reshape(-1, 2))
    # The lengths of the ways between two groups fill the range between the extremes; the shortest is the longest less
    # what both groups add at most.
    most = ways.longest(groups, one, two)
    least = most - groups.extent[one] - groups.extent[two]
    hopeful = (most >= SHORTEST * length[chosen[path]]) & (least <= LONGEST * length[chosen[path]] + 1e-6)
    path, one, two = path[hopeful], one[hopeful], two[hopeful]
    # The shortest way stands for all: it leaves the balls no more than it must.
    begin, end = ways.shortest(groups, one, two)
    fits = through.length(begin, end) <= LONGEST * length[chosen[path]]
    todo = np.flatnonzero(fits)
    # The first way of each path, then the second of those that the first does not do for, ...
    while len(todo):
        tried, first = np.unique(path[todo], return_index=True)
        now = todo[first]
        corners, way = through.corners(ways.choose_points(begin, now), ways.choose_points(end, now))
        answer[tried] = _stay_near(corners, way, corridors, chosen[tried], radius=radius)
        todo = np.delete(todo, first)
        todo = todo[~answer[path[todo]]]
    return answer


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

    def measured(owner: np.ndarray, place: np.ndarray) -> np.ndarray:
        points = [np.interp(place, at, corners[:, axis]) for axis in range(3)]
        return corridors.nearest(np.column_stack([*points, path[owner] * 4 * radius]))[0]

    bounds = np.searchsorted(way, np.arange(len(path) + 1))
    owner, place = _steps(at[bounds[:-1]], at[bounds[1:] - 1], size=2 * radius)
    apart = measured(owner, place)
    first = np.flatnonzero(np.diff(owner) == 0)
    owner, place, apart = owner[first], place[[first, first + 1]], apart[[first, first + 1]]
    while len(owner):
        answer[owner[(apart > 2 * radius).any(0)]] = False
        length = place[1] - place[0]
        unsure = answer[owner] & (apart.sum(0) + length > 4 * radius) & (length > radius / 2)
        owner, place, apart = owner[unsure], place[:, unsure], apart[:, unsure]
        middle = place.mean(0)
        place, apart = _halves(place, middle), _halves(apart, measured(owner, middle))
        owner = np.tile(owner, 2)
    return answer


def _steps(begin: np.ndarray, end: np.ndarray, *, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of the stretches begin..end (q,), and where on it: places no more than `size` apart, both ends included."""
    count = np.maximum(np.ceil((end - begin) / size), 1).astype(np.int64)
    owner, number = spread(count + 1)
    return owner, begin[owner] + (end - begin)[owner] * (number / count[owner])


def _halves(ends: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(2, 2 k) the values at both ends of the halves of stretches, whose own are `ends` (2, k) and `middle` (k,)."""
    return np.concatenate([[ends[0], middle], [middle, ends[1]]], axis=1)
