"""Volumes on disk: any image file as a lazy zyx array, OME-Zarr 0.5 in and out.

Arrays are z, y, x; voxel sizes are (z, y, x) in um. A format comes in as one function that returns a Source;
`open_image` chooses it by the file's name. Nothing here reads a whole volume unless the file leaves no choice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

# zarr takes as long to import as the rest of a --help together: functions import it when they need it.
ZarrArray = Any

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


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Tell whatever a reader raises over a file as that file's damage.

    tifffile, zarr and a dozen codecs share no error class.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(".: ")
        raise InputError(
            path, f"not readable ({reason})", "an undamaged TIFF file or OME-Zarr folder"
        ) from error


class Planes:
    """The stack in the file `path`, read on demand: `planes[first:last]` is a (z, y, x) array.

    read: (first, last) -> the planes first..last-1. Ranges of y and x are applied after reading.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        read: Callable[[int, int], np.ndarray],
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path, self._read = path, read

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        z, *yx = key if isinstance(key, tuple) else (key,)
        first, last, step = z.indices(self.shape[0])
        with damage(self._path):
            return self._read(first, max(first, last))[(slice(None, None, step), *yx)]


@dataclass(frozen=True)
class Source:
    """An image as it was found: lazy zyx array and its voxel size (z, y, x) in um, None where it says nothing."""

    array: Planes
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

    array: ZarrArray
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
    with damage(path):
        if path.is_dir():
            source = _open_zarr(path)
        else:
            from pipeline.tiff import (
                open_tiff,
            )  # here: most stages read volumes only, and tifffile takes .3 s

            source = open_tiff(path)
    if 0 in source.shape:
        raise InputError(path, f"an empty image, {sizes(source.shape)} voxels", "at least one voxel")
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
) -> ZarrArray:
    """Make an OME-Zarr 0.5 folder with one resolution level and return that level, all zero, to be written to.

    Only whole chunks may be written by one process (see `slabs`): zarr reads, changes and writes a chunk that
    two writers share, and loses one of them. Same voxels, same bytes: no date is stored, and zstd is exact.
    """
    import zarr
    from zarr.codecs import BloscCodec

    scale = {"type": "scale", "scale": [float(size) for size in voxel_size]}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    group = zarr.create_group(path, zarr_format=3, attributes={"ome": ome, ATTRIBUTES: attributes or {}})
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
    import zarr

    zarr.open_group(path, mode="r+").attrs[ATTRIBUTES] = attributes


def open_volume(path: Path) -> Volume:
    """Open a volume written by `create`. InputError where there is none."""
    import zarr

    path = Path(path)
    if not (path / "zarr.json").exists():
        raise InputError(path, "no OME-Zarr volume here", "a volume written by an earlier stage")
    group = zarr.open_group(path, mode="r")
    array, voxel_size = _level_0(path, group)
    attributes: Any = group.attrs.get(ATTRIBUTES, {})
    if array.ndim != 3 or voxel_size is None:
        raise InputError(
            path, "an OME-Zarr that no stage has written", "a volume written by an earlier stage"
        )
    return Volume(array, voxel_size, dict(attributes))


def chunk_shape(shape: tuple[int, int, int], dtype: np.dtype | str) -> tuple[int, int, int]:
    """Chunks of 16 x 256 x 256 voxels, thinner where 16 planes exceed SLAB_BYTES; depends on nothing else."""
    planes = SLAB_BYTES // (shape[1] * shape[2] * np.dtype(dtype).itemsize)
    return min(16, shape[0], max(1, planes)), min(256, shape[1]), min(256, shape[2])


def slabs(array: ZarrArray) -> Iterator[slice]:
    """Ranges of z, each one chunk high: what is read, written and held in memory at once."""
    height = array.chunks[0]
    for first in range(0, array.shape[0], height):
        yield slice(first, min(first + height, array.shape[0]))


def in_um(edges: Sequence[Any], units: Sequence[str]) -> VoxelSize | None:
    """Edges z, y, x (numbers or text) in their units -> um; None where an edge or a known unit is missing."""
    factors = [UM_PER.get(unit.strip().lower()) for unit in units]
    if None in edges or None in factors:
        return None
    z, y, x = (float(edge) * factor for edge, factor in zip(edges, factors, strict=True) if factor)
    return z, y, x


def sizes(shape: tuple[int, ...]) -> str:
    """(9, 40, 52) -> "9 x 40 x 52"."""
    return " x ".join(map(str, shape))


def _open_zarr(path: Path) -> Source:
    import zarr

    if not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        raise InputError(path, "a folder without zarr metadata", "an image file (TIFF) or an OME-Zarr folder")
    array, voxel_size = _level_0(path, zarr.open_group(path, mode="r"))
    *lead, depth, height, width = array.shape
    if any(size != 1 for size in lead) or depth == 1:
        found = f"an array of {sizes(array.shape)}"
        raise InputError(path, found, "one channel, one time point, two planes or more")
    front: tuple[Any, ...] = (0,) * len(lead)

    def read(first: int, last: int) -> np.ndarray:
        return np.asarray(array[(*front, slice(first, last))])

    return Source(Planes(path, (depth, height, width), array.dtype.newbyteorder("="), read), voxel_size)


def _level_0(path: Path, group: Any) -> tuple[ZarrArray, VoxelSize | None]:
    """The full-resolution array and its voxel size; 0.5 keeps the metadata under "ome", 0.4 beside it."""
    attributes: dict[str, Any] = group.attrs.asdict()
    try:
        multiscale = attributes.get("ome", attributes)["multiscales"][0]
        level = multiscale["datasets"][0]
        axes = multiscale["axes"][-3:]
        scale = next(step["scale"] for step in level["coordinateTransformations"] if step["type"] == "scale")
        names = "".join(axis["name"] for axis in axes)
        array = group[level["path"]]
    except (KeyError, IndexError, StopIteration, TypeError) as error:
        raise InputError(path, "zarr without multiscales metadata", "OME-Zarr 0.4 or 0.5") from error
    if not hasattr(array, "chunks") or names != "zyx":
        raise InputError(path, f"last axes {names}", "an array whose last axes are zyx")
    return array, in_um(scale[-3:], [axis.get("unit", "") for axis in axes])
