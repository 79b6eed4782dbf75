"""Which branches of a tree are one neuron?"""

from itertools import product

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from pipeline import config, rasterise
from pipeline.simulation.views import PAIR_ZYX, touching_places, two_neurons
from pipeline.swc import SOMA, Tree, cable_length
from pipeline.tracing import choice, crossing, graph, neuron, risk, split, ways
from pipeline.tracing.choice import Choice
from pipeline.tracing.field import Field

VOXEL = (1.0, 0.4, 0.4)
SHAPE = (24, 100, 150)


def line(start, end, step=0.5):
    start, end = np.array(start, float), np.array(end, float)
    count = int(np.linalg.norm(end - start) / step)
    return np.linspace(start, end, count + 1)


def tree_of(*lines, radius=0.5, somata=()):
    """Lines as one tree: nodes at one place are one node. somata: rows of type 1."""
    xyz, index = np.unique(np.round(np.concatenate(lines), 3), axis=0, return_inverse=True)
    first = np.cumsum([0, *map(len, lines)])
    edges = [np.stack([index[a : b - 1], index[a + 1 : b]], 1) for a, b in zip(first, first[1:])]
    made = graph.rooted(xyz, np.full(len(xyz), radius), np.concatenate(edges), root=0)
    kind = np.zeros(len(xyz), np.int64)
    for place in somata:
        kind[np.linalg.norm(xyz - place, axis=1).argmin()] = SOMA
    return Tree(made.xyz, made.radius, made.parent, kind)


def dark() -> Field:
    return Field(np.zeros(SHAPE, np.uint8), VOXEL)


def parts(tree, field=None, min_length_um=5.0):
    soma = np.flatnonzero(tree.type == SOMA)
    found = split.neurons(tree, field or dark(), soma=soma, min_length_um=min_length_um)
    return sorted(found, key=lambda each: -cable_length(each.tree))


MIDDLE = (30, 20, 10)


def test_two_straight_lines_that_cross_are_two_neurons():
    tree = tree_of(
        line((10, 20, 10), MIDDLE),
        line(MIDDLE, (55, 20, 10)),
        line((30, 5, 10), MIDDLE),
        line(MIDDLE, (30, 35, 10)),
    )
    one, two = parts(tree)
    assert (cable_length(one.tree), cable_length(two.tree)) == (45, 30)
    assert (one.tree.xyz[:, 1] == 20).all() and (two.tree.xyz[:, 0] == 30).all()


def test_what_two_neurites_share_is_in_both():
    """They run along each other for 3 um."""
    ends = (28.5, 20, 10), (31.5, 20, 10)
    tree = tree_of(
        line((10, 26, 10), ends[0]),
        line((10, 14, 10), ends[0]),
        line(*ends),
        line(ends[1], (50, 14, 10)),
        line(ends[1], (50, 26, 10)),
    )
    one, two = parts(tree)
    for part in (one, two):
        assert np.linalg.norm(part.tree.xyz - (30, 20, 10), axis=1).min() < 0.3
        assert graph.pieces(part.tree).max() == 0


def test_a_neuron_that_branches_is_one():
    tree = tree_of(line((5, 20, 10), MIDDLE), line(MIDDLE, (50, 32, 10)), line(MIDDLE, (50, 8, 10)))
    assert len(parts(tree)) == 1


def test_two_somata_are_two_neurons_and_the_cut_is_where_an_arm_is_attached_worst():
    """A fork of one touches the straight neurite of the other."""
    somata = (5, 20, 10), (30, 34, 10)
    tree = tree_of(
        line(somata[0], MIDDLE),
        line(MIDDLE, (55, 20, 10)),
        line(MIDDLE, (30, 34, 10)),
        line((30, 34, 10), (30, 39, 10)),
        somata=somata,
    )
    one, two = parts(tree)
    assert cable_length(one.tree) == pytest.approx(50, abs=0.6)
    assert (one.tree.type == SOMA).sum() == (two.tree.type == SOMA).sum() == 1


def test_a_short_piece_stays_with_what_it_touches():
    tree = tree_of(
        line((10, 20, 10), MIDDLE),
        line(MIDDLE, (55, 20, 10)),
        line((30, 18, 10), MIDDLE),
        line(MIDDLE, (30, 22, 10)),
    )
    assert len(parts(tree, min_length_um=5.0)) == 1


