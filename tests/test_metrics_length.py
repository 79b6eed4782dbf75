"""Length precision and recall: are they lengths, whatever the nodes?"""

import json

import numpy as np
import pytest

from conftest import line, tree_of
from pipeline import swc
from pipeline.metrics import length
from pipeline.metrics.compare import Measured, compare, over_references, profiles


def scores(prediction, reference, tolerance=1.5):
    return compare(Measured(prediction), Measured(reference), tolerance_um=tolerance)


def test_every_closed_form_holds(shared, subtests):
    oracles = json.loads((shared / "oracles" / "length_f1.json").read_text())
    for case in oracles["cases"]:
        with subtests.test(case["name"]):
            trees = [
                tree_of([[*row[2:5], row[6] - 1] for row in case[key]]) for key in ("prediction", "reference")
            ]
            found = scores(*trees, tolerance=case["tolerance_um"])
            for name in ("precision", "recall", "f1"):
                expected = np.nan if case[name] is None else case[name]
                assert found[name] == pytest.approx(expected, abs=1e-5, nan_ok=True)
                assert (f"{name}_reason" in found) == (case[name] is None)
            assert Measured(trees[0]).length == pytest.approx(case["length_prediction"])
            assert Measured(trees[1]).length == pytest.approx(case["length_reference"])


@pytest.mark.slow
def test_real_trees_agree_with_the_oracles(shared, subtests):
    oracles = json.loads((shared / "oracles" / "length_f1.json").read_text())
    trees: dict[str, Measured] = {}
    for case in oracles["real"]:
        for key in ("prediction", "reference"):
            trees.setdefault(case[key], Measured(swc.read(shared / "oracles" / case[key])))
        with subtests.test(f"{case['prediction']} at {case['tolerance_um']}"):
            pair = trees[case["prediction"]], trees[case["reference"]]
            found = compare(*pair, tolerance_um=case["tolerance_um"])
            for name in ("precision", "recall", "f1"):
                assert found[name] == pytest.approx(case[name], abs=1e-4)
            for one, key in zip(pair, ("prediction", "reference")):
                assert one.length == pytest.approx(case[f"length_{key}"], rel=1e-9)


def test_recall_reaches_the_tolerance_beyond_an_end():
    found = scores(line([0, 0, 0], [60, 0, 0]), line([0, 0, 0], [100, 0, 0]))
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(0.615)
    assert found["f1"] == pytest.approx(2 * 0.615 / 1.615)


@pytest.mark.parametrize(("offset", "expected"), [(1.5, 1), (1.5001, 0)])
def test_the_tolerance_is_inclusive(offset, expected):
    found = scores(line([0, offset, 0], [100, offset, 0]), line([0, 0, 0], [100, 0, 0]))
    assert found["f1"] == expected


def test_a_path_traced_twice_shows_in_the_ratio_alone():
    found = scores(tree_of([[0, 0, 0, -1], [50, 0, 0, 0], [0, 0, 0, 1]]), line([0, 0, 0], [50, 0, 0]))
    assert found["f1"] == 1
    assert found["length_ratio"] == 2


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
def test_node_density_does_not_matter(pieces):
    path = line([0, 0, 0], [100, 10, 0], pieces=pieces)
    found = scores(path, line([0, 0, 0], [100, 0, 0]))
    assert found["precision"] == pytest.approx(0.15, abs=1e-6)


def random_tree(rng, nodes=12):
    """Nodes on a coarse grid: edges of no length, doubled and parallel ones, ties at whole distances are common."""
    parent = np.array([-1, *(int(rng.integers(max(0, i - 3), i)) for i in range(1, nodes))])
    return tree_of(np.column_stack([rng.integers(0, 6, (nodes, 3)), parent]))


@pytest.mark.parametrize("seed", range(20))
def test_the_length_within_agrees_with_fine_samples(seed):
    rng = np.random.default_rng(seed)
    forward, _ = profiles(Measured(random_tree(rng)), Measured(random_tree(rng)))
    share = (np.arange(2000) + 0.5) / 2000
    own = np.arange(len(forward.own.child))
    points = forward.own.start[own, None] + share[:, None] * forward.own.vector[own, None]
    edges = np.arange(len(forward.other.child))
    apart = forward.other.distance_to(points[:, :, None], edges[None, None]).min(2)
    for tolerance in (0.7, 1.0, 1.5, 2.3):
        by_edge = np.bincount(forward.edge, length.lengths_within(forward, tolerance), len(own))
        # Each border between near and far may be missed by a step.
        assert np.allclose(by_edge, (apart <= tolerance + 1e-9).mean(1) * forward.own.length, atol=0.02)


