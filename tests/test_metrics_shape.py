"""Orders, Sholl profiles, persistence and radii: by hand on small trees."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import line, tree_of
from pipeline.metrics import shape
from pipeline.metrics.compare import Measured, compare, profiles
from pipeline.metrics.distance import Edges
from pipeline.metrics.paths import rooted

STAR = tree_of([[0, 0, 0, -1], [50, 0, 0, 0], [-50, 0, 0, 0], [0, 50, 0, 0], [0, -50, 0, 0]])
Y = tree_of([[0, 0, 0, -1], [10, 0, 0, 0], [10, 5, 0, 1], [10, -20, 0, 1]])


def test_sums_and_roots_along_a_forest():
    parent = np.array([1, 2, -1, -1, 3])
    assert_array_equal(
        rooted.sums_to_root(parent, np.array([1, 10, 100, 1000, 5])), [111, 110, 100, 1000, 1005]
    )
    assert_array_equal(rooted.root_of(parent), [2, 2, 2, 3, 3])


def test_the_next_ancestor_of_a_kind_on_a_long_path():
    n = 1000
    kept = np.zeros(n, bool)
    kept[[0, 400, 700]] = True
    above = rooted.next_above(np.arange(n) - 1, kept)
    assert_array_equal(above[[0, 1, 400, 401, 700, 999]], [-1, 0, 0, 400, 400, 700])


@pytest.mark.parametrize(("tree", "order"), [(Y, 1), (STAR, 1), (line([0, 0, 0], [9, 0, 0], pieces=5), 0)])
def test_largest_branch_order(tree, order):
    assert rooted.max_order(tree) == order


def test_a_new_root_keeps_the_edges():
    turned = rooted.rerooted(Y, 3)
    assert_array_equal(turned.parent, [1, 3, 1, -1])


def test_four_arms_cross_each_sphere_four_times():
    crossings = shape.sholl_crossings(Edges(STAR), np.zeros(3), np.array([0.0, 1, 25, 49.9, 50, 60]))
    assert_array_equal(crossings, [4, 4, 4, 4, 0, 0])


def test_an_edge_that_passes_by_crosses_twice():
    edge = Edges(line([100, 0, 0], [0, 100, 0]))
    assert_array_equal(shape.sholl_crossings(edge, np.zeros(3), np.array([60.0, 80, 100])), [0, 2, 0])


def test_sholl_distance_by_hand():
    # Half of the arms missing: 2 of 4 crossings at each of 10, 20, 30, 40 (at 50 there is none).
    half = tree_of([[0, 0, 0, -1], [50, 0, 0, 0], [-50, 0, 0, 0]])
    found = shape.sholl(Edges(half), Edges(STAR), np.zeros(3), step_um=10)
    assert found == {"sholl": 0.5, "sholl_max": 2}


def test_bars_of_a_y_by_hand():
    assert_array_equal(shape.bars(Y), [[30, 0], [15, 10]])


def test_the_branch_with_the_farthest_tip_goes_on():
    # The first fork's longer own section leads to the nearer tips.
    tree = tree_of([[0, 0, 0, -1], [1, 0, 0, 0], [1, 9, 0, 1], [1, -5, 0, 1], [1, -5, 30, 3], [1, -9, 0, 3]])
    assert_array_equal(shape.bars(tree), [[36, 0], [10, 1], [10, 6]])


def test_each_arm_of_a_star_is_a_bar_to_0():
    assert_array_equal(shape.bars(STAR), [[50, 0]] * 4)


def test_persistence_begins_at_the_soma_wherever_the_root_is():
    reference = replace(Y, type=np.array([3, 1, 3, 3]))
    prediction = tree_of([[10, 0, 0, 1], [10, 5, 0, -1], [10, -20, 0, 0]])  # lacks the arm of 10 to the root
    assert compare(Measured(prediction), Measured(reference))["persistence"] == 5
    assert np.isnan(compare(Measured(prediction), Measured(Y))["persistence"])


def test_persistence_distance_by_hand():
    without_arm = tree_of([[0, 0, 0, -1], [10, 0, 0, 0], [10, -20, 0, 1]])
    assert shape.persistence(Y, Y)["persistence"] == 0
    assert shape.persistence(without_arm, Y)["persistence"] == 2.5  # the bar of length 5 goes to the diagonal
    shorter = tree_of([[0, 0, 0, -1], [10, 0, 0, 0], [10, 5, 0, 1], [10, -18, 0, 1]])
    assert shape.persistence(shorter, Y)["persistence"] == 2


def test_many_bars_are_compared_in_slices_and_say_so():
    arms = np.arange(1500)
    comb = tree_of([[0, 0, 0, -1], *[[i + 1, 0, 0, i] for i in arms], *[[i + 1, 5, 0, i + 1] for i in arms]])
    found = shape.persistence(comb, comb)
    assert found["persistence_sliced"] == 0
    assert np.isnan(found["persistence"])


def radii(prediction, reference, tolerance=1.5):
    one, two = Measured(prediction), Measured(reference)
    _, backward = profiles(one, two)
    return shape.radius_error(backward, two.tree, one.tree, tolerance=tolerance)


def test_radius_error_of_a_cone_against_a_cylinder():
    cone = replace(line([0, 1, 0], [100, 1, 0]), radius=np.array([0.5, 1.5]))
    found = radii(cone, line([0, 0, 0], [100, 0, 0], pieces=3))
    assert found["radius_bias"] == pytest.approx(0, abs=1e-9)
    assert found["radius_error"] == pytest.approx(0.25, rel=1e-3)
    assert found["radius_relative"] == pytest.approx(0.25, rel=1e-3)
    assert found["radius_left_out"] == 0


def test_unknown_radii_are_left_out_and_counted():
    unknown = replace(line([0, 0, 0], [100, 0, 0]), radius=np.zeros(2))
    found = radii(unknown, line([0, 0, 0], [100, 0, 0]))
    assert np.isnan(found["radius_bias"])
    assert found["radius_left_out"] >= 200  # 0.5 um apart


def test_radii_of_trees_that_lie_just_the_tolerance_apart_are_compared_whatever_the_rounding():
    rng = np.random.default_rng(0)
    for offset in rng.uniform(0, 50, (30, 3)):
        tree = line([0, 3, 0], [55, 3, 0], pieces=11)
        one = replace(tree, xyz=tree.xyz * 0.1 + offset)
        other = replace(one, xyz=one.xyz - [0, 0.3, 0], radius=one.radius * 2)
        found = compare(Measured(other), Measured(one), tolerance_um=0.3)
        assert found["recall"] == 1
        assert found["radius_bias"] == pytest.approx(1)


def test_nblast_of_a_tree_with_itself_is_1():
    pytest.importorskip("navis")
    from pipeline.metrics import nblast

    tree = line([0, 0, 0], [50, 20, 10], pieces=30)
    assert nblast.scores(tree, tree)["nblast"] == pytest.approx(1)
    assert np.isnan(nblast.scores(line([0, 0, 0], [2, 0, 0]), tree)["nblast"])
