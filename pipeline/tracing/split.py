"""One tree to several neurons: where two cross or touch, each goes on as a neurite does.

An image in which neurites touch gives one piece of foreground and one tree. Loops that the skeleton had to open are
closed; where lines meet, their arms are shared out among neurites in one of some ways (see `ways`). A choice of a way
at each meeting gives neurons. Each is judged as a whole: it has one soma at most, grows from it or from the border of
the image, from there on its ways must fit, thick to thin, and its sections are stained alike. The best choice is sought
by changing one meeting at a time, then two neighbours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph, skeleton, ways
from pipeline.tracing.crossing import Arm, Lines
from pipeline.tracing.field import Field
from pipeline.tracing.ways import Joined, Way

# In log odds, beside what the ways say: for each neuron of LONG_UM or more (less in proportion for a shorter one),
# against one that starts within the image without a soma (INNER_ALONE where nothing comes from the border or a soma),
# against a loop, two somata in one. Chosen, with those below, on seeds 0 and 2 of `benchmarks/simulated.py pairs`, and
# so that single neurons (OP_1, OP_4, OP_5) stay whole.
NEURON, LONG_UM, INNER, INNER_ALONE, LOOP, TWO_SOMATA = 4.0, 190.0, 8.0, 2.0, 9.0, 1000.0
# Standard deviations of the brightness (logarithm) of sections of one neuron, and of neurons of one image; how much
# that counts; a section of so many um tells it fully.
OF_SECTIONS, OF_NEURONS, STAINED, SECTION_UM = 0.28, 0.46, 0.5, 11.0
# Against a neuron that is too short: in the end there is none, but it must not drag others along while they are sought.
SHORT = 3.0, 50.0
# Of two neighbours so many ways each are tried together.
TOGETHER = 5


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
    brightness = np.ones(len(tree))
    if field.light is not None:
        brightness = np.maximum(field.light.at(swc.um_to_voxel(tree.xyz, field.voxel_size)), 1.0)
    lines = Lines(tree, brightness, field, soma)
    choice = _Choice(
        lines, skeleton.at_border(tree, field.shape, field.voxel_size), min_length_um=min_length_um
    )
    for short in SHORT:
        choice.improve(short)
    found = choice.neurons()
    if len(found) < 2:
        return whole
    parts = (_part(lines, sections, joined) for sections, joined in found)
    return [part for part in parts if part is not None]


class _Choice:
    """A way at each meeting and soma of some lines, and the neurons that come of it."""

    def __init__(self, lines: Lines, border: np.ndarray, *, min_length_um: float) -> None:
        self.lines, self.border, self.min_length_um = lines, border, min_length_um
        self.ways = [ways.of_meeting(lines, at, meeting) for at, meeting in enumerate(lines.meetings)]
        first = len(self.ways)
        self.ways += [ways.of_soma(lines, first + at, soma) for at, soma in enumerate(lines.soma)]
        self.residual, self.weight = _staining(lines)
        tips = [row for row, near in enumerate(lines.near) if len(near) == 1]
        self.starts = INNER if lines.soma or border[tips].any() else INNER_ALONE
        self.inner = {at for meeting in lines.meetings for at in meeting.inner}
        self.joined: dict[Arm, Joined] = {}
        self.short = 0.0
        self.known: dict[tuple[frozenset[int], frozenset[Joined]], float] = {}
        for way in self.ways:
            self._choose(way[0])

    def improve(self, short: float) -> None:
        """Change ways as long as that makes the neurons likelier. short: log odds against one that is too short."""
        self.short = short
        self.known.clear()
        places = [arm[0] for arm in self.joined if arm[1] == 0 and (arm[0], 1) in self.joined]
        beside = {tuple(sorted(self.joined[at, end].place for end in (0, 1))) for at in places}
        pairs = sorted(pair for pair in beside if pair[0] != pair[1])
        while sum(self._best((place,), None) for place in range(len(self.ways))) or sum(
            self._best(pair, TOGETHER) for pair in pairs
        ):
            pass

    def neurons(self) -> list[tuple[frozenset[int], frozenset[Joined]]]:
        """Sections and joined arms of each neuron."""
        left = [at for at in range(len(self.lines.sections)) if at not in self.inner]
        return list(self._of_sections(left))

    def _best(self, places: tuple[int, ...], most: int | None) -> bool:
        """Whether other ways at some places were better; the best are chosen."""
        sections = sorted({arm[0] for place in places for each in self.ways[place][0] for arm in each.value})
        before = tuple(self._chosen(place) for place in places)
        best, value = before, self._value(sections) + 1e-9
        for tried in product(*(self.ways[place][:most] for place in places)):
            for way in tried:
                self._choose(way)
            now = self._value(sections)
            if now > value:
                best, value = tried, now
        for way in best:
            self._choose(way)
        return best is not before

    def _choose(self, way: Way) -> None:
        for each in way:
            self.joined |= dict.fromkeys(each.value, each)

    def _chosen(self, place: int) -> Way:
        arms = [arm for each in self.ways[place][0] for arm in each.value]
        return tuple(dict.fromkeys(self.joined[arm] for arm in arms))

    def _value(self, sections: list[int]) -> float:
        return sum(self._judged(*neuron) for neuron in self._of_sections(sections))

    def _of_sections(self, sections: list[int]) -> Iterator[tuple[frozenset[int], frozenset[Joined]]]:
        """The neurons that some sections are of."""
        seen: set[int] = set()
        for start in sections:
            if start in seen:
                continue
            mine, joined, todo = {start}, set(), [start]
            while todo:
                here = todo.pop()
                for each in (self.joined.get((here, end)) for end in (0, 1)):
                    if each is not None and each not in joined:
                        joined.add(each)
                        new = {arm[0] for arm in each.value} - mine
                        mine |= new
                        todo += new
            seen |= mine
            yield frozenset(mine), frozenset(joined)

    def _judged(self, sections: frozenset[int], joined: frozenset[Joined]) -> float:
        """Log odds of a neuron: from its soma, else from the end where it is likeliest to start."""
        key = sections, joined
        if key not in self.known:
            somata = [each for each in joined if each.soma >= 0]
            length = sum(self.lines.length[at] for at in sections)
            value = NEURON * min(1.0, length / LONG_UM) - TWO_SOMATA * max(0, len(somata) - 1)
            mine = sorted(sections)
            value += STAINED * alike(self.residual[mine], self.weight[mine])
            if length < self.min_length_um and not somata:
                value -= self.short
            if somata:
                first = min(somata, key=lambda each: each.soma)
                value += next(iter(first.value.values())) + self._grown(list(first.value), {first})
            else:
                value += max(self._from(arm) for arm in self._starts(sections))
            self.known[key] = value
        return self.known[key]

    def _starts(self, sections: frozenset[int]) -> list[Arm]:
        """The ends of a neuron; one end of any section where it is a ring."""
        every = [(at, end) for at in sorted(sections) for end in (0, 1)]
        ends = [arm for arm in every if arm not in self.joined or len(self.joined[arm].value) == 1]
        return ends or every[:1]

    def _from(self, arm: Arm) -> float:
        """Log odds of a neuron that starts at one of its ends."""
        at_border = arm not in self.joined and self.border[self.lines.row(arm)]
        value = 0.0 if at_border else -self.starts
        if arm not in self.joined:
            return value + self._grown([arm], set())
        return value + self.joined[arm].value[arm] + self._grown([arm], {self.joined[arm]})

    def _grown(self, arms: list[Arm], done: set[Joined]) -> float:
        """Log odds of the ways by which a neuron goes on from some arms outward. done: where it came from."""
        value, seen, todo = 0.0, set(), list(arms)
        while todo:
            at, end = todo.pop()
            if at in seen:
                value -= LOOP / 2
                continue
            seen.add(at)
            far = at, 1 - end
            each = self.joined.get(far)
            if each is None:
                continue
            if each in done:
                value -= LOOP
                continue
            done.add(each)
            value += each.value[far]
            todo += [arm for arm in each.value if arm != far]
        return value


def alike(residual: np.ndarray, weight: np.ndarray) -> float:
    """Log odds of sections being stained as one neuron is, all about a brightness of its own.

    residual, weight: (n,) as `_staining` gives them. The marginal likelihood of normal deviates with a normal mean,
    without what is the same however sections are shared out.
    """
    known = float(weight.sum()) * (OF_NEURONS / OF_SECTIONS) ** 2
    pull = float((weight * residual).sum()) * OF_NEURONS / OF_SECTIONS**2
    return 0.5 * (pull**2 / (1 + known) - math.log1p(known))


def _staining(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """(n,) how bright each section is for its thickness, a logarithm, and how much that says: 1 from SECTION_UM on."""
    if np.ptp(lines.brightness) == 0:  # it is not known
        return np.zeros(len(lines.sections)), np.zeros(len(lines.sections))
    bright, thick = np.log(lines.brightness), np.log(lines.tree.radius)
    inner = np.array([np.median(bright[rows[1:-1] or rows]) for rows in lines.sections])
    thick = np.array([np.median(thick[rows[1:-1] or rows]) for rows in lines.sections])
    weight = np.minimum(np.array(lines.length) / SECTION_UM, 1)
    known = np.sqrt(weight)[:, None] * np.stack([np.ones(len(thick)), thick], 1)
    line = np.linalg.lstsq(known, np.sqrt(weight) * inner, rcond=None)[0]
    return inner - line[0] - line[1] * thick, weight


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
