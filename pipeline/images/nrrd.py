"""NRRD files (teem, 3D Slicer, CMTK): raw, gzip and bzip2 encodings behind their own header.

A reader of our own: others read data files that the header names anywhere on the disk, and the whole of them.
"""

import bz2
import gzip
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.images.source import ANY, Measured, Pick, Planes, Source, check_declared, in_um, sizes

HEADER_BYTES = 2**20
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
OPENERS: dict[str, Any] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
    "raw": open,
}
# Kinds of an axis that is none of space.
CHANNEL_KINDS = (
    "list",
    "vector",
    "point",
    "rgb-color",
    "rgba-color",
    "hsv-color",
    "2-vector",
    "3-vector",
    "4-vector",
)


@dataclass(frozen=True)
class Header:
    """fields: by name in lower case. shape, roles (letters of tczyx): slowest axis first. start: of the data."""

    fields: dict[str, str]
    dtype: np.dtype
    shape: tuple[int, ...]
    roles: str
    start: int


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open one channel and time point as a lazy stack; x is the fastest axis of space.

    The voxel size needs units (`space units` or `units`). InputError for what is no NRRD, cut off, longer than its
    header says, or kept in another file.
    """
    header = _header(path)
    lengths = dict(zip(header.roles, header.shape, strict=True))
    said = f"{header.roles} = {sizes(header.shape)}"
    where = {
        axis: pick.index(path, what, lengths.get(axis, 1), axes=said)
        for axis, what in (("c", "channel"), ("t", "time"))
    }
    depth, height, width = lengths.get("z", 1), lengths["y"], lengths["x"]
    planes = Planes(
        path, (depth, height, width), header.dtype.newbyteorder("="), _reader(path, header, where)
    )
    return Source(planes, _voxel_size(header))


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the header."""
    header = _header(path)
    lengths = dict(zip(header.roles, header.shape, strict=True))
    return lengths.get("z", 1), lengths["y"], lengths["x"]


def _header(path: Path) -> Header:
    with open(path, "rb") as file:
        content = file.read(HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", content)
    if not re.match(rb"NRRD000[1-5]\r?\n", content) or not end:
        raise InputError(path, "no header of NRRD", "an undamaged .nrrd file")
    fields: dict[str, str] = {}
    for line in content[: end.start()].decode("utf-8", "replace").splitlines()[1:]:
        name, separator, value = line.partition(": ")
        if separator and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    if "data file" in fields or "datafile" in fields:
        raise InputError(path, "a header whose data lie in another file", "header and data in one .nrrd file")
    kind = next((code for code, names in TYPES.items() if fields.get("type", "").lower() in names), "")
    lengths = [int(length) if length.isdecimal() else 0 for length in fields.get("sizes", "").split()]
    if not kind or not lengths or 0 in lengths or fields.get("dimension") != str(len(lengths)):
        found = ", ".join(
            f"{name} {fields.get(name, 'missing')[:60]}" for name in ("type", "dimension", "sizes")
        )
        raise InputError(
            path, f"a header of {found}", "a type of numbers, and as many sizes above 0 as dimensions"
        )
    encoding = fields.get("encoding", "").lower()
    if encoding not in OPENERS:
        raise InputError(path, f"encoding {encoding!r}", ", ".join(OPENERS))
    order = {"little": "<", "big": ">", "": "<" if kind[1] == "1" else ""}.get(
        fields.get("endian", "").lower(), ""
    )
    if not order:
        raise InputError(path, f"endian {fields.get('endian', 'missing')[:20]!r}", "little or big")
    if any(fields.get(skip, "0") != "0" for skip in ("byte skip", "line skip", "byteskip", "lineskip")):
        raise InputError(path, "lines or bytes to be skipped before the data", "a file without `byte skip`")
    shape = tuple(reversed(lengths))
    header = Header(fields, np.dtype(f"{order}{kind}"), shape, _roles(path, fields, shape), end.end())
    _check_size(path, header, encoding)
    return header


def _check_size(path: Path, header: Header, encoding: str) -> None:
    stored, declared = path.stat().st_size - header.start, math.prod(header.shape) * header.dtype.itemsize
    check_declared(path, header.shape, header.dtype, file_bytes=max(stored, 0))
    if encoding == "raw" and stored != declared:
        raise InputError(
            path, f"{stored:,} bytes of data", f"{declared:,} bytes for {sizes(header.shape)} voxels"
        )


def _roles(path: Path, fields: dict[str, str], shape: tuple[int, ...]) -> str:
    """One letter of tczyx an axis, slowest first, by `kinds` and `space directions`; else zyx, czyx, tczyx."""
    kinds = fields.get("kinds", "").lower().split()[::-1]
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))[::-1]
    roles, space = [""] * len(shape), "xyz"
    for axis in range(len(shape)):
        kind = kinds[axis] if len(kinds) == len(shape) else ""
        outside = len(directions) == len(shape) and directions[axis] == "none"
        if kind == "time":
            roles[axis] = "t"
        elif kind in CHANNEL_KINDS or outside:
            roles[axis] = "c"
    open_axes = [axis for axis in range(len(shape)) if not roles[axis]]
    if len(open_axes) > 3:  # nothing says which: channels and time are the slowest
        for axis, role in zip(open_axes[-4::-1], "ct"):
            roles[axis] = role
    for axis, role in zip([axis for axis in reversed(range(len(shape))) if not roles[axis]], space):
        roles[axis] = role
    found = "".join(roles)
    if len(found) != len(shape) or len(set(found)) != len(found) or not {"y", "x"} <= set(found):
        allowed = "a stack of grey planes (z, y, x), channels and time points"
        raise InputError(path, f"axes of {sizes(shape)} ({fields.get('kinds', 'no kinds')[:80]})", allowed)
    return found


