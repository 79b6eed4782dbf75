"""One tree to several neurons: where two cross or touch, what goes straight on stays together.

An image in which neurites touch gives one piece of foreground and one tree. Where four arms meet in two straight
lines, two neurites cross: no neuron branches like that. The stretches between branch points are the nodes of a graph
whose edges say for or against being one neuron: attached arms for, the two lines of a crossing and two somata against.
Its cheapest partition (a multicut, by greedy contraction) cuts where the evidence is weakest, and leaves a neuron that
crosses itself whole, since it hangs together elsewhere. Loops that the skeleton had to open are closed before.

Keuper et al. 2015 (greedy additive edge contraction), doi:10.1109/ICCV.2015.204.
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
# So many degrees of bend weigh as much as radii (brightnesses) that differ e-fold, as a um that is shared.
RADIUS, BRIGHTNESS, SHARED = 30.0, 10.0, 3.0
# Degrees at which a crossing is as likely as not (both of its lines together), and what weighs 1.
CROSSING, UNIT = 125.0, 20.0
# Degrees at which an arm is attached to its branch point by the least weight, what weighs 1 more, least and most.
ATTACHED, ATTACHED_UNIT, LOOSE, FIRM = 110.0, 40.0, 0.3, 2.0
# What speaks for the line of a crossing, for an arm and its soma, for a loop that was opened; against two somata.
LINE, ARM, LOOP, TWO_SOMATA = 2.0, 3.0, 2.0, -1e6
# Cosine between an arm and the radius of the soma it starts from: this much for an arm that leaves, for one that passes.
LEAVING, PASSING = 0.8, 0.4
# A neurite grows thinner from its root on: two stretches of so many um with a thinner one between them are of two
# neurons, as sure as not where radii differ VALLEY-fold, what weighs 1 and most.
STRETCH_UM, VALLEY, VALLEY_UNIT, VALLEY_MOST = 5.0, 1.8, 1.4, 3.0
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
    if len(tree) < 2:
        return [Part(tree, np.arange(len(tree)))]
    near = _neighbours(tree)
    brightness = np.ones(len(tree))
    if field.light is not None:
        brightness = np.maximum(field.light.at(swc.um_to_voxel(tree.xyz, field.voxel_size)), 1.0)
    arms = _Arms(tree, brightness, near)
    loops = _opened_loops(tree, field)
    found = _crossings(arms, near, set(soma.tolist()))
    sections = _Sections(tree, soma)
    weights = _weights(arms, sections, found, loops, soma)
    owner = _partition(weights, sections.count)
    owner = _long_enough(tree, sections, owner, weights, min_length_um)
    if len(set(owner)) == 1:
        return [Part(tree, np.arange(len(tree)))]
    return _apart(tree, arms, sections, owner, found, loops)


@dataclass(eq=False)
class _Sections:
    """The stretches between branch points, roots, somata and tips: nodes of the graph; one more for each soma.

    of_edge: (n,) the section that the edge from each row to its parent lies in, -1 for a root.
    """

    tree: Tree
    soma: np.ndarray

    def __post_init__(self) -> None:
        self.of_edge = np.full(len(self.tree), -1)
        self.count = 0
        for section in graph.sections(self.tree):
            cuts = np.flatnonzero(np.isin(section[1:-1], self.soma)) + 1
            for part in np.split(np.arange(1, len(section)), cuts):
                self.of_edge[section[part]] = self.count
                self.count += 1
        self.of_soma = {int(row): self.count + number for number, row in enumerate(self.soma)}
        self.count += len(self.soma)

    def between(self, one: int, two: int) -> int:
        """The section that the edge between two neighbours lies in."""
        return int(self.of_edge[one] if self.tree.parent[one] == two else self.of_edge[two])


def _weights(arms: "_Arms", sections: _Sections, found: list[Crossing], loops, soma) -> dict[tuple[int, int], float]:
    """(section, section): what speaks for (above 0) or against their being one neuron."""
    weights: dict[tuple[int, int], float] = {}

    def add(one: int, two: int, value: float) -> None:
        if one != two:
            pair = (min(one, two), max(one, two))
            weights[pair] = weights.get(pair, 0.0) + value

    crossed = {row for each in found for row in each.shared}
    for each in found:
        ends = each.shared[0], each.shared[-1]
        lines = [tuple(sections.between(end, row) for end, row in zip(ends, pair)) for pair in each.pairs]
        for line in lines:
            add(*line, LINE)
        against = max((CROSSING - each.cost) / UNIT, 0.0)
        add(lines[0][0], lines[1][0], -against / 2)
        add(lines[0][1], lines[1][1], -against / 2)
        if len(each.shared) > 1:  # whose it is does not matter: it goes with either
            add(sections.between(*each.shared[:2]), lines[0][0], LOOSE)
    somata = set(soma.tolist())
    for node, rows in enumerate(arms.near):
        if node in somata:
            radial = {row: arms.radial(node, row) for row in rows}
            for row in rows:
                value = ARM * float(np.clip((radial[row] - PASSING) / (LEAVING - PASSING), 0.1, 1))
                add(sections.of_soma[node], sections.between(node, row), value)
            passing = [row for row in rows if radial[row] < LEAVING]
            for at, row in enumerate(passing):
                for other in passing[at + 1 :]:
                    value = LINE * (CROSSING / 2 - arms.cost(node, row, node, other)) / UNIT
                    add(sections.between(node, row), sections.between(node, other), float(np.clip(value, 0, LINE)))
        elif len(rows) == 2:
            add(*(sections.between(node, row) for row in rows), LINE)
        elif len(rows) > 2 and node not in crossed:
            for row in rows:
                cost, other = min((arms.cost(node, row, node, other), other) for other in rows if other != row)
                value = float(np.clip(LOOSE + (ATTACHED - cost) / ATTACHED_UNIT, LOOSE, FIRM))
                add(sections.between(node, row), sections.between(node, other), value)
    for one, two, fold in _valleys(arms, sections):
        value = np.log(fold / VALLEY) / np.log(VALLEY_UNIT)
        if value > 0:
            add(one, two, -float(min(value, VALLEY_MOST)))
    for one, two in loops:
        add(sections.between(one, arms.near[one][0]), sections.between(two, arms.near[two][0]), LOOP)
    for one in sections.of_soma.values():
        for two in sections.of_soma.values():
            if one < two:
                add(one, two, TWO_SOMATA)
    return weights


def _valleys(arms: "_Arms", sections: _Sections) -> Iterator[tuple[int, int, float]]:
    """Pairs of thick sections, and how many times thicker the thinner one is than the thinnest between them."""
    tree = arms.tree
    inner = np.flatnonzero(tree.parent >= 0)
    order = inner[np.argsort(sections.of_edge[inner], kind="stable")]
    rows = np.split(order, np.searchsorted(sections.of_edge[order], np.arange(1, sections.count)))
    long = np.bincount(sections.of_edge[inner], swc.edge_lengths(tree)[inner], sections.count) >= STRETCH_UM
    # Thinner than the blur, a neurite has the light of its cross-section and the radius of the blur.
    radius = np.array([np.median((tree.radius**2 * arms.brightness)[part]) if len(part) else np.inf for part in rows])
    near: list[set[int]] = [set() for _ in rows]
    for node, ways in enumerate(arms.near):
        here = {sections.between(node, row) for row in ways} | ({sections.of_soma[node]} if node in sections.of_soma else set())
        for one in here:
            near[one] |= here - {one}
    soma = set(sections.of_soma.values())
    known = [bool(long[one]) or one in soma for one in range(sections.count)]
    for one in range(sections.count):
        if not known[one]:
            continue
        least = {one: np.inf}
        todo = [one]
        while todo:
            here = todo.pop()
            for other in near[here]:
                if other not in least:
                    through = radius[here] if known[here] and here != one else np.inf
                    least[other] = min(least[here], through)
                    todo.append(other)
        for other, valley in least.items():
            if other > one and known[other] and not (one in soma and other in soma):
                yield one, other, min(radius[one], radius[other]) / valley


def _partition(weights: dict[tuple[int, int], float], count: int) -> list[int]:
    """Owner of each node: the strongest edge is contracted, parallel ones added up, until none speaks for it."""
    owner = list(range(count))
    edges = dict(weights)
    while edges:
        (one, two), value = max(edges.items(), key=lambda item: (item[1], -item[0][0], -item[0][1]))
        if value <= 0:
            break
        owner = [one if each == two else each for each in owner]
        merged: dict[tuple[int, int], float] = {}
        for (a, b), value in edges.items():
            a, b = (one if each == two else each for each in (a, b))
            if a != b:
                pair = (min(a, b), max(a, b))
                merged[pair] = merged.get(pair, 0.0) + value
        edges = merged
    return owner


def _long_enough(tree: Tree, sections: _Sections, owner: list[int], weights, min_length_um: float) -> list[int]:
    """Owners once each part that is too short has gone to the one that most speaks for."""
    each = np.bincount(sections.of_edge[tree.parent >= 0], swc.edge_lengths(tree)[tree.parent >= 0], sections.count)
    with_soma = set(sections.of_soma.values())
    while True:
        length: dict[int, float] = {}
        for node, mine in enumerate(owner):
            length[mine] = length.get(mine, 0.0) + each[node]
        short = [mine for mine, um in length.items() if um < min_length_um]
        short = [mine for mine in short if not any(owner[node] == mine for node in with_soma)]
        pull: dict[tuple[int, int], float] = {}
        for (one, two), value in weights.items():
            for mine, other in ((owner[one], owner[two]), (owner[two], owner[one])):
                if mine != other and mine in short and value > TWO_SOMATA / 2:
                    pull[mine, other] = pull.get((mine, other), 0.0) + value
        if not pull:
            return owner
        mine, other = max(pull, key=lambda pair: (-length[pair[0]], pull[pair], pair))
        owner = [other if one == mine else one for one in owner]


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


def _crossings(arms: "_Arms", near: list[list[int]], soma: set[int]) -> list[Crossing]:
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
    """The best way to pair the arms, where two lines are more likely than a neurite that branches twice."""
    length = np.linalg.norm(np.diff(arms.tree.xyz[shared], axis=0), axis=1).sum()
    costs = [sum(arms.cost(*pair) for pair in way) + SHARED * float(length) for way in ways]
    best = int(np.argmin(costs))
    if costs[best] < CROSSING:
        yield Crossing(shared, [(pair[1], pair[3]) for pair in ways[best]], costs[best])


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

    def radial(self, soma: int, first: int) -> float:
        """Cosine between an arm of a soma and the soma's radius where it starts."""
        rows = self.walk(soma, first)
        return float(_unit(self.tree.xyz[rows[-1]] - self.tree.xyz[rows[0]]) @ _unit(self.tree.xyz[first] - self.tree.xyz[soma]))

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


