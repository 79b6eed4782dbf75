"""Learn how much what says whose a neurite is counts, from where it stands.

python benchmarks/odds.py [RESULTS/SAMPLE ...] [--drawn 600] [--seen 90] [--steps 100]

Prints constants of `ways` and `choice`; FITTED is fitted by crossings.py, here it counts as a whole. Learnt from
simulated views, every fifth of one neuron: DRAWN of them with a probability that is drawn from the truth, SEEN with the
network's, which takes fifteen times as long; and from RESULTS/SAMPLE, what runs of the workflow made of images of one
neuron, which must stay whole. Neurons are drawn as likely as they are, and the constants go where their expected F1
rises, a step at a time (minimum risk training: Shen et al. 2016, https://aclanthology.org/P16-1159): the slope is the
covariance of F1 and what is weighed.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cyclopts
import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from simulated import TOLERANCE_UM, WEIGHTS, Seen, quiet, seen, within

from pipeline import config, rasterise, swc, volume
from pipeline.intensity.points import Light
from pipeline.simulation.views import PAIR_UM, PAIR_ZYX, two_neurons
from pipeline.stages import ingest
from pipeline.swc import SOMA, Tree
from pipeline.tracing import choice, neuron, risk, segment, split, ways
from pipeline.tracing.choice import SHORT, Choice
from pipeline.tracing.field import Field
from pipeline.tracing.ways import Joined

SETTINGS = config.Trace(neurons="all")
# A drawn probability is half at so many um outside of the neurite, falls by a factor of e in SOFT um, and wavers.
HALF_UM, SOFT_UM, WAVER_UM = (0.22, 0.38), 0.1, 0.07
# A tree counts that has this share of the cable in view; an image of one neuron as much as so many views.
SHARE, ALONE = 0.25, 5.0
# Views a step, rounds of drawing that are kept and that are not, a step of the constants.
VIEWS, ROUNDS, FIRST, RATE = 72, 20, 4, 0.02
# How much all log odds count, and what is added: see `printed`.
NAMES = ("all", "each", "neuron", "stained", "at_soma", "arms_1", "arms_2", "arms_3", "arms_more")
# All ways of a meeting are kept, of which the likeliest by the odds of a step are looked at.
MOST_WAYS, ways.MOST_WAYS = ways.MOST_WAYS, 100


class Drawn(NamedTuple):
    """The expected F1 of a tree's neurons, and its slope along the constants (NAMES,)."""

    f1: float
    slope: np.ndarray