def _reader(path: Path, header: Header, where: dict[str, int]):
    """Reads plane by plane, with all channels where they lie within one; compressed data from front to back."""
    roles, lengths = header.roles, header.shape
    fast_from = roles.index("y")  # axes before it are walked, those from it on are read
    block = lengths[fast_from:]
    each = math.prod(block) * header.dtype.itemsize
    opener = OPENERS[header.fields["encoding"].lower()]
    state: dict[str, Any] = {}

    def at(place: int):
        """The data from a place on; compressed ones know no way back but from the beginning of their file."""
        if opener is open:
            place += header.start
        if "data" not in state or (opener is not open and state["data"].tell() > place):
            state["file"] = open(path, "rb")  # noqa: SIM115 - read on demand
            state["file"].seek(header.start)
            state["data"] = state["file"] if opener is open else opener(state["file"])
        state["data"].seek(place)
        return state["data"]

    def check_end() -> None:
        """Whoever reads the last plane learns whether the data end with the last voxel of the last channel."""
        total = math.prod(lengths) * header.dtype.itemsize
        if len(at(total - 1).read(2)) != 1:
            raise InputError(path, "data that end before or behind the last voxel", "an undamaged file")

    def read(first: int, last: int) -> np.ndarray:
        found = []
        for z in range(first, last):
            index = tuple(z if axis == "z" else where[axis] for axis in roles[:fast_from])
            flat = int(np.ravel_multi_index(index, lengths[:fast_from])) if index else 0
            content = at(flat * each).read(each)
            if len(content) != each:
                raise InputError(path, f"data that end within plane {z}", "a complete file")
            values = np.frombuffer(content, header.dtype).reshape(block)
            keep = tuple(where[axis] if axis in "ct" else slice(None) for axis in roles[fast_from:])
            found.append(values[keep])
        if last == (lengths[roles.index("z")] if "z" in roles else 1):
            check_end()
        return np.stack(found).astype(header.dtype.newbyteorder("="), copy=False)

    return read


def _voxel_size(header: Header) -> Measured:
    """z, y, x in um: lengths of `space directions`, else `spacings`, in `space units`, else `units`."""
    fields, count = header.fields, len(header.shape)
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if len(directions) == count:
        said: list[Any] = [_length(direction) for direction in directions]
    else:
        spacings = fields.get("spacings", "").split()
        said = (
            [None if text.lower() == "nan" else text for text in spacings] if len(spacings) == count else []
        )
    if not said:
        return Measured()
    edges: dict[str, Any] = dict(zip(header.roles, reversed(said), strict=True))
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    of_space = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if of_space:
        unit = dict(zip("xyz", of_space))
    else:
        unit = dict(zip(header.roles, reversed(units))) if len(units) == count else {}
    if "z" not in header.roles:
        edges["z"], unit["z"] = edges["y"], unit.get("y", "")
    return in_um([edges[axis] for axis in "zyx"], [unit.get(axis, "") for axis in "zyx"])


def _length(direction: str) -> float | None:
    try:
        return math.hypot(*(float(part) for part in direction.strip("()").split(",")))
    except ValueError:
        return None
