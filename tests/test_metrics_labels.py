"""Labels and skeletons: do split and merge mean what they say, in each convention of the field?"""

import json

import numpy as np
import pytest

from conftest import tree_of
from pipeline.metrics import labels, run_length


def table(segmentation, truth):
    return labels.scores(np.array(segmentation), np.array(truth))


def test_every_label_oracle(shared):
    folder = shared / "oracles"
    oracles = json.loads((folder / "labels.json").read_text())
    for case in oracles["cases"]:
        if "npz" in case:
            arrays = np.load(folder / case["npz"])
            segmentation, truth = (
                arrays[next(k for k in arrays if k.startswith(name))] for name in ("seg", "tr")
            )
        else:
            segmentation, truth = (
                np.array(case[k]).reshape(case["shape"]) for k in ("segmentation", "truth")
            )
        scores = labels.scores(segmentation, truth)
        for name, value in case["values"].items():
            wanted = np.nan if value is None else value
            assert scores[name] == pytest.approx(wanted, abs=1e-9, nan_ok=True), (case["name"], name)


def test_a_merge_lowers_precision_and_a_split_lowers_recall():
    merge = table([4] * 8, [1] * 4 + [2] * 4)
    assert (merge["vi_split"], merge["vi_merge"]) == (0, 1)
    assert (merge["precision"], merge["recall"]) == (pytest.approx(3 / 7), 1)
    split = table([1] * 4 + [2] * 4, [4] * 8)
    assert (split["vi_split"], split["vi_merge"]) == (1, 0)
    assert (split["precision"], split["recall"]) == (1, pytest.approx(3 / 7))
    assert merge["are_cremi"] == split["are_cremi"] == pytest.approx(1 / 3)
    assert merge["are_skimage"] == split["are_skimage"] == pytest.approx(0.4)


def test_names_and_order_of_the_labels_do_not_matter():
    rng = np.random.default_rng(0)
    truth, segmentation = rng.integers(0, 6, (2, 5, 6, 7))
    names = rng.permutation(1000)[:5] + 1
    renamed = np.concatenate([[0], names]).astype(np.uint64)[segmentation]
    one, two = labels.scores(segmentation, truth), labels.scores(renamed, truth)
    assert one == pytest.approx(two, abs=1e-12)


def test_labels_beyond_32_bits_are_told_apart():
    big = 2**63
    scores = table(np.array([big, big, big + 1, big + 1], np.uint64), [1, 1, 2, 2])
    assert (scores["vi_split"], scores["vi_merge"], scores["are_skimage"]) == (0, 0, 0)


def test_a_truth_without_labels_is_undefined_with_a_reason():
    scores = table([1, 2, 3], [0, 0, 0])
    for name in ("vi_split", "vi_merge", "are_cremi", "are_skimage", "rand_split", "cremi_score"):
        assert np.isnan(scores[name])
        assert "no voxel" in scores[f"{name}_reason"]
    assert not np.isnan(scores["vi_split_all"])


def test_volumes_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        labels.overlap(np.zeros((2, 3), int), np.zeros((3, 2), int))


def skeletons_of(case):
    ids, xyz, skeleton, edges, segment = {}, [], [], [], []
    for number, one in case["skeletons"].items():
        for node, place in one["nodes"].items():
            ids[int(node)] = len(xyz)
            xyz.append(place)
            skeleton.append(int(number))
            segment.append(case["segment"][node])
        edges += one["edges"]
    rows = np.array([[ids[a], ids[b]] for a, b in edges])
    return run_length.Skeletons(np.array(xyz), np.array(skeleton), rows), np.array(segment)


def test_every_run_length_oracle(shared):
    oracles = json.loads((shared / "oracles" / "erl.json").read_text())
    for case in oracles["cases"]:
        skeletons, segment = skeletons_of(case)
        scores, values = run_length.expected_run_length(skeletons, segment), case["values"]
        wanted = {
            "erl": values["erl"],
            "erl_max": values["erl_max"],
            "erl_normalised": values["normalised"],
            **{f"edges_{kind}": count for kind, count in values["edges"].items()},
            **{f"length_{kind}_um": length for kind, length in values["lengths"].items()},
            "merging_segments": len(values["merging_segments"]),
        }
        assert scores == pytest.approx(wanted, abs=oracles["tolerance"]), case["name"]
        total = sum(scores[f"length_{kind}_um"] for kind in values["lengths"])
        assert total == pytest.approx(values["length"], abs=oracles["tolerance"]), case["name"]
        assert run_length.merging_segments(skeletons, segment).tolist() == values["merging_segments"]


@pytest.fixture
def two_lines():
    """Skeletons of 100 and 50 um, an edge every 10 um, 50 um apart."""
    lines = [tree_of([(10 * i, y, 0, i - 1) for i in range(nodes)]) for nodes, y in ((11, 0), (6, 50))]
    return run_length.from_trees(lines)


def test_one_stray_node_does_not_merge_when_two_are_asked_for(two_lines):
    segment = np.array([7] * 11 + [7] + [9] * 5)
    assert run_length.expected_run_length(two_lines, segment)["length_merged_um"] == 100
    lenient = run_length.expected_run_length(two_lines, segment, merge_min_nodes=2)
    assert lenient["length_merged_um"] == 0
    assert lenient["erl"] == pytest.approx((100**2 + 40**2) / 150)


def test_nodes_take_the_segment_of_their_voxel_and_none_outside(two_lines):
    volume = np.zeros((1, 6, 10), np.uint64)  # 10 um voxels: the last node of the long line is outside
    volume[0, 0], volume[0, 5] = 7, 9
    segment = run_length.segments_at(two_lines.xyz, volume, voxel_size=(10.0, 10.0, 10.0))
    assert segment.tolist() == [7] * 10 + [0] + [9] * 6
    scores = run_length.expected_run_length(two_lines, segment)
    assert (scores["edges_omitted"], scores["erl"]) == (1, pytest.approx((90**2 + 50**2) / 150))


def test_skeletons_without_cable_have_no_run_length():
    nothing = run_length.from_trees([tree_of([(0, 0, 0, -1)])])
    scores = run_length.expected_run_length(nothing, np.array([3]))
    assert np.isnan(scores["erl"])
    assert scores["erl_reason"] == "the skeletons have no cable"
