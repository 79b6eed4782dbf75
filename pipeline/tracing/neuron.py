"""Labels and probability to rooted trees: pieces, links, root, pruning, centre line, radii, confidence."""

from dataclasses import dataclass

import numpy as np

from pipeline import swc
from pipeline.config.trace import Trace
from pipeline.neurons import NOTHING, Neuron
from pipeline.swc import Tree
from pipeline.tracing import (
    bridge,
    confidence,
    evidence,
    graph,
    prune,
    radius,
    root,
    skeleton,
    soma,
    split,
    stem,
)
from pipeline.tracing.bridge import Bridges
from pipeline.tracing.field import Field, Soma
from pipeline.tracing.root import Hung

# Rounds of centring: each moves a line at most by the reach of its cross-sections.
ROUNDS = 3
# Places on an edge at which its confidence looks at the probability.
LOOKS = 5


@dataclass(frozen=True, eq=False)
class Traced:
    """The neurons that were asked for, and the cable (um) of each other tree that is long enough for one."""

    neurons: list[Neuron]
    left_out_um: list[float]


def trace(
    labels: np.ndarray,
    field: Field,
    settings: Trace,
    *,
    root_zyx: tuple[float, float, float] | None = None,
) -> Traced:
    """The neurons of an image; none where there is no foreground.

    labels: unsigned integer (z, y, x), 0 = background; each connected part gives one piece. settings.neurons: one, the
    tree that starts at root_zyx (voxels), without it the longest; or all, those with a soma first.
    """
    shown = _shown(labels, field, settings)
    if not len(shown.forest):
        return Traced([], [])
    if settings.neurons == "all":
        whole = _every(shown, settings)
        finished = [part for each in whole for part in _apart(each, shown.field, settings)]
        finished.sort(key=lambda each: (each.tree.type[0] != swc.SOMA, -swc.cable_length(each.tree)))
        return Traced(finished, [])
    if root_zyx is None:
        found = root.longest(shown.forest, field.shape, field.voxel_size, soma_um=settings.soma_um)
    else:
        found = root.at_point(shown.forest, field.voxel_size, root_zyx, root_um=settings.root_um)
    one = _finish(found, shown, settings)
    return Traced([one] if len(one.tree) else [], _others(shown.forest, found, settings.min_length_um))


def pieces(labels: np.ndarray, field: Field, settings: Trace) -> list[Neuron]:
    """All trees of an image that are long enough, not yet taken apart where neurons touch."""
    shown = _shown(labels, field, settings)
    return _every(shown, settings) if len(shown.forest) else []


@dataclass(frozen=True, eq=False)
class _Shown:
    """What an image shows: its somata, a field in which they are filled, and lines joined by links and somata."""

    field: Field
    somata: list[Soma]
    forest: Tree
    bridges: Bridges


def _shown(labels: np.ndarray, field: Field, settings: Trace) -> _Shown:
    somata = soma.find(field, soma_um=settings.soma_um)
    field, labels = soma.filled(field, labels, somata)
    forest = skeleton.forest(
        labels,
        field.voxel_size,
        scale=settings.scale,
        const_um=settings.const_um,
        soma_um=settings.soma_um,
    )
    forest = skeleton.shortened(forest, field.shape, field.voxel_size)
    forest = swc.take(forest, evidence.lit(forest, field, signal=evidence.wanted(field, settings.signal)))
    forest = soma.joined(forest, somata)
    return _Shown(field, somata, *bridge.join(forest, field, gap_um=settings.gap_um))


def _every(shown: _Shown, settings: Trace) -> list[Neuron]:
    """The trees of a forest that are long enough, finished."""
    found = root.every(
        shown.forest,
        shown.field.shape,
        shown.field.voxel_size,
        soma_um=settings.soma_um,
        min_length_um=settings.min_length_um,
    )
    finished = [_finish(hung, shown, settings) for hung in found]
    return [each for each in finished if len(each.tree)]


