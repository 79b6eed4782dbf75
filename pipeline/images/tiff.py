"""TIFF stacks (ImageJ, OME, LSM too), read plane by plane: what is in the file, upright, with its voxel size.

Metadata that disagrees with the pages of its file is refused: half a stack, or planes in another order, look like an
image.
"""

import logging
import math
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pipeline.errors import InputError
from pipeline.images import tiff_header
from pipeline.images.source import ANY, Measured, Pick, Planes, Source, check_declared, in_um, sizes

# What is wrong with a file is told once, as one line, by us.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

AGREEING = "a file whose metadata agrees with its planes: open it in Fiji, look at it, save it anew"


@dataclass(frozen=True)
class Stored:
    """Planes as a file holds them: pages in the order of `axes` (all but y, x and what lies beside them).

    A page holds one plane or several. names: of the channels.
    """

    pages: Sequence[Any]
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lead(self) -> tuple[int, ...]:
        """Lengths of the axes before a plane."""
        return self.shape[: self.axes.index("Y")]

    @property
    def plane(self) -> tuple[int, ...]:
        """(y, x), or (y, x, samples)."""
        return self.shape[self.axes.index("Y") :]


def open_image(path: Path, pick: Pick = ANY, *, slices: int = 1) -> Source:
    """Open the stack of one channel and time point; images.open_image says what is refused.

    slices: files of one stack of which this is one: then a plane without a step in z is not one of its own.

    Voxel sizes come from OME-XML, ImageJ's or LSM metadata. Planes that were written one by one are one stack.
    """
    _check_first_page(path)
    file = tifffile.TiffFile(path)
    _check_page_chain(path, file)
    _check_markup(path, file)
    stored = _stored(path, file)
    check_declared(path, stored.shape, stored.dtype, file_bytes=_file_bytes(stored.pages))
    _check_extent(path, stored)
    orientation = int(file.pages.first.tags.valueof("Orientation", default=1))
    if orientation not in range(1, 9):
        raise InputError(path, f"Orientation {orientation}", "1 to 8")
    where, depth = _place(path, stored, pick)
    height, width = stored.plane[:2]
    measured = _voxel_size(file, depth * slices)
    if orientation >= 5:  # rows are stored as columns
        height, width, measured = width, height, measured.turned()

    def read(first: int, last: int) -> np.ndarray:
        return _upright(_read_planes(stored, where, first, last), orientation)

    planes = Planes(path, (depth, height, width), stored.dtype.newbyteorder("="), read)
    return Source(planes, measured, stored.notes)


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the first page and the count of pages, as an estimate; InputError where the file cannot hold it."""
    with tifffile.TiffFile(path) as file:
        # ImageJ stores stacks over 4 GB as one page and says how many planes follow it.
        planes = max(len(file.pages), (file.imagej_metadata or {}).get("images", 1))
        page = file.pages.first
        found = planes, page.imagelength, page.imagewidth
        check_declared(path, found, page.dtype or "uint8", file_bytes=file.filehandle.size)
        return found


# --- is the file whole, and does it agree with itself? ----------------------------------------------


def _check_first_page(path: Path) -> None:
    """The metadata behind the pixels (Bio-Formats) is lost without a word where a file is cut within them."""
    page, size = tiff_header.first_page(path), path.stat().st_size
    if page and page.end > size:
        found = f"a truncated file of {size} bytes, cut within its metadata"
        raise InputError(path, found, f"a complete TIFF file: {page.end} bytes")
    if page and page.master:
        raise InputError(
            path, f"planes whose metadata lie in {page.master}", f"{page.master}, if it is a TIFF file"
        )
    is_ome = page and re.search(r"<(\w+:)?OME[\s>]", page.description[:4000])
    if page and is_ome and not page.description[-12:].strip().endswith("OME>"):
        raise InputError(path, "OME-XML that ends before its end", "a complete TIFF file")


def _check_markup(path: Path, file: tifffile.TiffFile) -> None:
    """OME-XML has no DOCTYPE: entities declared in one could expand without bound when it is parsed."""
    if "<!DOCTYPE" in file.pages.first.description.upper():
        raise InputError(path, "a DOCTYPE in its OME-XML", "OME-XML without one")


def _check_page_chain(path: Path, file: tifffile.TiffFile) -> None:
    """A TIFF's pages are a linked list; tifffile stops quietly where a truncated file breaks it."""
    count, layout = len(file.pages), file.tiff.offsetformat
    file.filehandle.seek(file.pages.next_page_offset or 0)
    link = file.filehandle.read(struct.calcsize(layout))
    if not count or len(link) < struct.calcsize(layout) or struct.unpack(layout, link)[0] != 0:
        raise InputError(
            path, f"a truncated file: its page list ends after {count} pages", "a complete TIFF file"
        )


