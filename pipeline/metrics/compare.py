"""Two trees in, all their scores out: the flat table that evaluate writes."""

from typing import Any

import numpy as np

from pipeline.metrics import distance, length, nodes, shape
from pipeline.metrics.diadem import matching as diadem
from pipeline.metrics.diadem.binary_tree import Nodes
from pipeline.metrics.nblast import scores as nblast_scores
from pipeline.metrics.paths import rooted
from pipeline.metrics.paths import topology as paths
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
    """Figures of one tree: nodes, trees (roots), length_um, branches (branch points), tips, max_order."""
    tree = measured.tree
    return {
        f"nodes{suffix}": len(tree),
        f"trees{suffix}": int((tree.parent < 0).sum()),
        f"length_um{suffix}": measured.length,
        f"branches{suffix}": len(measured.branch_points),
        f"tips{suffix}": len(measured.tips),
        f"max_order{suffix}": rooted.max_order(tree),
    }


def compare(
    prediction: Measured,
    reference: Measured,
    *,
    tolerance_um: float = 1.5,
    node_radius_um: float = 3.0,
    esa_threshold: float = 2.0,
    sholl_step_um: float = 10.0,
    topology: bool = True,
    nblast: bool = False,
    plane_um: float = 0.0,
) -> Scores:
    """Every score of a prediction (1) against a reference (2), both in um; undefined ones NaN with a reason.

    topology: path topology, DIADEM and persistence too, about a third of the time. nblast: NBLAST too, where navis is
    installed. plane_um: distance of the image's planes, the least that DIADEM allows along z.
    """
    scores = _along_cable(
        prediction,
        reference,
        tolerance_um=tolerance_um,
        esa_threshold=esa_threshold,
        topology=topology,
        node_radius_um=node_radius_um,
    )
    for prefix, name, what in (("branch_", "branch_points", "branch point"), ("tip_", "tips", "tip")):
        points = getattr(prediction, name), getattr(reference, name)
        scores |= nodes.scores(*points, radius=node_radius_um, prefix=prefix, what=what)
    scores |= _whole_trees(
        prediction,
        reference,
        sholl_step_um=sholl_step_um,
        node_radius_um=node_radius_um,
        plane_um=plane_um,
        topology=topology,
    )
    if nblast:
        scores |= nblast_scores(prediction.tree, reference.tree)
    return scores


def found_length(prediction: Measured, reference: Measured, *, tolerance_um: float) -> float:
    """um of the reference's cable that lies within the tolerance of the prediction."""
    if _empty(prediction, reference):
        return 0.0
    return float(length.lengths_within(profiles(prediction, reference)[1], tolerance_um).sum())


def _along_cable(
    prediction: Measured,
    reference: Measured,
    *,
    tolerance_um: float,
    esa_threshold: float,
    node_radius_um: float,
    topology: bool,
) -> Scores:
    """The scores that come from the distance along the cable of each tree to the other: one pass for all."""
    lengths = prediction.length, reference.length
    scores: Scores = {}
    both: tuple[distance.Profile, ...] = ()
    if why := _empty(prediction, reference):
        why = f"the {why} has no cable"
        scores |= undefined(why, *distance.ESA_NAMES)
        others = undefined(why, *length.SPREAD_NAMES, *shape.RADIUS_NAMES)
    else:
        both = profiles(prediction, reference)
        scores |= distance.esa(*both, threshold=esa_threshold)
        others = length.spreads(*both)
        others |= shape.radius_error(both[1], reference.tree, prediction.tree, tolerance=tolerance_um)
    near = [length.lengths_within(one, tolerance_um) for one in both]
    scores |= length.scores(both, near, lengths)
    for tolerance in length.TOLERANCES_UM:
        there = [length.lengths_within(one, tolerance) for one in both]
        scores |= length.scores(both, there, lengths, suffix=f"_{tolerance:g}um")
    scores |= length.ratio(*lengths) | others
    if topology:
        scores |= _paths(prediction, reference, both, near, radius=node_radius_um)
    return scores


def _paths(
    prediction: Measured,
    reference: Measured,
    both: tuple[distance.Profile, ...],
    near: list[np.ndarray],
    *,
    radius: float,
) -> Scores:
    """Path topology in both directions; without cable on one side all paths of the other are missing."""
    if both:
        right = paths.faults(both[0], near[0], prediction.tree, reference.tree, radius=radius)
        found = paths.faults(both[1], near[1], reference.tree, prediction.tree, radius=radius)
        return paths.topology(found, right)
    return paths.topology(*(paths.all_missing(one.tree, one.length) for one in (reference, prediction)))