def _apart(neuron: Neuron, field: Field, settings: Trace) -> list[Neuron]:
    """The neurons that a traced tree is of, each hung from its own root."""
    tree = neuron.tree
    parts = split.neurons(
        tree, field, soma=np.flatnonzero(tree.type == swc.SOMA), min_length_um=settings.min_length_um
    )
    if len(parts) == 1:
        return [neuron]
    known = Bridges(*_linked(neuron))
    made = []
    for part in parts:
        hung = root.longest(part.tree, field.shape, field.voxel_size, soma_um=settings.soma_um)
        rows = part.rows[hung.rows]
        one = Tree(hung.tree.xyz, hung.tree.radius, hung.tree.parent, tree.type[rows])
        order = swc.depth_first(one)
        cost = known.cost_of(rows, one.parent)[order]
        one = swc.take(one, order)
        made.append(_judged(one, cost, field))
    return made


def _linked(neuron: Neuron) -> tuple[np.ndarray, np.ndarray]:
    """The edges of a neuron that lie in links, as pairs of rows, the smaller first, and what the links cost."""
    child = np.flatnonzero(np.isfinite(neuron.link_cost) & (neuron.tree.parent >= 0))
    return np.sort(np.stack([child, neuron.tree.parent[child]], 1), axis=1), neuron.link_cost[child]


def _others(forest: Tree, taken: Hung, min_length_um: float) -> list[float]:
    """um of cable of the other trees of a forest that are long enough, the longest first."""
    piece = graph.pieces(forest)
    length = np.bincount(piece, weights=swc.edge_lengths(forest))
    length[piece[taken.rows[taken.rows < len(forest)]]] = (
        0  # a node that was drawn on is no row of the forest
    )
    return sorted((float(um) for um in length if um >= min_length_um and um > 0), reverse=True)


def _finish(hung: Hung, shown: _Shown, settings: Trace) -> Neuron:
    """Prune a hung tree, draw its lines through the middle of the neurite, measure radii and confidence."""
    tree, field, smooth_um = hung.tree, shown.field, settings.smooth_um
    rows, parent = prune.prune(tree, field, settings)
    if not len(rows):
        return NOTHING
    cost = np.where(parent == tree.parent, shown.bridges.cost_of(hung.rows, tree.parent), np.nan)[rows]
    tree = swc.take(Tree(tree.xyz, tree.radius, parent, tree.type), rows)
    # Voxel steps out of the way first: cross-sections need the direction of the line.
    tree = Tree(radius.smooth(tree, tree.xyz, smooth_um), tree.radius, tree.parent, tree.type)
    tree, lies_on = radius.resample(tree, settings.step_um)
    cost = np.where(lies_on >= 0, cost[lies_on], np.nan)
    tree = radius.centred(tree, field, rounds=ROUNDS, smooth_um=smooth_um)
    tree = radius.measured(tree, field, smooth_um=smooth_um)
    if settings.signal:
        rows = evidence.unblurred(tree, field)
        tree, cost = swc.take(tree, rows), cost[rows]
    thick = (tree.parent < 0) & (tree.radius >= settings.soma_um)
    tree = Tree(tree.xyz, tree.radius, tree.parent, np.where(thick, swc.SOMA, tree.type))
    tree, rows = soma.restored(tree, shown.somata)
    cost = cost[rows]
    order = swc.depth_first(tree)
    before, cost = swc.take(tree, order), cost[order]
    tree, rows = stem.shared(before)
    moved = np.where(tree.parent < 0, -1, rows[tree.parent]) != before.parent[rows]
    return _judged(tree, np.where(moved, np.nan, cost[rows]), field)


def _judged(tree: Tree, link_cost: np.ndarray, field: Field) -> Neuron:
    """A neuron from its tree: what the network says along its edges, and how sure they are.

    Without the image, which the fit asks for, they are as sure as they are probable.
    """
    probability = along_edges(tree, field)
    sure = probability
    if field.light is not None:
        sure = confidence.probability(confidence.features(tree, probability, link_cost, field))
    return Neuron(tree, probability, link_cost, sure)


def along_edges(tree: Tree, field: Field) -> np.ndarray:
    """(n,) 0..1: mean probability along the edge from each node to its parent."""
    above = tree.xyz[np.where(tree.parent >= 0, tree.parent, np.arange(len(tree)))]
    part = np.linspace(0, 1, LOOKS)[:, None, None]
    return field.at(tree.xyz + part * (above - tree.xyz)).mean(0) / 255
