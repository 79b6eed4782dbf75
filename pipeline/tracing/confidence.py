"""How probable it is that a branch is right: one number from what network, image and tracer say of it."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import evidence, graph
from pipeline.tracing.field import Field

# What `benchmarks/confidence.py` has fitted for the weights beside it: run it again with new weights.
FITTED = Path(__file__).parents[1] / "weights" / "lm.confidence.json"
# A branch is right where it lies within this (um) of the reference: two people's tracings differ by half of it.
RIGHT_UM = 3.0
# Edges are judged with what lies within so many um along their branch.
STRETCH_UM = 10.0
NAMES = ("constant", "probability", "contrast", "length", "link")
SIGNS = (0, 1, 1, 1, -1)


def features(tree: Tree, probability: np.ndarray, link_cost: np.ndarray, field: Field) -> np.ndarray:
    """(n, 5) float: what speaks for the edge from each node to its parent; see NAMES.

    probability: (n,) along the edge; taken as the mean over about STRETCH_UM of its unbranched section, on a scale of
    log odds. contrast: mean of `evidence.contrast` there, ln(1 + sigma). length: of the section, ln(1 + um).
    link: 1 for an edge in a gap (link_cost is a number), else 0.
    """
    light = evidence.contrast(tree, field)
    light = np.where(np.isfinite(light), np.log1p(np.maximum(light, 0)), 0.0)
    step = swc.edge_lengths(tree)
    made = np.zeros((len(tree), len(NAMES)))
    made[:, 0] = 1
    for section in graph.sections(tree):
        own = section[1:]
        along = np.cumsum(step[own])
        near = np.abs(along[:, None] - along) <= STRETCH_UM / 2
        weight = near * np.maximum(step[own], 1e-6)
        weight /= weight.sum(1, keepdims=True)
        mean = np.clip(weight @ probability[own], 0.02, 0.98)
        made[own, 1] = np.log(mean / (1 - mean))
        made[own, 2] = weight @ light[own]
        made[own, 3] = np.log1p(along[-1])
    made[:, 4] = np.isfinite(link_cost)
    root = np.flatnonzero(tree.parent < 0)
    if len(tree) > 1:  # a root is as sure as what leaves it
        made[root] = made[np.flatnonzero(np.isin(tree.parent, root))].max(0)
    return made


def probability(made: np.ndarray, fitted: dict[str, float] | None = None) -> np.ndarray:
    """(n,) 0..1: that an edge lies within RIGHT_UM of a neurite. made: features. fitted: by name, as FITTED holds."""
    fitted = fitted or load()
    return 1 / (1 + np.exp(-made @ np.array([fitted[name] for name in NAMES])))


@cache
def load(path: Path = FITTED) -> dict[str, float]:
    """Coefficients by name."""
    return json.loads(path.read_text(encoding="utf-8"))["coefficients"]


def fit(made: np.ndarray, right: np.ndarray, weight: np.ndarray, *, ridge: float = 1.0) -> dict[str, float]:
    """Logistic regression by Newton's steps. made: (n, 5). right: (n,) bool. weight: (n,) um.

    More of what speaks for a branch never makes it less sure, and a gap never more: a coefficient that says so (the
    worst first) is left out.
    """
    used = list(range(len(NAMES)))
    while True:
        value = np.zeros(len(used))
        x = made[:, used]
        for _ in range(50):
            p = 1 / (1 + np.exp(-x @ value))
            slope = x.T @ (weight * (right - p)) - ridge * value
            bend = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(used))
            value = value + np.linalg.solve(bend, slope)
        for_it = np.array([SIGNS[name] for name in used]) * value
        if for_it.min() >= 0:
            break
        used.pop(int(for_it.argmin()))
    found = dict.fromkeys(NAMES, 0.0)
    return found | {NAMES[name]: round(float(each), 4) for name, each in zip(used, value)}


def reliability(
    said: np.ndarray, right: np.ndarray, weight: np.ndarray, *, bins: int = 10
) -> list[dict[str, float]]:
    """A row a tenth of confidence: cable (um), mean confidence said, share that is right."""
    place = np.minimum((said * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        mine = place == number
        um = weight[mine].sum()
        if um:
            row = {"um": um, "said": np.average(said[mine], weights=weight[mine])}
            rows.append(row | {"right": np.average(right[mine], weights=weight[mine])})
    return rows


def calibration_error(rows: list[dict[str, float]]) -> float:
    """Expected calibration error: mean distance between said and right, by cable. Guo et al. 2017, arXiv:1706.04599."""
    um = np.array([row["um"] for row in rows])
    return (
        float(np.average([abs(row["said"] - row["right"]) for row in rows], weights=um)) if len(rows) else 0.0
    )
