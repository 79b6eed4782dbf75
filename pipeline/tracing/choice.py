"""Which neurons a tree is of: a way at each of its meetings, and how likely the neurons are that come of them."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

from pipeline.tracing import ways
from pipeline.tracing.crossing import Arm, Lines
from pipeline.tracing.ways import Joined, Way

# In log odds, beside what the ways say: for each neuron, and for one of LONG_UM or more (less in proportion for a
# shorter one), against one that starts within the image without a soma (INNER_ALONE where nothing comes from the border
# or a soma), against a loop, two somata in one. EACH and NEURON were learnt as `python benchmarks/odds.py` does it, the
# others chosen on simulated pairs and so that single neurons (OP_1, OP_4, OP_5) stay whole: docs/tracing.md.
EACH, NEURON, LONG_UM, INNER, INNER_ALONE, LOOP, TWO_SOMATA = 0.2, 4.5, 190.0, 10.0, 2.0, 9.0, 1000.0
# Standard deviations of the brightness (logarithm) of sections of one neuron, and of neurons of one image; how much
# that counts; a section of so many um tells it fully.
OF_SECTIONS, OF_NEURONS, STAINED, SECTION_UM = 0.28, 0.46, 0.5, 11.0
# Against a neuron that is too short: in the end there is none, but it must not drag others along while they are sought.
SHORT = 3.0, 50.0
# Of two neighbours so many ways each are tried together.
TOGETHER = 5
# Choices are drawn by log odds divided by this; learnt, too.
TEMPER = 0.5
# Neurons whose log odds are kept in mind at once: those of a tree of a hundred sections take some 10 kB each.
KNOWN = 5000


# Sections and joined arms of a neuron, or of what hangs on an arm.
Cluster = tuple[frozenset[int], frozenset[Joined]]


class Choice:
    """A way at each meeting and soma of some lines, and the neurons that come of it."""

    def __init__(self, lines: Lines, border: np.ndarray, *, min_length_um: float) -> None:
        self.lines, self.border, self.min_length_um = lines, border, min_length_um
        self.ways = [ways.of_meeting(lines, at, meeting) for at, meeting in enumerate(lines.meetings)]
        first = len(self.ways)
        self.ways += [ways.of_soma(lines, first + at, soma) for at, soma in enumerate(lines.soma)]
        self.residual, self.weight = staining(lines)
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
        while sum(map(self._best, range(len(self.ways)))) or sum(self._best_two(*pair) for pair in pairs):
            pass

    def draw(self, rng: np.random.Generator) -> None:
        """Draw each way anew, as likely as it is while all others stay: Gibbs sampling (Geman and Geman 1984)."""
        for place, known in enumerate(self.ways):
            if len(known) > 1:
                values = np.array(self._values(place)) / TEMPER
                odds = np.exp(values - values.max())
                self._choose(known[rng.choice(len(known), p=odds / odds.sum())])

    def chosen(self) -> tuple[Way, ...]:
        """The way at each place."""
        return tuple(self._chosen(place) for place in range(len(self.ways)))

    def choose(self, chosen: tuple[Way, ...]) -> None:
        """Take one way at each place."""
        for way in chosen:
            self._choose(way)

    def neurons(self) -> list[Cluster]:
        """Sections and joined arms of each neuron."""
        left = [at for at in range(len(self.lines.sections)) if at not in self.inner]
        return list(self._of_sections(left))

    def _best(self, place: int) -> bool:
        """Whether another way at a place was better; the best is chosen."""
        before = self._chosen(place)
        value = self._value(self._at(place)) + 1e-9
        values = self._values(place)
        better = max(values) > value
        self._choose(self.ways[place][int(np.argmax(values))] if better else before)
        return better

    def _best_two(self, one: int, other: int) -> bool:
        """Whether other ways at two places were better; the best are chosen."""
        sections = self._at(one, other)
        before = self._chosen(one), self._chosen(other)
        best, value = before, self._value(sections) + 1e-9
        for tried in product(self.ways[one][:TOGETHER], self.ways[other][:TOGETHER]):
            self.choose(tried)
            now = self._value(sections)
            if now > value:
                best, value = tried, now
        self.choose(best)
        return best is not before

    def _values(self, place: int) -> list[float]:
        """Log odds of the neurons at a place by each of its ways; the last one stays chosen.

        What hangs on the arms does not change with the way, so that it is walked once.
        """
        sections = self._at(place)
        for arm in self._arms(place):
            del self.joined[arm]
        pieces = list(self._of_sections(sections))
        piece_of = {at: next(piece for piece in pieces if at in piece[0]) for at in sections}
        values = []
        for way in self.ways[place]:
            self._choose(way)
            values.append(sum(self._judged(*neuron) for neuron in united(way, piece_of)))
        return values

    def _at(self, *places: int) -> list[int]:
        """The sections with an arm at some places."""
        return sorted({at for place in places for at, _ in self._arms(place)})

    def _arms(self, place: int) -> list[Arm]:
        return [arm for each in self.ways[place][0] for arm in each.value]

    def _choose(self, way: Way) -> None:
        for each in way:
            self.joined |= dict.fromkeys(each.value, each)

    def _chosen(self, place: int) -> Way:
        return tuple(dict.fromkeys(self.joined[arm] for arm in self._arms(place)))

    def _value(self, sections: list[int]) -> float:
        return sum(self._judged(*neuron) for neuron in self._of_sections(sections))

    def _of_sections(self, sections: list[int]) -> Iterator[Cluster]:
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
            if len(self.known) >= KNOWN:
                self.known.clear()
            somata = [each for each in joined if each.soma >= 0]
            length = sum(self.lines.length[at] for at in sections)
            value = EACH + NEURON * min(1.0, length / LONG_UM) - TWO_SOMATA * max(0, len(somata) - 1)
            mine = sorted(sections)
            value += STAINED * alike(self.residual[mine], self.weight[mine])
            if length < self.min_length_um and not somata:
                value -= self.short
            if somata:
                first = min(somata, key=lambda each: each.soma)
                value += next(iter(first.value.values())) + self._grown(list(first.value), {first})
            else:
                value += max(self._by_start(sections, joined).values())
            self.known[key] = value
        return self.known[key]

    def _by_start(self, sections: frozenset[int], joined: frozenset[Joined]) -> dict[Arm, float]:
        """Log odds of a neuron without a soma by the end where it starts.

        From one start to the next section only what the place between them says differs, so that one walk tells of all;
        where lines run in a ring each start has a walk of its own.
        """
        starts = self._starts(sections)
        several = [each for each in joined if len(each.value) > 1]
        if sum(len(each.value) for each in several) > len(sections) + len(several) - 1:
            return {arm: self._from(arm) for arm in starts}
        first = starts[0]
        # Of a neuron that starts somewhere in a section, wherever that is.
        value, todo = {first[0]: self._from(first) + self._late(first)}, [first[0]]
        while todo:
            here = todo.pop()
            for arm in ((here, 0), (here, 1)):
                each = self.joined.get(arm)
                if each is None:
                    continue
                for other in each.value:
                    if other[0] not in value:
                        value[other[0]] = value[here] + each.value[other] - each.value[arm]
                        todo.append(other[0])
        return {arm: value[arm[0]] - self._late(arm) for arm in starts}

    def _starts(self, sections: frozenset[int]) -> list[Arm]:
        """The ends of a neuron; one end of any section where it is a ring."""
        every = [(at, end) for at in sorted(sections) for end in (0, 1)]
        ends = [arm for arm in every if arm not in self.joined or len(self.joined[arm].value) == 1]
        return ends or every[:1]

    def _from(self, arm: Arm) -> float:
        """Log odds of a neuron that starts at one of its ends."""
        done = {self.joined[arm]} if arm in self.joined else set()
        return sum(each.value[arm] for each in done) + self._grown([arm], done) - self._late(arm)

    def _late(self, arm: Arm) -> float:
        """Log odds against a neuron that starts there: none at the border of the image."""
        return 0.0 if arm not in self.joined and self.border[self.lines.row(arm)] else self.starts

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


def united(way: Way, piece_of: dict[int, Cluster]) -> list[Cluster]:
    """The neurons that a way makes of the pieces that hang on the arms of its place, by section."""
    groups: list[tuple[set[Cluster], set[Joined]]] = []
    for each in way:
        if not each.value:
            continue
        pieces, joined = {piece_of[at] for at, _ in each.value}, {each}
        for group in [group for group in groups if group[0] & pieces]:  # they hang together elsewhere, too
            groups.remove(group)
            pieces |= group[0]
            joined |= group[1]
        groups.append((pieces, joined))
    return [
        (
            frozenset().union(*(sections for sections, _ in pieces)),
            frozenset(joined).union(*(inner for _, inner in pieces)),
        )
        for pieces, joined in groups
    ]


def alike(residual: np.ndarray, weight: np.ndarray) -> float:
    """Log odds of sections being stained as one neuron is, all about a brightness of its own.

    residual, weight: (n,) as `_staining` gives them. The marginal likelihood of normal deviates with a normal mean,
    without what is the same however sections are shared out.
    """
    known = float(weight.sum()) * (OF_NEURONS / OF_SECTIONS) ** 2
    pull = float((weight * residual).sum()) * OF_NEURONS / OF_SECTIONS**2
    return 0.5 * (pull**2 / (1 + known) - math.log1p(known))


def staining(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
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
