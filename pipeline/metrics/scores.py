"""What all families of metrics share: undefined values with their reason, ratios, F1."""

import math
from typing import Any

Scores = dict[str, Any]  # name -> number; name_reason -> text


def undefined(reason: str, *names: str) -> Scores:
    """NaN for each name, and `<name>_reason`."""
    return {key: value for name in names for key, value in ((name, math.nan), (f"{name}_reason", reason))}


def precision_recall(
    right: float, predicted: float, found: float, expected: float, *, prefix: str = "", what: str
) -> Scores:
    """precision = right / predicted, recall = found / expected, f1 = their harmonic mean.

    Nothing predicted: precision undefined, recall and f1 0. Nothing expected: the reverse. Neither: all three
    undefined. what: the thing counted, for the reasons.
    """
    names = [f"{prefix}{name}" for name in ("precision", "recall", "f1")]
    if not predicted and not expected:
        return undefined(f"neither tree has {what}", *names)
    if not predicted:
        return {**undefined(f"the prediction has no {what}", names[0]), names[1]: 0.0, names[2]: 0.0}
    if not expected:
        return {names[0]: 0.0, **undefined(f"the reference has no {what}", names[1]), names[2]: 0.0}
    precision, recall = right / predicted, found / expected
    return dict(zip(names, (precision, recall, harmonic_mean(precision, recall))))


def harmonic_mean(first: float, second: float) -> float:
    """2ab / (a + b), 0 for two zeros."""
    return 2 * first * second / (first + second) if first + second else 0.0
