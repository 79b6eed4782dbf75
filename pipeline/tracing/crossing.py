"""Where the lines of a tree meet: its sections, branch points that may be crossings, and how their arms lie."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.field import Field

# Two neurites may run along each other for so long (um) where they cross; more arms than MOST are not looked at as one.
SHARED_UM, MOST = 8.0, 5
# An arm's direction, radius and brightness are those between so many um from the crossing, the first but its radius.
NEAR_UM, FAR_UM = 0.5, 7.0
# A loop was opened where a tip lies so near (um) to a node that is farther along the tree, heads for it (cosine; nearer
# than TOUCHING um it need not) and probability (0..255) lies between.
LOOP_UM, AROUND_UM, FACING, TOUCHING, BETWEEN = 4.0, 15.0, 0.3, 1.0, 64.0
# A tip is wanted as the other end of a loop even when a node is nearer by so many um.
TIP_UM = 2.0
# The heading of a tip is that of its last um.
HEADING_UM = 4.0

# A section, and which end of it: 0 its first node, 1 its last.
Arm = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Meeting:
    """nodes: rows of branch points with only short sections, `inner`, between them. arms: what leaves these."""

    nodes: list[int]
    inner: list[int]
    arms: list[Arm]


@dataclass(frozen=True, eq=False)
class Arms:
    """How k arms lie. bend: (k, k) degrees by which a neurite that comes by one and leaves by the other bends.

    thick, bright: (k,) logarithms; thick is that of the light of the cross-section: thinner than the blur, a neurite
    has the radius of the blur. opened: (k,) whether the arm was joined there by closing a loop. radial: (k,) cosine
    between an arm and the way to its first node.
    """

    bend: np.ndarray
    thick: np.ndarray
    bright: np.ndarray
    opened: np.ndarray
    radial: np.ndarray


class Lines:
    """A tree with its loops closed, cut into sections at branch points, tips and somata; and its meetings."""

    def __init__(self, tree: Tree, brightness: np.ndarray, field: Field, soma: np.ndarray) -> None:
        self.tree, self.brightness = tree, brightness
        self.near = neighbours(tree)
        self.loops = {frozenset(pair) for pair in opened_loops(tree, field)}
        for one, two in map(sorted, sorted(self.loops, key=sorted)):
            self.near[one].append(two)
            self.near[two].append(one)
        self.soma = soma.tolist()
        self.sections = self._sections()
        self.arms_at: defaultdict[int, list[Arm]] = defaultdict(list)
        for arm in product(range(len(self.sections)), (0, 1)):
            self.arms_at[self.row(arm)].append(arm)
        self.length = [
            float(np.linalg.norm(np.diff(tree.xyz[rows], axis=0), axis=1).sum()) for rows in self.sections
        ]
        self.meetings = self._meetings()

    def row(self, arm: Arm) -> int:
        """The node at which an arm starts."""
        return self.sections[arm[0]][-arm[1]]

    def arms_of(self, nodes: list[int], inner: set[int]) -> list[Arm]:
        """The ends of sections, but of inner ones, at some nodes."""
        return sorted(arm for row in nodes for arm in self.arms_at[row] if arm[0] not in inner)

    def arms(self, arms: list[Arm]) -> Arms:
        """How some arms lie."""
        feet = [(self.row(arm), self.sections[arm[0]][(1, -2)[arm[1]]]) for arm in arms]
        walks = [self._walk(*foot) for foot in feet]
        xyz = self.tree.xyz
        bend = np.zeros((len(arms), len(arms)))
        for one in range(len(arms)):
            for two in range(one):
                bend[one, two] = bend[two, one] = _bend(xyz[walks[one]], xyz[walks[two]])
        bright = np.log(self.brightness)
        thick = 2 * np.log(self.tree.radius) + bright
        return Arms(
            bend,
            np.array([np.median(thick[rows]) for rows in walks]),
            np.array([np.median(bright[rows]) for rows in walks]),
            np.array([frozenset(foot) in self.loops for foot in feet]),
            np.array(
                [
                    _unit(xyz[rows[-1]] - xyz[rows[0]]) @ _unit(xyz[first] - xyz[foot])
                    for rows, (foot, first) in zip(walks, feet)
                ]
            ),
        )

    def _sections(self) -> list[list[int]]:
        ends = {row for row, ways in enumerate(self.near) if len(ways) != 2} | set(self.soma)
        seen: set[tuple[int, int]] = set()
        found = []
        for end in sorted(ends):
            for first in self.near[end]:
                if (end, first) in seen:
                    continue
                rows = [end, first]
                while rows[-1] not in ends:
                    one, two = self.near[rows[-1]]
                    rows.append(two if one == rows[-2] else one)
                seen |= {(end, first), (rows[-1], rows[-2])}
                found.append(rows)
        return found

    def _meetings(self) -> list[Meeting]:
        """Branch points, those with the shortest sections between them taken together first."""
        group = {row: [row] for row, ways in enumerate(self.near) if len(ways) > 2 and row not in self.soma}
        inner: set[int] = set()
        for at in np.argsort(self.length, kind="stable").tolist():
            one, two = (group.get(self.row((at, end)), []) for end in (0, 1))
            if self.length[at] > SHARED_UM or not one or not two or one is two:
                continue
            if sum(len(self.near[row]) - 2 for row in one + two) + 2 <= MOST:
                inner.add(at)
                group |= dict.fromkeys(one + two, one + two)
        every = {nodes[0]: nodes for nodes in group.values()}
        return [
            Meeting(
                nodes, [at for at in sorted(inner) if self.row((at, 0)) in nodes], self.arms_of(nodes, inner)
            )
            for _, nodes in sorted(every.items())
        ]

    def _walk(self, foot: int, first: int) -> list[int]:
        """Rows from beside a branch point outward, straight on where there is a choice; two or more."""
        xyz = self.tree.xyz
        begin = NEAR_UM + min(float(self.tree.radius[foot]), 2.0)  # of a soma, no more than its rim
        rows, along = [foot, first], [0.0, float(np.linalg.norm(xyz[first] - xyz[foot]))]
        while along[-1] < FAR_UM:
            ways = [row for row in self.near[rows[-1]] if row not in rows]
            if not ways:
                break
            heading = xyz[rows[-1]] - xyz[rows[max(0, len(rows) - 4)]]
            turn = [heading @ _unit(xyz[row] - xyz[rows[-1]]) for row in ways]
            rows.append(ways[int(np.argmax(turn))])
            along.append(along[-1] + float(np.linalg.norm(xyz[rows[-1]] - xyz[rows[-2]])))
        kept = [row for row, place in zip(rows, along) if place >= begin]
        return kept if len(kept) > 1 else rows[-2:]


def opened_loops(tree: Tree, field: Field) -> list[tuple[int, int]]:
    """Pairs of a tip and a node that the skeleton, a tree, had to part; each tip once, the nearest first.

    A tip may lie beside the middle of a line: of a crossing whose loop was opened there one arm alone is cut.
    """
    degree, near, finder = graph.degree(tree), neighbours(tree), cKDTree(tree.xyz)
    part = np.linspace(0, 1, 13)[:, None]
    pairs = []
    for tip in np.flatnonzero(degree == 1).tolist():
        around = _within(tree, near, tip, AROUND_UM)
        behind = [row for row, um in around.items() if um < HEADING_UM]
        heading = _unit(tree.xyz[tip] - tree.xyz[behind].mean(0))
        for node in sorted(finder.query_ball_point(tree.xyz[tip], LOOP_UM)):
            gap = tree.xyz[node] - tree.xyz[tip]
            length = float(np.linalg.norm(gap))
            faces = length < TOUCHING or heading @ gap > FACING * length
            if node in around or tree.type[node] == swc.SOMA or not faces:
                continue
            if field.at(tree.xyz[tip] + part * gap).min() >= BETWEEN:
                pairs.append((length - TIP_UM * (degree[node] == 1), tip, node))
    chosen: list[tuple[int, int]] = []
    used: set[int] = set()
    for _, tip, node in sorted(pairs):
        if tip not in used and (degree[node] > 1 or node not in used):
            chosen.append((tip, node))
            used |= {tip, node}
    return chosen


def _within(tree: Tree, near: list[list[int]], row: int, reach_um: float) -> dict[int, float]:
    """The nodes within so many um along the tree, and how far they are."""
    away, todo = {row: 0.0}, [row]
    while todo:
        here = todo.pop()
        for other in near[here]:
            um = away[here] + float(np.linalg.norm(tree.xyz[other] - tree.xyz[here]))
            if other not in away and um < reach_um:
                away[other] = um
                todo.append(other)
    return away


def neighbours(tree: Tree) -> list[list[int]]:
    """For each node the rows of those it has an edge to."""
    near: list[list[int]] = [[] for _ in range(len(tree))]
    for child, parent in graph.edges(tree).tolist():
        near[child].append(parent)
        near[parent].append(child)
    return near


def _bend(one: np.ndarray, two: np.ndarray) -> float:
    """Degrees by which a neurite bends that comes by points (n, 3) and leaves by others, each from the middle out."""
    come, go = _unit(one[0] - one[-1]), _unit(two[-1] - two[0])
    chord = _unit(two.mean(0) - one.mean(0))
    return max(_degrees(come, go), _degrees(come, chord), _degrees(chord, go))


def _unit(vector: np.ndarray) -> np.ndarray:
    """The direction of a vector (3,); of none, none."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _degrees(one: np.ndarray, two: np.ndarray) -> float:
    """The angle between two unit vectors (3,)."""
    return float(np.degrees(np.arccos(np.clip(one @ two, -1, 1))))
