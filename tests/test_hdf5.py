"""HDF5 files as stacks."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pipeline import images
from pipeline.errors import InputError
from pipeline.images import labels, split
from pipeline.images.hdf5 import open_image, shape

STACK = np.arange(5 * 4 * 3).reshape(5, 4, 3)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cells.h5"
    with h5py.File(path, "w") as stored:
        stored.attrs["voxel_size_nm"] = (40, 8, 8)
        stored["volumes/raw"] = STACK.astype(np.uint8)
        stored["volumes/labels"] = STACK.astype(">u8")
        stored["volumes/labels"].attrs["resolution"] = (30.0, 6.0, 6.0)
        stored["wide"] = STACK.astype(np.float32)[None]
        stored["wide"].attrs["element_size_um"] = (0.05, 0.004, 0.004)
        stored["channels"] = np.stack([STACK, STACK])
        stored["list"] = np.arange(4)
    return path


def named(file, dataset):
    return f"{file}:/{dataset}"


@pytest.mark.parametrize(
    ("dataset", "dtype", "voxel_size"),
    [
        ("volumes/raw", "uint8", (0.04, 0.008, 0.008)),
        ("volumes/labels", "uint64", (0.03, 0.006, 0.006)),
        ("wide", "float32", (0.05, 0.004, 0.004)),
    ],
)
def test_a_data_set_is_a_lazy_stack_with_its_voxel_size(file, dataset, dtype, voxel_size):
    source = open_image(named(file, dataset))
    assert source.shape == shape(named(file, dataset)) == (5, 4, 3)
    assert source.dtype == np.dtype(dtype)
    assert source.voxel_size == pytest.approx(voxel_size)
    part = source.array[1:4, 2:, :2]
    assert part.dtype == np.dtype(dtype)
    assert_array_equal(part, STACK[1:4, 2:, :2])


def test_labels_are_read_as_unsigned_integers_and_floats_are_refused_by_name(file):
    found, voxel_size = labels.read(named(file, "volumes/labels"))
    assert_array_equal(found, STACK)
    assert (found.dtype, voxel_size) == (np.uint64, pytest.approx((0.03, 0.006, 0.006)))
    with pytest.raises(InputError, match=r"float32.*uint8, uint16, uint32 or uint64"):
        labels.read(named(file, "wide"))


def test_signed_labels_are_read_unless_one_is_negative(file):
    with h5py.File(file, "a") as stored:
        stored["signed"], stored["negative"] = STACK.astype("<i4"), STACK.astype("<i2") - 1
    found, _ = labels.read(named(file, "signed"))
    assert found.dtype == np.uint32
    assert_array_equal(found, STACK)
    with pytest.raises(InputError, match="negative: a label -1; allowed: uint8"):
        labels.read(named(file, "negative"))


def test_a_missing_data_set_is_told_with_those_there(file):
    with pytest.raises(
        InputError, match=r"cells.h5:/rwa: no such data set; allowed:.*volumes/raw \(5 x 4 x 3\)"
    ):
        open_image(named(file, "rwa"))
    with pytest.raises(InputError, match=r"4 data sets and no name.*volumes/labels"):
        open_image(file)


def test_what_is_no_stack_is_refused(file):
    with pytest.raises(InputError, match="list: an array of 4"):
        open_image(named(file, "list"))
    with pytest.raises(InputError, match="2 x 5 x 4 x 3"):
        open_image(named(file, "channels"))


def test_the_only_stack_needs_no_name_and_a_file_without_one_says_so(tmp_path):
    with h5py.File(tmp_path / "one.hdf5", "w") as stored:
        stored["data"] = STACK
    assert open_image(tmp_path / "one.hdf5").shape == (5, 4, 3)
    assert open_image(tmp_path / "one.hdf5").voxel_size is None
    with h5py.File(tmp_path / "none.h5", "w") as stored:
        stored["data"] = STACK[0]
    with pytest.raises(InputError, match="0 data sets.*it holds no stack"):
        open_image(tmp_path / "none.h5")


def test_missing_foreign_and_truncated_files_are_told_as_such(file, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_image(tmp_path / "absent.h5:/raw")
    (tmp_path / "text.h5").write_text("no data")
    with pytest.raises(InputError, match="not an HDF5 file"):
        open_image(tmp_path / "text.h5")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(file.read_bytes()[:600])
    with pytest.raises(InputError, match="broken.h5: not readable"):
        open_image(named(broken, "volumes/raw"))


def test_a_voxel_size_that_is_none_is_told_and_not_used(file):
    with h5py.File(file, "a") as stored:
        stored["volumes/raw"].attrs["resolution"] = (4.0, 0.0)
    source = open_image(named(file, "volumes/raw"))
    assert source.voxel_size is None
    assert "attribute resolution = [4.0, 0.0]" in source.measured.unread
    assert source.measured.broken  # no fallback takes its place


def test_a_channel_of_a_data_set_of_four_axes_is_chosen(file):
    found = images.open_image(named(file, "channels"), channel=1)
    assert_array_equal(found.array[:], STACK)
    with pytest.raises(InputError, match=r"2 channels.*: 0, 1$"):
        images.open_image(named(file, "channels"))


def test_a_colon_elsewhere_in_the_path_is_part_of_it():
    assert [str(part) for part in split("a:b/c.h5")] == ["a:b/c.h5", ""]
    assert [str(part) for part in split("a:b/c.h5:/d/e")] == ["a:b/c.h5", "d/e"]


def test_the_shared_volumes_open(shared):
    source = open_image(f"{shared}/data/em/vnc_train.h5:/raw")
    assert source.shape == (20, 576, 576)
    assert source.voxel_size == pytest.approx((0.05, 0.0046, 0.0046))
