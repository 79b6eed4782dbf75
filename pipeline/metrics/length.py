"""Length precision, recall and F1 at a tolerance; Hausdorff distance; mean and percentile distances.

By length, not by nodes: how densely a tree is noded, doubled nodes and zero-length edges do not matter.
"""

from dataclasses import replace

import numpy as np

from pipeline.metrics.distance import Edges, Profile
from pipeline.metrics.scores import Scores, precision_recall, undefined

TOLERANCES_UM = (1.0, 2.0, 3.0, 5.0)  # the points of a curve, beside the tolerance that is asked for
SMALLEST = 100  # an interval is not halved below this fraction of the tolerance
HAUSDORFF_ERROR = 1e-4  # relative


def refine(profile: Profile, other: Edges, tolerances: tuple[float, ...]) -> Profile:
    """Halve the intervals until each lies within or beyond each tolerance T as a whole, or is T / 100 long.

    Two bounds settle an interval of length l between points at distances d1, d2: the distance changes by at most
    l over it, so all of it is at (d1 + d2 - l) / 2 or farther; and the distance to one edge is convex, so all of
    it is as near as the farther of its ends to any edge of the other tree. What remains is cut in proportion
    (length_within): on real trees an error below 1e-6 of the length, at half the cost of T / 1000.
    """
    done, todo = [], profile
    while len(todo.length):
        open_ = np.flatnonzero(_straddles(todo, _lipschitz_bound(todo), tolerances))
        some = choose(todo, open_)
        open_ = open_[
            _straddles(some, upper_bound(some, other), tolerances)
        ]  # the dearer bound where it may help
        settled = np.ones(len(todo.length), bool)
        settled[open_] = False
        done.append(choose(todo, settled))
        todo = halve(choose(todo, open_), other)
    return join(done)


INTERVAL = (
    "first",
    "last",
    "distance_first",
    "distance_last",
    "edge_first",
    "edge_last",
    "length",
    "edge",
)


def _straddles(profile: Profile, highest: np.ndarray, tolerances: tuple[float, ...]) -> np.ndarray:
    """(m,) whether a tolerance lies between the bounds of an interval that is worth halving for it."""
    lowest = (profile.distance_first + profile.distance_last - profile.length) / 2
    open_ = np.zeros(len(highest), bool)
    for tolerance in tolerances:
        open_ |= (lowest <= tolerance) & (tolerance < highest) & (profile.length > tolerance / SMALLEST)
    return open_


def _lipschitz_bound(profile: Profile) -> np.ndarray:
    return (profile.distance_first + profile.distance_last + profile.length) / 2


def upper_bound(profile: Profile, other: Edges) -> np.ndarray:
    """(m,) a distance that no point of each interval exceeds."""
    bound = _lipschitz_bound(profile)
    to_first_edge = other.distance_to(profile.last, profile.edge_first)
    to_last_edge = other.distance_to(profile.first, profile.edge_last)
    bound = np.minimum(bound, np.maximum(profile.distance_first, to_first_edge))
    return np.minimum(bound, np.maximum(profile.distance_last, to_last_edge))


def halve(profile: Profile, other: Edges) -> Profile:
    """Each interval as two, measured at its midpoint: first all first halves, then all second ones."""
    middle = (profile.first + profile.last) / 2
    distance, edge = other.nearest(middle)
    return replace(
        profile,
        first=np.concatenate([profile.first, middle]),
        last=np.concatenate([middle, profile.last]),
        distance_first=np.concatenate([profile.distance_first, distance]),
        distance_last=np.concatenate([distance, profile.distance_last]),
        edge_first=np.concatenate([profile.edge_first, edge]),
        edge_last=np.concatenate([edge, profile.edge_last]),
        length=np.concatenate([profile.length, profile.length]) / 2,
        edge=np.concatenate([profile.edge, profile.edge]),
    )


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
    found = length_within(reference, tolerance) if reference else 0.0
    right = length_within(prediction, tolerance) if prediction else 0.0
    result = precision_recall(right, length_prediction, found, length_reference, what="cable")
    parts = {key: key.removesuffix("_reason") for key in result}
    return {key.replace(name, name + suffix, 1): result[key] for key, name in parts.items()}


def ratio(length_prediction: float, length_reference: float) -> Scores:
    """length_ratio = length of the prediction / length of the reference: a path traced twice shows here."""
    if not length_reference:
        return undefined("the reference has no cable", "length_ratio")
    return {"length_ratio": length_prediction / length_reference}


def spreads(forward: Profile, backward: Profile, edges: Edges, other: Edges) -> Scores:
    """Mean, median and 95th percentile of the distance by length in each direction; hd95; hausdorff.

    hd95: 95th percentile of both directions pooled by length. hausdorff: the larger of the directed maxima
    (Vaa3D's dist_max is the smaller one). forward: from the tree of `edges` to that of `other`.
    """
    distances, weights = zip(*map(_weighted, (forward, backward)))
    result: Scores = {}
    for direction, distance, weight in zip(("12", "21"), distances, weights):
        result[f"distance_mean_{direction}"] = float((distance * weight).sum() / weight.sum())
        result[f"distance_median_{direction}"] = percentile(distance, weight, 50)
        result[f"distance_p95_{direction}"] = percentile(distance, weight, 95)
    result["hd95"] = percentile(np.concatenate(distances), np.concatenate(weights), 95)
    result["hausdorff"] = max(farthest(forward, other), farthest(backward, edges))
    return result


SPREAD_NAMES = (
    *(f"distance_{name}_{way}" for way in ("12", "21") for name in ("mean", "median", "p95")),
    "hd95",
    "hausdorff",
)


def percentile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    """The smallest value that `share` % of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] * share / 100)])


def farthest(profile: Profile, other: Edges) -> float:
    """Largest distance along a profile, to a relative error of 1e-4, by branch and bound."""
    best = 0.0
    while len(profile.length):
        best = max(best, profile.distance_first.max(), profile.distance_last.max())
        profile = choose(profile, upper_bound(profile, other) > best * (1 + HAUSDORFF_ERROR) + 1e-9)
        profile = halve(profile, other) if len(profile.length) else profile
    return float(best)


def _weighted(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    # Each end of an interval stands for half of its length.
    distance = np.concatenate([profile.distance_first, profile.distance_last])
    return distance, np.concatenate([profile.length, profile.length]) / 2


def choose(profile: Profile, which: np.ndarray) -> Profile:
    """Some of the intervals."""
    return replace(profile, **{name: getattr(profile, name)[which] for name in INTERVAL})


def join(parts: list[Profile]) -> Profile:
    """The intervals of all parts, one after another; the samples of the first."""
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in INTERVAL}
    return replace(parts[0], **joined)
