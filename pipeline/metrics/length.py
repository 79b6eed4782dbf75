"""Length precision, recall and F1 at a tolerance; Hausdorff distance; mean and percentile distances.

By length, not by nodes: how densely a tree is noded, doubled nodes and zero-length edges do not matter.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.metrics.distance import Profile, choose, divide, in_parts, inclusive, stretch_near
from pipeline.metrics.scores import Scores, precision_recall, undefined

TOLERANCES_UM = (1.0, 2.0, 3.0, 5.0)  # the points of a curve, beside the tolerance that is asked for
PAIRS = 200_000  # of an interval and an edge near it, at a time in each thread: bounds the memory
HAUSDORFF_ERROR = 1e-4  # relative
CELLS = 1024
NARROWEST = 1e-6  # times the range of distances: a narrower interval is at one distance


def lengths_within(profile: Profile, tolerance: float) -> np.ndarray:
    """(m,) float64 the length of each interval at distance <= tolerance T (inclusive): exact, but for rounding.

    Two bounds settle most intervals of length l between points at distances d1, d2: the distance changes by at most
    l over it, so all of it is at (d1 + d2 - l) / 2 or farther; and the distance to one edge is convex, so all of
    it is as near as the farther of its ends to any edge of the other tree. In what remains, the points within T of
    one edge of the other tree are a stretch, for the same reason, and those within T of the tree are their union.
    """
    tolerance = inclusive(tolerance)
    lowest = (profile.distance_first + profile.distance_last - profile.length) / 2
    share = (_lipschitz_bound(profile) <= tolerance).astype(float)
    rows = np.flatnonzero((share == 0) & (lowest <= tolerance))
    inside = upper_bound(choose(profile, rows)) <= tolerance  # the dearer bound where it may help
    share[rows[inside]] = 1
    rows = rows[~inside]
    if len(rows):
        centres = profile.own.at(profile.edge[rows], profile.first[rows])
        reach = tolerance + profile.length[rows].max() / 2
        size = int(PAIRS // profile.other.crowd(centres, reach)) + 1
        parts = in_parts(lambda part: _share_within(choose(profile, part), tolerance), rows, size=size)
        share[rows] = np.concatenate(parts)
    return share * profile.length


def _share_within(profile: Profile, tolerance: float) -> np.ndarray:
    """(m,) the share of each interval that lies within the tolerance of any edge of the other tree."""
    begin = profile.own.at(profile.edge, profile.first)
    vector = profile.own.at(profile.edge, profile.last) - begin
    reach = tolerance + profile.length.max() / 2
    interval, edge = profile.other.within(begin + vector / 2, reach)
    first, last = _stretch_near_edge(
        begin[interval] - profile.other.start[edge], vector[interval], profile.other.vector[edge], tolerance
    )
    first, last = np.maximum(first, 0), np.minimum(last, 1)
    real = first < last
    interval, first, last = interval[real], first[real], last[real]
    order = np.lexsort([first, interval])
    interval, first, last = interval[order], first[order], last[order]
    # What lies beyond all earlier stretches of its interval is new; 2 apart, intervals do not reach each other.
    reached = np.maximum.accumulate(2 * interval + last) - 2 * interval
    before = np.concatenate([[0], reached[:-1] + 2 * (interval[:-1] - interval[1:])])[: len(interval)]
    new = np.maximum(last - np.maximum(first, before), 0)
    return np.minimum(np.bincount(interval, new, len(profile)), 1)


def _stretch_near_edge(
    offset: np.ndarray, vector: np.ndarray, edge: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """(q,) (q,) from where to where offset + t * vector lies within `radius` of the segment 0..edge; all (q, 3).

    The hull of the stretches in the balls round both ends and in the cylinder between them.
    """
    squared = np.maximum(np.einsum("ij,ij->i", edge, edge), np.finfo(float).tiny)
    foot = np.einsum("ij,ij->i", offset, edge) / squared
    moves = np.einsum("ij,ij->i", vector, edge) / squared
    first, last = stretch_near(offset - foot[:, None] * edge, vector - moves[:, None] * edge, radius)
    with np.errstate(divide="ignore", invalid="ignore"):  # at right angles the foot does not move
        ends = np.stack([-foot / moves, (1 - foot) / moves])
    still, between = moves == 0, (foot >= 0) & (foot <= 1)
    ends = np.where(
        still, np.where(between, [[-np.inf], [np.inf]], [[np.inf], [-np.inf]]), np.sort(ends, axis=0)
    )
    first, last = np.maximum(first, ends[0]), np.minimum(last, ends[1])
    stretches = [
        (first, last),
        stretch_near(offset, vector, radius),
        stretch_near(offset - edge, vector, radius),
    ]
    real = [one <= other for one, other in stretches]
    first = np.min([np.where(there, one, np.inf) for (one, _), there in zip(stretches, real)], axis=0)
    last = np.max([np.where(there, one, -np.inf) for (_, one), there in zip(stretches, real)], axis=0)
    return first, last


def _lipschitz_bound(profile: Profile) -> np.ndarray:
    return (profile.distance_first + profile.distance_last + profile.length) / 2


def upper_bound(profile: Profile) -> np.ndarray:
    """(m,) a distance that no point of each interval exceeds."""
    bound = _lipschitz_bound(profile)
    for along, edge, apart in (
        (profile.last, profile.edge_first, profile.distance_first),
        (profile.first, profile.edge_last, profile.distance_last),
    ):
        to_edge = profile.other.distance_to(profile.own.at(profile.edge, along), edge)
        bound = np.minimum(bound, np.maximum(apart, to_edge))
    return bound


def scores(
    profiles: Sequence[Profile],
    near: Sequence[np.ndarray],
    lengths: tuple[float, float],
    *,
    suffix: str = "",
) -> Scores:
    """precision, recall, f1.

    profiles: of prediction and reference; near: their lengths within a tolerance (lengths_within); both without
    items where either tree has no cable. lengths: um, of both trees.
    """
    right, found = (float(one.sum()) for one in near) if near else (0.0, 0.0)
    # Summed in the same order as the parts: all of a tree is 1, to the last digit.
    whole = [float(one.length.sum()) for one in profiles] or lengths
    result = precision_recall(right, whole[0], found, whole[1], what="cable")
    parts = {key: key.removesuffix("_reason") for key in result}
    return {key.replace(name, name + suffix, 1): result[key] for key, name in parts.items()}


def ratio(length_prediction: float, length_reference: float) -> Scores:
    """length_ratio = length of the prediction / length of the reference: a path traced twice shows here."""
    if not length_reference:
        return undefined("the reference has no cable", "length_ratio")
    return {"length_ratio": length_prediction / length_reference}


def spreads(forward: Profile, backward: Profile) -> Scores:
    """Mean, median and 95th percentile of the distance by length in each direction; hd95; hausdorff.

    hd95: 95th percentile of both directions pooled by length. hausdorff: the larger of the directed maxima
    (Vaa3D's dist_max is the smaller one).
    """
    result: Scores = {}
    for direction, one in (("12", forward), ("21", backward)):
        length = one.length
        result[f"distance_mean_{direction}"] = float(
            ((one.distance_first + one.distance_last) / 2 * length).sum() / length.sum()
        )
        for name, share in (("median", 50), ("p95", 95)):
            result[f"distance_{name}_{direction}"] = percentile(
                one.distance_first, one.distance_last, length, share
            )
    both = [(one.distance_first, one.distance_last, one.length) for one in (forward, backward)]
    first, last, weight = map(np.concatenate, zip(*both))
    result["hd95"] = percentile(first, last, weight, 95)
    result["hausdorff"] = max(farthest(forward), farthest(backward))
    return result


SPREAD_NAMES = (
    *(f"distance_{name}_{way}" for way in ("12", "21") for name in ("mean", "median", "p95")),
    "hd95",
    "hausdorff",
)


def percentile(first: np.ndarray, last: np.ndarray, weight: np.ndarray, share: float) -> float:
    """The value below which lies `share` % of the weight, spread evenly over each interval first..last, (m,) each."""
    low, high = np.minimum(first, last), np.maximum(first, last)
    lowest, span = low.min(), np.ptp([low.min(), high.max()]) or 1.0
    # The weight below a value is a line with a bend at both ends of each interval, and a jump where one is narrow.
    wide = high - low > NARROWEST * span
    density = weight[wide] / (high - low)[wide]
    at = np.concatenate([low[wide], high[wide], low[~wide]])
    bend = np.concatenate([density, -density, np.zeros((~wide).sum())])
    jump = np.concatenate([np.zeros(2 * wide.sum()), weight[~wide]])
    # Summed in cells first, so that only what lies in the one cell that holds the answer need be sorted.
    edges = lowest + span * np.linspace(0, 1, CELLS + 1)
    cell = np.minimum(((at - lowest) * (CELLS / span)).astype(np.int64), CELLS - 1)
    slope = np.concatenate([[0], np.cumsum(np.bincount(cell, bend, CELLS))])
    gained = slope[:-1] * np.diff(edges) + np.bincount(cell, bend * (edges[cell + 1] - at) + jump, CELLS)
    # Rounding may make a sum fall by a hair between two steps.
    below = np.maximum.accumulate(np.concatenate([[0], np.cumsum(gained)]))
    wanted = share / 100 * weight.sum()
    chosen = int(np.clip(np.searchsorted(below, wanted) - 1, 0, CELLS - 1))
    inside = np.flatnonzero(cell == chosen)
    inside = inside[np.argsort(at[inside], kind="stable")]
    place = np.concatenate([edges[[chosen]], at[inside], edges[[chosen + 1]]])
    return _inverse(wanted - below[chosen], place, slope[chosen], bend[inside], jump[inside])


def _inverse(wanted: float, place: np.ndarray, slope: float, bend: np.ndarray, jump: np.ndarray) -> float:
    """Where a line that begins at 0 at place[0], with `slope`, and bends and jumps at place[1:-1], reaches `wanted`."""
    slopes = slope + np.concatenate([[0], np.cumsum(bend)])
    jumps = np.cumsum(np.concatenate([[0], jump]))
    climbed = np.cumsum(slopes * np.diff(place))
    before = np.concatenate([[0], climbed + jumps])
    after = np.concatenate([[0], climbed + np.append(jumps[1:], jumps[-1])])
    values = np.maximum.accumulate(np.stack([before, after], axis=1).ravel())
    return float(np.interp(wanted, values, np.repeat(place, 2)))


def farthest(profile: Profile) -> float:
    """Largest distance along a profile, to a relative error of 1e-4, by branch and bound."""
    best = 0.0
    while len(profile):
        best = max(best, profile.distance_first.max(), profile.distance_last.max())
        limit = best * (1 + HAUSDORFF_ERROR) + 1e-9
        profile = choose(profile, _lipschitz_bound(profile) > limit)
        profile = choose(profile, upper_bound(profile) > limit)
        profile = divide(profile, np.full(len(profile), 2))
    return float(best)
