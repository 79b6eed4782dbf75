"""Volumes on disk: any image file as a lazy zyx array, OME-Zarr 0.5 in and out.

Arrays are z, y, x; voxel sizes are (z, y, x) in um. A format comes in as one function that returns a Source;
`open_image` chooses it by the file's name. Nothing here reads a whole volume unless the file leaves no choice.
"""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import zarr
from zarr.codecs import BloscCodec

from pipeline.errors import InputError

IMAGE_SUFFIXES = (".tif", ".tiff", ".lsm", ".zarr")
# Our own key beside "ome" in the attributes of a volume.
ATTRIBUTES = "stack2swc"
# A slab is one chunk high: whole planes of this many bytes at most (one plane where a plane is larger).
SLAB_BYTES = 256 * 2**20

UM_PER = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("inch", "in"), 25400.0),
}
VoxelSize = tuple[float, float, float]


class Planes:
    """A stack that is read on demand: `planes[first:last]` is a (z, y, x) array.

    read: (first, last) -> the planes first..last-1. Indices of y and x are applied after reading.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype, read: Callable[[int, int], np.ndarray]):
        self.shape, self.dtype, self._read = shape, np.dtype(dtype), read

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        z, *yx = key if isinstance(key, tuple) else (key,)
        first, last, step = z.indices(self.shape[0])
        return self._read(first, max(first, last))[(slice(None, None, step), *yx)]


@dataclass(frozen=True)
class Source:
    """An image as it was found: lazy zyx array and its voxel size (z, y, x) in um, None where it says nothing."""

    array: Planes | zarr.Array
    voxel_size: VoxelSize | None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype


@dataclass(frozen=True)
class Volume:
    """A volume of ours: level 0 (z, y, x), voxel size (z, y, x) in um, the attributes that ingest wrote."""

    array: zarr.Array
    voxel_size: VoxelSize
    attributes: dict


def open_image(path: Path) -> Source:
    """Open a TIFF file or an OME-Zarr folder (0.4, 0.5).

    Raises InputError for what is not a single-channel stack of real numbers: a missing or damaged file, one
    plane, colours, several channels or time points, no voxels, complex numbers.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, "no such file", "an image file (TIFF) or an OME-Zarr folder")
    if path.is_dir() and not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        raise InputError(path, "a folder without zarr metadata", "an image file (TIFF) or an OME-Zarr folder")
    source = _open_zarr(path) if path.is_dir() else _open_tiff(path)
    if 0 in source.shape:
        raise InputError(path, f"an empty image, {_sizes(source.shape)} voxels", "at least one voxel")
    if source.dtype.kind not in "uif":
        raise InputError(path, f"voxels of type {source.dtype}", "integers or floating-point numbers")
    return source


def create(
    path: Path,
    *,
    shape: tuple[int, int, int],
    dtype: np.dtype | str,
    voxel_size: VoxelSize,
    chunks: tuple[int, int, int] | None = None,
    attributes: dict | None = None,
) -> zarr.Array:
    """Make an OME-Zarr 0.5 folder with one resolution level and return that level, all zero, to be written to.

    Only whole chunks may be written by one process (see `slabs`): zarr reads, changes and writes a chunk that
    two writers share, and loses one of them. Same voxels, same bytes: no date is stored, and zstd is exact.
    """
    scale = {"type": "scale", "scale": [float(size) for size in voxel_size]}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    group = zarr.create_group(path, zarr_format=3)
    group.attrs.update({"ome": {"version": "0.5", "multiscales": [multiscale]}, ATTRIBUTES: attributes or {}})
    return group.create_array(
        "0",
        shape=shape,
        dtype=np.dtype(dtype).newbyteorder("="),
        chunks=chunks or chunk_shape(shape, dtype),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        dimension_names=("z", "y", "x"),
        fill_value=0,
    )


def describe(path: Path, attributes: dict) -> None:
    """Replace our attributes of the volume at `path` (known only once all voxels were seen)."""
    zarr.open_group(path, mode="r+").attrs[ATTRIBUTES] = attributes


