"""Does looking at a dataset cost little, however large or broken its files are?"""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from sheets import write_sheet

from pipeline import dataset
from pipeline.dataset import discover
from pipeline.errors import InputError
from pipeline.images import count_voxels, open_image


def test_nothing_slow_is_imported():
    code = "import sys, pipeline.dataset; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"numpy", "tifffile", "zarr", "pandas", "torch"} & set(loaded.split())


def test_the_number_of_voxels_comes_from_the_headers(tmp_path):
    values = np.zeros((6, 30, 40), np.uint8)
    for name, options in (
        ("plain", {"metadata": None}),
        ("packed", {"metadata": None, "compression": "zlib"}),
        ("one_page", {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True}),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, **options)
        assert count_voxels(tmp_path / f"{name}.tif") == values.size
    from pipeline import volume

    volume.create(tmp_path / "a.zarr", shape=values.shape, dtype="u1", voxel_size=(1, 1, 1))
    assert count_voxels(tmp_path / "a.zarr") == values.size


def test_the_number_of_voxels_of_a_damaged_file_is_its_size(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"x" * 123)
    assert count_voxels(tmp_path / "a.tif") == 123
    assert count_voxels(tmp_path / "missing.tif") == 0


def declaring(path: Path, *, edge: int, planes: int) -> None:
    """A TIFF of `planes` pages of edge x edge voxels of 16 bits, all in one compressed strip of some bytes."""
    strip, pages, start = zlib.compress(bytes(64)), b"", 8
    for page in range(planes):
        tags = {256: edge, 257: edge, 258: 16, 259: 8, 262: 1, 273: 8 + planes * 114, 277: 1, 278: edge}
        tags[279] = len(strip)
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        start += 114
        pages += struct.pack("<H", len(tags)) + entries + struct.pack("<I", start if page < planes - 1 else 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + pages + strip)


def test_a_small_file_that_declares_terabytes_asks_for_no_memory_and_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    declaring(path, edge=1_414_214, planes=2)
    size = path.stat().st_size
    assert size < 270
    assert count_voxels(path) == size
    with pytest.raises(InputError, match=r"8,000,0\d\d,\d{3},\d{3} bytes\) in a file of \d+ bytes"):
        open_image(path)
    declaring(path, edge=16, planes=2)  # the same file, but for what it declares
    assert count_voxels(path) == 2 * 16 * 16
    assert open_image(path).shape == (2, 16, 16)


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_a_data_set_that_is_declared_and_not_there_asks_for_no_memory_either(tmp_path, name):
    from pipeline import volume

    path, shape = tmp_path / name, (20_000, 20_000, 20_000)
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", shape, np.uint8, chunks=(64, 64, 64))
    else:
        volume.create(path, shape=shape, dtype="u1", voxel_size=(1, 1, 1))
    assert count_voxels(path) < 10_000
    with pytest.raises(InputError, match=r"8,000,000,000,000 bytes\) in a file of [\d,]+ bytes"):
        open_image(path)


def test_ten_thousand_rows_cost_no_more_than_some_looks_at_their_paths(folder):
    rows = "".join(f"s{index}\ta.tif\t1,1,1\ta.swc\n" for index in range(10_000))
    (folder / "samples.tsv").write_text(f"sample\timage\tvoxel_size\treference\n{rows}")
    paths = [folder / "a.tif", folder / "a.swc"] * 10_000
    before = os.times()
    assert len([path.resolve() for path in paths]) == 20_000
    between = os.times()
    assert len(discover(folder)) == 10_000
    after = os.times()
    # Both in this process, so that a slow or busy machine slows both; anything quadratic is far beyond.
    look, work = (b.user + b.system - a.user - a.system for a, b in ((before, between), (between, after)))
    assert work < 10 * look


def test_labels_are_looked_for_in_one_list_of_the_folder(folder, monkeypatch):
    (folder / "a_labels.tif").touch()
    write_sheet(folder, *(f"s{index} a.tif" for index in range(100)), header="sample image")
    samples, listed, original = discover(folder), [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or original(path))
    dataset.sample._listed.cache_clear()
    assert {sample.truth for sample in samples} == {folder / "a_labels.tif"}
    assert listed == [folder]


def test_the_real_datasets(shared):
    samples = discover(shared / "data/diadem_op")
    assert [sample.name for sample in samples] == ["OP_1", "OP_2", "OP_4", "OP_5", "OP_7", "OP_8"]
    assert samples[4].root == (47, 388, 0)
    assert samples[4].reference == shared / "data/diadem_op/OP_7.full.swc"
    assert count_voxels(samples[4].image) == 71 * 512 * 512
    names = [sample.name for sample in discover(shared / "data/trailmap")]
    assert names == ["train", "unlabelled", *(f"validation__crop_{index}" for index in range(10))]