def test_a_loop_that_was_opened_is_closed_where_foreground_lies_between():
    ring = [
        line((10, 10, 10), (40, 10, 10)),
        line((10, 10, 10), (10, 22, 10)),
        line((40, 10, 10), (40, 22, 10)),
    ]
    tree = tree_of(*ring, line((10, 22, 10), (23.5, 22, 10)), line((40, 22, 10), (26.5, 22, 10)))
    bright = Field(np.full(SHAPE, 255, np.uint8), VOXEL)
    (loop,) = crossing.opened_loops(tree, bright)
    assert {tuple(tree.xyz[row]) for row in loop} == {(23.5, 22, 10), (26.5, 22, 10)}
    assert crossing.opened_loops(tree, dark()) == []


def test_sections_are_stained_alike_as_normal_deviates_about_a_common_mean_are():
    """The log odds of two sharings out differ as the densities of their covariances do."""
    rng = np.random.default_rng(0)
    residual, weight = rng.normal(0, 0.4, 6), rng.uniform(0.2, 1, 6)

    def density(rows):
        spread = np.diag(choice.OF_SECTIONS**2 / weight[rows]) + choice.OF_NEURONS**2
        return multivariate_normal(cov=spread).logpdf(residual[rows])

    def odds(rows):
        return choice.alike(residual[rows], weight[rows])

    for one, two in (([0, 1, 2], [3, 4, 5]), ([0], [1, 2, 3, 4, 5])):
        together = one + two
        expected = density(together) - density(one) - density(two)
        assert odds(together) - odds(one) - odds(two) == pytest.approx(expected)


def cross(*, bend: float) -> Choice:
    """Of two lines that cross, one bends there, the other one branches; some grow thinner."""
    tree = tree_of(
        line((10, 20, 10), MIDDLE),
        line(MIDDLE, (55, 20 + bend, 10)),
        line((30, 5, 10), MIDDLE),
        line(MIDDLE, (30, 38, 10)),
        line((30, 30, 10), (42, 33, 10)),
    )
    tree = Tree(tree.xyz, 0.4 + 0.01 * tree.xyz[:, 0], tree.parent, tree.type)
    lines = crossing.Lines(tree, np.ones(len(tree)), dark(), np.flatnonzero(tree.type == SOMA))
    return Choice(lines, tree.xyz[:, 0] > 50, min_length_um=5.0)


def every(made: Choice) -> list[tuple[tuple[ways.Way, ...], float]]:
    """All choices and their log odds."""
    found = []
    for chosen in product(*made.ways):
        made.choose(chosen)
        found.append((chosen, sum(made._judged(*each) for each in made.neurons())))
    return found


def test_choices_are_drawn_as_often_as_they_are_likely(monkeypatch):
    monkeypatch.setattr(choice, "TEMPER", 4.0)
    made = cross(bend=12)
    likely = every(made)
    odds = np.array([value for _, value in likely]) / choice.TEMPER
    odds = np.exp(odds - odds.max())
    number = {tuple(map(frozenset, chosen)): at for at, (chosen, _) in enumerate(likely)}
    rng, count, rounds = np.random.default_rng(0), np.zeros(len(likely)), 4000
    for _ in range(rounds):
        made.draw(rng)
        count[number[tuple(map(frozenset, made.chosen()))]] += 1
    assert len(likely) > 20 and (odds / odds.sum()).max() < 0.9
    np.testing.assert_allclose(count / rounds, odds / odds.sum(), atol=0.04)


def test_the_odds_of_all_starts_are_found_by_one_walk_from_any():
    made = cross(bend=25)
    for chosen in list(product(*made.ways))[::7]:
        made.choose(chosen)
        for sections, joined in made.neurons():
            each = {arm: made._from(arm) for arm in made._starts(sections)}
            assert made._by_start(sections, joined) == pytest.approx(each)


