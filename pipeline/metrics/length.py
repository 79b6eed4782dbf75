"""Length precision, recall and F1 at a tolerance; Hausdorff distance; mean and percentile distances.

By length, not by nodes: how densely a tree is noded, doubled nodes and zero-length edges do not matter.
"""

import numpy as np

from pipeline.metrics.distance import Profile, choose, halve, join
from pipeline.metrics.scores import Scores, precision_recall, undefined

TOLERANCES_UM = (1.0, 2.0, 3.0, 5.0)  # the points of a curve, beside the tolerance that is asked for
SMALLEST = 100  # an interval is not halved below this fraction of the tolerance
HAUSDORFF_ERROR = 1e-4  # relative
NARROWEST = 1e-9  # um: an interval at one distance is taken as this wide


def refine(profile: Profile, tolerances: tuple[float, ...]) -> Profile:
    """Halve the intervals until each lies within or beyond each tolerance T as a whole, or is T / 100 long.

    Two bounds settle an interval of length l between points at distances d1, d2: the distance changes by at most
    l over it, so all of it is at (d1 + d2 - l) / 2 or farther; and the distance to one edge is convex, so all of
    it is as near as the farther of its ends to any edge of the other tree. What remains is cut in proportion
    (length_within): on real trees an error below 1e-6 of the length, at half the cost of T / 1000.
    """
    done, todo = [], profile
    while len(todo):
        open_ = np.flatnonzero(_straddles(todo, _lipschitz_bound(todo), tolerances))
        some = choose(todo, open_)
        open_ = open_[_straddles(some, upper_bound(some), tolerances)]  # the dearer bound where it may help
        settled = np.ones(len(todo), bool)
        settled[open_] = False
        done.append(choose(todo, settled))
        todo = halve(choose(todo, open_))
    return join(done)


def _straddles(profile: Profile, highest: np.ndarray, tolerances: tuple[float, ...]) -> np.ndarray:
    """(m,) whether a tolerance lies between the bounds of an interval that is worth halving for it."""
    length = profile.length
    lowest = (profile.distance_first + profile.distance_last - length) / 2
    open_ = np.zeros(len(highest), bool)
    for tolerance in tolerances:
        open_ |= (lowest <= tolerance) & (tolerance < highest) & (length > tolerance / SMALLEST)
    return open_


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


def length_within(refined: Profile, tolerance: float) -> float:
    """Length of the part at distance <= tolerance; an interval that crosses it is cut in proportion."""
    return float(lengths_within(refined, tolerance).sum())


def lengths_within(refined: Profile, tolerance: float) -> np.ndarray:
    """(m,) the length of each interval at distance <= tolerance."""
    near = np.minimum(refined.distance_first, refined.distance_last)
    far = np.maximum(refined.distance_first, refined.distance_last)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(far <= tolerance, 1.0, np.clip((tolerance - near) / (far - near), 0, 1))
    return np.where(near <= tolerance, share, 0.0) * refined.length


def scores(
    prediction: Profile | None,
    reference: Profile | None,
    length_prediction: float,
    length_reference: float,
    *,
    tolerance: float,
    suffix: str = "",
) -> Scores:
    """precision, recall, f1 at a tolerance. Profiles refined at it; None where either tree has no cable."""
    found = right = 0.0
    if prediction and reference:
        right, found = length_within(prediction, tolerance), length_within(reference, tolerance)
        # Summed in the same order as the parts: all of a tree is 1, to the last digit.
        length_prediction, length_reference = float(prediction.length.sum()), float(reference.length.sum())
    result = precision_recall(right, length_prediction, found, length_reference, what="cable")
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
    low = np.minimum(first, last)
    width = np.maximum(np.abs(first - last), NARROWEST)
    at = np.concatenate([low, low + width])
    density = np.concatenate([weight / width, -weight / width])
    order = np.argsort(at, kind="stable")
    at = at[order]
    below = np.concatenate([[0], np.cumsum(np.cumsum(density[order])[:-1] * np.diff(at))])
    # Rounding may make the sum fall by a hair between two steps.
    return float(np.interp(share / 100 * weight.sum(), np.maximum.accumulate(below), at))


def farthest(profile: Profile) -> float:
    """Largest distance along a profile, to a relative error of 1e-4, by branch and bound."""
    best = 0.0
    while len(profile):
        best = max(best, profile.distance_first.max(), profile.distance_last.max())
        limit = best * (1 + HAUSDORFF_ERROR) + 1e-9
        profile = choose(profile, _lipschitz_bound(profile) > limit)
        profile = halve(choose(profile, upper_bound(profile) > limit))
    return float(best)