@pytest.mark.parametrize("size", [1.0, 0.33, 0.1, 7e-3])
def test_what_lies_just_at_the_tolerance_is_within_whatever_the_unit(size):
    # On a grid of voxels one may well lie 3 of them beside another, which ends a part of the way along an edge.
    slanted = np.array([[2, 1, 2], [-2, 2, 1], [1, 2, -2]]) / 3 * size
    beside, other = (
        swc.Tree(tree.xyz @ slanted, tree.radius, tree.parent, tree.type)
        for tree in (line([0, 3, 0], [20, 3, 0], pieces=7), line([0, 0, 0], [9.25, 0, 0]))
    )
    assert scores(beside, other, tolerance=3 * size)["precision"] == pytest.approx(9.25 / 20, abs=1e-4)


def test_recall_of_crossing_lines_sees_the_chord_between_far_ends():
    found = scores(line([0, -50, 1], [0, 50, 1]), line([-50, 0, 0], [50, 0, 0]))
    assert found["recall"] == pytest.approx(2 * np.sqrt(1.5**2 - 1) / 100, abs=1e-6)


def test_nothing_predicted_recalls_nothing_and_has_no_precision():
    found = scores(swc.EMPTY, line([0, 0, 0], [9, 0, 0]))
    assert (found["recall"], found["f1"], found["length_ratio"]) == (0, 0, 0)
    assert np.isnan(found["precision"])
    assert found["precision_reason"] == "the prediction has no cable"
    assert np.isnan(found["hausdorff"])


def test_hausdorff_looks_between_the_samples_too():
    # The middle of a long edge is farthest from a tree that touches both its ends.
    tent = tree_of([[0, 0, 0, -1], [5, 7, 0, 0], [10, 0, 0, 1]])
    found = scores(tent, line([0, 0, 0], [10, 0, 0]))
    assert found["hausdorff"] == pytest.approx(7, rel=1e-4)
    back = scores(
        line([0, 0, 0], [0, 0, 3]), tree_of([[0, 0, 0, -1], [0, 0, 1.3, 0], [0, 0, 1.7, -1], [0, 0, 3, 2]])
    )
    assert back["hausdorff"] == pytest.approx(0.2, rel=1e-3)


def test_distances_of_a_slanted_line_by_hand():
    # Distance grows evenly from 0 to 10: mean and median 5, 95th percentile 9.5.
    found = scores(line([0, 0, 0], [1000, 10, 0]), line([-10, 0, 0], [1010, 0, 0]))
    assert found["distance_mean_12"] == pytest.approx(5, abs=1e-6)
    assert found["distance_median_12"] == pytest.approx(5, abs=1e-6)
    assert found["distance_p95_12"] == pytest.approx(9.5, abs=1e-6)


def test_all_that_is_null_over_several_references_has_its_reason():
    fork = tree_of([[0, 0, 0, -1], [50, 0, 0, 0], [90, 30, 0, 1], [90, -30, 0, 1]])
    found = over_references(Measured(fork), [Measured(fork), Measured(line([0, 0, 0], [90, 0, 0]))])
    null = [name for name, value in found.items() if isinstance(value, float) and np.isnan(value)]
    assert {"diadem", "diadem_min", "diadem_max", "human_diadem", "human_branch_precision"} <= set(null)
    assert all(isinstance(found[f"{name}_reason"], str) for name in null)


def test_percentile_weighs():
    at = np.array([3.0, 1.0])
    assert length.percentile(at, at, np.array([1.0, 9.0]), 50) == pytest.approx(1, abs=1e-5)
    assert length.percentile(at, at, np.array([9.0, 1.0]), 50) == pytest.approx(3, abs=1e-5)
    assert length.percentile(np.array([0.0]), np.array([10.0]), np.array([4.0]), 95) == pytest.approx(9.5)


def test_percentiles_keep_their_digits_beside_intervals_at_one_distance():
    rng = np.random.default_rng(3)
    first, weight = rng.uniform(0, 200, 3000), rng.uniform(0.1, 1, 3000)
    last = np.where(np.arange(3000) % 5, first + rng.uniform(0, 1, 3000), first)

    def below(value):
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(last > first, (value - first) / (last - first), value >= first)
        return np.clip(part, 0, 1) @ weight / weight.sum()

    for share in (1, 50, 95):
        value = length.percentile(first, last, weight, share)
        assert below(value - 2e-6) - 1e-7 <= share / 100 <= below(value + 2e-6) + 1e-7


def test_several_references_give_mean_range_and_what_people_reach():
    prediction = Measured(line([0, 0, 0], [50, 0, 0]))
    people = [Measured(line([0, 0, 0], [x, 0, 0])) for x in (50, 100)]
    found = over_references(prediction, people)
    assert found["recall_max"] == 1
    assert found["recall_min"] == pytest.approx(0.515)
    assert found["recall"] == pytest.approx((1 + 0.515) / 2)
    assert found["human_recall"] == pytest.approx((1 + 0.515) / 2)
