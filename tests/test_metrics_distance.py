"""ESA, DSA, PDS: are they Vaa3D's, and what is their answer where a ruler gives it?"""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from conftest import line, tree_of
from pipeline import swc
from pipeline.arrays import spread
from pipeline.metrics import distance
from pipeline.metrics.compare import Measured, compare, profiles


def esa(first, second, threshold=2.0):
    return compare(Measured(first), Measured(second), esa_threshold=threshold)


def test_all_pairs_agree_with_vaa3d(shared, subtests):
    oracles = json.loads((shared / "oracles" / "oracles.json").read_text())
    assert len(oracles["pairs"]) == 16
    for pair in oracles["pairs"]:
        with subtests.test(pair["name"]):
            first, second = (Measured(swc.read(shared / "oracles" / pair[key], unit="voxel")) for key in "ab")
            if "samples" in pair:
                forward, backward = profiles(first, second)
                counts = {}
                for way, one in (("12", forward), ("21", backward)):
                    found = distance.samples(one)
                    counts |= {
                        f"n_{way}": found.size,
                        f"napart_{way}": int((found >= pair["threshold"]).sum()),
                    }
                assert counts == pair["samples"]
                scores = distance.esa(forward, backward, threshold=pair["threshold"])
            else:
                scores = compare(first, second)
            for name, value in pair["values"].items():
                expected = np.nan if value is None else value
                assert scores[name] == pytest.approx(expected, abs=pair["tolerance"], nan_ok=True), name
                assert value is not None or f"{name}_reason" in scores
            for way, largest in pair.get("max", {}).items():  # of the samples
                sampled = distance.samples({"max_12": forward, "max_21": backward}[way])
                assert sampled.max() == pytest.approx(largest, abs=pair["tolerance"]), way


@pytest.mark.parametrize(
    ("length", "samples"), [(0, 1), (0.4999, 1), (0.5, 2), (1.4999, 2), (1.5, 3), (10, 11), (10.5, 12)]
)
def test_an_edge_of_length_l_has_floor_of_l_plus_one_and_a_half_samples(length, samples):
    first, second = Measured(line([0, 0, 0], [length, 0, 0])), Measured(line([0, 5, 0], [9, 5, 0]))
    found = distance.profile(first.tree, first.edges, second.edges)
    assert distance.samples(found).size == samples


def test_a_parallel_line_at_3_is_3_away_and_all_different():
    scores = esa(line([0, 0, 0], [10, 0, 0]), line([0, 3, 0], [10, 3, 0]))
    assert [scores[name] for name in ("esa", "dsa", "pds")] == [3, 3, 1]


def test_a_sample_exactly_at_the_threshold_counts():
    first, second = line([0, 0, 0], [10, 0, 0]), line([0, 2, 0], [10, 2, 0])
    assert esa(first, second)["pds"] == 1
    assert esa(first, second, threshold=2.0001)["pds"] == 0


def test_distance_is_to_edges_not_to_nodes():
    assert esa(line([50, 1, 0], [51, 1, 0]), line([0, 0, 0], [100, 0, 0]))["esa_12"] == 1


def test_the_mean_beyond_an_end_by_hand():
    # Samples at 0, 1, ..., 10 against a line that ends at 5: distances 0 x 6, 1, 2, 3, 4, 5.
    scores = esa(line([0, 0, 0], [10, 0, 0]), line([0, 0, 0], [5, 0, 0]))
    assert scores["esa_12"] == pytest.approx(15 / 11)
    assert scores["pds_12"] == pytest.approx(4 / 11)
    assert scores["dsa_12"] == pytest.approx(14 / 4)
    assert scores["esa_21"] == 0
    assert scores["dsa"] == scores["dsa_12"]  # the one direction that has any


def test_without_a_different_structure_dsa_is_0_by_convention_and_says_so():
    same = line([0, 0, 0], [10, 0, 0])
    scores = esa(same, same)
    assert scores["dsa"] == 0
    assert "convention" in scores["dsa_reason"]
    assert np.isnan(scores["dsa_12"])


@pytest.mark.parametrize(
    "rows", [[], [[0, 0, 0, -1]], [[0, 0, 0, -1], [5, 0, 0, -1]], [[1, 1, 1, -1], [1, 1, 1, 0]]]
)
@pytest.mark.parametrize("swap", [False, True])
def test_a_tree_without_cable_has_no_distance(rows, swap):
    pair = [tree_of(rows), line([0, 0, 0], [10, 0, 0])]
    scores = esa(*(pair[::-1] if swap else pair))
    for name in distance.ESA_NAMES:
        assert np.isnan(scores[name])
        assert "no cable" in scores[f"{name}_reason"]


def test_isolated_nodes_and_shuffled_rows_are_invisible():
    plain = tree_of([[0, 0, 0, -1], [10, 0, 0, 0], [10, 10, 0, 1]])
    odd = tree_of([[10, 10, 0, 3], [99, 99, 99, -1], [0, 0, 0, -1], [10, 0, 0, 2]])
    other = line([0, 3, 1], [12, 4, 0])
    first, second = esa(plain, other), esa(odd, other)
    for name in distance.ESA_NAMES:
        assert first[name] == pytest.approx(second[name], abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_kd_tree_finds_what_brute_force_finds(seed):
    rng = np.random.default_rng(seed)
    n = 60
    parent = np.array([-1] + [rng.integers(0, i) for i in range(1, n)])
    lengths = rng.choice([0, 0.01, 1, 300], size=(n, 1))  # a few very long edges among tiny ones
    tree = swc.Tree(rng.normal(size=(n, 3)) * lengths, np.ones(n), parent, np.zeros(n, np.int64))
    edges = distance.Edges(tree)
    points = rng.normal(size=(500, 3)) * rng.choice([1, 100, 5000], size=(500, 1))
    everything = edges.distance_to(points[:, None], np.arange(n - 1)[None])
    found, edge = edges.nearest(points)
    assert_allclose(found, everything.min(1), rtol=1e-12, atol=1e-12)
    assert_allclose(everything[np.arange(500), edge], found)


def test_spread_numbers_the_members_of_each_owner():
    owner, number = spread(np.array([2, 0, 3]))
    assert_array_equal(owner, [0, 0, 2, 2, 2])
    assert_array_equal(number, [0, 1, 0, 1, 2])
