"""Path topology: what is missing, what is there but cut, and what is joined that should not be?"""

import numpy as np
import pytest

from conftest import line, tree_of
from pipeline import swc
from pipeline.metrics.compare import Measured, compare
from pipeline.metrics.paths import rooted, topology

# A trunk of 100, then two arms of 100 each.
Y = tree_of([[0, 0, 0, -1], [100, 0, 0, 0], [100, 100, 0, 1], [100, -100, 0, 1]])


def paths(prediction, reference):
    found = compare(Measured(prediction), Measured(reference))
    return {name: found[name] for name in topology.SHARES + topology.COUNTS}


def test_a_y_is_cut_into_three_paths_wherever_its_root_is():
    middle = tree_of([[50, 0, 0, -1], [0, 0, 0, 0], [100, 0, 0, 0], [100, 100, 0, 2], [100, -100, 0, 2]])
    for tree in (Y, rooted.rerooted(Y, 1), rooted.rerooted(Y, 3), middle):
        found = topology.cut(tree)
        ends = {frozenset(map(tuple, found.tree.xyz[pair])) for pair in found.ends}
        assert len(found.ends) == 3
        assert len(ends) == 3
        assert set(found.label.tolist()) == {-1, 0, 1, 2}


def test_doubled_nodes_make_no_paths():
    tree = tree_of([[0, 0, 0, -1], [5, 0, 0, 0], [5, 0, 0, 1], [9, 3, 0, 1], [9, -3, 0, 2], [9, -3, 0, 4]])
    assert len(topology.cut(tree).ends) == 3


def test_a_tree_has_all_its_own_paths(shared):
    tree = swc.read(shared / "oracles" / "13_real_op1_gold_vs_auto" / "a.swc")
    found = paths(tree, rooted.rerooted(tree, len(tree) // 2))
    assert found["path_error"] == 0
    assert found["path_excess"] == found["path_wrong_link"] == 0
    assert found["paths"] == found["paths_reference"] > 50


def test_a_missing_arm_is_missing_and_what_it_leaves_is_one_path_in_the_prediction():
    found = paths(tree_of([[0, 0, 0, -1], [100, 0, 0, 0], [100, 100, 0, 1]]), Y)
    assert found["path_missing"] == pytest.approx(1 / 3)
    assert found["path_broken"] == 0
    assert (found["paths_missing"], found["paths_reference"], found["paths"]) == (1, 3, 1)
    assert found["path_excess"] == found["path_wrong_link"] == 0


@pytest.mark.parametrize(("gap", "missing", "broken"), [(1, 0, 1 / 3), (8, 0, 1 / 3), (20, 1 / 3, 0)])
def test_a_gap_breaks_a_path_and_a_wide_one_is_a_missing_one(gap, missing, broken):
    cut = tree_of(
        [
            [0, 0, 0, -1],
            [50, 0, 0, 0],
            [50 + gap, 0, 0, -1],
            [100, 0, 0, 2],
            [100, 100, 0, 3],
            [100, -100, 0, 3],
        ]
    )
    found = paths(cut, Y)
    assert found["path_missing"] == pytest.approx(missing)
    assert found["path_broken"] == pytest.approx(broken)


def test_two_neurons_joined_by_mistake_have_a_wrong_link():
    # Two parallel fibres 2.5 apart; the prediction crosses from one to the other half way.
    fibres = tree_of([[0, 0, 0, -1], [100, 0, 0, 0], [0, 2.5, 0, -1], [100, 2.5, 0, 2]])
    crossing = tree_of([[0, 0, 0, -1], [49, 0, 0, 0], [51, 2.5, 0, 1], [100, 2.5, 0, 2]])
    found = paths(crossing, fibres)
    assert found["path_excess"] == 0
    assert found["path_missing"] == 1  # half of each fibre


def test_a_detour_is_no_connection():
    # Both halves are there; the only way between them leaves the path by far.
    straight = line([0, 0, 0], [100, 0, 0])
    detour = tree_of(
        [[0, 0, 0, -1], [49, 0, 0, 0], [49, 40, 0, 1], [51, 40, 0, 2], [51, 0, 0, 3], [100, 0, 0, 4]]
    )
    assert paths(detour, straight)["path_broken"] == 1


def test_long_single_edges_and_dense_nodes_are_the_same():
    for pieces in (1, 3, 100):
        found = paths(line([0, 1, 0], [100, 1, 0], pieces=pieces), line([0, 0, 0], [100, 0, 0]))
        assert found["path_error"] == 0
        assert found["path_excess"] + found["path_wrong_link"] == 0


def test_a_prediction_that_runs_on_beyond_both_ends_connects():
    found = paths(line([-500, 0, 0], [500, 0, 0]), line([0, 0, 0], [100, 0, 0]))
    assert found["path_error"] == 0
    assert found["path_excess"] == 1


def test_empty_trees():
    nothing = paths(swc.EMPTY, Y)
    assert (nothing["path_missing"], nothing["path_broken"], nothing["path_error"]) == (1, 0, 1)
    assert np.isnan(nothing["path_excess"])
    backwards = paths(Y, swc.EMPTY)
    assert backwards["path_excess"] == 1
    assert np.isnan(backwards["path_missing"])
