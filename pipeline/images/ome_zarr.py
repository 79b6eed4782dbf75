"""OME-Zarr folders (0.4, 0.5) as sources."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.images.source import EXPANSION, Planes, Source, VoxelSize, check_declared, in_um, sizes


def open_image(path: Path) -> Source:
    """Open one channel and time point of a folder; images.open_image says what is refused."""
    import zarr

    if not (path / "zarr.json").exists() and not (path / ".zgroup").exists():
        raise InputError(path, "a folder without zarr metadata", "an image file (TIFF) or an OME-Zarr folder")
    array, voxel_size = level_0(path, zarr.open_group(path, mode="r"))
    *lead, depth, height, width = array.shape
    if any(size != 1 for size in lead) or depth == 1:
        found = f"an array of {sizes(array.shape)}"
        raise InputError(path, found, "one channel, one time point, two planes or more")
    _check_declared(path, array)
    front: tuple[Any, ...] = (0,) * len(lead)

    def read(first: int, last: int) -> np.ndarray:
        return np.asarray(array[(*front, slice(first, last))])

    return Source(Planes(path, (depth, height, width), array.dtype.newbyteorder("="), read), voxel_size)


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) of the largest array of the folder; InputError where its files cannot hold it."""
    import zarr

    largest = max(
        (array for _, array in zarr.open_group(path, mode="r").arrays()), key=lambda array: array.size
    )
    _check_declared(path, largest)
    depth, height, width = largest.shape[-3:]
    return depth, height, width


def _check_declared(path: Path, array: Any) -> None:
    """Refuse a folder whose files are too few; counts them only until they are enough, which the first chunk is."""
    enough = math.prod(array.shape) * array.dtype.itemsize / EXPANSION
    found = 0
    for parent, _, files in os.walk(path):
        for name in files:
            found += os.stat(os.path.join(parent, name)).st_size
            if found >= enough:
                return
    check_declared(path, array.shape, array.dtype, file_bytes=found)


def level_0(path: Path, group: Any) -> tuple[Any, VoxelSize | None]:
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
