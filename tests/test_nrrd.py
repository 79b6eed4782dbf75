"""NRRD files as stacks, against those that pynrrd writes where it is installed."""

import bz2
import gzip

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pipeline import images
from pipeline.errors import InputError

STACK = np.random.default_rng(0).integers(0, 250, (5, 7, 9), dtype=np.uint8)
PACK = {"raw": bytes, "gzip": gzip.compress, "gz": gzip.compress, "bzip2": bz2.compress}


def write(path, values, *, encoding="raw", kind=None, end="\n", **fields):
    """values: slowest axis first. Fields of None are left out."""
    kinds = {"u1": "uint8", "u2": "ushort", "i2": "short", "f4": "float"}
    head = {
        "type": kind or kinds[values.dtype.str[1:]],
        "dimension": values.ndim,
        "sizes": " ".join(map(str, values.shape[::-1])),
        "encoding": encoding,
        "endian": "big" if values.dtype.str[0] == ">" else "little",
        **{name.replace("_", " "): value for name, value in fields.items()},
    }
    lines = [
        "NRRD0004",
        "# a comment",
        "a key:=a value",
        *(f"{k}: {v}" for k, v in head.items() if v is not None),
    ]
    path.write_bytes((end.join(lines) + end * 2).encode() + PACK[encoding](values.tobytes()))
    return path


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i2", "<f4", ">f4"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_encoding_and_type(tmp_path, encoding, dtype, end):
    source = images.open_image(write(tmp_path / "a.nrrd", STACK.astype(dtype), encoding=encoding, end=end))
    assert source.dtype == np.dtype(dtype).newbyteorder("=")
    assert_array_equal(source.array[:], STACK)
    assert_array_equal(source.array[3:5], STACK[3:5])
    assert_array_equal(source.array[1:3, 2:], STACK[1:3, 2:])


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"spacings": "0.25 0.5 2.5", "units": '"um" "um" "micron"'}, (2.5, 0.5, 0.25)),
        ({"spacings": "0.25 0.5 2.5", "space_units": '"mm" "mm" "mm"'}, (2500, 500, 250)),
        (
            {
                "space_directions": "(0.25,0,0) (0,-0.5,0) (0,0,2.5)",
                "space_units": '"um" "um" "um"',
                "space": "LPS",
            },
            (2.5, 0.5, 0.25),
        ),
        ({"spacings": "0.25 0.5 2.5"}, None),
        ({}, None),
    ],
)
def test_voxel_sizes_need_a_unit(tmp_path, fields, size):
    measured = images.open_image(write(tmp_path / "a.nrrd", STACK, **fields)).measured
    assert measured.voxel_size == (None if size is None else pytest.approx(size))
    assert ("without a unit" in measured.unread) == (size is None and bool(fields))


@pytest.mark.parametrize(
    ("order", "fields"),
    [
        ((0, 1, 2, 3), {}),
        ((0, 1, 2, 3), {"kinds": "space space space list"}),
        ((1, 2, 3, 0), {"kinds": "vector domain domain domain"}),
        ((1, 2, 3, 0), {"space_directions": "none (1,0,0) (0,1,0) (0,0,1)", "space_units": '"um" "um" "um"'}),
    ],
)
def test_channels_before_or_behind_the_axes_of_space(tmp_path, order, fields):
    values = np.stack([STACK, STACK[::-1]])
    path = write(tmp_path / "a.nrrd", np.ascontiguousarray(values.transpose(order)), **fields)
    for channel in range(2):
        source = images.open_image(path, channel=channel)
        assert_array_equal(source.array[1:4], values[channel, 1:4])
    assert source.voxel_size == ((1, 1, 1) if "space_units" in fields else None)
    with pytest.raises(InputError, match="2 channels"):
        images.open_image(path)


def test_time_and_channels_and_a_plane(tmp_path):
    values = np.arange(2 * 3 * 5 * 7 * 9, dtype=np.uint16).reshape(2, 3, 5, 7, 9)
    path = write(tmp_path / "a.nrrd", values)
    assert_array_equal(images.open_image(path, channel=2, time=1).array[:], values[1, 2])
    assert_array_equal(images.open_image(write(tmp_path / "b.nrrd", STACK[0])).array[:], STACK[:1])


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"kind": "block"}, "type block"),
        ({"dimension": 4}, "dimension 4"),
        ({"sizes": "9 7 -5"}, "sizes 9 7 -5"),
        ({"sizes": "9 7 6"}, "315 bytes of data; allowed: 378 bytes"),
        ({"sizes": "900000 700000 500000"}, "declared"),
        ({"sizes": None}, "sizes missing"),
        ({"data_file": "/etc/passwd"}, "another file"),
        ({"byte_skip": "-1"}, "skipped"),
        ({"kinds": "space space time"}, None),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, fields, found):
    path = write(tmp_path / "a.nrrd", STACK, **fields)
    if found is None:
        assert images.open_image(path, time=4).shape == (1, 7, 9)
        return
    with pytest.raises(InputError, match=found):
        images.open_image(path).array[:]


@pytest.mark.parametrize("encoding", PACK)
def test_a_file_cut_or_grown_anywhere_is_told(tmp_path, encoding):
    content = write(tmp_path / "a.nrrd", STACK, encoding=encoding).read_bytes()
    path = tmp_path / "b.nrrd"
    for spoilt in (*(content[:length] for length in range(0, len(content) - 4, 5)), content[:-9]):
        path.write_bytes(spoilt)
        with pytest.raises(InputError):
            images.open_image(path).array[:]
    longer = np.concatenate([STACK, STACK[:1]])
    path.write_bytes(write(tmp_path / "a.nrrd", longer, encoding=encoding, sizes="9 7 5").read_bytes())
    with pytest.raises(InputError, match=r"before or behind the last voxel|378 bytes of data"):
        images.open_image(path).array[:]


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_what_pynrrd_writes(tmp_path, encoding):
    nrrd = pytest.importorskip("nrrd")
    header = {
        "encoding": encoding,
        "space directions": np.diag([0.25, 0.5, 2.5]),
        "space units": ["um"] * 3,
        "space dimension": 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), STACK.T, header)
    source = images.open_image(tmp_path / "a.nrrd")
    assert_array_equal(source.array[:], STACK)
    assert_allclose(source.voxel_size, (2.5, 0.5, 0.25))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_a_file_cut_in_another_channel_is_told_too(tmp_path, encoding):
    values = np.random.default_rng(1).integers(0, 250, (3, 5, 40, 50), dtype=np.uint8)
    path = write(tmp_path / "a.nrrd", values, encoding=encoding)
    assert_array_equal(images.open_image(path, channel=0).array[:], values[0])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError):
        images.open_image(path, channel=0).array[:]
