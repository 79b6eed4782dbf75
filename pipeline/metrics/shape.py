"""Shape of whole trees: Sholl profiles, persistence diagrams, radii along matched cable."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.metrics.distance import Edges, Profile, choose, divide, inclusive
from pipeline.metrics.paths.rooted import child_counts, next_above, path_distance
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree

EXACT_BARS = 2000
SLICES = 32
RADIUS_STEP_UM = 0.5
PART = 200_000  # intervals in memory at once


def sholl_crossings(edges: Edges, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(k,) int64: crossings of the edges with spheres of ascending `radii` (k,) around `centre` (3,).

    An edge with one end at distance <= r and the other beyond crosses once; one whose ends are both beyond, while
    its nearest point is nearer than r, crosses twice (Sholl 1953, J. Anat. 87:387, for edges, not nodes).
    """
    ends = [np.sqrt(((points - centre) ** 2).sum(1)) for points in (edges.start, edges.end)]
    low, high = np.minimum(*ends), np.maximum(*ends)
    nearest = edges.distance_to(np.broadcast_to(centre, edges.start.shape), np.arange(len(low)))
    steps = np.zeros(len(radii) + 1, np.int64)
    once = np.searchsorted(radii, low), np.searchsorted(radii, high)
    twice = np.searchsorted(radii, nearest, side="right"), np.searchsorted(radii, low)
    # The edge is crossed from the first of two indices up to before the second.
    for (first, last), count in ((once, 1), (twice, 2)):
        real = first < last
        np.add.at(steps, first[real], count)
        np.add.at(steps, last[real], -count)
    return np.cumsum(steps)[:-1]


def sholl(prediction: Edges, reference: Edges, centre: np.ndarray, *, step_um: float) -> Scores:
    """sholl = sum |c_P - c_R| / sum c_R over spheres step, 2 step ... around one centre; sholl_max: the largest."""
    ends = np.concatenate([reference.start, reference.end])
    farthest = np.sqrt(((ends - centre) ** 2).sum(1)).max()
    radii = np.arange(1, int(farthest / step_um) + 1) * step_um
    wanted = sholl_crossings(reference, centre, radii)
    if not wanted.any():
        return undefined("the reference crosses no sphere", *SHOLL_NAMES)
    off = np.abs(sholl_crossings(prediction, centre, radii) - wanted)
    return {"sholl": float(off.sum() / wanted.sum()), "sholl_max": int(off.max())}


SHOLL_NAMES = ("sholl", "sholl_max")


def bars(tree: Tree) -> np.ndarray:
    """(k, 2) um: birth and death of the branches of a rooted forest by path distance from the root.

    At each branch point the branch that holds the farthest tip goes on and the others die; the longest of each
    tree dies at its root, at 0. Bars of no length are left out. Kanari et al. 2018, Neuroinformatics 16:3.
    """
    value = path_distance(tree)
    children = child_counts(tree.parent)
    kept = (children != 1) | (tree.parent < 0)
    above = next_above(tree.parent, kept)
    tips = np.flatnonzero((children == 0) & (tree.parent >= 0))
    tips = tips[np.argsort(-value[tips], kind="stable")]
    taken = np.zeros(len(tree), bool)
    death = np.empty(len(tips))
    # From the farthest tip on: each walks down to where an earlier one has passed. Every node is passed once.
    for number, row in enumerate(tips.tolist()):
        while not taken[row] and above[row] >= 0:
            taken[row] = True
            row = above[row]
        taken[row] = True
        death[number] = value[row]
    found = np.column_stack([value[tips], death])
    return found[found[:, 0] > found[:, 1]]


def persistence(prediction: Tree, reference: Tree) -> Scores:
    """1-Wasserstein distance (um, ground metric L-infinity) of the two persistence diagrams.

    `persistence` up to 2,000 bars; beyond, `persistence_sliced` by sliced Wasserstein (Carriere et al. 2017), which
    is another number.
    """
    first, second = bars(prediction), bars(reference)
    total = len(first) + len(second)
    if total > EXACT_BARS:
        reason = f"{total} bars are more than {EXACT_BARS}: see persistence_sliced"
        return undefined(reason, "persistence") | {"persistence_sliced": sliced_wasserstein(first, second)}
    reason = f"{total} bars: see persistence"
    return {"persistence": wasserstein(first, second)} | undefined(reason, "persistence_sliced")