def ring() -> Choice:
    """A ring that the tree had to open, a soma on it, and a line across."""
    tree = tree_of(
        line((10, 10, 10), (40, 10, 10)),
        line((10, 10, 10), (10, 22, 10)),
        line((40, 10, 10), (40, 22, 10)),
        line((10, 22, 10), (23.5, 22, 10)),
        line((40, 22, 10), (26.5, 22, 10)),
        line((30, 2, 10), (30, 10, 10)),
        line((30, 10, 10), (33, 16, 10)),
        somata=[(10, 10, 10)],
    )
    bright = Field(np.full(SHAPE, 255, np.uint8), VOXEL)
    lines = crossing.Lines(tree, np.ones(len(tree)), bright, np.flatnonzero(tree.type == SOMA))
    assert lines.loops
    return Choice(lines, np.zeros(len(tree), bool), min_length_um=5.0)


@pytest.mark.parametrize("made", [cross(bend=25), ring()], ids=["cross", "ring"])
def test_the_odds_of_each_way_at_a_place_are_those_of_all_neurons_there(made):
    for chosen in list(product(*made.ways))[::5]:
        for place, some in enumerate(made.ways):
            made.choose(chosen)
            each = []
            for way in some:
                made.choose((way,))
                each.append(made._value(made._at(place)))
            made.choose(chosen)
            assert made._values(place) == pytest.approx(each)


def test_f1_of_a_neuron_is_that_of_the_one_that_is_its_own():
    length = np.array([3.0, 1.0, 4.0])
    whole, two = np.array([[1, 1, 1]], bool), np.array([[1, 1, 0], [0, 0, 1]], bool)
    assert risk.mean_f1(two, two[::-1], length) == 1
    assert risk.mean_f1(two, whole, length) == pytest.approx(2 * 4 / (4 + 8))
    assert risk.mean_f1(whole, two, length) == pytest.approx(2 * 4 / (4 + 8) / 2)


def test_what_loses_least_has_the_greatest_expected_f1_of_all_that_is_drawn():
    made = cross(bend=25)
    likely = every(made)
    odds = np.array([value for _, value in likely]) / choice.TEMPER
    odds = np.exp(odds - odds.max())
    length = np.array(made.lines.length)
    shares = []
    for chosen, _ in likely:
        made.choose(chosen)
        shares.append(risk.shares(made))
    often = np.argsort(-odds)[:60]
    score = [
        odds[often] @ [risk.mean_f1(shares[one], shares[true], length) for true in often] for one in often
    ]
    made.choose(risk.least(made))
    found = risk.shares(made)
    value = odds[often] @ [risk.mean_f1(found, shares[true], length) for true in often]
    assert value == pytest.approx(max(score), rel=0.02)


def test_all_neurons_of_an_image_in_which_two_cross_are_two_trees():
    xyz = np.array([[5.0, 20, 12], [55, 20, 12], [30, 4, 12], [30, 36, 12]])
    both = Tree(xyz, np.full(4, 0.8), np.array([-1, 0, -1, 2]), np.zeros(4, int))
    probability = np.where(rasterise.mask(both, SHAPE, VOXEL), 255, 0).astype(np.uint8)
    labels = (probability > 0).astype(np.uint32)
    field = Field(probability, VOXEL)
    assert len(neuron.trace(labels, field, config.Trace()).neurons) == 1
    made = neuron.trace(labels, field, config.Trace(neurons="all")).neurons
    assert [round(cable_length(each.tree) / 5) for each in made] == [10, 6]


def test_a_pair_of_which_one_has_no_node_in_the_middle_of_the_view_can_be_made():
    image, trees = two_neurons(np.random.default_rng([105, 3, 77]))
    assert image.shape == PAIR_ZYX and len(touching_places(*trees))


def test_of_a_pair_the_first_neuron_alone_can_be_shown():
    both, trees = two_neurons(np.random.default_rng(4))
    alone, (first,) = two_neurons(np.random.default_rng(4), shown=1)
    assert (first.xyz == trees[0].xyz).all()
    assert alone.mean() < both.mean()


def test_simulated_pairs_touch_and_a_seed_gives_the_same_again():
    image, trees = two_neurons(np.random.default_rng(4))
    assert image.shape == PAIR_ZYX and len(touching_places(*trees))
    np.testing.assert_array_equal(image, two_neurons(np.random.default_rng(4))[0])
