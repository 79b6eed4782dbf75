"""What the arms of a crossing may be: which of them are one neurite, and how likely that is.

A way shares the arms of a meeting out among neurites. Of each neurite the parent arm is the one it comes by; it goes
straight on by one of the others, and branches are attached. A conditional logit (McFadden 1974) weighs all ways of
sharing them out: its coefficients were fitted by `python benchmarks/crossings.py` on what simulated pairs of neurons
did at their meetings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.tracing.crossing import Arm, Arms, Lines, Meeting

# In log odds. end: a neurite ends there. end_opened: so does one that was joined there by closing a loop. attach: a
# branch. double: a second branch at one meeting. bend, and what is more than 60 degrees of it, in 30 degrees; thick:
# logarithm of how unlike what goes on is, up: of how much thicker it is than the parent; bright: of how unlike.
# a_: of a branch, and bend80 what is more than 80 degrees. shared: what two neurites share, in 10 um.
FITTED = {
    "end": -5.23,
    "end_opened": 1.48,
    "attach": -0.11,
    "double": -0.27,
    "bend": -2.05,
    "bend60": 0.26,
    "up": -2.14,
    "thick": 1.24,
    "bright": -2.36,
    "a_bend": -0.46,
    "a_bend80": 0.03,
    "a_up": -0.16,
    "a_bright": -0.73,
    "shared": -1.39,
}
NAMES = tuple(FITTED)
# Only so many ways of a meeting are looked at, the likeliest.
MOST_WAYS = 8
# Cosine between an arm and the radius of the soma it starts from: of an arm that leaves, of one that passes; the log
# odds against one that passes being the soma's, and against one that leaves being another's. So many arms of a soma
# are asked whether they are another's.
LEAVING, PASSING, OWN, OTHER, LOOSE_ARMS = 0.8, 0.4, 2.8, 2.1, 5
# How much the terms of arms that pass a soma count: it hides how they lie. This, OWN, OTHER and OF_ARMS were learnt as
# `python benchmarks/odds.py` does it.
AT_SOMA = 0.7
# For a neurite of one, two, three or more arms at a meeting.
OF_ARMS = 0.4, 0.2, -0.05, -0.15


@dataclass(frozen=True, eq=False)
class Joined:
    """Arms of one neurite at a place. value: log odds by parent arm. soma: the row of the soma they leave, or -1."""

    place: int
    value: dict[Arm, float]
    soma: int = -1


Way = tuple[Joined, ...]


def of_meeting(lines: Lines, place: int, meeting: Meeting) -> list[Way]:
    """The likeliest ways of a meeting, the best first."""
    weights = np.array(list(FITTED.values()))
    found = []
    for blocks, features in table(lines, meeting):
        made = tuple(
            Joined(
                place,
                dict(zip((meeting.arms[at] for at in block), (rows @ weights + _of_arms(block)).tolist())),
            )
            for block, rows in zip(blocks, features)
        )
        found.append((-sum(float(np.logaddexp.reduce(list(each.value.values()))) for each in made), made))
    return _likeliest(found, MOST_WAYS)


def _of_arms(block: list[int]) -> float:
    return OF_ARMS[min(len(block), len(OF_ARMS)) - 1]


def table(lines: Lines, meeting: Meeting) -> Iterator[tuple[list[list[int]], list[np.ndarray]]]:
    """Each way of a meeting as lists of its arms' numbers, and for each list the features (arms, NAMES) by parent."""
    arms = lines.arms(meeting.arms)
    shared_um = sum(lines.length[at] for at in meeting.inner)
    for blocks in partitions(list(range(len(meeting.arms)))):
        several = sum(len(block) > 1 for block in blocks) > 1
        features = [np.array([_features(block, parent, arms) for parent in block]) for block in blocks]
        for block, rows in zip(blocks, features):
            rows[:, NAMES.index("shared")] = shared_um / 10 if several and len(block) > 1 else 0.0
        yield blocks, features


def of_soma(lines: Lines, place: int, soma: int) -> list[Way]:
    """The likeliest ways of a soma's arms: all are its own, or some pass it in pairs, or one ends there."""
    known = lines.arms_of([soma], set())
    arms = lines.arms(known)
    leaves = np.clip((arms.radial - PASSING) / (LEAVING - PASSING), 0, 1)
    loose = sorted(range(len(known)), key=lambda at: (arms.radial[at], at))[:LOOSE_ARMS]
    weights = np.array(list(FITTED.values()))
    found = []
    for others in (each for count in range(LOOSE_ARMS) for each in combinations(loose, count)):
        for blocks in partitions(list(others)):
            if sum(len(block) == 1 for block in blocks) > 1 or any(len(block) > 2 for block in blocks):
                continue
            own = [at for at in range(len(known)) if at not in others]
            cost = -OWN * float((1 - leaves[own]).sum())
            made = [Joined(place, dict.fromkeys((known[at] for at in own), cost), soma)]
            for block in blocks:
                # The soma hides whether a neurite grows thicker beside it.
                value = AT_SOMA * float(_features(block, block[0], arms, flow=False) @ weights)
                value -= OTHER * float(leaves[block].sum())
                made.append(Joined(place, dict.fromkeys((known[at] for at in block), value)))
                cost += value
            found.append((-cost, tuple(made)))
    return _likeliest(found, 2 * MOST_WAYS)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to share items out among any number of groups."""
    if not items:
        yield []
        return
    first, *others = items
    for groups in partitions(others):
        yield [[first], *groups]
        for at in range(len(groups)):
            yield [*groups[:at], [first, *groups[at]], *groups[at + 1 :]]


def _likeliest(found: list[tuple[float, Way]], most: int) -> list[Way]:
    return [way for _, way in sorted(found, key=lambda each: each[0])[:most]]


def _features(block: list[int], parent: int, arms: Arms, *, flow: bool = True) -> np.ndarray:
    """(NAMES,) of some arms as one neurite that comes by the parent and goes on by the straightest of the others."""
    one = dict.fromkeys(NAMES, 0.0)
    if len(block) == 1:
        one |= {"end": 1.0, "end_opened": float(arms.opened[parent])}
        return np.array(list(one.values()))
    ahead, *branches = sorted(
        (at for at in block if at != parent), key=lambda at: (arms.bend[parent, at], at)
    )
    bend = arms.bend[parent] / 30
    thicker = arms.thick - arms.thick[parent]
    unlike = np.abs(arms.bright - arms.bright[parent])
    one |= {
        "attach": float(len(branches)),
        "double": float(max(0, len(branches) - 1)),
        "bend": bend[ahead],
        "bend60": max(0.0, bend[ahead] - 2),
        "up": max(0.0, thicker[ahead]) if flow else 0.0,
        "thick": abs(thicker[ahead]),
        "bright": unlike[ahead],
        "a_bend": bend[branches].sum(),
        "a_bend80": np.maximum(bend[branches] - 80 / 30, 0).sum(),
        "a_up": np.maximum(thicker[branches], 0).sum(),
        "a_bright": unlike[branches].sum(),
    }
    return np.array(list(one.values()))
