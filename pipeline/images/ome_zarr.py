"""OME-Zarr folders (0.4, 0.5) as sources."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import InputError
from pipeline.images.source import (
    ANY,
    EXPANSION,
    Measured,
    Pick,
    Planes,
    Source,
    check_declared,
    in_um,
    sizes,
)


class Level(NamedTuple):
    """The full resolution of an image: its array, one letter an axis, its voxels, the names of channels if any."""

    array: Any
    axes: str
    measured: Measured
    channels: tuple[str, ...]


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open one channel and time point of a folder; images.open_image says what is refused."""
    import zarr

    if not any((path / name).exists() for name in ("zarr.json", ".zgroup")):
        raise InputError(path, "a folder without zarr metadata", "an image file (TIFF) or an OME-Zarr folder")
    level = level_0(path, _image(path, zarr.open_group(path, mode="r")))
    array, said = level.array, f"{level.axes} = {sizes(level.array.shape)}"
    front: list[int] = []
    for axis, length in zip(level.axes[:-3], array.shape[:-3], strict=True):
        if axis in "tc":
            what, names = ("time", ()) if axis == "t" else ("channel", level.channels)
            front.append(pick.index(path, what, length, names, said))
        elif length == 1:
            front.append(0)
        else:
            raise InputError(path, f"an array of {said}", "axes t, c, z, y, x")
    for axis, what in (("t", "time"), ("c", "channel")):
        if axis not in level.axes[:-3]:
            pick.index(path, what, 1)
    _check_declared(path, array)

    def read(first: int, last: int) -> np.ndarray:
        return np.asarray(array[(*front, slice(first, last))])

    depth, height, width = array.shape[-3:]
    planes = Planes(path, (depth, height, width), array.dtype.newbyteorder("="), read)
    return Source(planes, level.measured)


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) of the largest array of the folder; InputError where its files cannot hold it."""
    import zarr

    group = _image(path, zarr.open_group(path, mode="r"))
    largest = max((array for _, array in group.arrays()), key=lambda array: array.size)
    _check_declared(path, largest)
    depth, height, width = largest.shape[-3:]
    return depth, height, width


def _image(path: Path, group: Any) -> Any:
    """The group that holds the image: itself, or 0 in the layout of bioformats2raw; InputError for several."""
    attributes = group.attrs.asdict()
    layout = "bioformats2raw.layout"
    if "plate" in attributes.get("ome", attributes):
        raise InputError(
            path, "a plate of images", f"one image of it, e.g. {path}/A/1/0, as image in samples.tsv"
        )
    if layout not in attributes and layout not in attributes.get("ome", {}):
        return group
    images = sorted((name for name, _ in group.groups() if name.isdecimal()), key=int)
    if len(images) != 1:
        said = ", ".join(f"{path.name}/{name}" for name in images[:12]) or "none is there"
        raise InputError(
            path, f"{len(images)} images in one folder", f"one of them as image in samples.tsv: {said}"
        )
    return group[images[0]]


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


def level_0(path: Path, group: Any) -> Level:
    """The full-resolution array of an image; 0.5 keeps the metadata under "ome", 0.4 beside it.

    An edge of a voxel is the scale of the level times that of the whole image (either may be absent).
    """
    attributes: dict[str, Any] = group.attrs.asdict()
    ome = attributes.get("ome", attributes)
    try:
        multiscale = ome["multiscales"][0]
        level = multiscale["datasets"][0]
        axes = multiscale["axes"]
        names = "".join(axis["name"] for axis in axes)
        array = group[level["path"]]
        steps = (
            *level.get("coordinateTransformations", ()),
            *multiscale.get("coordinateTransformations", ()),
        )
        scales = [step["scale"] for step in steps if step["type"] == "scale"]
        edges = [math.prod(float(scale[axis]) for scale in scales) for axis in (-3, -2, -1)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(path, "zarr without multiscales metadata", "OME-Zarr 0.4 or 0.5") from error
    if not hasattr(array, "chunks") or names[-3:] != "zyx" or len(names) != array.ndim:
        raise InputError(path, f"axes {names}", "an array whose last axes are zyx")
    units = [axis.get("unit", "") for axis in axes[-3:]]
    measured = in_um(edges if scales else [None] * 3, units)
    labels = ome.get("omero") or {}
    channels = tuple(str(channel.get("label", "")) for channel in labels.get("channels", ()))
    return Level(array, names, measured, channels)