def _file_bytes(pages: Sequence[Any]) -> int:
    """Bytes of all files that hold the pages."""
    handles = {page.parent.filehandle.path: page.parent.filehandle.size for page in pages if page is not None}
    return sum(handles.values())


def _check_extent(path: Path, stored: Stored) -> None:
    """All planes must be there, with all their bytes; tifffile gives zeros for those without."""
    whole = "all planes in the file"
    pages = [page for page in stored.pages if page is not None and 0 not in page.databytecounts]
    if len(pages) < len(stored.pages):
        _check_companions(path)
        missing = len(stored.pages) - len(pages)
        raise InputError(path, f"{missing} of {len(stored.pages)} planes have no data", whole)
    end = max(max(np.add(page.dataoffsets, page.databytecounts)) for page in pages)
    if stored.offset is not None:  # ImageJ describes one plane and lets the others follow
        end = max(end, stored.offset + math.prod(stored.shape) * stored.dtype.itemsize)
    size = max(page.parent.filehandle.size for page in pages)
    if end > size:
        raise InputError(path, f"a truncated file of {size} bytes", f"{whole}: {end} bytes")


def _check_agreement(path: Path, file: tifffile.TiffFile, stored: Stored) -> None:
    """Every page of every file must be one of the stack's, and there must be as many planes as the metadata says."""
    used = {id(page.parent): page.parent for page in stored.pages if page is not None}
    for parent in used.values():
        there = sum(not _is_thumbnail(page) for page in parent.pages)
        taken = sum(page is not None and page.parent is parent for page in stored.pages)
        if there != taken:
            name = "" if parent is file else f" in {Path(parent.filename).name}"
            raise InputError(path, f"metadata of {taken} planes, {there} planes{name}", AGREEING)
    metadata = file.imagej_metadata
    if metadata and not (file.is_ome or file.is_lsm):
        planes = math.prod(stored.lead)
        axes = {key: metadata[key] for key in ("channels", "slices", "frames") if key in metadata}
        said = {"images": metadata["images"]} if "images" in metadata else {}
        product = math.prod(axes.values()) if axes else planes
        samples = math.prod(stored.plane[2:])  # those of a colour plane may count as channels
        if any(count not in (planes, planes * samples) for count in (product, *said.values())):
            told = ", ".join(f"{key}={count}" for key, count in (said | axes).items())
            raise InputError(path, f"ImageJ metadata of {told} and {planes} planes", AGREEING)