class Case(Choice):
    """A traced tree whose truth is known: its neurons by odds that change.

    truth: (sections, neurons) um of each section that are of each neuron. total: (neurons,) um of each. counts: how
    much it counts.
    """

    def __init__(self, tree: Tree, field: Field, wanted: list[Tree], *, counts: float = 1.0) -> None:
        lines, border = split.lines_of(tree, field, np.flatnonzero(tree.type == SOMA))
        super().__init__(lines, border, min_length_um=SETTINGS.min_length_um)
        self.every, self.counts = self.ways, counts
        self.truth = np.array([_whose(tree.xyz[rows], wanted) for rows in lines.sections])
        self.total = np.array([swc.cable_length(each) for each in wanted])
        self.weighed = {each: self._weighed(each) for some in self.every for way in some for each in way}

    def _weighed(self, each: Joined) -> np.ndarray:
        """(NAMES,) of joined arms."""
        terms = np.zeros(len(NAMES))
        if each.place >= len(self.lines.meetings):
            terms[NAMES.index("at_soma")] = max(each.value.values(), default=0.0)
        else:
            terms[NAMES.index("arms_1") + min(len(each.value), 4) - 1] = 1.0
        return terms

    def weigh(self, weights: np.ndarray) -> None:
        """Choose by other constants (NAMES,)."""
        self.weights = weights
        self.own = {each: float(terms @ weights) for each, terms in self.weighed.items()}
        self.ways = []
        for place, some in enumerate(self.every):
            value = [sum(self.own[each] + weights[0] * _mean(each) for each in way) for way in some]
            most = MOST_WAYS * (1 if place < len(self.lines.meetings) else 2)
            self.ways.append([some[at] for at in np.argsort(-np.array(value), kind="stable")[:most]])
        self.joined.clear()
        self.choose(tuple(some[0] for some in self.ways))

    def _judged(self, sections: frozenset[int], joined: frozenset[Joined]) -> float:
        short, self.short = self.short, min(self.short, SHORT[0])
        terms = self._of_neuron(sections, joined)
        self.short = short
        dragged = self._is_short(sections, joined) and short > SHORT[0]
        return float(terms @ self.weights) + sum(self.own[each] for each in joined) - dragged * short

    def _of_neuron(self, sections: frozenset[int], joined: frozenset[Joined]) -> np.ndarray:
        """(NAMES,) of a neuron, without its joined arms."""
        mine = sorted(sections)
        terms = np.zeros(len(NAMES))
        terms[:4] = (
            super()._judged(sections, joined),
            1.0,
            min(1.0, sum(self.lines.length[at] for at in mine) / choice.LONG_UM),
            choice.alike(self.residual[mine], self.weight[mine]),
        )
        return terms

    def _is_short(self, sections: frozenset[int], joined: frozenset[Joined]) -> bool:
        um = sum(self.lines.length[at] for at in sections)
        return um < self.min_length_um and all(each.soma < 0 for each in joined)

    def drawn(self, weights: np.ndarray, *, seed: int) -> Drawn:
        """Draw neurons by some constants: their F1, and its covariance with what is weighed."""
        self.weigh(weights)
        for short in SHORT:
            self.improve(short)
        rng, scores, made = np.random.default_rng(seed), [], []
        for number in range(FIRST + ROUNDS):
            self.draw(rng)
            if number >= FIRST:
                scores.append(f1(risk.shares(self), self))
                made.append(self._terms())
        score = np.array(scores)
        return Drawn(score.mean(), self.counts * (score - score.mean()) @ np.array(made) / ROUNDS)

    def _terms(self) -> np.ndarray:
        found = self.neurons()
        of_joined = (self.weighed[each] for _, joined in found for each in joined)
        return sum(of_joined, sum(self._of_neuron(*each) for each in found))


# Trees that are learnt from; processes that are forked have them, too.
KNOWN: list[Case] = []


def main(*alone: Path, drawn: int = 600, seen: int = 90, steps: int = 100, seed: int = 100) -> None:
    """Learn and print."""
    KNOWN[:] = [of_result(result) for result in alone]
    for number in range(drawn + seen):
        KNOWN.extend(of_view(number, seed=seed, drawn=number < drawn))
    print(f"{len(KNOWN)} trees", flush=True)
    printed(learnt(steps=steps, alone=len(alone)))


def of_view(number: int, *, seed: int, drawn: bool) -> list[Case]:
    """The trees of a simulated view, every fifth of one neuron."""
    rng = np.random.default_rng([seed, number, 77])
    image, trees = two_neurons(rng, shown=1 if number % 5 == 4 else 2)
    view = quiet(
        drawn_view if drawn else seen, *((image, trees, rng) if drawn else (image, PAIR_UM, WEIGHTS))
    )
    wanted = [within(tree, image.shape, PAIR_UM) for tree in trees]
    enough = SHARE * sum(map(swc.cable_length, wanted))
    made = (each.tree for each in neuron.pieces(view.labels, view.field, SETTINGS))
    return [Case(tree, view.field, wanted) for tree in made if swc.cable_length(tree) >= enough]


def lit(image: np.ndarray) -> Light:
    """The light of an image, as ingest measures it."""
    with tempfile.TemporaryDirectory() as folder:
        tiff, made = Path(folder) / "view.tif", Path(folder) / "image.zarr"
        tifffile.imwrite(tiff, image, photometric="minisblack")
        ingest.run(tiff, made, voxel_size=",".join(map(repr, PAIR_UM)))
        return volume.read_light(made, shape=image.shape)


def drawn_view(image: np.ndarray, trees: list[Tree], rng: np.random.Generator) -> Seen:
    """A view with a probability that is drawn from the truth."""
    light = lit(image)
    away = np.min([_outside(tree) for tree in trees], axis=0)
    waver = gaussian_filter(rng.normal(size=away.shape), (1, 2, 2))
    away += WAVER_UM * waver / waver.std()
    probability = (255 / (1 + np.exp((away - rng.uniform(*HALF_UM)) / SOFT_UM))).astype(np.uint8)
    return Seen(
        segment.components(probability, PAIR_UM, config.Segment(), light=light),
        Field(probability, PAIR_UM, light),
    )


