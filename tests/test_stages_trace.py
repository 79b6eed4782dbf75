"""segment and trace on files: what is written for a neurite, for nothing, for volumes that do not fit."""

import numpy as np
import pandas as pd
import pytest

from pipeline import config, neurons, swc, volume
from pipeline.errors import InputError
from pipeline.stages import segment, trace

VOXEL = (1.0, 0.4, 0.4)


def stored(path, array):
    """A prediction of one channel, as stack writes it."""
    made = volume.create(
        path,
        shape=array.shape,
        dtype=array.dtype,
        voxel_size=VOXEL,
        channels=("neurite",),
        attributes={"source": "neuron.tif"},
    )
    made[0] = array
    return path


@pytest.fixture
def tube():
    """A straight tube along x at y = 8 um, z = 6 um, from x = 4 to 36 um."""
    probability = np.zeros((12, 40, 100), np.uint8)
    probability[5:8, 18:23, 10:91] = 255
    return probability


def run_both(tmp_path, probability, **options):
    prediction = stored(tmp_path / "prediction.zarr", probability)
    labels, output = tmp_path / "labels.zarr", tmp_path / "neuron.swc"
    segment.run(prediction, labels)
    trace.run(labels, prediction, output, tmp_path / "neurons.tsv", **options)
    return labels, output


def test_the_two_stages_make_labels_and_a_tree_in_um_from_the_given_root(tmp_path, tube):
    labels, output = run_both(tmp_path, tube, root="90,20,6")
    made = volume.open_volume(labels)
    assert made.array.dtype == np.uint32
    assert made.voxel_size == VOXEL
    np.testing.assert_array_equal(made.array[:], (tube > 0).astype(np.uint32))
    tree = swc.read(output)
    assert tree.parent.tolist() == list(range(-1, len(tree) - 1))
    np.testing.assert_allclose(tree.xyz[0], (36, 8, 6), atol=1.2)
    np.testing.assert_allclose(tree.xyz[-1], (4, 8, 6), atol=1.2)
    header = [line for line in output.read_text().splitlines() if line.startswith("#")]
    assert "# RAW neuron.tif" in header
    assert "# UNIT um" in header
    assert "# VOXEL_SIZE 0.4 0.4 1" in header


def test_an_empty_foreground_gives_a_header_and_says_so(tmp_path, tube, capsys):
    _, output = run_both(tmp_path, np.zeros_like(tube), root="90,20,6")
    lines = output.read_text().splitlines()
    assert lines
    assert all(line.startswith("#") for line in lines)
    assert "nothing to trace" in capsys.readouterr().out


def test_the_same_input_gives_the_same_bytes(tmp_path, tube):
    _, one = run_both(tmp_path / "one", tube)
    _, two = run_both(tmp_path / "two", tube)
    assert one.read_bytes() == two.read_bytes()


def test_volumes_of_different_shapes_are_an_error(tmp_path, tube):
    labels, _ = run_both(tmp_path, tube)
    other = stored(tmp_path / "other.zarr", tube[:-1])
    with pytest.raises(InputError, match="two equal shapes"):
        trace.run(labels, other, tmp_path / "out.swc", tmp_path / "neurons.tsv")
    with pytest.raises(InputError, match=r"prediction.zarr.*12, 40, 100.*of the image"):
        segment.run(other, tmp_path / "other_labels.zarr", image=tmp_path / "prediction.zarr")


def test_a_prediction_of_another_modality_is_told_by_its_channels(tmp_path, tube):
    made = volume.create(
        tmp_path / "em.zarr", shape=tube.shape, dtype="uint8", voxel_size=VOXEL, channels=("affinity_z",)
    )
    made[0] = tube
    with pytest.raises(InputError, match="channels affinity_z; allowed: a volume with a channel neurite"):
        segment.run(tmp_path / "em.zarr", tmp_path / "labels.zarr")


@pytest.fixture
def two_tubes(tube):
    """The tube, and a second one of 16 um beside it."""
    tube[5:8, 30:35, 10:51] = 255
    return tube