PERSISTENCE_NAMES = ("persistence", "persistence_sliced")


def wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Least total L-infinity distance of bars (k, 2), (m, 2); a bar may go to the diagonal at half its length."""
    k, m = len(first), len(second)
    cost = np.zeros((k + m, k + m))  # to the diagonal from the diagonal costs nothing
    cost[:k, :m] = np.abs(first[:, None] - second[None]).max(2)
    cost[:k, m:] = np.abs(np.diff(first, axis=1)) / 2
    cost[k:, :m] = np.abs(np.diff(second, axis=1)).T / 2
    return float(cost[linear_sum_assignment(cost)].sum())


def sliced_wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over directions of the 1D Wasserstein distance; each diagram is completed by the other's diagonal points."""
    angles = (np.arange(SLICES) + 0.5) * np.pi / SLICES
    directions = np.stack([np.cos(angles), np.sin(angles)])

    def on_diagonal(diagram: np.ndarray) -> np.ndarray:
        return np.repeat(diagram.mean(1, keepdims=True), 2, axis=1)

    one = np.sort(np.concatenate([first, on_diagonal(second)]) @ directions, axis=0)
    other = np.sort(np.concatenate([second, on_diagonal(first)]) @ directions, axis=0)
    return float(np.abs(one - other).sum(0).mean())


def radius_error(found: Profile, reference: Tree, prediction: Tree, *, tolerance: float) -> Scores:
    """r_P - r_R along the reference's cable within the tolerance of the prediction, by length, radii linear on edges.

    radius_bias (mean), radius_error (mean absolute) in um, radius_relative (mean of |r_P - r_R| / r_R), and
    radius_left_out: samples with a radius <= 0 on either side. found: the profile of the reference; it is sampled
    every 0.5 um or closer where it comes near the prediction, each sample for half of the intervals that it ends.
    """
    tolerance = inclusive(tolerance)
    length = found.length
    near = np.minimum(found.distance_first, found.distance_last) - length / 2 <= tolerance
    close = np.flatnonzero(near & (length > 0))
    parts = np.split(close, range(PART, len(close), PART))  # bounds the memory
    sums = np.sum(
        [_radius_sums(choose(found, part), reference, prediction, tolerance) for part in parts], axis=0
    )
    left_out = {"radius_left_out": int(sums[0])}
    if not sums[1]:
        return undefined("no matched cable with radii", *RADIUS_NAMES[:3]) | left_out
    return dict(zip(RADIUS_NAMES, (sums[2:] / sums[1]).tolist())) | left_out


def _radius_sums(found: Profile, reference: Tree, prediction: Tree, tolerance: float) -> np.ndarray:
    """(5,) samples left out; weight of the others, and its products with r_P - r_R, |r_P - r_R|, |r_P - r_R| / r_R."""
    # A hair above a multiple of the step is no more parts: rounding does not decide.
    fine = divide(found, np.maximum(np.ceil(found.length / RADIUS_STEP_UM - 1e-6), 1).astype(np.int64))
    apart = np.concatenate([fine.distance_first, fine.distance_last])
    edge, along = np.concatenate([fine.edge, fine.edge]), np.concatenate([fine.first, fine.last])
    target = np.concatenate([fine.edge_first, fine.edge_last])
    wanted = _radius(reference, fine.own, edge, along)
    predicted = _radius(prediction, fine.other, target, fine.other.foot(fine.own.at(edge, along), target))
    valid = (apart <= tolerance) & (predicted > 0) & (wanted > 0)
    off, weight = (predicted - wanted)[valid], np.tile(fine.length, 2)[valid]
    terms = weight, weight * off, weight * np.abs(off), weight * np.abs(off) / wanted[valid]
    return np.array([((apart <= tolerance) & ~valid).sum(), *(term.sum() for term in terms)])


RADIUS_NAMES = ("radius_bias", "radius_error", "radius_relative", "radius_left_out")


def _radius(tree: Tree, edges: Edges, edge: np.ndarray, along: np.ndarray) -> np.ndarray:
    """(n,) radius at `along` (0 child, 1 parent) of each edge (n,)."""
    child = edges.child[edge]
    return (1 - along) * tree.radius[child] + along * tree.radius[tree.parent[child]]
