"""Labels and runs: do splits and merges count as what they are?"""

import json

import numpy as np
import pytest

from pipeline.metrics import labels, runs


def assert_scores(found, values):
    for name, value in values.items():
        expected = np.nan if value is None else value
        assert found[name] == pytest.approx(expected, abs=1e-9, nan_ok=True), name
        assert (f"{name}_reason" in found) == (value is None), name


def test_the_label_oracles_agree(shared, subtests):
    for case in json.loads((shared / "oracles" / "labels.json").read_text())["cases"]:
        with subtests.test(case["name"]):
            if "shape" in case:
                truth, seen = (
                    np.array(case[key]).reshape(case["shape"]) for key in ("truth", "segmentation")
                )
            else:
                arrays = np.load(shared / "oracles" / "labels_32x48x48.npz")
                truth, seen = arrays["truth"], arrays["segmentation"]
            assert_scores(labels.label_scores(truth, seen), case["values"])


def test_a_merge_lowers_precision_and_a_split_recall():
    truth = np.repeat([1, 2], 4)
    merged = labels.label_scores(truth, np.full(8, 4))
    assert (merged["precision"], merged["recall"]) == (pytest.approx(3 / 7), 1)
    assert (merged["vi_split"], merged["vi_merge"]) == (0, 1)
    assert (merged["are_cremi"], merged["are_skimage"]) == (pytest.approx(1 / 3), pytest.approx(0.4))
    split = labels.label_scores(np.ones(8, int), truth)
    assert (split["precision"], split["recall"]) == (1, pytest.approx(3 / 7))
    assert (split["vi_split"], split["vi_merge"]) == (1, 0)


def test_names_of_labels_do_not_matter():
    rng = np.random.default_rng(0)
    truth, seen = rng.integers(1, 9, (2, 500))
    renamed = rng.permutation(1000)[seen] + 2**40
    assert labels.label_scores(truth, seen) == pytest.approx(labels.label_scores(truth, renamed), abs=1e-12)


def test_a_truth_of_unknown_voxels_only_has_no_score():
    found = labels.label_scores(np.zeros(5, int), np.arange(5))
    assert np.isnan(found["vi_split"])
    assert found["vi_split_reason"] == "the truth holds no object"


def test_counts_of_whole_brains_do_not_overflow():
    count = np.array([4 * 10**9, 4 * 10**9])
    found = labels.rand(np.array([1, 2]), np.array([1, 1]), count)
    assert found["precision"] == pytest.approx(0.5)


def test_the_run_oracles_agree(shared, subtests):
    for case in json.loads((shared / "oracles" / "erl.json").read_text())["cases"]:
        with subtests.test(case["name"]):
            names, xyz, owner, edges = [], [], [], []
            for number, skeleton in case["skeletons"].items():
                names += list(skeleton["nodes"])
                xyz += list(skeleton["nodes"].values())
                owner += [int(number)] * len(skeleton["nodes"])
                edges += skeleton["edges"]
            row = {int(name): i for i, name in enumerate(names)}
            skeletons = runs.Skeletons(
                np.array(xyz, float).reshape(-1, 3),
                np.array(owner),
                np.array([[row[a], row[b]] for a, b in edges], int).reshape(-1, 2),
            )
            found = runs.expected_run_length(skeletons, np.array([case["segment"][name] for name in names]))
            values = case["values"]
            assert_scores(found, {"erl": values["erl"], "erl_max": values["erl_max"]})
            assert_scores(found, {"erl_normalised": values["normalised"]})
            assert_scores(found, {f"edges_{name}": count for name, count in values["edges"].items()})
            assert_scores(found, {f"length_{name}": length for name, length in values["lengths"].items()})
            assert found["merging_segments"] == len(values["merging_segments"])


def test_one_strayed_node_kills_a_segment_unless_slips_are_allowed():
    xyz = np.array([[x, y, 0.0] for y in (0, 1) for x in range(11)])
    skeletons = runs.Skeletons(
        xyz, np.repeat([1, 2], 11), np.array([[i, i + 1] for i in range(21) if i != 10])
    )
    segment = np.repeat([7, 8], 11)
    segment[-1] = 7
    assert runs.expected_run_length(skeletons, segment)["erl"] == pytest.approx(9**2 / 20)
    assert runs.expected_run_length(skeletons, segment, merge_min_nodes=2)["erl"] == pytest.approx(
        (10**2 + 9**2) / 20
    )


def test_nodes_outside_of_the_volume_are_in_no_segment():
    volume = np.ones((2, 3, 4), np.uint32)
    nodes = np.array([[0, 0, 0], [1.4, 2.4, 3.4], [1.6, 0, 0], [0, -0.6, 0]])
    assert runs.segments_at(volume, nodes).tolist() == [1, 1, 0, 0]
