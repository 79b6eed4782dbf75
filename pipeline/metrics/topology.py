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
from pipeline.metrics.rooted import next_above, path_distance, root_of, sums_to_root
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree, take

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
    broken[present] = ~_connected(paths, np.flatnonzero(present), length, other, profile.other, radius)
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


def _connected(
    paths: Paths, chosen: np.ndarray, length: np.ndarray, other: Tree, edges: Edges, radius: float
) -> np.ndarray:
    """(len(chosen),) bool: whether each chosen path has its way in the other tree."""
    answer = np.zeros(len(chosen), bool)
    if not len(chosen):
        return answer
    centres = paths.tree.xyz[paths.ends[chosen]].reshape(-1, 3)  # ball 2i and 2i + 1: ends of chosen path i
    near = _inside_balls(other, edges, centres, radius)
    order = np.argsort(near.ball, kind="stable")
    first = np.searchsorted(near.ball[order], np.arange(len(centres) + 1))
    here, there = first[0:-1:2], first[1::2]
    sizes = there - here, first[2::2] - there
    # All pairs of a piece near the one end and a piece near the other.
    path, number = spread(sizes[0] * sizes[1])
    one = order[here[path] + number // sizes[1][path]]
    two = order[there[path] + number % sizes[1][path]]
    top = root_of(other.parent)
    joined = top[edges.child[near.edge[one]]] == top[edges.child[near.edge[two]]]
    path, one, two = path[joined], one[joined], two[joined]
    if not len(path):
        return answer
    shortest, longest = _ways(other, edges, near, one, two)
    # The lengths of the ways between two connected groups fill the range between the extremes of their pieces.
    pairs, pair = np.unique(np.stack([path, near.group[one], near.group[two]]), axis=1, return_inverse=True)
    least, most = np.full(pairs.shape[1], np.inf), np.zeros(pairs.shape[1])
    np.minimum.at(least, pair.ravel(), shortest)
    np.maximum.at(most, pair.ravel(), longest)
    wanted = length[chosen][pairs[0]]
    fits = (least <= LONGEST * wanted) & (most >= SHORTEST * wanted)
    example = np.zeros(pairs.shape[1], np.int64)
    example[pair.ravel()] = np.arange(len(path))
    members = np.argsort(paths.label, kind="stable")
    start = np.searchsorted(paths.label[members], np.arange(len(paths.ends) + 1))
    corridors: dict[int, Edges] = {}
    for fit in np.flatnonzero(fits).tolist():
        index = int(pairs[0, fit])
        if answer[index]:
            continue
        if index not in corridors:
            rows = members[start[chosen[index]] : start[chosen[index] + 1]]
            corridors[index] = Edges(take(paths.tree, np.union1d(rows, paths.tree.parent[rows])))
        ends = one[example[fit]], two[example[fit]]
        limit = LONGEST * length[chosen[index]] + 2 * radius
        points = _way(other, edges, near, *ends, step=radius / 2, limit=limit)
        answer[index] = points is not None and corridors[index].nearest(points)[0].max() <= 2 * radius
    return answer


def _ways(
    tree: Tree, edges: Edges, near: _Nearby, one: np.ndarray, two: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest length of the way in the tree between pieces `one` and `two` of edges."""
    depth = path_distance(tree)
    first, second = edges.child[near.edge[one]], edges.child[near.edge[two]]
    meeting = depth[lowest_common_ancestor(tree.parent, first, second)]
    ends = [
        depth[child, None] - near.along[piece] * edges.length[near.edge[piece], None]
        for child, piece in ((first, one), (second, two))
    ]
    a, b = ends[0][:, :, None], ends[1][:, None, :]
    ways = (a + b - 2 * np.minimum(np.minimum(a, b), meeting[:, None, None])).reshape(len(one), 4)
    # Two pieces of one edge that overlap are no distance apart.
    overlap = (first == second) & (
        np.maximum(*near.along[[one, two], 0]) <= np.minimum(*near.along[[one, two], 1])
    )
    return np.where(overlap, 0, ways.min(1)), ways.max(1)


def lowest_common_ancestor(parent: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(q,) rows, by doubling; each pair of rows (q,) (q,) must be of one tree. A node is its own ancestor here."""
    depth = sums_to_root(parent, np.ones(len(parent), np.int64))
    ladder = [np.where(parent < 0, np.arange(len(parent)), parent)]
    while 2 ** len(ladder) < depth.max(initial=1):
        ladder.append(ladder[-1][ladder[-1]])
    first, second = np.where(depth[first] >= depth[second], [first, second], [second, first])
    gap = depth[first] - depth[second]
    for power, up in enumerate(ladder):
        first = np.where(gap >> power & 1, up[first], first)
    for up in reversed(ladder):
        apart = up[first] != up[second]
        first, second = np.where(apart, up[first], first), np.where(apart, up[second], second)
    return np.where(first == second, first, ladder[0][first])


def _way(
    tree: Tree, edges: Edges, near: _Nearby, one: int, two: int, *, step: float, limit: float
) -> np.ndarray | None:
    """(k, 3) points at most `step` apart on the way between the middles of two pieces; None if longer than `limit`."""
    first, second = edges.child[near.edge[[one, two]]].tolist()
    # Climb from the first to the root or as far as the way may be long, then from the second until they meet.
    up, down, climbed = [first], [second], 0.0
    while tree.parent[up[-1]] >= 0 and climbed <= limit:
        above = int(tree.parent[up[-1]])
        climbed += float(np.linalg.norm(tree.xyz[above] - tree.xyz[up[-1]])) if len(up) > 1 else 0.0
        up.append(above)
    place = {row: number for number, row in enumerate(up)}
    while down[-1] not in place:
        if tree.parent[down[-1]] < 0:
            return None
        down.append(int(tree.parent[down[-1]]))
    meeting = down.pop()
    # The pieces lie above their children: these are on the way only where the other end is below them.
    rows = up[: place[meeting] + 1] + down[::-1]
    rows = [row for row in rows if row not in (first, second) or (row == meeting and first != second)]
    middles = (
        edges.start[near.edge[[one, two]]]
        + near.along[[one, two]].mean(1)[:, None] * edges.vector[near.edge[[one, two]]]
    )
    corners = np.concatenate([middles[:1], tree.xyz[rows], middles[1:]])
    lengths = np.sqrt((np.diff(corners, axis=0) ** 2).sum(1))
    stretch, number = spread(np.maximum(np.ceil(lengths / step), 1).astype(np.int64))
    share = number / np.bincount(stretch)[stretch]
    points = corners[stretch] + share[:, None] * np.diff(corners, axis=0)[stretch]
    return np.concatenate([points, corners[-1:]])
