"""Where two neurites cross in a tree: four arms that meet in two straight lines. No neuron branches like that."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.field import Field

# Two neurites may run along each other for so long (um) where they cross.
SHARED_UM = 10.0
# An arm's direction, radius and brightness are those between so many um from the crossing, the first but its radius.
NEAR_UM, FAR_UM = 0.5, 7.0
# So many degrees of bend weigh as much as radii (brightnesses) that differ e-fold, as a um that is shared.
RADIUS, BRIGHTNESS, SHARED = 30.0, 10.0, 3.0
# Degrees at which a crossing is as likely as not (both of its lines together), and what weighs 1.
CROSSING, UNIT = 125.0, 20.0
# The gap (um) of a loop that was opened, and how straight its ends must face each other (cosine).
LOOP_UM, FACING = 6.0, 0.5


@dataclass(frozen=True, eq=False)
class Crossing:
    """shared: rows of what two neurites share. pairs: for each neurite, its first row on both sides. cost: degrees."""

    shared: list[int]
    pairs: list[tuple[int, int]]
    cost: float


@dataclass(eq=False)
class Arms:
    """What leaves a branch point: its direction, radius and brightness."""

    tree: Tree
    brightness: np.ndarray
    near: list[list[int]]

    def cost(self, foot: int, first: int, other_foot: int, other: int) -> float:
        """Degrees by which a neurite that comes by one arm and leaves by the other bends, and how unlike they are."""
        here, there = self.walk(foot, first), self.walk(other_foot, other)
        one, two = (self.tree.xyz[rows] for rows in (here, there))
        chord = unit(two.mean(0) - one.mean(0))
        come, go = unit(one[0] - one[-1]), unit(two[-1] - two[0])
        bend = max(degrees(come, go), degrees(come, chord), degrees(chord, go))
        radius = abs(np.log(np.median(self.tree.radius[here]) / np.median(self.tree.radius[there])))
        bright = abs(np.log(np.median(self.brightness[here]) / np.median(self.brightness[there])))
        return float(bend + RADIUS * radius + BRIGHTNESS * bright)

    def radial(self, soma: int, first: int) -> float:
        """Cosine between an arm of a soma and the soma's radius where it starts."""
        rows = self.walk(soma, first)
        return float(
            unit(self.tree.xyz[rows[-1]] - self.tree.xyz[rows[0]])
            @ unit(self.tree.xyz[first] - self.tree.xyz[soma])
        )

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
            turn = [heading @ unit(self.tree.xyz[row] - self.tree.xyz[node]) for row in ways]
            before, node = node, ways[int(np.argmax(turn))]
            gone += self._step(before, node)
            rows.append(node)
            along.append(gone)
        kept = [row for row, place in zip(rows, along) if place >= begin]
        return kept if len(kept) > 1 else rows[-2:]

    def _step(self, one: int, two: int) -> float:
        return float(np.linalg.norm(self.tree.xyz[one] - self.tree.xyz[two]))


def find(arms: Arms, near: list[list[int]], soma: set[int]) -> list[Crossing]:
    """Where two lines cross, the surest first; no two of them share a node."""
    candidates = sorted(_candidates(arms.tree, arms, near, soma), key=lambda each: (each.cost, each.shared))
    taken: set[int] = set()
    chosen = []
    for each in candidates:
        rows = {*each.shared, *(row for pair in each.pairs for row in pair)}
        if not rows & taken:
            chosen.append(each)
            taken |= rows
    return chosen


def _candidates(tree: Tree, arms: Arms, near: list[list[int]], soma: set[int]) -> Iterator[Crossing]:
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
                [(ends[0], here[0], ends[1], there[k]), (ends[0], here[1], ends[1], there[1 - k])]
                for k in (0, 1)
            ]
            yield from _best(arms, shared, *ways)


def _pairings(node: int, rows: list[int]):
    first, *others = rows
    for other in others:
        rest = [row for row in others if row != other]
        yield [(node, first, node, other), (node, rest[0], node, rest[1])]


def _best(arms: Arms, shared: list[int], *ways) -> Iterator[Crossing]:
    """The best way to pair the arms, where two lines are more likely than a neurite that branches twice."""
    length = np.linalg.norm(np.diff(arms.tree.xyz[shared], axis=0), axis=1).sum()
    costs = [sum(arms.cost(*pair) for pair in way) + SHARED * float(length) for way in ways]
    best = int(np.argmin(costs))
    if costs[best] < CROSSING:
        yield Crossing(shared, [(pair[1], pair[3]) for pair in ways[best]], costs[best])


def opened_loops(tree: Tree, field: Field) -> list[tuple[int, int]]:
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
        arrow = tree.xyz[tip] - tree.xyz[near.query_ball_point(tree.xyz[tip], 3.0, return_sorted=True)].mean(
            0
        )
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


def neighbours(tree: Tree) -> list[list[int]]:
    """For each node the rows of those it has an edge to."""
    near: list[list[int]] = [[] for _ in range(len(tree))]
    for child, parent in graph.edges(tree).tolist():
        near[child].append(parent)
        near[parent].append(child)
    return near


def unit(vector: np.ndarray) -> np.ndarray:
    """The direction of a vector (3,); of none, none."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def degrees(one: np.ndarray, two: np.ndarray) -> float:
    """The angle between two unit vectors (3,)."""
    return float(np.degrees(np.arccos(np.clip(one @ two, -1, 1))))
