"""Are Vaa3D's stacks read voxel by voxel, by the facts of the format, and is every damaged one told?"""

import struct

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from pipeline import images
from pipeline.errors import InputError
from pipeline.images import pbd, vaa3d

rng = np.random.default_rng(0)
KEYS = {"v3draw": vaa3d.RAW, "v3dpbd": vaa3d.PACKED}


def write(path, data, size, *, width=1, order="<"):
    """A file of a header for `size` (x, y, z, c) and bytes behind it."""
    head = KEYS[path.suffix[1:]] + {"<": b"L", ">": b"B"}[order] + struct.pack(f"{order}H4I", width, *size)
    path.write_bytes(head + data)
    return path


def read_slowly(packed, width, order):
    """Samples of packed bytes, code by code, as Vaa3D's own sources do it: the oracle of the reader."""
    out, at = [], 0
    while at < len(packed):
        code, at = packed[at], at + 1
        if width == 1:
            if code < 33:
                out += packed[at : at + code + 1]
                at += code + 1
            elif code < 128:
                for index in range(code - 32):
                    two = packed[at + index // 4] >> 2 * (index % 4) & 3
                    out.append(((out[-1] if out else 0) + (-1 if two == 3 else two)) % 256)
                at += (code - 32 + 3) // 4
            else:
                out += [packed[at]] * (code - 127)
                at += 1
            continue
        if code < 32 or code >= 223:
            count = code + 1 if code < 32 else 1
            values = struct.unpack(f"{order}{count}H", packed[at : at + 2 * count])
            out += values if code < 32 else values * (code - 222)
            at += 2 * count
        else:
            count, bits = (code - 31, 3) if code < 80 else (code - 79, 4) if code < 183 else (code - 182, 5)
            length = (count * bits + 7) // 8
            word = int.from_bytes(packed[at : at + length], "big") >> (8 * length - count * bits)
            for index in reversed(range(count)):
                difference, half = word >> bits * index & (1 << bits) - 1, 1 << bits - 1
                step = difference if difference <= half else half - difference
                out.append(((out[-1] if out else 0) + step) % 65536)
            at += length
    return np.array(out)


def codes(width, seed, count=4000):
    """Random bytes that are whole codes, all kinds of them."""
    raw = np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()
    at = 0
    while at < len(raw) and at + 1 + pbd.TABLES[width].bytes[raw[at]] <= len(raw):
        at += 1 + int(pbd.TABLES[width].bytes[raw[at]])
    return raw[:at]


@pytest.mark.parametrize(("width", "order"), [(1, "<"), (1, ">"), (2, "<"), (2, ">")])
@pytest.mark.parametrize("seed", range(5))
def test_every_code_in_both_byte_orders_gives_what_the_slow_reader_gives(
    tmp_path, monkeypatch, width, order, seed
):
    packed = codes(width, seed)
    expected = read_slowly(packed, width, order)
    monkeypatch.setattr(pbd, "CODES", 1 + 37 * seed)  # samples do not depend on what is decoded at once
    path = write(tmp_path / "a.v3dpbd", packed, (len(expected), 1, 1, 1), width=width, order=order)
    assert_array_equal(images.open_image(path).array[:].ravel(), expected)


def test_each_single_code_is_known():
    for width, table in pbd.TABLES.items():
        for code in range(256):
            data = rng.integers(0, 256, table.bytes[code], dtype=np.uint8).tobytes()
            packed = bytes([code]) + data
            found = pbd.Decoder(np.frombuffer(packed, np.uint8), np.dtype(f"<u{width}")).take(
                int(table.samples[code])
            )
            assert_array_equal(found, read_slowly(packed, width, "<"))


def test_the_examples_of_vaa3d(shared):
    folder = shared / "data/formats"
    frog = images.open_image(folder / "frog_245.v3dpbd").array
    expected = tifffile.imread(shared / "data/bigneuron_mip/frog_245/image.tif")
    assert_array_equal(frog[:], expected)
    assert_array_equal(frog[30:34], expected[30:34])
    assert_array_equal(frog[3:4], expected[3:4])
    for channel in range(4):
        packed, plain = (
            images.open_image(folder / f"testSliceDiffBoundary.{suffix}", channel=channel).array[:]
            for suffix in KEYS
        )
        assert_array_equal(packed, plain)
    for name in ("123stack16", "test_strip8"):
        packed, plain, tiff = (
            images.open_image(folder / f"{name}.{suffix}").array[:] for suffix in (*KEYS, "tif")
        )
        assert_array_equal(packed, tiff)
        assert_array_equal(plain, tiff)


def stacks(dtype):
    """Noise, steps, long runs, one voxel, and all values."""
    most = 1.0 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    noise = (rng.random((5, 20, 30)) * most).astype(dtype)
    yield noise
    yield np.repeat(np.repeat(noise, 3, axis=2), 20, axis=2)
    yield np.zeros((3, 70, 90), dtype)
    yield np.ones((1, 1, 1), dtype)
    yield np.stack([noise, noise[::-1]])


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("v3draw", "u1"), ("v3draw", "u2"), ("v3draw", "f4"), ("v3dpbd", "u1"), ("v3dpbd", "u2")],
)
def test_what_is_written_comes_back_and_the_slow_reader_agrees(tmp_path, suffix, dtype):
    for stack in stacks(dtype):
        path = tmp_path / f"a.{suffix}"
        vaa3d.write(path, stack)
        for channel, expected in enumerate(stack if stack.ndim == 4 else [stack]):
            source = images.open_image(path, channel=channel)
            assert source.dtype == dtype
            assert_array_equal(source.array[:], expected)
        if suffix == "v3dpbd" and dtype in ("u1", "u2"):
            assert_array_equal(read_slowly(path.read_bytes()[43:], int(dtype[1]), "<"), stack.ravel())


