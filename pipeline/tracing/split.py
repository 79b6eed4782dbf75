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

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import crossing, graph
from pipeline.tracing.crossing import Arms, Crossing
from pipeline.tracing.field import Field

# Degrees at which an arm is attached to its branch point by the least weight, what weighs 1 more, least and most.
ATTACHED, ATTACHED_UNIT, LOOSE, FIRM = 110.0, 40.0, 0.3, 2.0
# What speaks for the line of a crossing, for an arm and its soma, for a loop that was opened; against two somata.
LINE, ARM, LOOP, TWO_SOMATA = 2.0, 3.0, 2.0, -1e6
# Cosine between an arm and the radius of the soma it starts from: of an arm that leaves, of one that passes.
LEAVING, PASSING = 0.8, 0.4
# A neurite grows thinner from its root on: two stretches of so many um with a thinner one between them are of two
# neurons, as sure as not where radii differ VALLEY-fold, what weighs 1 and most.
STRETCH_UM, VALLEY, VALLEY_UNIT, VALLEY_MOST = 5.0, 1.8, 1.4, 3.0


@dataclass(frozen=True, eq=False)
class Part:
    """One of the neurons of a tree. rows: (n,) rows of that tree its nodes were; a shared node is in two parts."""

    tree: Tree
    rows: np.ndarray


def neurons(tree: Tree, field: Field, *, soma: np.ndarray, min_length_um: float) -> list[Part]:
    """The neurons of a tree (one root); their roots are arbitrary. soma: rows that are somata.

    What would be shorter than min_length_um stays with what it touches.
    """
    if len(tree) < 2:
        return [Part(tree, np.arange(len(tree)))]
    near = crossing.neighbours(tree)
    brightness = np.ones(len(tree))
    if field.light is not None:
        brightness = np.maximum(field.light.at(swc.um_to_voxel(tree.xyz, field.voxel_size)), 1.0)
    arms = Arms(tree, brightness, near)
    loops = crossing.opened_loops(tree, field)
    found = crossing.find(arms, near, set(soma.tolist()))
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


def _weights(
    arms: Arms, sections: _Sections, found: list[Crossing], loops, soma
) -> dict[tuple[int, int], float]:
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
        for one, two in lines:
            add(one, two, LINE)
        against = max((crossing.CROSSING - each.cost) / crossing.UNIT, 0.0)
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
                    value = LINE * (crossing.CROSSING / 2 - arms.cost(node, row, node, other)) / crossing.UNIT
                    add(
                        sections.between(node, row),
                        sections.between(node, other),
                        float(np.clip(value, 0, LINE)),
                    )
        elif len(rows) == 2:
            one, two = (sections.between(node, row) for row in rows)
            add(one, two, LINE)
        elif len(rows) > 2 and node not in crossed:
            for row in rows:
                cost, other = min(
                    (arms.cost(node, row, node, other), other) for other in rows if other != row
                )
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


def _valleys(arms: Arms, sections: _Sections) -> Iterator[tuple[int, int, float]]:
    """Pairs of thick sections, and how many times thicker the thinner one is than the thinnest between them."""
    tree = arms.tree
    inner = np.flatnonzero(tree.parent >= 0)
    order = inner[np.argsort(sections.of_edge[inner], kind="stable")]
    rows = np.split(order, np.searchsorted(sections.of_edge[order], np.arange(1, sections.count)))
    long = np.bincount(sections.of_edge[inner], swc.edge_lengths(tree)[inner], sections.count) >= STRETCH_UM
    # Thinner than the blur, a neurite has the light of its cross-section and the radius of the blur.
    radius = np.array(
        [np.median((tree.radius**2 * arms.brightness)[part]) if len(part) else np.inf for part in rows]
    )
    near: list[set[int]] = [set() for _ in rows]
    for node, ways in enumerate(arms.near):
        meeting = {sections.between(node, row) for row in ways} | (
            {sections.of_soma[node]} if node in sections.of_soma else set()
        )
        for one in meeting:
            near[one] |= meeting - {one}
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
            if other > one and known[other] and np.isfinite(valley) and not (one in soma and other in soma):
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


def _long_enough(
    tree: Tree, sections: _Sections, owner: list[int], weights, min_length_um: float
) -> list[int]:
    """Owners once each part that is too short has gone to the one that most speaks for."""
    each = np.bincount(
        sections.of_edge[tree.parent >= 0], swc.edge_lengths(tree)[tree.parent >= 0], sections.count
    )
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


def _apart(tree: Tree, arms: Arms, sections: _Sections, owner: list[int], found, loops) -> list[Part]:
    """The parts of a tree, each hung together; what two of them share is in both."""
    crossed: dict[int, list[int]] = {}
    for each in found:
        ends = each.shared[0], each.shared[-1]
        lines = [owner[sections.between(ends[0], pair[0])] for pair in each.pairs]
        if lines[0] != lines[1]:
            crossed |= dict.fromkeys(each.shared, lines)
    parts = []
    for mine in sorted(set(owner)):
        edges = {
            (int(min(child, parent)), int(max(child, parent)))
            for child, parent in graph.edges(tree).tolist()
            if owner[sections.of_edge[child]] == mine
            or (child in crossed and parent in crossed and mine in crossed[child])
        }
        # Loops are closed within a neuron alone.
        for one, two in loops:
            owners = {owner[sections.between(row, arms.near[row][0])] for row in (one, two)}
            if owners == {mine}:
                edges.add((min(one, two), max(one, two)))
        for row, number in sections.of_soma.items():
            if owner[number] != mine:  # a neurite that passes a soma goes on beyond it
                beside = sorted({end for edge in edges if row in edge for end in edge} - {row})
                edges = {edge for edge in edges if row not in edge} | set(zip(beside[:-1], beside[1:]))
        rows = np.unique([row for edge in edges for row in edge])
        if not len(rows):
            continue
        pairs = np.searchsorted(rows, np.array(sorted(edges)))
        whole = graph.rooted(tree.xyz[rows], tree.radius[rows], pairs)
        whole = Tree(whole.xyz, whole.radius, whole.parent, tree.type[rows])
        parts.append(Part(whole, rows))
    return parts
