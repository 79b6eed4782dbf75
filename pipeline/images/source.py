"""What any reader of images returns: a lazy zyx stack with its voxel size; units; damage told as one line."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError

# Names and signs of units of length, as programs spell them, singular; in lower case. "\\u00b5m" is ImageJ's escape.
_UM_PER = {
    ("um", "µm", "μm", "micron", "micrometer", "micrometre", "\\u00b5m"): 1.0,
    ("nm", "nanometer", "nanometre"): 1e-3,
    ("pm", "picometer", "picometre"): 1e-6,
    ("å", "\u212b", "angstrom", "ångström", "angström", "ångstrom"): 1e-4,
    ("mm", "millimeter", "millimetre"): 1e3,
    ("cm", "centimeter", "centimetre"): 1e4,
    ("m", "meter", "metre"): 1e6,
    ("inch", "in", "inches"): 25400.0,
}
# Words have a plural, signs have none: "ms" are no metres.
UM_PER = {
    form: um
    for names, um in _UM_PER.items()
    for name in names
    for form in ((name, f"{name}s") if len(name) > 3 else (name,))
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


def in_um(edges: Sequence[Any], units: Sequence[str]) -> VoxelSize | None:
    """Edges z, y, x (numbers or text) in their units -> um; None where an edge or a known unit is missing."""
    factors = [UM_PER.get(unit.strip().lower()) for unit in units]
    if None in edges or None in factors:
        return None
    z, y, x = (float(edge) * factor for edge, factor in zip(edges, factors, strict=True) if factor)
    return z, y, x


def doubt(voxel_size: VoxelSize) -> str:
    """What is odd about a voxel size (um) of electron microscopy, as a line of the log; "" where nothing is."""
    if max(voxel_size) <= 1:
        return ""
    edges = " x ".join(f"{edge:g}" for edge in voxel_size)
    return f"warning: voxels of {edges} um (z,y,x) in electron microscopy: were nm given as um?"


def sizes(shape: tuple[int, ...]) -> str:
    """(9, 40, 52) -> "9 x 40 x 52"."""
    return " x ".join(map(str, shape))


# The most that a codec makes of a byte: deflate reaches 1,000, zstd of a constant plane some 20,000.
EXPANSION = 100_000


def check_declared(path: Path, shape: tuple[int, ...], dtype: np.dtype | str, *, file_bytes: int) -> None:
    """Refuse a file whose headers declare more than its bytes can hold, before anyone asks for the memory."""
    declared = math.prod(shape) * np.dtype(dtype).itemsize
    if declared > EXPANSION * max(file_bytes, 1):
        found = f"{sizes(shape)} voxels declared ({declared:,} bytes) in a file of {file_bytes:,} bytes"
        raise InputError(path, found, "an undamaged file")
