"""One tree to several neurons: where two cross or touch, each goes on as a neurite does.

An image in which neurites touch gives one piece of foreground and one tree. Loops that the skeleton had to open are
closed; where lines meet, their arms are shared out among neurites in one of some ways (see `ways`). A choice of a way
at each meeting gives neurons. Each is judged as a whole: it has one soma at most, grows from it or from the border of
the image, from there on its ways must fit, thick to thin, and its sections are stained alike (see `choice`). The
likeliest choice is sought by changing one meeting at a time, then two neighbours; from there choices are drawn as
likely as they are, and the one is taken that loses least whichever of them is true (see `risk`).
"""

from dataclasses import dataclass

import numpy as np

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph, risk, skeleton
from pipeline.tracing.choice import SHORT, Choice
from pipeline.tracing.crossing import Lines
from pipeline.tracing.field import Field
from pipeline.tracing.ways import Joined


@dataclass(frozen=True, eq=False)
class Part:
    """One of the neurons of a tree. rows: (n,) rows of that tree its nodes were; a shared node is in two parts."""

    tree: Tree
    rows: np.ndarray


def neurons(tree: Tree, field: Field, *, soma: np.ndarray, min_length_um: float) -> list[Part]:
    """The neurons of a tree (one root); their roots are arbitrary. soma: rows that are somata.

    What would be shorter than min_length_um stays with what it touches.
    """
    whole = [Part(tree, np.arange(len(tree)))]
    if len(tree) < 2:
        return whole
    lines, border = lines_of(tree, field, soma)
    choice = Choice(lines, border, min_length_um=min_length_um)
    for short in SHORT:
        choice.improve(short)
    choice.choose(risk.least(choice))
    found = choice.neurons()
    if len(found) < 2:
        return whole
    parts = (_part(lines, sections, joined) for sections, joined in found)
    return [part for part in parts if part is not None]


def lines_of(tree: Tree, field: Field, soma: np.ndarray) -> tuple[Lines, np.ndarray]:
    """The lines of a tree, and which of its nodes lie at the border of the image: bool (n,)."""
    brightness = np.ones(len(tree))
    if field.light is not None:
        brightness = np.maximum(field.light.at(swc.um_to_voxel(tree.xyz, field.voxel_size)), 1.0)
    border = skeleton.at_border(tree, field.shape, field.voxel_size)
    return Lines(tree, brightness, field, soma), border


def _part(lines: Lines, sections: frozenset[int], joined: frozenset[Joined]) -> Part | None:
    """A neuron as a tree of its own, with what it shares with another; None where nothing is left of it."""
    runs = [lines.sections[at] for at in sorted(sections)]
    for each in joined:
        if each.place < len(lines.meetings) and len(each.value) > 1:
            runs += _between(lines, each)
    edges = {(min(pair), max(pair)) for rows in runs for pair in zip(rows, rows[1:])}
    for row in set(lines.soma) - {
        each.soma for each in joined
    }:  # a neurite that passes a soma goes on beyond it
        beside = sorted({end for edge in edges if row in edge for end in edge} - {row})
        edges = {edge for edge in edges if row not in edge} | set(zip(beside[:-1], beside[1:]))
    if not edges:
        return None
    pairs = np.array(sorted(edges))
    rows = np.unique(pairs)
    tree = lines.tree
    whole = graph.rooted(tree.xyz[rows], tree.radius[rows], np.searchsorted(rows, pairs))
    return Part(Tree(whole.xyz, whole.radius, whole.parent, tree.type[rows]), rows)


def _between(lines: Lines, joined: Joined) -> list[list[int]]:
    """The inner sections of a meeting that lie between some of its arms."""
    feet = {lines.row(arm) for arm in joined.value}
    kept = [lines.sections[at] for at in lines.meetings[joined.place].inner]
    while True:
        ends = [row for rows in kept for row in (rows[0], rows[-1])]
        loose = {row for row in ends if ends.count(row) == 1 and row not in feet}
        if not loose:
            return kept
        kept = [rows for rows in kept if not loose & {rows[0], rows[-1]}]
