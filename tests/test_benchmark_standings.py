"""Leaderboard arithmetic: is first who is best, how surely, and does staying away cost?"""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pipeline.benchmark import standings
from pipeline.benchmark.standings import Metric

SCORE, DISTANCE = Metric("f1", "F1", True), Metric("esa", "ESA", False, "um")
NAN = np.nan


def test_ranks_by_hand():
    #                             ranks: 1 1 2 -> 4/3,  2 2 1 -> 5/3,  3 3 3 -> 3
    values = np.array([[0.9, 0.8, 0.5], [0.8, 0.7, 0.6], [0.1, 0.2, 0.3]])
    found = standings.rank(values, SCORE)
    assert_allclose(found.mean_rank, [4 / 3, 5 / 3, 3])
    assert_array_equal(found.rank, [1, 2, 3])
    assert_allclose(found.median, [0.8, 0.7, 0.2])
    assert_allclose(found.low, [0.65, 0.65, 0.15])
    assert_allclose(found.high, [0.85, 0.75, 0.25])


def test_a_smaller_distance_is_better():
    assert_array_equal(standings.rank(np.array([[3.0, 4], [1, 2]]), DISTANCE).rank, [2, 1])


def test_who_crashes_on_the_hard_neurons_does_not_win_by_absence():
    steady, picky = [0.6, 0.6, 0.6, 0.6], [0.99, NAN, NAN, NAN]
    found = standings.rank(np.array([steady, picky]), SCORE)
    assert_array_equal(found.rank, [1, 2])
    assert found.median[1] == 0
    distances = standings.rank(np.array([[5.0] * 4, [0.1, NAN, NAN, NAN]]), DISTANCE)
    assert_array_equal(distances.rank, [1, 2])
    assert distances.median[1] == np.inf
    assert distances.low[1] == np.inf  # between 0.1 and infinity


def test_a_neuron_without_a_value_for_anybody_does_not_count():
    values = np.array([[0.5, NAN], [0.4, NAN]])
    assert_array_equal(standings.rank(values, SCORE).median, [0.5, 0.4])
    assert standings.rank(np.full((2, 2), NAN), SCORE) is None


def test_a_tree_without_a_value_is_no_failure_and_ranks_as_one():
    values, done = np.array([[5.0, 6, NAN], [NAN, NAN, NAN]]), np.array([[True] * 3, [True, False, True]])
    assert_array_equal(standings.undefined_counts(values, done), [0, 1])  # nobody has a value on the third
    assert_array_equal(standings.rank(values, DISTANCE).rank, [1, 2])


def test_ties_share_their_rank():
    found = standings.rank(np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.1]]), SCORE)
    assert_array_equal(found.rank, [1, 1, 3])
    assert_allclose(found.mean_rank, [1.5, 1.5, 3])


def test_the_interval_is_a_point_when_every_neuron_agrees_and_wide_when_they_do_not():
    always = standings.rank(np.tile([[0.9], [0.8], [0.7]], 12), SCORE)
    assert_array_equal(always.rank_low, always.rank_high)
    half = np.where(np.arange(12) % 2, 0.9, 0.1)
    torn = standings.rank(np.stack([half, 1 - half]), SCORE)
    assert_array_equal(torn.rank_low, [1, 1])
    assert_array_equal(torn.rank_high, [2, 2])


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(1).random((9, 11))
    first, second = (standings.rank(values, SCORE, seed=3, draws=200) for _ in range(2))
    assert_array_equal(first.rank_high, second.rank_high)
    assert (first.rank_low <= first.rank).all()
    assert (first.rank <= first.rank_high).all()


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.9, 1])
def test_quantiles_are_numpys_where_all_is_finite(share):
    values = np.random.default_rng(0).random((5, 8))
    assert_allclose(standings.quantile(values, share), np.quantile(values, share, axis=1))


def test_the_best_leave_out_the_failed():
    assert standings.best(np.array([0.2, NAN, 0.9, 0.2]), SCORE, count=3) == [2, 0, 3]
    assert standings.best(np.array([0.2, NAN, 0.9]), DISTANCE, count=3) == [0, 2]
