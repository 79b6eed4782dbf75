"""segment and trace on files: what is written for a neurite, for nothing, for volumes that do not fit."""

import numpy as np
import pytest

from pipeline import swc, volume
from pipeline.errors import InputError
from pipeline.stages import segment, trace

VOXEL = (1.0, 0.4, 0.4)


def stored(path, array):
    made = volume.create(
        path, shape=array.shape, dtype=array.dtype, voxel_size=VOXEL, attributes={"source": "neuron.tif"}
    )
    made[:] = array
    return path


@pytest.fixture
def tube():
    """A straight tube along x at y = 8 um, z = 6 um, from x = 4 to 36 um."""
    probability = np.zeros((12, 40, 100), np.uint8)
    probability[5:8, 18:23, 10:91] = 255
    return probability


def run_both(tmp_path, probability, **options):
    image = stored(tmp_path / "image.zarr", probability)
    certain = stored(tmp_path / "probability.zarr", probability)
    labels, output = tmp_path / "labels.zarr", tmp_path / "neuron.swc"
    segment.run(certain, labels)
    trace.run(labels, certain, image, output, **options)
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
    with pytest.raises(InputError, match="three equal shapes"):
        trace.run(labels, other, tmp_path / "image.zarr", tmp_path / "out.swc")


@pytest.mark.parametrize("root", ["1,2", "a,b,c", "nan,1,1"])
def test_a_root_that_is_no_point_is_an_error(tmp_path, tube, root):
    with pytest.raises(InputError, match="root"):
        run_both(tmp_path, tube, root=root)


def test_a_root_outside_the_image_is_an_error(tmp_path, tube):
    with pytest.raises(InputError, match="root"):
        run_both(tmp_path, tube, root="500,20,6")