def _apart(tree: Tree, arms: "_Arms", sections: _Sections, owner: list[int], found, loops) -> list[Part]:
    """The parts of a tree, each hung together; what two of them share is in both."""
    crossed = {}
    for each in found:
        ends = each.shared[0], each.shared[-1]
        lines = [owner[sections.between(ends[0], pair[0])] for pair in each.pairs]
        if lines[0] != lines[1]:
            crossed |= {row: lines for row in each.shared}
    parts = []
    for mine in sorted(set(owner)):
        edges = {
            (int(min(child, parent)), int(max(child, parent)))
            for child, parent in graph.edges(tree).tolist()
            if owner[sections.of_edge[child]] == mine or (child in crossed and parent in crossed and mine in crossed[child])
        }
        # Loops are closed within a neuron alone.
        for one, two in loops:
            ends = (sections.between(row, arms.near[row][0]) for row in (one, two))
            if {owner[end] for end in ends} == {mine}:
                edges.add((min(one, two), max(one, two)))
        for row, number in sections.of_soma.items():
            if owner[number] != mine:  # a neurite that passes a soma goes on beyond it
                ends = sorted({end for edge in edges if row in edge for end in edge} - {row})
                edges = {edge for edge in edges if row not in edge} | set(zip(ends[:-1], ends[1:]))
        rows = np.unique([row for edge in edges for row in edge])
        if not len(rows):
            continue
        pairs = np.searchsorted(rows, np.array(sorted(edges)))
        whole = graph.rooted(tree.xyz[rows], tree.radius[rows], pairs)
        whole = Tree(whole.xyz, whole.radius, whole.parent, tree.type[rows])
        parts.append(Part(whole, rows))
    return parts


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _degrees(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ two, -1, 1))))
