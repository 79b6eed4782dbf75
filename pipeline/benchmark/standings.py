"""Scores of many tracers on many neurons -> who is where, how surely, and who failed how often.

A tracer that gives nothing on a neuron has failed there: it is last on it, so that nobody wins by staying away
from the hard ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

DRAWS = 2000
CONFIDENCE = (2.5, 97.5)  # percent


@dataclass(frozen=True)
class Metric:
    """A score that has a better and a worse. label: as printed; unit: um, or empty for a share or a number."""

    name: str
    label: str
    higher_is_better: bool
    unit: str = ""

    @property
    def failed(self) -> float:
        """What a tracer gets where it has no tree, or where this score of its tree is undefined."""
        return 0.0 if self.higher_is_better else np.inf


METRICS = (
    Metric("f1", "length F1", True),
    Metric("precision", "length precision", True),
    Metric("recall", "length recall", True),
    Metric("f1_5um", "length F1 at 5 um", True),
    Metric("esa", "ESA", False, "um"),
    Metric("dsa", "DSA", False, "um"),
    Metric("pds", "PDS", False),
    Metric("hd95", "HD95", False, "um"),
    Metric("hausdorff", "Hausdorff distance", False, "um"),
    Metric("branch_f1", "branch point F1", True),
    Metric("tip_f1", "tip F1", True),
    Metric("path_error", "path error", False),
    Metric("diadem", "DIADEM", True),
    Metric("sholl", "Sholl distance", False),
    Metric("persistence", "persistence distance", False, "um"),
    Metric("nblast", "NBLAST", True),
)


@dataclass(frozen=True)
class Standings:
    """One number a tracer, float64 (t,).

    median, low, high: of its values, and the quartiles; infinite where it failed on so many. mean_rank: mean over the
    neurons of its rank on each (1 is best, ties share). rank: its place by mean rank; rank_low, rank_high: the 95 %
    interval of that place over bootstrap samples of the neurons.
    """

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean_rank: np.ndarray
    rank: np.ndarray
    rank_low: np.ndarray
    rank_high: np.ndarray


def rank(values: np.ndarray, metric: Metric, *, seed: int = 0, draws: int = DRAWS) -> Standings | None:
    """Standings by one metric. values: (t, n) tracer x neuron, NaN where undefined or failed.

    Neurons on which nobody has a value (a gold standard without branch points, say) do not count; None if
    there is no other.
    """
    values = values[:, ~np.isnan(values).all(0)]
    if not values.size:
        return None
    values = np.where(np.isnan(values), metric.failed, values)
    ranks = rankdata(-values if metric.higher_is_better else values, axis=0)
    mean_rank = ranks.mean(1)
    # How often each neuron is drawn; the ranks on a neuron do not change with it.
    neurons = values.shape[1]
    drawn = np.random.default_rng(seed).multinomial(neurons, np.full(neurons, 1 / neurons), size=draws)
    # Rounded, so that tracers of equal ranks tie whatever the order of the sums.
    places = rankdata(np.round(ranks @ drawn.T / neurons, 9), axis=0, method="min")
    rank_low, rank_high = np.percentile(places, CONFIDENCE, axis=1, method="nearest")
    return Standings(
        quantile(values, 0.5),
        quantile(values, 0.25),
        quantile(values, 0.75),
        mean_rank,
        rankdata(np.round(mean_rank, 9), method="min").astype(float),
        rank_low,
        rank_high,
    )


def undefined_counts(values: np.ndarray, done: np.ndarray) -> np.ndarray:
    """(t,) how often a tracer has a tree, done (t, n), but no value, values (t, n) as for `rank`.

    Neurons on which nobody has a value do not count.
    """
    nothing = np.isnan(values)
    return (nothing & done & ~nothing.all(0)).sum(1)


def quantile(values: np.ndarray, share: float) -> np.ndarray:
    """Linear quantile along the last axis of values that may be infinite, which numpy's makes NaN of."""
    ordered = np.sort(values, axis=-1)
    place = share * (values.shape[-1] - 1)
    below, above = ordered[..., int(np.floor(place))], ordered[..., int(np.ceil(place))]
    weight = place - np.floor(place)
    with np.errstate(invalid="ignore"):  # inf - inf, where below == above
        return np.where(below == above, below, below + weight * (above - below))


def best(values: np.ndarray, metric: Metric, *, count: int) -> list[int]:
    """Rows of the best tracers on one neuron, values (t,): the failed are left out, ties in row order."""
    order = np.argsort(-values if metric.higher_is_better else values, kind="stable")
    return [int(row) for row in order if not np.isnan(values[row])][:count]


def as_array(
    scores: Mapping[str, Mapping[str, Mapping[str, float]]], metric: str, tracers: Sequence[str]
) -> np.ndarray:
    """{neuron: {tracer: {metric: value}}} -> (t, n) float64, NaN where there is none."""
    rows = [[found.get(tracer, {}).get(metric, np.nan) for found in scores.values()] for tracer in tracers]
    return np.array(rows, float).reshape(len(tracers), len(scores))
