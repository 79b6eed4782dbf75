"""Branch points and tips: which are there, and which belong together?"""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import line, tree_of
from pipeline.metrics import nodes


def as_set(points):
    return sorted(map(tuple, np.asarray(points, float).reshape(-1, 3).tolist()))


def test_the_degree_rules_hold(shared, subtests):
    oracles = json.loads((shared / "oracles" / "critical_nodes.json").read_text())
    for case in oracles["trees"]:
        with subtests.test(case["name"]):
            place = {row[0]: i for i, row in enumerate(case["rows"])}
            tree = tree_of([[*row[2:5], place.get(row[6], -1)] for row in case["rows"]])
            assert as_set(nodes.branch_points(tree)) == as_set(case["branch_points"])
            assert as_set(nodes.tips(tree)) == as_set(case["tips"])


def test_the_assignment_is_optimal(shared, subtests):
    oracles = json.loads((shared / "oracles" / "critical_nodes.json").read_text())
    for case in oracles["points"]:
        with subtests.test(case["name"]):
            prediction, reference = (
                np.array(case[key], float).reshape(-1, 3) for key in ("prediction", "reference")
            )
            found = nodes.scores(prediction, reference, radius=case["radius"], prefix="x_", what="node")
            matching = nodes.match(prediction, reference, radius=case["radius"])
            assert len(matching.distance) == case["tp"]
            for name, key in (
                ("precision", "x_precision"),
                ("recall", "x_recall"),
                ("f1", "x_f1"),
                ("mean_distance", "x_distance"),
            ):
                expected = np.nan if case[name] is None else case[name]
                assert found[key] == pytest.approx(expected, abs=1e-9, nan_ok=True)
                assert (f"{key}_reason" in found) == (case[name] is None)


def test_a_y_has_one_branch_point_and_three_tips_however_it_is_rooted():
    at_tip = tree_of([[0, 0, 0, -1], [5, 0, 0, 0], [9, 3, 0, 1], [9, -3, 0, 1]])
    at_branch = tree_of([[5, 0, 0, -1], [0, 0, 0, 0], [9, 3, 0, 0], [9, -3, 0, 0]])
    for tree in (at_tip, at_branch):
        assert as_set(nodes.branch_points(tree)) == [(5, 0, 0)]
        assert len(nodes.tips(tree)) == 3


def test_doubled_nodes_are_one_place():
    # Both children of a doubled node, one on each copy: one branch point of degree 3, no tip between.
    tree = tree_of([[0, 0, 0, -1], [5, 0, 0, 0], [5, 0, 0, 1], [9, 3, 0, 1], [9, -3, 0, 2]])
    assert as_set(nodes.branch_points(tree)) == [(5, 0, 0)]
    assert len(nodes.tips(tree)) == 3


def test_a_chain_of_a_hundred_doubles_is_one_place():
    rows = [[0, 0, 0, -1], *[[5, 0, 0, i] for i in range(100)], [9, 0, 0, 100]]
    assert_array_equal(np.unique(nodes.merged(tree_of(rows))), [0, 1, 101])


def test_a_lone_node_is_neither():
    tree = tree_of([[0, 0, 0, -1]])
    assert not len(nodes.tips(tree))
    assert not len(nodes.branch_points(tree))


def test_a_line_has_two_tips():
    assert as_set(nodes.tips(line([0, 0, 0], [4, 0, 0], pieces=4))) == [(0, 0, 0), (4, 0, 0)]


def test_more_pairs_win_over_nearer_ones():
    points = lambda *x: np.array([[value, 0, 0] for value in x], float)  # noqa: E731
    matching = nodes.match(points(1.2, 3), points(0, 2), radius=1.5)
    assert sorted(zip(matching.prediction.tolist(), matching.reference.tolist())) == [(0, 0), (1, 1)]