def _whole_trees(
    prediction: Measured,
    reference: Measured,
    *,
    sholl_step_um: float,
    node_radius_um: float,
    plane_um: float,
    topology: bool,
) -> Scores:
    """Sholl profiles around the reference's soma or first root, persistence of the trees rooted there, DIADEM.

    DIADEM keeps the reference's root, soma or not, as its program does.
    """
    if why := _empty(prediction, reference):
        names = (*shape.SHOLL_NAMES, *((*shape.PERSISTENCE_NAMES, *DIADEM_NAMES) if topology else ()))
        scores = undefined(f"the {why} has no cable", *names)
        if topology and reference.edges.has_cable and not diadem.why_no_score(Nodes(reference.tree)):
            scores["diadem"] = 0.0  # like recall: of what is there, nothing was found
            del scores["diadem_reason"]
        return scores
    centre, root = rooted.centre(reference.tree), int(np.flatnonzero(reference.tree.parent < 0)[0])
    scores = shape.sholl(prediction.edges, reference.edges, reference.tree.xyz[centre], step_um=sholl_step_um)
    if not topology:
        return scores
    tree, wanted = _rooted_alike(prediction.tree, reference.tree, centre, radius=node_radius_um)
    if tree is not None:
        scores |= shape.persistence(tree, wanted)
    else:
        why = "no node of the prediction lies at the soma or root of the reference"
        scores |= undefined(why, *shape.PERSISTENCE_NAMES)
    if root != centre:
        tree, wanted = _rooted_alike(prediction.tree, reference.tree, root, radius=node_radius_um)
    limits = diadem.Limits(xy=node_radius_um, z=max(node_radius_um, plane_um))
    scores |= diadem.score(prediction.tree if tree is None else tree, wanted, limits=limits)
    return scores | {"diadem_rerooted": int(tree is not None)}


def _rooted_alike(prediction: Tree, reference: Tree, row: int, *, radius: float) -> tuple[Tree | None, Tree]:
    """The tree that holds a row of the reference, rooted at it, and the prediction's, rooted at its nearest node.

    None for the latter where no node of the prediction lies within the radius.
    """
    wanted = rooted.one_tree(rooted.rerooted(reference, row), row)
    near = rooted.nearest_node(prediction, reference.xyz[row], radius=radius)
    if near is None:
        return None, wanted
    return rooted.one_tree(rooted.rerooted(prediction, near), near), wanted


DIADEM_NAMES = ("diadem", "diadem_missed", "diadem_excess", "diadem_rerooted")


def _empty(prediction: Measured, reference: Measured) -> str:
    """Which of the two has no cable: "prediction", "reference" or ""."""
    if not prediction.edges.has_cable:
        return "prediction"
    return "" if reference.edges.has_cable else "reference"


def profiles(first: Measured, second: Measured) -> tuple[distance.Profile, distance.Profile]:
    """Distances along each tree to the other; both have cable."""
    return (
        distance.profile(first.tree, first.edges, second.edges),
        distance.profile(second.tree, second.edges, first.edges),
    )


def without_reference(**settings: Any) -> Scores:
    """The scores of a tree that has no reference: all undefined."""
    nothing = Measured(EMPTY)
    names = [name for name in compare(nothing, nothing, **settings) if not name.endswith("_reason")]
    return undefined("no reference", *names)


def over_references(prediction: Measured, references: list[Measured], **settings: Any) -> Scores:
    """Scores against several references of one neuron, as tracings by several people.

    Each score is the mean over the references, `<name>_min` and `<name>_max` the range, `human_<name>` the mean
    over all ordered pairs of references: how well one person's tracing predicts another's. A score that is
    undefined against one of them is undefined, and so are its range and its mean, for the first reason found.
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
        scores[f"human_{name}"] = float(np.mean([one[name] for one in human]))
        if reason := _first_reason(each, name):
            scores[f"{name}_reason"] = reason  # dsa has one beside its value 0
        if np.isnan(scores[name]):
            scores |= {f"{name}_min_reason": reason, f"{name}_max_reason": reason}
        if np.isnan(scores[f"human_{name}"]):
            scores[f"human_{name}_reason"] = _first_reason(human, name)
    return scores


def _first_reason(parts: list[Scores], name: str) -> str | None:
    return next((one[f"{name}_reason"] for one in parts if f"{name}_reason" in one), None)
