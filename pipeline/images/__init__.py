"""Images as labs have them: one module a format, and the one table of formats.

The module of a format has two functions: `open_image(path, pick)` gives a Source, `shape(path)` reads (z, y, x) from
the headers alone. It is imported when a file asks for it: most stages read our own volumes only (pipeline.volume).
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
    ".v3dpbd": "vaa3d",
    ".v3draw": "vaa3d",
    ".ome.tif": "tiff",
    ".zarr": "ome_zarr",
    ".tiff": "tiff",
    ".hdf5": "hdf5",
    ".nrrd": "nrrd",
    ".tif": "tiff",
    ".lsm": "tiff",
    ".hdf": "hdf5",
    ".czi": "vendor",
    ".nd2": "vendor",
    ".lif": "vendor",
    ".h5": "hdf5",
}
# A folder of slices, and no suffix of a file's.
SLICES = "slices"
# Of images too, and none that is read: told where they lie in a dataset.
UNREAD = (
    *(
        ".bmp",
        ".dcm",
        ".dm3",
        ".dm4",
        ".gif",
        ".h5j",
        ".ims",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".klb",
        ".lof",
        ".mha",
        ".mhd",
    ),
    *(
        ".mrc",
        ".n5",
        ".nhdr",
        ".nii",
        ".nii.gz",
        ".oib",
        ".oif",
        ".oir",
        ".png",
        ".raw",
        ".rec",
        ".sld",
        ".spe",
        ".stk",
    ),
    *(".vaa3draw", ".vsi", ".zarr.zip", ".zvi"),
)


def open_image(
    path: Path, *, channel: str | int = "", time: str | int = "", usual: tuple = ("", "")
) -> "Source":
    """Open the stack of one channel and time point of an image of any of FORMATS, or of a folder of slices.

    channel: a number from 0 or a name; time: a number from 0; usual: both for files that hold several, where nothing
    is said of this one. Raises InputError for what is missing, damaged or no image, for several channels or time
    points of which none is chosen, metadata that disagrees with the planes, no voxels, complex numbers.
    """
    from pipeline.images.source import (  # here: this table is read in every parse of the Snakefile
        Pick,
        damage,
        sizes,
    )

    path = Path(path)
    if not split(path)[0].exists():
        raise InputError(path, "no such file", f"an image file or folder ({', '.join(FORMATS)})")
    with damage(path):
        source: Source = _reader(path, "open_image")(path, Pick(str(channel), str(time), *map(str, usual)))
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
    except Exception:
        # An estimate must not end the run: whatever is wrong is one sample's error, told by ingest.
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


def is_unread(name: str) -> bool:
    """Whether a file is an image of a format that is not read."""
    return not stem(name) and name.lower().endswith(UNREAD)


def _reader(path: Path, function: str) -> Callable:
    """Folders are zarr or slices and files TIFF where the name says nothing: the readers tell what is wrong."""
    name = split(path)[0].name.lower()
    known = next((module for suffix, module in FORMATS.items() if name.endswith(suffix)), "")
    if path.is_dir():
        zarr = known == "ome_zarr" or any(
            (path / inside).exists() for inside in ("zarr.json", ".zgroup", ".zattrs")
        )
        known = "ome_zarr" if zarr else SLICES
    elif known in ("", "ome_zarr"):
        known = "tiff"
    return getattr(import_module(f"pipeline.images.{known}"), function)
