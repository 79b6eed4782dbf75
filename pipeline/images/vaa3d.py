"""Vaa3D's .v3draw (plain) and .v3dpbd (packed) stacks, read and written; they have no voxel size.

24 bytes of key, L or B for the byte order, 2 bytes: bytes of a sample, four sizes x, y, z, c of 4 bytes (2 in old
files), then the samples, x fastest. The readers that others have made give wrong volumes for damaged files; this one
has all of the samples, and nothing behind them, or tells.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.images import pbd
from pipeline.images.source import ANY, Pick, Planes, Source, check_declared, sizes

RAW, PACKED = b"raw_image_stack_by_hpeng", b"v3d_volume_pkbitdf_encod"
TYPES = {1: "u1", 2: "u2", 4: "f4"}


@dataclass(frozen=True)
class Header:
    """shape: c, z, y, x. start: of the samples, in bytes."""

    packed: bool
    dtype: np.dtype
    shape: tuple[int, int, int, int]
    start: int


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open one channel as a lazy stack. InputError for what is no such file, cut off, or longer than it says."""
    header = _header(path)
    channels, *stack = header.shape
    channel = pick.index(path, "channel", channels, axes=f"c, z, y, x = {sizes(header.shape)}")
    pick.index(path, "time", 1)
    depth, height, width = stack
    read = (_packed_reader if header.packed else _raw_reader)(path, header, channel)
    return Source(Planes(path, (depth, height, width), header.dtype.newbyteorder("="), read))


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the header."""
    _, depth, height, width = _header(path).shape
    return depth, height, width


def write(path: Path, stack: np.ndarray | Planes) -> None:
    """Write (z, y, x) or (c, z, y, x) uint8 or uint16 samples, of .v3draw float32 too, little-endian; whole or absent.

    A plane is in memory at once. InputError for other types and sizes.
    """
    packed = Path(path).suffix.lower() == ".v3dpbd"
    allowed = {"u1": 1, "u2": 2} | ({} if packed else {"f4": 4})
    kind = stack.dtype.str[1:]
    if kind not in allowed or len(stack.shape) not in (3, 4) or 0 in stack.shape or max(stack.shape) >= 2**31:
        found = f"{stack.dtype} voxels, {sizes(stack.shape)}"
        types = ", ".join(str(np.dtype(one)) for one in allowed)
        raise InputError(path, found, f"(z, y, x) or (c, z, y, x) of {types}")
    size = (*stack.shape[::-1], 1)[:4]
    head = (PACKED if packed else RAW) + b"L" + struct.pack("<H4I", allowed[kind], *size)
    volumes = list(stack) if isinstance(stack, np.ndarray) and stack.ndim == 4 else [stack]
    with whole(Path(path)) as private, open(private, "wb") as file:
        file.write(head)
        for volume in volumes:
            for z in range(volume.shape[0]):
                plane = volume[z : z + 1]
                file.write(pbd.encode(plane) if packed else plane.astype(f"<{kind}").tobytes())


def _header(path: Path) -> Header:
    file_bytes = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(43)
    key, order = head[:24], {b"L": "<", b"B": ">"}.get(head[24:25])
    if key not in (RAW, PACKED) or not order or len(head) < 35:
        raise InputError(path, "no header of Vaa3D", "a .v3draw or .v3dpbd file written by Vaa3D")
    (width,) = struct.unpack(f"{order}H", head[25:27])
    packed = key == PACKED
    if width not in TYPES or (packed and width == 4):
        raise InputError(path, f"samples of {width} bytes", "1 or 2" if packed else "1, 2 or 4")
    dtype = np.dtype(f"{order}{TYPES[width]}")
    if len(head) == 43:
        size = struct.unpack(f"{order}4I", head[27:43])
        if packed or file_bytes == 43 + math.prod(size) * width:
            return _checked(path, Header(packed, dtype, size[::-1], 43), file_bytes)
    old = struct.unpack(f"{order}4H", head[27:35])
    if not packed and 0 not in old and file_bytes == 35 + math.prod(old) * width:
        return _checked(path, Header(packed, dtype, old[::-1], 35), file_bytes)
    if packed or len(head) < 43:
        raise InputError(path, f"a file of {file_bytes} bytes, cut within its header", "a complete file")
    allowed = f"{43 + math.prod(size) * width:,} bytes for its {sizes(size[::-1])} samples of {width} bytes"
    raise InputError(path, f"a file of {file_bytes:,} bytes", allowed)


def _checked(path: Path, header: Header, file_bytes: int) -> Header:
    if 0 in header.shape:
        raise InputError(path, f"an empty image, {sizes(header.shape)} voxels", "at least one voxel")
    check_declared(path, header.shape, header.dtype, file_bytes=file_bytes)
    if header.packed:  # a byte gives 64 samples at most
        samples = math.prod(header.shape)
        if samples > 64 * max(file_bytes - header.start, 0):
            found = f"{sizes(header.shape)} voxels declared in a file of {file_bytes:,} bytes"
            raise InputError(path, found, "a complete file: a byte holds 64 voxels at most")
    return header


def _raw_reader(path: Path, header: Header, channel: int):
    _, depth, height, width = header.shape
    plane = height * width * header.dtype.itemsize

    def read(first: int, last: int) -> np.ndarray:
        place = header.start + (channel * depth + first) * plane
        count = (last - first) * height * width
        samples = np.fromfile(path, header.dtype, count, offset=place)
        return samples.reshape(last - first, height, width).astype(header.dtype.newbyteorder("="), copy=False)

    return read


def _packed_reader(path: Path, header: Header, channel: int):
    """Reads from front to back: a range behind the last one goes on from there, one before it begins anew.

    Whoever reads the last plane learns whether the file ends with the last voxel, as it must.
    """
    channels, depth, height, width = header.shape
    state: dict[str, pbd.Decoder] = {}

    def skip(decoder: pbd.Decoder, planes: int) -> None:
        for _ in range(planes):
            decoder.take(height * width)

    def read(first: int, last: int) -> np.ndarray:
        start = (channel * depth + first) * height * width
        decoder = state.get("at")
        if decoder is None or decoder.given > start:
            decoder = pbd.Decoder(np.memmap(path, np.uint8, "r", header.start), header.dtype)
        state.clear()  # what fails in the middle is begun anew
        skip(decoder, (start - decoder.given) // (height * width))
        stack = np.empty((last - first, height, width), header.dtype.newbyteorder("="))
        for plane in stack:
            plane[:] = decoder.take(height * width).reshape(height, width)
        if last == depth:
            ended = channels * depth * height * width
            skip(decoder, (ended - decoder.given) // (height * width))
            if not decoder.is_at_end():
                raise InputError(path, "packed samples behind the last voxel", "an undamaged file")
        state["at"] = decoder
        return stack

    return read
