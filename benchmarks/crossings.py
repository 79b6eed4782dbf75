"""Fit how likely it is which arms of a crossing are one neurite: run again with new weights.

python benchmarks/crossings.py [--count 24] [--seeds 0,2]

Prints FITTED of pipeline/tracing/ways.py. Simulated pairs go through all stages; where lines meet in the trees that are
traced, the truth says which arms are one neurite: those of a neuron that are near along it. A way is as likely as the
product of its neurites, each of these the mean over the arms it may come by.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import cyclopts
import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree
from simulated import WEIGHTS, Seen, quiet, seen

from pipeline import config, swc
from pipeline.simulation.views import PAIR_UM, two_neurons
from pipeline.swc import Tree
from pipeline.tracing import graph, neuron, split, ways
from pipeline.tracing.crossing import Arm, Lines, Meeting

# An arm is looked at between so many um from where it starts; it is of a neuron whose line is nearer (um) than SURE
# and than the other one's by MORE.
FROM_UM, TO_UM, SURE, MORE = 1.5, 7.0, 1.2, 0.3
# Two arms are one neurite where the way along it is shorter than twice the distance and so many um.
DETOUR_UM = 12.0
# Ridge on the coefficients.
RIDGE = 0.05


def main(*, count: int = 24, seeds: str = "0,2", weights: Path = WEIGHTS) -> None:
    """Fit and print."""
    data = []
    for seed in map(int, seeds.split(",")):
        for number in range(count):
            image, trees = two_neurons(np.random.default_rng([seed, number, 77]))
            data += list(of_view(quiet(seen, image, PAIR_UM, weights), trees))
    print(f"{len(data)} meetings")
    for name, value in zip(ways.NAMES, fit(data)):
        print(f'    "{name}": {value:.2f},')


def of_view(view: Seen, trees: list[Tree]) -> Iterator[tuple[list[list[np.ndarray]], int]]:
    """Of each meeting whose truth is clear the features of its ways, and which one is right."""
    settings = config.Trace(neurons="all")
    for each in neuron.pieces(view.labels, view.field, settings):
        tree = each.tree
        lines, _ = split.lines_of(tree, view.field, np.flatnonzero(tree.type == swc.SOMA))
        for meeting in lines.meetings:
            right = truth(lines, meeting, trees)
            if right is not None:
                found = list(ways.table(lines, meeting))
                number = [sorted(map(sorted, groups)) for groups, _ in found].index(right)
                yield [features for _, features in found], number


def truth(lines: Lines, meeting: Meeting, trees: list[Tree]) -> list[list[int]] | None:
    """The arms' numbers, shared out as the neurons have it; None where that is not clear."""
    shared_um = sum(lines.length[at] for at in meeting.inner)
    spots = [_spot(lines, arm, trees) for arm in meeting.arms]
    group = list(range(len(spots)))
    for one, two in combinations(range(len(spots)), 2):
        here, there = spots[one], spots[two]
        if here is None or there is None:
            return None
        if here[0] != there[0]:
            continue
        along = _along(trees[here[0]], here[1])[there[1]]
        if along < 2 * np.linalg.norm(here[2] - there[2]) + DETOUR_UM + shared_um:
            group = [group[one] if each == group[two] else each for each in group]
    return sorted([at for at, mine in enumerate(group) if mine == each] for each in set(group))


def _spot(lines: Lines, arm: Arm, trees: list[Tree]) -> tuple[int, int, np.ndarray] | None:
    """The neuron that an arm is of, the row of its node nearest to the arm's end, and where that is."""
    rows = lines.sections[arm[0]][:: 1 - 2 * arm[1]]
    xyz = lines.tree.xyz[rows]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(xyz, axis=0), axis=1))])
    looked = (along >= FROM_UM) & (along <= TO_UM)
    xyz = xyz[looked] if looked.any() else xyz[-1:]
    away = [np.minimum(cKDTree(tree.xyz).query(xyz)[0], 3).mean() for tree in trees]
    mine = int(np.argmin(away))
    if away[mine] > SURE or abs(away[0] - away[1]) < MORE:
        return None
    return mine, int(cKDTree(trees[mine].xyz).query(xyz[-1])[1]), xyz[-1]


def _along(tree: Tree, row: int) -> np.ndarray:
    """(n,) um along a tree from one node to each."""
    child, parent = graph.edges(tree).T
    length = swc.edge_lengths(tree)[child]
    edges = coo_array((length, (child, parent)), shape=(len(tree), len(tree)))
    return dijkstra(edges.tocsr(), directed=False, indices=row)


def fit(data: list[tuple[list[list[np.ndarray]], int]]) -> np.ndarray:
    """The coefficients (NAMES,) that make the right ways likeliest."""
    features, neurite, way, meeting, right = [], [], [], [], []
    neurites = 0
    for at, (each, number) in enumerate(data):
        right.append(len(meeting) + number)
        for groups in each:
            for rows in groups:
                features.append(rows)
                neurite += [neurites] * len(rows)
                way.append(len(meeting))
                neurites += 1
            meeting.append(at)
    table, size = np.concatenate(features), np.bincount(neurite)

    def against(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = np.exp(table @ weights)
        total = np.bincount(neurite, odds)
        value = np.bincount(way, np.log(total / size))
        most = np.full(len(data), -np.inf)
        np.maximum.at(most, meeting, value)
        share = np.exp(value - most[meeting])
        every = np.bincount(meeting, share)
        share /= every[meeting]
        loss = -(value[right] - most - np.log(every)).sum()
        share[right] -= 1
        slope = (odds / total[neurite] * share[np.array(way)][neurite]) @ table
        return loss + RIDGE * weights @ weights, slope + 2 * RIDGE * weights

    return minimize(against, np.zeros(len(ways.NAMES)), jac=True, method="L-BFGS-B").x


if __name__ == "__main__":
    cyclopts.run(main)
