"""Cells against labels and skeletons: what is counted, in which convention, and which tree is a neuron's."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from dense import SIZE, along_x, evaluate, halves
from numpy.testing import assert_array_equal

from pipeline import swc, volume
from pipeline.metrics import cells
from pipeline.metrics import labels as label_metrics
from pipeline.stages import skeletonize
from pipeline.tracing import graph

# --- arithmetic ------------------------------------------------------------------------------------------------


def test_a_label_in_two_pieces_is_two_objects_and_diagonal_neighbours_are_apart():
    pieces = cells.in_pieces(halves(7, 0, 7, 9))
    assert_array_equal(pieces[0, 0, ::3], [1, 0, 2, 3])
    corner = np.zeros((2, 2, 2), np.uint64)
    corner[0, 0, 0] = corner[0, 1, 1] = 2**40
    assert cells.in_pieces(corner).max() == 2


def test_what_no_segmentation_of_the_crop_could_join_costs_nothing():
    reference = halves(7, 8, 7)
    found = cells.label_scores(halves(1, 2, 3), cells.in_pieces(reference))
    assert (found["vi_split"], found["vi_merge"], found["are_cremi"]) == (0, 0, 0)
    assert (found["cells_reference"], found["reference_split"]) == (3, True)
    joined = cells.label_scores(halves(1, 2, 1), cells.in_pieces(reference))
    assert joined["vi_merge"] == pytest.approx(2 / 3)


def test_unlabelled_reference_does_not_count_and_predicted_0_is_one_segment():
    found = cells.label_scores(halves(1, 5, 0, 0), halves(1, 0, 2, 3))
    assert found["vi_split"] == 0
    assert found["vi_merge"] == pytest.approx(2 / 3)
    assert (found["reference_zero"], found["prediction_zero"]) == ("not scored", "one segment")
    assert found["precision_skimage"] < found["recall_skimage"] == 1
    assert "precision" not in found


def test_the_shares_of_vi_add_up_and_name_the_worst():
    table = label_metrics.overlap(halves(1, 1, 2, 3, 4, 4), halves(1, 2, 3, 3, 4, 4))
    (objects, split), (segments, merge) = label_metrics.shares(table)
    total = label_metrics.variation_of_information(table)
    assert split.sum() == pytest.approx(total["vi_split"])
    assert merge.sum() == pytest.approx(total["vi_merge"])
    assert (objects[split.argmax()], segments[merge.argmax()]) == (3, 1)
    assert np.count_nonzero(split) == np.count_nonzero(merge) == 1


def test_figures_without_reference():
    assert cells.describe(halves(0, 3, 3, 9)) == {"cells": 2, "unassigned": 0.25}
    assert cells.describe(halves(0)) == {"cells": 0, "unassigned": 1}


def test_a_neuron_is_compared_with_the_tree_of_the_label_that_holds_most_of_it():
    skeleton = along_x(0.0, 0.11)
    split = halves(4, 4, 0, 6)
    assert cells.label_of(skeleton, split, voxel_size=SIZE) == 4
    assert cells.label_of(skeleton, halves(0, 0, 0, 6), voxel_size=SIZE) == 6
    assert cells.label_of(skeleton, halves(0), voxel_size=SIZE) == 0
    trees = {4: along_x(0.0, 0.055), 6: along_x(0.09, 0.11)}
    options = {"voxel_size": SIZE, "tolerance_um": 1e-3, "min_length_um": 0.05}
    found = cells.matched([skeleton], split, trees, **options)
    assert found["recall"] == pytest.approx(0.5, abs=0.02)
    assert (found["precision"], found["neurons_reference"]) == (pytest.approx(1), 1)


def test_a_neuron_whose_label_has_no_tree_counts_as_missed_and_a_short_one_not_at_all():
    whole, other, short = along_x(0, 0.11), along_x(0, 0.11, y=0.05), along_x(0, 0.02)
    segmentation = halves(4)
    segmentation[:, 5:] = 5
    options = {"voxel_size": SIZE, "tolerance_um": 1e-3, "min_length_um": 0.05}
    found = cells.matched([whole, other, short], segmentation, {4: whole}, **options)
    assert (found["f1"], found["recall"], found["precision"]) == (0.5, 0.5, 1)
    assert found["neurons_reference"] == 2
    none = cells.matched([short], segmentation, {}, **options)
    assert np.isnan(none["f1"]) and none["f1_reason"] == "no reference neuron is long enough"


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def volumes(tmp_path):
    """Labels of one tissue as HDF5, TIFF and a volume of ours; trees and skeletons beside them."""
    with h5py.File(tmp_path / "a.h5", "w") as stored:
        stored["truth"] = halves(7, 0, 7, 9).astype(np.uint64) << np.uint64(40)
        stored["floats"] = halves(1).astype(np.float32)
        stored["small"] = halves(1)[:3]
        stored["empty"] = halves(0)
        stored["void"] = halves(0)[:0]
    tifffile.imwrite(tmp_path / "a.tif", halves(1, 1, 2, 2).astype(np.uint16), photometric="minisblack")
    array = volume.create(tmp_path / "labels.zarr", shape=(4, 6, 12), dtype="uint32", voxel_size=SIZE)
    array[:] = halves(1, 1, 2, 2)
    for folder, trees in {
        "trees": {"1": along_x(0, 0.055), "2": along_x(0.06, 0.11)},
        "skeletons": {"x": along_x(0, 0.11)},
    }.items():
        (tmp_path / folder).mkdir()
        for name, tree in trees.items():
            swc.write(tmp_path / folder / f"{name}.swc", tree)
    return tmp_path


@pytest.mark.parametrize("prediction", ["a.tif", "labels.zarr"])
def test_labels_of_any_format_against_labels(volumes, prediction):
    found = evaluate(volumes, "--prediction", volumes / prediction, "--reference", f"{volumes}/a.h5:/truth")
    assert found["vi_split"] == 0
    assert found["vi_merge"] == pytest.approx(2 / 3)
    assert (found["cells"], found["cells_reference"]) == (2, 3)
    assert found["reference_split"] is True


def test_trees_and_skeletons_join_in(volumes):
    options = ["--trees", volumes / "trees", "--skeletons", volumes / "skeletons"]
    limits = ["--cell-min-length-um", "0.05", "--cell-tolerance-um", "0.001"]
    found = evaluate(volumes, "--prediction", volumes / "labels.zarr", *options, *limits)
    assert (found["neurons"], found["neurons_reference"], found["edges_split"]) == (2, 1, 1)
    # The node in the middle lies in label 2, which so holds more of the line than its tree covers.
    assert found["recall"] == pytest.approx(0.051 / 0.11, abs=1e-4)
    assert found["length_um"] == pytest.approx(0.105, abs=1e-4)
    assert 0 < found["erl"] < found["erl_max"]
    assert "vi_split" not in found


def test_without_reference_there_are_only_figures(volumes):
    found = evaluate(volumes, "--prediction", volumes / "labels.zarr")
    assert {name: found[name] for name in ("cells", "unassigned")} == {"cells": 2, "unassigned": 0}
    assert "vi_split" not in found and "neurons" not in found


def test_a_reference_without_labels_is_undefined_with_its_reason(volumes):
    found = evaluate(volumes, "--prediction", volumes / "a.tif", "--reference", f"{volumes}/a.h5:/empty")
    assert found["vi_split"] is None
    assert found["vi_split_reason"] == "no voxel of the truth is labelled"
    assert found["cells_reference"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reference", "a.h5:/small"], "a.h5:/small: 3 x 6 x 12 labels; allowed: 4 x 6 x 12, as "),
        (["--reference", "a.h5:/floats"], "a.h5:/floats: labels of type float32; allowed: uint8"),
        (["--reference", "a.h5:/gone"], "a.h5:/gone: no such data set; allowed: empty (4 x 6 x 12), floats"),
        (["--reference", "a.h5:/void"], "a.h5:/void: an empty image, 0 x 6 x 12 voxels"),
        (["--reference", "none.tif"], "none.tif: no such file"),
        (["--reference", "a.tif", "a.tif"], "--reference: found 2; allowed: one label volume"),
        (["--skeletons", "trees", "--unit", "nm"], "trees: 0% of its nodes lie in"),
        (["--skeletons", "none"], "none: cannot be read (No such file"),
        (["--trees", "none"], "none: no such folder"),
        (["--trees", "skeletons"], "x.swc: a name that is no label"),
    ],
)
def test_bad_input_is_one_line(volumes, monkeypatch, capsys, options, message):
    monkeypatch.chdir(volumes)
    if "nm" in options:  # far from the volume: metres read as nm
        swc.write(volumes / "trees/1.swc", along_x(5e6, 6e6))
        swc.write(volumes / "trees/2.swc", along_x(5e6, 6e6))
    assert evaluate(volumes, "--prediction", "labels.zarr", *options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_skeletons_in_voxels_need_a_voxel_size_somewhere(volumes, capsys):
    plain = volumes / "plain.tif"
    tifffile.imwrite(plain, halves(1).astype(np.uint8), photometric="minisblack")
    assert evaluate(volumes, "--prediction", plain, "--skeletons", volumes / "skeletons") == 2
    assert "--voxel-size: not given" in capsys.readouterr().err
    size = ["--voxel-size", "0.01,0.01,0.01"]
    found = evaluate(volumes, "--prediction", plain, "--skeletons", volumes / "skeletons", *size)
    assert found["erl_normalised"] == pytest.approx(1)


def test_scoring_cells_needs_no_torch(volumes):
    code = (
        "import sys; from pipeline.__main__ import main; "
        f"main(['evaluate', '--prediction', {str(volumes / 'a.tif')!r},"
        f" '--output', {str(volumes / 'm.json')!r}]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- odd volumes -----------------------------------------------------------------------------------------------


def test_a_volume_without_cells_has_no_trees_and_is_scored(tmp_path, capsys):
    volume.create(tmp_path / "l.zarr", shape=(4, 6, 12), dtype="uint32", voxel_size=SIZE)
    volume.create(
        tmp_path / "p.zarr", shape=(4, 6, 12), dtype="uint8", voxel_size=SIZE, channels=("foreground",)
    )
    table = tmp_path / "neurons.tsv"
    skeletonize.run(tmp_path / "l.zarr", tmp_path / "p.zarr", tmp_path / "trees", table)
    assert "0 trees" in capsys.readouterr().out
    found = evaluate(tmp_path, "--prediction", tmp_path / "l.zarr", "--trees", tmp_path / "trees")
    assert (found["cells"], found["unassigned"], found["neurons"], found["nodes"]) == (0, 1, 0, 0)


# --- real volumes ----------------------------------------------------------------------------------------------


def test_the_run_length_of_a_real_sample_is_that_of_its_own_lengths(shared, tmp_path):
    file = shared / "data/em/erl_sample.h5"
    (tmp_path / "known").mkdir()
    with h5py.File(file) as stored:
        nodes, length_um = stored["skeletons/nodes"][:], stored["skeletons/skeleton_len"][:] / 1000
        for number in range(2):
            edges = stored[f"skeletons/edges_{number}"][:, :2].astype(np.int64)
            rows = np.flatnonzero(nodes[:, 0] == number)
            edges = np.searchsorted(rows, edges)
            tree = graph.rooted(nodes[rows, :0:-1].astype(float), np.ones(len(rows)), edges)
            swc.write(tmp_path / f"known/{number}.swc", tree)
    options = ["--skeletons", tmp_path / "known", "--unit", "nm", "--voxel-size", "0.03,0.03,0.03"]
    found = evaluate(tmp_path, "--prediction", f"{file}:/prediction", *options)
    assert found["erl_max"] == pytest.approx((length_um**2).sum() / length_um.sum())
    # One of the two axons is in two segments, each of it alone.
    assert (found["edges_split"], found["edges_merged"], found["merging_segments"]) == (1, 0, 0)
    assert 0 < found["erl"] < found["erl_max"]


def test_labels_of_a_crop_are_scored_as_their_pieces(shared):
    with h5py.File(shared / "data/em/fib25_train.h5") as stored:
        crop = stored["labels"][200:]
    pieces = cells.in_pieces(crop)
    found = cells.label_scores(pieces, pieces)
    assert (found["cells_reference"], found["vi_split"], found["are_cremi"]) == (182, 0, 0)
    assert len(np.unique(crop)) == 136
    whole = label_metrics.scores(pieces, crop)
    assert whole["vi_split"] == pytest.approx(0.073, abs=5e-4)