def test_all_neurons_are_a_folder_of_trees_the_longest_first_and_a_table(tmp_path, two_tubes):
    _, folder = run_both(tmp_path, two_tubes, settings=config.Trace(neurons="all", min_length_um=10.0))
    trees = [swc.read(folder / f"{number}.swc") for number in (1, 2)]
    assert [swc.cable_length(tree) for tree in trees] == pytest.approx([32, 16], abs=1.5)
    rows = pd.read_csv(tmp_path / "neurons.tsv", sep="\t").set_index("id")
    np.testing.assert_allclose(rows["length_um"], [swc.cable_length(tree) for tree in trees], atol=1e-3)
    assert rows["tips"].tolist() == [2, 2] and rows["branches"].tolist() == [0, 0]
    assert rows["confidence"].min() > 0.95


def test_a_second_neuron_that_is_left_out_is_told_in_log_and_table(tmp_path, two_tubes, capsys):
    _, output = run_both(tmp_path, two_tubes, settings=config.Trace(min_length_um=10.0))
    assert swc.cable_length(swc.read(output)) == pytest.approx(32, abs=1.5)
    assert "left out: 1 trees, the longest of 1" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "neurons.tsv", sep="\t")
    assert rows["traced"].tolist() == [1, 0]
    assert rows["length_um"][1] == pytest.approx(16, abs=2)


def test_trees_left_out_and_doubtful_cable_are_doubts_of_a_table(tmp_path):
    columns = "id\tlength_um\tconfidence\ttraced\n"
    table = tmp_path / "neurons.tsv"
    table.write_text(columns + "a\t300\t0.99\t1\nb\t100\t0.7\t1\n\t80\t\t0\n\t30\t\t0\n")
    assert neurons.doubts(table) == [
        "2 more trees left out, the longest of 80 um",
        "33 of 400 um are doubtful",
    ]
    table.write_text(columns + "a\t300\t0.99\t1\nb\t100\t0.9\t1\n")
    assert neurons.doubts(table) == []
    table.write_text(columns)
    assert neurons.doubts(table) == []


def test_trees_below_the_least_length_are_left_out(tmp_path, two_tubes):
    _, folder = run_both(tmp_path, two_tubes, settings=config.Trace(neurons="all", min_length_um=20.0))
    assert sorted(path.name for path in folder.glob("*.swc")) == ["1.swc"]


def test_the_confidence_tells_where_a_gap_was_bridged(tmp_path, tube):
    tube[:, :, 48:54] = 0  # 2.4 um without signal
    _, output = run_both(tmp_path, tube)
    tree = swc.read(output)
    rows = pd.read_csv(tmp_path / "neuron.confidence.tsv", sep="\t")
    assert rows["id"].tolist() == list(range(1, len(tree) + 1))
    bridged = rows["link_cost"].notna().to_numpy()
    middle = (tree.xyz[:, 0] + tree.xyz[tree.parent, 0])[bridged] / 2
    assert ((middle > 48 * 0.4 - 2) & (middle < 54 * 0.4 + 2)).all() and bridged.sum() >= 2
    assert rows["probability"][bridged].min() < 0.5 < rows["probability"][~bridged][1:].min()
    assert 1.5 < rows["link_cost"][bridged].iloc[0] < 3.0


@pytest.mark.parametrize("root", ["1,2", "a,b,c", "nan,1,1"])
def test_a_root_that_is_no_point_is_an_error(tmp_path, tube, root):
    with pytest.raises(InputError, match="root"):
        run_both(tmp_path, tube, root=root)


def test_a_root_outside_the_image_is_an_error(tmp_path, tube):
    with pytest.raises(InputError, match="root"):
        run_both(tmp_path, tube, root="500,20,6")


def test_one_plane_is_traced_in_plane(tmp_path, tube):
    _, output = run_both(tmp_path, tube[6:7])
    tree = swc.read(output)
    assert len(tree) > 5
    assert (tree.xyz[:, 2] == 0).all()
    assert np.abs(tree.xyz[1:-1, 1] - 8).max() < 0.1
    assert np.ptp(tree.xyz[:, 0]) > 30