def test_runs_are_packed(tmp_path):
    vaa3d.write(tmp_path / "a.v3dpbd", np.zeros((10, 128, 128), np.uint8))
    assert (tmp_path / "a.v3dpbd").stat().st_size == 43 + 10 * 128 * 128 // 64


def test_what_vaa3d_does_not_know_is_not_written(tmp_path):
    for stack in (np.zeros((3, 4, 5), np.int16), np.zeros((3, 4, 5)), np.zeros((4, 5), np.uint8)):
        with pytest.raises(InputError, match="voxels"):
            vaa3d.write(tmp_path / "a.v3draw", stack)
    with pytest.raises(InputError, match="float32 voxels.*uint8, uint16$"):
        vaa3d.write(tmp_path / "a.v3dpbd", np.zeros((3, 4, 5), np.float32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_sizes_of_two_bytes_of_old_raw_files(tmp_path, order):
    stack = rng.integers(0, 60_000, (3, 4, 5), dtype=np.uint16)
    head = vaa3d.RAW + {"<": b"L", ">": b"B"}[order] + struct.pack(f"{order}H4H", 2, 5, 4, 3, 1)
    (tmp_path / "a.v3draw").write_bytes(head + stack.astype(f"{order}u2").tobytes())
    assert_array_equal(images.open_image(tmp_path / "a.v3draw").array[:], stack)


@pytest.mark.parametrize("suffix", KEYS)
def test_a_file_cut_or_grown_anywhere_is_told(tmp_path, suffix):
    stack = rng.integers(0, 9, (3, 12, 15), dtype=np.uint16).repeat(2, axis=2)
    vaa3d.write(tmp_path / f"a.{suffix}", stack)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / f"b.{suffix}"
    for spoilt in (
        *(content[:length] for length in range(0, len(content), 7)),
        content[:-1],
        content + b"\0",
    ):
        path.write_bytes(spoilt)
        with pytest.raises(InputError):
            images.open_image(path).array[:]


@pytest.mark.parametrize(
    ("suffix", "width", "size", "found"),
    [
        ("v3draw", 3, (2, 2, 2, 1), "samples of 3 bytes"),
        ("v3dpbd", 4, (2, 2, 2, 1), "samples of 4 bytes"),
        ("v3dpbd", 33, (2, 2, 2, 1), "samples of 33 bytes"),
        ("v3draw", 1, (0, 2, 2, 1), "allowed: 43 bytes|empty image"),
        ("v3dpbd", 1, (2, 2, 0, 1), "empty image"),
        ("v3draw", 1, (2**31, 2**31, 2**31, 9), "a file of 51 bytes"),
        ("v3dpbd", 1, (2**31, 2**31, 2**31, 9), "declared"),
        ("v3dpbd", 1, (100, 100, 1, 1), "a byte holds 64 voxels at most"),
        ("v3dpbd", 1, (2, 2, 3, 1), "packed samples end before the last voxel|packed code is cut off"),
        ("v3dpbd", 1, (2, 2, 1, 1), "packed samples behind the last voxel"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, suffix, width, size, found):
    path = write(
        tmp_path / f"a.{suffix}", b"\x07ABCDEFGH"[: 8 if suffix == "v3draw" else 9], size, width=width
    )
    with pytest.raises(InputError, match=found):
        images.open_image(path).array[:]


def test_several_channels_are_listed(tmp_path):
    vaa3d.write(tmp_path / "a.v3draw", np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(InputError, match=r"2 channels \(c, z, y, x = 2 x 3 x 4 x 5\).*: 0, 1$"):
        images.open_image(tmp_path / "a.v3draw")


def test_only_the_planes_asked_for_are_in_memory(tmp_path):
    import tracemalloc

    stack = np.zeros((200, 256, 256), np.uint8)  # 13 MB
    for suffix in KEYS:
        vaa3d.write(tmp_path / f"a.{suffix}", stack)
        tracemalloc.start()
        array = images.open_image(tmp_path / f"a.{suffix}").array
        for first in range(0, 200, 4):
            array[first : first + 4]
        assert tracemalloc.get_traced_memory()[1] < (2e6 if suffix == "v3draw" else 120e6)
        tracemalloc.stop()