def _outside(tree: Tree) -> np.ndarray:
    """um from the surface of a neuron; its soma is a ball, from whose rim the arms start."""
    soma = tree.type == SOMA
    arms = swc.take(tree, np.flatnonzero(~soma))
    parts = [arms, *(swc.take(tree, [row]) for row in np.flatnonzero(soma))]
    return np.min([rasterise.tube_distance(each, PAIR_ZYX, PAIR_UM, reach_um=2.0) for each in parts], axis=0)


def of_result(result: Path) -> Case:
    """The longest tree of what a run made of a sample, one neuron."""
    names = ("image.zarr", "prediction.zarr", "labels.zarr")
    image, prediction, labels = (volume.open_volume(result / name) for name in names)
    light = volume.read_light(result / "image.zarr", shape=image.shape)
    field = Field(prediction.channel("neurite"), image.voxel_size, light)
    longest = max(
        (each.tree for each in neuron.pieces(labels.array[:], field, SETTINGS)), key=swc.cable_length
    )
    return Case(longest, field, [longest], counts=ALONE)


def _whose(xyz: np.ndarray, wanted: list[Tree]) -> np.ndarray:
    """(neurons,) um of a line that are of each neuron: of the nearest, within TOLERANCE_UM."""
    middle, um = (xyz[1:] + xyz[:-1]) / 2, np.linalg.norm(np.diff(xyz, axis=0), axis=1)
    away = [
        cKDTree(rasterise.balls(each, step_um=0.5)[0]).query(middle)[0] if len(each) else np.inf * um
        for each in wanted
    ]
    return ((away == np.min(away, axis=0)) & (np.array(away) < TOLERANCE_UM)) @ um


def _mean(each: Joined) -> float:
    return float(np.logaddexp.reduce(list(each.value.values())))


def f1(found: np.ndarray, case: Case) -> float:
    """Of each true neuron with the one that is its own, the mean. found: bool (neurons, sections)."""
    length = found @ np.array(case.lines.length)
    scores = 2 * found @ case.truth / (length[:, None] + case.total)
    return float(scores[linear_sum_assignment(-scores)].sum() / len(case.total))


def learnt(*, steps: int, alone: int) -> np.ndarray:
    """(NAMES,) the constants: the mean over the last quarter of the steps, each by Adam (Kingma and Ba 2015)."""
    weights = np.eye(len(NAMES))[0]
    mean, square, passed = np.zeros(len(NAMES)), np.zeros(len(NAMES)), []
    rng = np.random.default_rng(0)
    with ProcessPoolExecutor(mp_context=get_context("fork")) as pool:
        for step in range(1, steps + 1):
            picked = [*range(alone), *(alone + rng.permutation(len(KNOWN) - alone)[:VIEWS])]
            found = list(pool.map(partial(_drawn, weights=weights, seed=step), picked))
            print(f"step {step}: expected F1 {np.mean([each.f1 for each in found]):.4f}", flush=True)
            slope = sum(each.slope for each in found) / VIEWS
            mean, square = 0.85 * mean + 0.15 * slope, 0.97 * square + 0.03 * slope**2
            scale = np.sqrt(square / (1 - 0.97**step)) + 1e-8
            weights = weights + RATE * mean / (1 - 0.85**step) / scale
            passed.append(weights)
    return np.mean(passed[-max(1, steps // 4) :], axis=0)


def _drawn(at: int, *, weights: np.ndarray, seed: int) -> Drawn:
    return KNOWN[at].drawn(weights, seed=seed)


def printed(weights: np.ndarray) -> None:
    """The constants, in the unit of FITTED."""
    now = dict(zip(NAMES, (weights / weights[0]).tolist()))
    print("TEMPER", f"{choice.TEMPER / weights[0]:.2f}")
    for name in ("each", "neuron", "stained"):
        print(name.upper(), f"{getattr(choice, name.upper()) + now[name]:.2f}")
    for name in ("AT_SOMA", "OWN", "OTHER"):
        print(name, f"{getattr(ways, name) * (1 + now['at_soma']):.2f}")
    print("OF_ARMS", np.round(np.array(ways.OF_ARMS) + list(now.values())[5:], 2))


if __name__ == "__main__":
    cyclopts.run(main)