def _check_companions(path: Path) -> None:
    """Name the files in which the planes lie that are not here."""
    page = tiff_header.first_page(path)
    missing = [name for name in (page.named if page else ()) if not path.with_name(Path(name).name).exists()]
    if missing:
        found = (
            f"OME-XML that says planes lie in {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        )
        raise InputError(path, found, "these files beside it, under those names")


def _is_thumbnail(page: Any) -> bool:
    keyframe = getattr(page, "keyframe", None)  # a frame that tifffile has not read has none
    return keyframe is not None and bool(keyframe.is_reduced)


# --- which planes are meant? ------------------------------------------------------------------------


def _stored(path: Path, file: tifffile.TiffFile) -> Stored:
    """The one image of a file; InputError for several."""
    if file.is_lsm and len(file.pages) < 2:
        raise InputError(path, "an LSM file without a thumbnail beside its plane", "a file as ZEN writes it")
    series = [one for one in file.series if one.pages and not _is_thumbnail(one.pages[0])]
    if file.is_ome and any(one.kind != "ome" for one in series):
        _check_companions(path)
        raise InputError(path, "OME-XML that does not describe its planes", AGREEING)
    first = series[0] if series else None
    if first is None:
        raise InputError(path, "no image but thumbnails", "a stack of grey planes (z, y, x)")
    notes: tuple[str, ...] = ()
    pages: Sequence[Any] = first.pages
    names, axes, lengths = _names(file), first.axes, first.shape
    if len(series) > 1:
        if any(
            (one.shape, one.dtype, one.axes, len(one.pages)) != (lengths, first.dtype, axes, 1)
            for one in series
        ):
            shapes = ", ".join(sizes(one.shape) for one in series[:4]) + (", ..." if len(series) > 4 else "")
            raise InputError(path, f"{len(series)} images ({shapes})", "one stack in a file")
        pages, axes, lengths = [one.pages[0] for one in series], f"I{axes}", (len(series), *lengths)
        notes = (f"{len(series)} images of one plane each are read as one stack",)
    if 0 in lengths:
        raise InputError(path, f"an empty image, {sizes(lengths)} voxels", "at least one voxel")
    at = axes.find("Y")
    if at < 0 or axes[at:] not in ("YX", "YXS", "YXC"):
        raise InputError(path, f"axes {axes} = {sizes(lengths)}", "planes: y and x last")
    if math.prod(lengths[:at]) % len(pages):
        found = (
            f"metadata of {math.prod(lengths[:at])} planes ({axes} = {sizes(lengths)}), {len(pages)} planes"
        )
        raise InputError(path, found, AGREEING)
    one_file = len({id(page.parent) for page in pages if page is not None}) == 1
    offset = first.dataoffset if len(series) == 1 and one_file else None
    stored = Stored(pages, axes, lengths, first.dtype, offset, names, notes)
    _check_agreement(path, file, stored)
    return stored


def _place(path: Path, stored: Stored, pick: Pick) -> tuple[dict[str, int], int]:
    """Where the planes are on all axes but z, y and x, and how many there are.

    Pages of unknown meaning (I, Q) are planes in z, the samples of a colour channels.
    """
    axes, lengths = stored.axes, dict(zip(stored.axes, stored.shape, strict=True))
    said = f"{axes} = {sizes(stored.shape)}"
    where: dict[str, int] = {}
    channels = [axis for axis in axes if axis in "CS" and lengths[axis] > 1]
    deep = [axis for axis in axes if axis in "ZIQ" and lengths[axis] > 1]
    strange = [axis for axis in axes if axis not in "TCSZIQYX" and lengths[axis] > 1]
    if strange or len(deep) > 1 or len(channels) > 1:
        raise InputError(path, f"axes {said}", "a stack of grey planes (z, y, x), channels and time points")
    for axis in axes:
        if axis in "YX" or axis in deep:
            continue
        if axis in channels:
            names = stored.names or (
                ("red", "green", "blue", "alpha")[: lengths[axis]] if axis == "S" else ()
            )
            told = f"colour planes, {said}" if axis == "S" else said
            where[axis] = pick.index(path, "channel", lengths[axis], names, told)
        else:
            where[axis] = pick.index(path, "time", lengths[axis], axes=said) if axis == "T" else 0
    if not channels:
        pick.index(path, "channel", 1, stored.names)
    if "T" not in where:
        pick.index(path, "time", 1)
    return where, lengths[deep[0]] if deep else 1


def _names(file: tifffile.TiffFile) -> tuple[str, ...]:
    """Names of the channels, "" for one without; none where the file does not speak of them."""
    if file.is_ome and file.ome_metadata and (pixels := _pixels(file.ome_metadata)) is not None:
        return tuple(item.get("Name", "") for item in pixels if item.tag.endswith("}Channel"))
    if file.is_lsm:
        colours = (file.lsm_metadata or {}).get("ChannelColors") or {}
        return tuple(str(name) for name in colours.get("ColorNames", ()))
    return ()


# --- reading them -----------------------------------------------------------------------------------


def _read_planes(stored: Stored, where: dict[str, int], first: int, last: int) -> np.ndarray:
    """(z, y, x): planes first..last-1 of the channel and time point `where`."""
    at = len(stored.lead)
    sample = [where[axis] for axis in stored.axes[at + 2 :]]
    height, width, *_ = stored.plane
    stack = np.empty((last - first, height, width), stored.dtype.newbyteorder("="))
    held, decoded = -1, stack  # the last page: it may hold several planes
    each = math.prod(stored.lead) // len(stored.pages)
    for z, plane in enumerate(stack, first):
        index = tuple(where.get(axis, z) for axis in stored.axes[:at])
        flat = int(np.ravel_multi_index(index, stored.lead)) if index else 0
        if stored.offset is not None:
            found = _read_at(stored, stored.offset, flat)
        else:
            if held != flat // each:
                held = flat // each
                decoded = _decode(stored.pages[held]).reshape(each, *stored.plane)
            found = decoded[flat % each]
        plane[:] = found[..., sample[0]] if sample else found
    return stack


def _decode(page: Any) -> np.ndarray:
    """A page; tifffile closes all files of a stack but the first, and there may be thousands."""
    handle = page.parent.filehandle
    if not handle.closed:
        return page.asarray()
    handle.open()
    try:
        return page.asarray()
    finally:
        handle.close()


def _read_at(stored: Stored, offset: int, flat: int) -> np.ndarray:
    """A plane of those that lie one after the other, uncompressed, in the file."""
    parent = stored.pages[0].parent
    dtype, count = stored.dtype.newbyteorder(parent.byteorder), math.prod(stored.plane)
    place = offset + flat * count * dtype.itemsize
    return np.fromfile(parent.filehandle.path, dtype, count, offset=place).reshape(stored.plane)


def _upright(stack: np.ndarray, orientation: int) -> np.ndarray:
    """Planes as stored (row, column) -> as meant, by the TIFF tag Orientation (1..8).

    2, 3 begin at the right, 3, 4 at the bottom; 5 to 8 store columns as rows: 5 = transposed 1, 6 = transposed
    4 (begins top right), 7 = transposed 3, 8 = transposed 2 (begins bottom left).
    """
    if orientation in (2, 3, 7, 8):
        stack = stack[:, :, ::-1]
    if orientation in (3, 4, 6, 7):
        stack = stack[:, ::-1, :]
    return stack.swapaxes(1, 2) if orientation >= 5 else stack


# --- how large are the voxels? ----------------------------------------------------------------------


def _voxel_size(file: tifffile.TiffFile, depth: int) -> Measured:
    """x and y are columns and rows as stored."""
    if file.is_lsm:
        metadata = file.lsm_metadata or {}
        return in_um([metadata.get(f"VoxelSize{axis}") for axis in "ZYX"], ["m"] * 3)
    if file.is_ome and file.ome_metadata:
        return _ome_voxel_size(file.ome_metadata, depth)
    return _imagej_voxel_size(file.imagej_metadata or {}, file.pages.first.tags, depth)


def _imagej_voxel_size(metadata: dict, tags: Any, depth: int) -> Measured:
    """ImageJ leaves the line `spacing` out where the step in z is 1, and reads a file without it so.

    A plane has no step: its voxels are cubes.
    """
    per_unit = [tags.valueof(tag, default=(0, 1)) for tag in ("YResolution", "XResolution")]
    units = [str(metadata.get(key, metadata.get("unit", ""))) for key in ("zunit", "yunit", "unit")]
    if any(0 in pair for pair in per_unit) or not ("spacing" in metadata or "unit" in metadata):
        return Measured()
    y, x = (below / above for above, below in per_unit)
    measured = in_um([metadata.get("spacing", 1 if depth > 1 else y), y, x], units)
    if not measured.voxel_size or depth == 1:
        return measured
    if "spacing" not in metadata:
        return measured._replace(unread=f"no z step in its metadata: to ImageJ that is 1 {units[0]}")
    if "," in str(metadata["spacing"]):
        return measured._replace(unread=f"z step {metadata['spacing']}: the comma is read as a decimal one")
    return measured


def _pixels(xml: str) -> ET.Element | None:
    return next((element for element in ET.fromstring(xml).iter() if element.tag.endswith("}Pixels")), None)


def _ome_voxel_size(xml: str, depth: int) -> Measured:
    pixels = _pixels(xml)
    if pixels is None:
        return Measured()
    edges = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"]
    if depth == 1 and edges[0] is None:  # a plane has no step: its voxels are cubes
        edges[0], units[0] = edges[1], units[1]
    return in_um(edges, units)
