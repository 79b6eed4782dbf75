"""Images as labs have them: one module a format, and the one table of formats.

The module of a format has two functions: `open_image(path)` gives a Source, `shape(path)` reads (z, y, x) from the
headers alone. It is imported when a file asks for it: most stages read our own volumes only (pipeline.volume).
"""

import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.images.source import Source

# Suffix -> module of its reader, the longest first: "a.ome.tif" is named "a".
FORMATS = {
    ".ome.zarr": "ome_zarr",
    ".ome.tiff": "tiff",
    ".ome.tif": "tiff",
    ".zarr": "ome_zarr",
    ".tiff": "tiff",
    ".tif": "tiff",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".h5": "hdf5",
}


def open_image(path: Path) -> "Source":
    """Open an image file of any of FORMATS.

    Raises InputError for what is not a single-channel stack of real numbers: a missing or damaged file, one
    plane, colours, several channels or time points, no voxels, complex numbers.
    """
    from pipeline.images.source import (  # here: this table is read in every parse of the Snakefile
        damage,
        sizes,
    )

    path = Path(path)
    if not split(path)[0].exists():
        raise InputError(path, "no such file", f"an image file or folder ({', '.join(FORMATS)})")
    with damage(path):
        source: Source = _reader(path, "open_image")(path)
    if 0 in source.shape:
        raise InputError(path, f"an empty image, {sizes(source.shape)} voxels", "at least one voxel")
    if source.dtype.kind not in "uif":
        raise InputError(path, f"voxels of type {source.dtype}", "integers or floating-point numbers")
    return source


def count_voxels(path: Path) -> int:
    """About how many voxels an image file holds, from its headers alone: for memory and run time of jobs.

    Where the headers say nothing (a damaged file: ingest will tell) its size in bytes.
    """
    path = Path(path)
    try:
        return math.prod(_reader(path, "shape")(path))
    except (
        Exception
    ):  # an estimate must not end the run: whatever is wrong is one sample's error, told by ingest
        file, _ = split(path)
        return file.stat().st_size if file.exists() else 0


def split(path: Path) -> tuple[Path, str]:
    """The file of an image, and what is meant within it: file.h5:/volumes/raw -> file.h5, volumes/raw."""
    file, colon, dataset = str(path).rpartition(":")
    if colon and FORMATS.get(Path(file).suffix.lower()) == "hdf5":
        return Path(file), dataset.strip("/")
    return Path(path), ""


def stem(name: str) -> str:
    """The name of an image file without its suffix, "" if it is of no format."""
    suffix = next((suffix for suffix in FORMATS if name.lower().endswith(suffix)), None)
    return name[: -len(suffix)] if suffix else ""


def _reader(path: Path, function: str) -> Callable:
    """Folders are zarr and files TIFF where the name says nothing: the readers tell what is wrong with others."""
    name = split(path)[0].name.lower()
    known = next((module for suffix, module in FORMATS.items() if name.endswith(suffix)), "")
    if path.is_dir() or known in ("", "ome_zarr"):
        known = FORMATS[".zarr" if path.is_dir() else ".tif"]
    return getattr(import_module(f"pipeline.images.{known}"), function)
