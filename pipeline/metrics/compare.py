"""Two trees in, all their scores out: the flat table that evaluate writes."""

import numpy as np

from pipeline.metrics import distance, length, nodes
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import EMPTY, Tree


class Measured:
    """A tree with what several metrics need, made once: its edges and KD-tree, cable, branch points, tips."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.edges = distance.Edges(tree)
        self.length = float(self.edges.length.sum())
        degree = nodes.degrees(tree)
        self.branch_points, self.tips = tree.xyz[degree >= 3], tree.xyz[degree == 1]


def describe(measured: Measured, *, suffix: str = "") -> Scores:
    """Figures of one tree: nodes, trees (roots), length_um, branches (branch points), tips."""
    tree = measured.tree
    return {
        f"nodes{suffix}": len(tree),
        f"trees{suffix}": int((tree.parent < 0).sum()),
        f"length_um{suffix}": measured.length,
        f"branches{suffix}": len(measured.branch_points),
        f"tips{suffix}": len(measured.tips),
    }


def compare(
    prediction: Measured,
    reference: Measured,
    *,
    tolerance_um: float = 1.5,
    node_radius_um: float = 3.0,
    esa_threshold: float = 2.0,
) -> Scores:
    """Every score of a prediction (1) against a reference (2), both in um; undefined ones NaN with a reason."""
    tolerances = (tolerance_um, *length.TOLERANCES_UM)
    forward, backward = profiles(prediction, reference)
    scores: Scores = {}
    found = right = None
    if forward and backward:
        scores |= distance.esa(forward, backward, threshold=esa_threshold)
        right = length.refine(forward, reference.edges, tolerances)
        found = length.refine(backward, prediction.edges, tolerances)
        spreads = length.spreads(forward, backward, prediction.edges, reference.edges)
    else:
        empty = "prediction" if not prediction.edges.has_cable else "reference"
        scores |= undefined(f"the {empty} has no cable", *distance.ESA_NAMES)
        spreads = undefined(f"the {empty} has no cable", *length.SPREAD_NAMES)
    for tolerance, suffix in zip(tolerances, ("", *(f"_{t:g}um" for t in length.TOLERANCES_UM))):
        scores |= length.scores(
            right, found, prediction.length, reference.length, tolerance=tolerance, suffix=suffix
        )
    scores |= length.ratio(prediction.length, reference.length) | spreads
    for prefix, name, what in (("branch_", "branch_points", "branch point"), ("tip_", "tips", "tip")):
        points = getattr(prediction, name), getattr(reference, name)
        scores |= nodes.scores(*points, radius=node_radius_um, prefix=prefix, what=what)
    return scores


def profiles(
    first: Measured, second: Measured
) -> tuple[distance.Profile, distance.Profile] | tuple[None, None]:
    """Distances along each tree to the other; None where either has no cable."""
    if not (first.edges.has_cable and second.edges.has_cable):
        return None, None
    return (
        distance.profile(first.tree, first.edges, second.edges),
        distance.profile(second.tree, second.edges, first.edges),
    )


def without_reference() -> Scores:
    """The scores of a tree that has no reference: all undefined."""
    nothing = Measured(EMPTY)
    names = [name for name in compare(nothing, nothing) if not name.endswith("_reason")]
    return undefined("no reference", *names)


def over_references(prediction: Measured, references: list[Measured], **settings: float) -> Scores:
    """Scores against several references of one neuron, as tracings by several people.

    Each score is the mean over the references, `<name>_min` and `<name>_max` the range, `human_<name>` the mean
    over all ordered pairs of references: how well one person's tracing predicts another's. A score that is
    undefined against one of them is undefined.
    """
    each = [compare(prediction, reference, **settings) for reference in references]
    human = [
        compare(first, second, **settings)
        for first in references
        for second in references
        if first is not second
    ]
    scores: Scores = {}
    for name in [name for name in each[0] if not name.endswith("_reason")]:
        values = np.array([one[name] for one in each])
        scores |= {
            name: float(values.mean()),
            f"{name}_min": float(values.min()),
            f"{name}_max": float(values.max()),
        }
        reason = next((one[f"{name}_reason"] for one in each if f"{name}_reason" in one), None)
        if reason:
            scores[f"{name}_reason"] = reason
        scores[f"human_{name}"] = float(np.mean([one[name] for one in human]))
    return scores