def open_volume(path: Path) -> Volume:
    """Open a volume written by `create`. InputError where there is none."""
    path = Path(path)
    if not (path / "zarr.json").exists():
        raise InputError(path, "no OME-Zarr volume here", "a volume written by an earlier stage")
    group = zarr.open_group(path, mode="r")
    array, voxel_size = _level_0(path, group)
    return Volume(array, voxel_size or (1.0, 1.0, 1.0), dict(group.attrs.get(ATTRIBUTES, {})))


def chunk_shape(shape: tuple[int, int, int], dtype: np.dtype | str) -> tuple[int, int, int]:
    """Chunks of 16 x 256 x 256 voxels, thinner where 16 planes exceed SLAB_BYTES; depends on nothing else."""
    planes = SLAB_BYTES // (shape[1] * shape[2] * np.dtype(dtype).itemsize)
    return min(16, shape[0], max(1, planes)), min(256, shape[1]), min(256, shape[2])


def slabs(array: zarr.Array) -> Iterator[slice]:
    """Ranges of z, each one chunk high: what is read, written and held in memory at once."""
    height = array.chunks[0]
    for first in range(0, array.shape[0], height):
        yield slice(first, min(first + height, array.shape[0]))


# --- TIFF ------------------------------------------------------------------------------------------------------


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """tifffile and its dozen codecs share no error class: whatever they raise over a file is the file's damage."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            path, f"not readable as TIFF ({reason})", "an undamaged, complete TIFF file"
        ) from error


def _open_tiff(path: Path) -> Source:
    with _damage(path):
        file = tifffile.TiffFile(path)
        _check_page_chain(path, file)
        if len(file.series) != 1:
            shapes = ", ".join(_sizes(series.shape) for series in file.series)
            raise InputError(path, f"{len(file.series)} images ({shapes})", "one stack in a file")
        series = file.series[0]
        _check_axes(path, series.axes, series.shape)
        _check_extent(path, series)
        orientation = int(file.pages.first.tags.valueof("Orientation", default=1))
        voxel_size = _tiff_voxel_size(file)
    if orientation not in range(1, 9):
        raise InputError(path, f"Orientation {orientation}", "1 to 8")
    depth, *plane = series.shape
    turned = orientation >= 5
    if turned:
        plane = plane[::-1]
        voxel_size = voxel_size and (voxel_size[0], voxel_size[2], voxel_size[1])

    def read(first: int, last: int) -> np.ndarray:
        with _damage(path):
            stack = _read_planes(path, series, first, last)
        return _upright(stack, orientation)

    return Source(Planes((depth, *plane), series.dtype.newbyteorder("="), read), voxel_size)


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
    missing = sum(page is None for page in series.pages)
    if missing:
        raise InputError(
            path, f"{missing} of {len(series.pages)} planes are missing", "all planes in the file"
        )
    ends = [max(np.add(page.dataoffsets, page.databytecounts), default=0) for page in series.pages]
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    size = path.stat().st_size
    if max(ends) > size and len({page.parent.filehandle.path for page in series.pages}) == 1:
        raise InputError(
            path, f"a truncated file of {size} bytes", f"a complete TIFF file, {max(ends)} bytes"
        )


def _check_axes(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    """Only z (or pages of unknown meaning: I, Q) may stand beside y and x."""
    allowed = "a stack of grey planes (z, y, x)"
    if 0 in shape:
        raise InputError(path, f"an empty image, {_sizes(shape)} voxels", "at least one voxel")
    if "S" in axes:
        raise InputError(path, f"colour planes ({axes} = {_sizes(shape)})", allowed)
    if "C" in axes:
        found = f"{shape[axes.index('C')]} channels ({axes} = {_sizes(shape)})"
        raise InputError(path, found, f"{allowed}: split the channels, or relabel them as slices")
    if "T" in axes:
        found = f"{shape[axes.index('T')]} time points ({axes} = {_sizes(shape)})"
        raise InputError(path, found, f"{allowed}: save one time point, or relabel them as slices")
    if axes == "YX":
        raise InputError(
            path, f"a single plane, {_sizes(shape)} voxels", f"{allowed} with two planes or more"
        )
    if len(axes) != 3 or axes[1:] != "YX":
        raise InputError(path, f"axes {axes} = {_sizes(shape)}", allowed)


def _read_planes(path: Path, series: tifffile.TiffPageSeries, first: int, last: int) -> np.ndarray:
    _, height, width = series.shape
    if series.dataoffset is not None:  # planes lie one after the other, uncompressed, in the file
        start = series.dataoffset + first * height * width * series.dtype.itemsize
        dtype = series.dtype.newbyteorder(series.parent.byteorder)
        stack = np.fromfile(path, dtype, (last - first) * height * width, offset=start)
        return stack.reshape(last - first, height, width).astype(dtype.newbyteorder("="), copy=False)
    if (
        len(series.pages) != series.shape[0]
    ):  # one page of several planes (ImageDepth): can only be read whole
        return series.asarray()[first:last]
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


def _tiff_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """(z, y, x) um from OME-XML, ImageJ or LSM metadata; x and y are columns and rows as stored."""
    if file.is_ome and file.ome_metadata:
        return _ome_voxel_size(file.ome_metadata)
    if file.is_lsm:
        return tuple(file.lsm_metadata[f"VoxelSize{axis}"] * UM_PER["m"] for axis in "ZYX")
    if not file.is_imagej:
        return None
    metadata, tags = file.imagej_metadata or {}, file.pages.first.tags
    unit = metadata.get("unit", "")
    um = [UM_PER.get(str(metadata.get(key, unit)).strip().lower()) for key in ("zunit", "yunit", "unit")]
    per_unit = [tags.valueof(tag) for tag in ("YResolution", "XResolution")]
    if "spacing" not in metadata or None in um or None in per_unit or any(0 in pair for pair in per_unit):
        return None
    edges = [metadata["spacing"], *(denominator / numerator for numerator, denominator in per_unit)]
    return tuple(float(edge * factor) for edge, factor in zip(edges, um, strict=True))


def _ome_voxel_size(xml: str) -> VoxelSize | None:
    pixels = next((element for element in ET.fromstring(xml).iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    edges = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    um = [UM_PER.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower()) for axis in "ZYX"]
    if None in edges or None in um:
        return None
    return tuple(float(edge) * factor for edge, factor in zip(edges, um, strict=True))


# --- OME-Zarr --------------------------------------------------------------------------------------------------


def _open_zarr(path: Path) -> Source:
    array, voxel_size = _level_0(path, zarr.open_group(path, mode="r"))
    if array.ndim < 3 or any(size != 1 for size in array.shape[:-3]) or array.shape[-3] == 1:
        raise InputError(
            path, f"an array of {_sizes(array.shape)}", "one channel, one time point, several planes"
        )
    lead = (0,) * (array.ndim - 3)
    if not lead:
        return Source(array, voxel_size)
    read = Planes(array.shape[-3:], array.dtype, lambda first, last: array[(*lead, slice(first, last))])
    return Source(read, voxel_size)


def _level_0(path: Path, group: zarr.Group) -> tuple[zarr.Array, VoxelSize | None]:
    """The full-resolution array and its voxel size; 0.5 keeps the metadata under "ome", 0.4 beside it."""
    try:
        multiscale = group.attrs.get("ome", group.attrs)["multiscales"][0]
        level = multiscale["datasets"][0]
        array = group[level["path"]]
        axes = multiscale["axes"][-3:]
        scale = next(step["scale"] for step in level["coordinateTransformations"] if step["type"] == "scale")
        names = "".join(axis["name"] for axis in axes)
    except (KeyError, IndexError, StopIteration, TypeError) as error:
        raise InputError(path, "zarr without multiscales metadata", "OME-Zarr 0.4 or 0.5") from error
    if names != "zyx":
        raise InputError(path, f"last axes {names}", "zyx")
    um = [UM_PER.get(axis.get("unit", "")) for axis in axes]
    if None in um:
        return array, None
    return array, tuple(float(edge) * factor for edge, factor in zip(scale[-3:], um, strict=True))


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
