"""One tree to several neurons: where two cross or touch, what goes straight on stays together.

An image in which neurites touch gives one piece of foreground and one tree. Where four arms meet in two straight
lines, two neurites cross: no neuron branches like that. Lines that pass the crossing get a copy each of what they
share. Crossings of a neuron with itself leave it whole, for it hangs together elsewhere: loops that the skeleton had to
open are closed again first. Two somata that still hang together are cut where the way between them is weakest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.field import Field

# Two neurites may run along each other for so long (um) where they cross.
SHARED_UM = 10.0
# An arm's direction, radius and brightness are those between so many um from the crossing, the first but its radius.
NEAR_UM, FAR_UM = 0.5, 7.0
# Degrees that two arms of one neurite bend at most, and those of both neurites together.
BEND, BENDS = 50.0, 70.0
# So many degrees of bend weigh as much as radii (brightnesses) that differ e-fold.
RADIUS, BRIGHTNESS = 30.0, 20.0
# The gap (um) of a loop that was opened, and how straight its ends must face each other (cosine).
LOOP_UM, FACING = 6.0, 0.5


@dataclass(frozen=True, eq=False)
class Part:
    """One of the neurons of a tree. rows: (n,) rows of that tree its nodes were; a shared node is in two parts."""

    tree: Tree
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Crossing:
    """shared: rows from one end to the other of what two neurites share. pairs: for each, its first row on both sides."""

    shared: list[int]
    pairs: list[tuple[int, int]]
    cost: float


def neurons(tree: Tree, field: Field, *, soma: np.ndarray, min_length_um: float) -> list[Part]:
    """The neurons of a tree (one root); their roots are arbitrary. soma: rows that are somata.

    What would be shorter than min_length_um stays with what it touches.
    """
    near = _neighbours(tree)
    loops = _opened_loops(tree, field)
    found = _crossings(tree, field, near, set(soma.tolist()))
    while True:
        parts = _apart(tree, found, loops)
        short = [part.rows for part in parts if swc.cable_length(part.tree) < min_length_um]
        ends = {int(row) for rows in short for row in rows}
        kept = [each for each in found if not ends & {row for pair in each.pairs for row in pair}]
        if len(parts) == 1 or len(kept) == len(found):
            break
        found = kept
    return [piece for part in parts for piece in _one_soma_each(part, field, soma)]


def _neighbours(tree: Tree) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(len(tree))]
    for child, parent in graph.edges(tree).tolist():
        near[child].append(parent)
        near[parent].append(child)
    return near


def _opened_loops(tree: Tree, field: Field) -> list[tuple[int, int]]:
    """Pairs of tips that face each other with foreground between them, the nearest first, each tip once."""
    tips = np.flatnonzero(graph.degree(tree) == 1)
    if len(tips) < 2:
        return []
    pairs = tips[cKDTree(tree.xyz[tips]).query_pairs(LOOP_UM, output_type="ndarray")].reshape(-1, 2)
    gap = tree.xyz[pairs[:, 1]] - tree.xyz[pairs[:, 0]]
    length = np.linalg.norm(gap, axis=1)
    heading = np.zeros((len(tree), 3))
    near = cKDTree(tree.xyz)
    for tip in np.unique(pairs):
        arrow = tree.xyz[tip] - tree.xyz[near.query_ball_point(tree.xyz[tip], 3.0, return_sorted=True)].mean(0)
        heading[tip] = arrow / max(np.linalg.norm(arrow), 1e-9)
    way = gap / np.maximum(length, 1e-9)[:, None]
    facing = np.einsum("ij,ij->i", heading[pairs[:, 0]], way) > FACING
    facing &= np.einsum("ij,ij->i", heading[pairs[:, 1]], -way) > FACING
    part = np.linspace(0, 1, 13)[:, None, None]
    inside = field.at(tree.xyz[pairs[:, 0]] + part * gap).min(0) >= 127.5
    chosen: list[tuple[int, int]] = []
    used: set[int] = set()
    for row in np.lexsort((pairs[:, 0], length)):
        one, two = map(int, pairs[row])
        if facing[row] and inside[row] and not used & {one, two}:
            chosen.append((one, two))
            used |= {one, two}
    return chosen


def _crossings(tree: Tree, field: Field, near: list[list[int]], soma: set[int]) -> list[Crossing]:
    """Where two lines cross, the surest first; no two of them share a node."""
    brightness = np.ones(len(tree))
    if field.light is not None:
        brightness = np.maximum(field.light.at(swc.um_to_voxel(tree.xyz, field.voxel_size)), 1.0)
    arms = _Arms(tree, brightness, near)
    candidates = sorted(_candidates(tree, arms, near, soma), key=lambda each: (each.cost, each.shared))
    taken: set[int] = set()
    chosen = []
    for each in candidates:
        rows = {*each.shared, *(row for pair in each.pairs for row in pair)}
        if not rows & taken:
            chosen.append(each)
            taken |= rows
    return chosen


def _candidates(tree: Tree, arms: "_Arms", near: list[list[int]], soma: set[int]) -> Iterator[Crossing]:
    for node in range(len(tree)):
        if len(near[node]) == 4 and node not in soma:
            yield from _best(arms, [node], *_pairings(node, near[node]))
    for section in graph.sections(tree):
        ends = int(section[0]), int(section[-1])
        if any(len(near[end]) != 3 or end in soma for end in ends):
            continue
        if np.linalg.norm(np.diff(tree.xyz[section], axis=0), axis=1).sum() > SHARED_UM:
            continue
        shared = section.tolist()
        here, there = ([row for row in near[end] if row not in shared] for end in ends)
        if len(here) == len(there) == 2:
            ways = [
                [(ends[0], here[0], ends[1], there[k]), (ends[0], here[1], ends[1], there[1 - k])] for k in (0, 1)
            ]
            yield from _best(arms, shared, *ways)


def _pairings(node: int, rows: list[int]):
    first, *others = rows
    for other in others:
        rest = [row for row in others if row != other]
        yield [(node, first, node, other), (node, rest[0], node, rest[1])]


def _best(arms: "_Arms", shared: list[int], *ways) -> Iterator[Crossing]:
    """The best way to pair the arms, where both pairs are straight enough."""
    costs = [[arms.cost(*pair) for pair in way] for way in ways]
    best = min(range(len(ways)), key=lambda way: sum(costs[way]))
    if max(costs[best]) <= BEND and sum(costs[best]) <= BENDS:
        yield Crossing(shared, [(pair[1], pair[3]) for pair in ways[best]], sum(costs[best]))


@dataclass(eq=False)
class _Arms:
    """What leaves a branch point: its direction, radius and brightness."""

    tree: Tree
    brightness: np.ndarray
    near: list[list[int]]

    def cost(self, foot: int, first: int, other_foot: int, other: int) -> float:
        """Degrees by which the neurite that comes in by one arm and leaves by the other bends, and how unlike they are."""
        here, there = self.walk(foot, first), self.walk(other_foot, other)
        one, two = (self.tree.xyz[rows] for rows in (here, there))
        chord = _unit(two.mean(0) - one.mean(0))
        come, go = _unit(one[0] - one[-1]), _unit(two[-1] - two[0])
        bend = max(_degrees(come, go), _degrees(come, chord), _degrees(chord, go))
        radius = abs(np.log(np.median(self.tree.radius[here]) / np.median(self.tree.radius[there])))
        bright = abs(np.log(np.median(self.brightness[here]) / np.median(self.brightness[there])))
        return float(bend + RADIUS * radius + BRIGHTNESS * bright)

    def walk(self, foot: int, first: int) -> list[int]:
        """Rows from beside a branch point outward, straight on where there is a choice; two or more."""
        begin = NEAR_UM + self.tree.radius[foot]
        rows, gone, before, node = [foot, first], self._step(foot, first), foot, first
        along = [0.0, gone]
        while gone < FAR_UM:
            ways = [row for row in self.near[node] if row != before]
            if not ways:
                break
            heading = self.tree.xyz[node] - self.tree.xyz[rows[max(0, len(rows) - 4)]]
            turn = [heading @ _unit(self.tree.xyz[row] - self.tree.xyz[node]) for row in ways]
            before, node = node, ways[int(np.argmax(turn))]
            gone += self._step(before, node)
            rows.append(node)
            along.append(gone)
        kept = [row for row, place in zip(rows, along) if place >= begin]
        return kept if len(kept) > 1 else rows[-2:]

    def _step(self, one: int, two: int) -> float:
        return float(np.linalg.norm(self.tree.xyz[one] - self.tree.xyz[two]))


def _apart(tree: Tree, found: list[Crossing], loops: list[tuple[int, int]]) -> list[Part]:
    """The pieces of a tree (and its closed loops) once each crossing is two lines that pass each other."""
    edges = {tuple(sorted(edge)) for edge in graph.edges(tree).tolist()} | {tuple(sorted(loop)) for loop in loops}
    origin = list(range(len(tree)))
    for each in found:
        shared = each.shared
        first_side = {row for row in (pair[0] for pair in each.pairs)}
        edges -= {edge for edge in edges if set(edge) & set(shared)}
        for number, (one, two) in enumerate(each.pairs):
            copies = shared if number == 0 else list(range(len(origin), len(origin) + len(shared)))
            if number:
                origin += shared
            chain = [one, *copies, two] if one in first_side else [two, *copies, one]
            edges |= {tuple(sorted(edge)) for edge in zip(chain[:-1], chain[1:])}
    rows = np.array(origin)
    whole = graph.rooted(tree.xyz[rows], tree.radius[rows], np.array(sorted(edges)).reshape(-1, 2))
    whole = Tree(whole.xyz, whole.radius, whole.parent, tree.type[rows])
    piece = graph.pieces(whole)
    parts = [np.flatnonzero(piece == number) for number in range(piece.max() + 1)]
    return [Part(swc.take(whole, part), rows[part]) for part in parts]


def _one_soma_each(part: Part, field: Field, soma: np.ndarray) -> list[Part]:
    """A part cut where the way between two of its somata is weakest, until each has one at most."""
    mine = np.flatnonzero(np.isin(part.rows, soma))
    if len(mine) < 2:
        return [part]
    tree = graph.rooted(part.tree.xyz, part.tree.radius, graph.edges(part.tree), root=int(mine[0]))
    away = np.linalg.norm(tree.xyz[mine] - tree.xyz[mine[0]], axis=1)
    way = [int(mine[1 + away[1:].argmin()])]
    while tree.parent[way[-1]] >= 0:
        way.append(int(tree.parent[way[-1]]))
    cut = _weakest(tree, field, way)
    parent = tree.parent.copy()
    parent[cut] = -1
    loose = Tree(tree.xyz, tree.radius, parent, part.tree.type)
    piece = graph.pieces(loose)
    parts = [np.flatnonzero(piece == number) for number in range(piece.max() + 1)]
    halves = [Part(swc.take(loose, rows), part.rows[rows]) for rows in parts]
    return [each for half in halves for each in _one_soma_each(half, field, soma)]


def _weakest(tree: Tree, field: Field, way: list[int]) -> int:
    """The row on a way (from a node up to the root) whose edge to the parent is to be cut.

    Where an arm leaves the branch point that it hangs on least straight; of a way without branch points where
    the probability is least.
    """
    near = _neighbours(tree)
    arms = _Arms(tree, np.ones(len(tree)), near)
    worst, cut = -1.0, -1
    for below, node, above in zip(way, way[1:], way[2:]):
        if len(near[node]) < 3:
            continue
        for arm, row in ((below, below), (above, node)):
            others = [other for other in near[node] if other != arm]
            bend = min(arms.cost(node, arm, node, other) for other in others)
            if bend > worst:
                worst, cut = bend, row
    if cut < 0:
        inner = way[:-1]
        middle = (tree.xyz[inner] + tree.xyz[way[1:]]) / 2
        cut = inner[int(field.at(middle).argmin())]
    return cut


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _degrees(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ two, -1, 1))))
