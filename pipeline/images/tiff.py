"""TIFF stacks, read plane by plane: what is in the file, upright, with its voxel size."""

import logging
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from pipeline.errors import InputError
from pipeline.images.source import Planes, Source, VoxelSize, check_declared, in_um, sizes

# What is wrong with a file is told once, as one line, by us.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def open_image(path: Path) -> Source:
    """Open one stack of grey planes; images.open_image says what is refused.

    Voxel sizes come from OME-XML or ImageJ metadata.
    """
    file = tifffile.TiffFile(path)
    _check_page_chain(path, file)
    _check_markup(path, file)
    if len(file.series) != 1:
        shapes = ", ".join(sizes(series.shape) for series in file.series)
        raise InputError(path, f"{len(file.series)} images ({shapes})", "one stack in a file")
    series = file.series[0]
    _check_axes(path, series.axes, series.shape)
    check_declared(path, series.shape, series.dtype, file_bytes=_file_bytes(series))
    _check_extent(path, series)
    orientation = int(file.pages.first.tags.valueof("Orientation", default=1))
    if orientation not in range(1, 9):
        raise InputError(path, f"Orientation {orientation}", "1 to 8")
    (depth, height, width), voxel_size = series.shape, _voxel_size(file)
    if orientation >= 5:  # rows are stored as columns
        height, width = width, height
        voxel_size = voxel_size and (voxel_size[0], voxel_size[2], voxel_size[1])

    def read(first: int, last: int) -> np.ndarray:
        return _upright(_read_planes(path, series, first, last), orientation)

    return Source(Planes(path, (depth, height, width), series.dtype.newbyteorder("="), read), voxel_size)


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the first page and the count of pages, as an estimate; InputError where the file cannot hold it."""
    with tifffile.TiffFile(path) as file:
        # ImageJ stores stacks over 4 GB as one page and says how many planes follow it.
        planes = max(len(file.pages), (file.imagej_metadata or {}).get("images", 1))
        page = file.pages.first
        found = planes, page.imagelength, page.imagewidth
        check_declared(path, found, page.dtype or "uint8", file_bytes=file.filehandle.size)
        return found


def _check_markup(path: Path, file: tifffile.TiffFile) -> None:
    """OME-XML has no DOCTYPE: entities declared in one could expand without bound when it is parsed."""
    if "<!DOCTYPE" in file.pages.first.description.upper():
        raise InputError(path, "a DOCTYPE in its OME-XML", "OME-XML without one")


def _file_bytes(series: tifffile.TiffPageSeries) -> int:
    """Bytes of all files that hold the planes of a series."""
    handles = {
        page.parent.filehandle.path: page.parent.filehandle.size for page in series.pages if page is not None
    }
    return sum(handles.values())


def _check_page_chain(path: Path, file: tifffile.TiffFile) -> None:
    """A TIFF's pages are a linked list; tifffile stops quietly where a truncated file breaks it."""
    count, layout = len(file.pages), file.tiff.offsetformat
    file.filehandle.seek(file.pages.next_page_offset or 0)
    link = file.filehandle.read(struct.calcsize(layout))
    if not count or len(link) < struct.calcsize(layout) or struct.unpack(layout, link)[0] != 0:
        raise InputError(
            path, f"a truncated file: its page list ends after {count} pages", "a complete TIFF file"
        )


def _check_extent(path: Path, series: tifffile.TiffPageSeries) -> None:
    """All planes must be there, with all their bytes; tifffile gives zeros for those without."""
    whole = "all planes in the file"
    pages = [page for page in series.pages if page is not None and 0 not in page.databytecounts]
    if len(pages) < len(series.pages):
        missing = len(series.pages) - len(pages)
        raise InputError(path, f"{missing} of {len(series.pages)} planes have no data", whole)
    end = max(max(np.add(page.dataoffsets, page.databytecounts)) for page in pages)
    if series.dataoffset is not None:  # ImageJ describes one plane and lets the others follow
        end = max(end, series.dataoffset + series.nbytes)
    size = max(page.parent.filehandle.size for page in pages)
    if end > size:
        raise InputError(path, f"a truncated file of {size} bytes", f"{whole}: {end} bytes")


def _check_axes(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    """Only z (or pages of unknown meaning: I, Q) may stand beside y and x."""
    allowed = "a stack of grey planes (z, y, x)"
    if 0 in shape:
        raise InputError(path, f"an empty image, {sizes(shape)} voxels", "at least one voxel")
    if "S" in axes:
        raise InputError(path, f"colour planes ({axes} = {sizes(shape)})", allowed)
    if "C" in axes:
        found = f"{shape[axes.index('C')]} channels ({axes} = {sizes(shape)})"
        raise InputError(path, found, f"{allowed}: split the channels, or relabel them as slices")
    if "T" in axes:
        found = f"{shape[axes.index('T')]} time points ({axes} = {sizes(shape)})"
        raise InputError(path, found, f"{allowed}: save one time point, or relabel them as slices")
    if axes == "YX":
        raise InputError(path, f"a single plane, {sizes(shape)} voxels", f"{allowed} with two planes or more")
    if len(axes) != 3 or axes[1:] != "YX":
        raise InputError(path, f"axes {axes} = {sizes(shape)}", allowed)


def _read_planes(path: Path, series: Any, first: int, last: int) -> np.ndarray:
    _, height, width = series.shape
    if series.dataoffset is not None:  # planes lie one after the other, uncompressed, in the file
        start = series.dataoffset + first * height * width * series.dtype.itemsize
        dtype = series.dtype.newbyteorder(series.parent.byteorder)
        stack = np.fromfile(path, dtype, (last - first) * height * width, offset=start)
        return stack.reshape(last - first, height, width).astype(dtype.newbyteorder("="), copy=False)
    if len(series.pages) != series.shape[0]:
        return series.asarray()[
            first:last
        ]  # one page of several planes (ImageDepth) comes whole or not at all
    stack = np.empty((last - first, height, width), series.dtype.newbyteorder("="))
    for plane, page in zip(stack, series.pages[first:last], strict=True):
        plane[:] = page.asarray().reshape(height, width)
    return stack


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


def _voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """(z, y, x) um from OME-XML or ImageJ metadata; x and y are columns and rows as stored."""
    if file.is_ome and file.ome_metadata:
        return _ome_voxel_size(file.ome_metadata)
    metadata, tags = file.imagej_metadata or {}, file.pages.first.tags
    per_unit = [tags.valueof(tag, default=(0, 1)) for tag in ("YResolution", "XResolution")]
    if "spacing" not in metadata or any(0 in pair for pair in per_unit):
        return None
    edges = [metadata["spacing"], *(denominator / numerator for numerator, denominator in per_unit)]
    return in_um(
        edges, [str(metadata.get(key, metadata.get("unit", ""))) for key in ("zunit", "yunit", "unit")]
    )


def _ome_voxel_size(xml: str) -> VoxelSize | None:
    pixels = next((element for element in ET.fromstring(xml).iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    edges = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    return in_um(edges, [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX"])
