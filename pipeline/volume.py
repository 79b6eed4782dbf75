"""Our own volumes: OME-Zarr 0.5 folders that one stage writes and later ones read.

Arrays are (z, y, x), or (c, z, y, x) with named channels; voxel sizes are (z, y, x) in um. Images as labs have them
come in through pipeline.images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import blocks, intensity
from pipeline.errors import InputError
from pipeline.images.ome_zarr import level_0
from pipeline.images.source import VoxelSize
from pipeline.intensity import Levels
from pipeline.intensity.points import Light

# zarr takes as long to import as the rest of a --help together: functions import it when they need it.
ZarrArray = Any

# What ingest says of a volume's levels in its attributes (see intensity.Levels).
SUMMARY = ("background", "noise", "data", "darkest", "brightest", "saturated", "cleaned", "hole", "levels")
# Our own key beside "ome" in the attributes of a volume.
ATTRIBUTES = "stack2swc"
# A slab is one chunk high: whole planes of this many bytes at most (one plane where a plane is larger).
SLAB_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Volume:
    """A volume of ours: level 0, voxel size (z, y, x) in um, our attributes.

    array: (z, y, x), or (c, z, y, x) with the names of its channels.
    """

    array: ZarrArray
    voxel_size: VoxelSize
    attributes: dict
    channels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """z, y, x."""
        depth, height, width = self.array.shape[-3:]
        return depth, height, width

    @property
    def binning(self) -> tuple[int, int, int]:
        """Of a prediction: voxels (z, y, x) of the image that are one of its own (see stack)."""
        z, y, x = self.attributes.get("network", {}).get("binning", blocks.UNBINNED)
        return z, y, x

    def channel(self, name: str) -> np.ndarray:
        """(z, y, x) of one channel, whole in memory; InputError where there is none of this name."""
        if name not in self.channels:
            found = ", ".join(self.channels) or "no channels"
            raise InputError(self.array.store_path, f"channels {found}", f"a volume with a channel {name}")
        return self.array[self.channels.index(name)]


@dataclass(frozen=True)
class ChannelView:
    """One channel of a (c, z, y, x) array, read by boxes (z, y, x)."""

    array: ZarrArray
    index: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape[1:]

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        return self.array[(self.index, *box)]


@dataclass(frozen=True)
class EveryNth:
    """One of every so many voxels (z, y, x) of an array, read by boxes."""

    array: ZarrArray
    steps: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return blocks.binned_shape(self.array.shape, self.steps)

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        return self.array[
            tuple(slice(side.start * step, side.stop * step, step) for side, step in zip(box, self.steps))
        ]


def create(
    path: Path,
    *,
    shape: tuple[int, int, int],
    dtype: np.dtype | str,
    voxel_size: VoxelSize,
    channels: tuple[str, ...] = (),
    chunks: tuple[int, int, int] | None = None,
    attributes: dict | None = None,
) -> ZarrArray:
    """Make an OME-Zarr 0.5 folder with one resolution level and return that level, all zero, to be written to.

    shape: z, y, x. channels: names along a leading axis, none for a volume without one.
    Only whole chunks may be written by one process (see `slabs`): zarr reads, changes and writes a chunk that
    two writers share, and loses one of them. Same voxels, same bytes: no date is stored, and zstd is exact.
    """
    import zarr
    from zarr.codecs import BloscCodec

    lead = (len(channels),) if channels else ()
    axes: list[dict] = [{"name": "c", "type": "channel"}] if channels else []
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1.0] * len(lead) + [float(size) for size in voxel_size]}
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if channels:
        window = {"min": 0, "max": 255, "start": 0, "end": 255}
        ome["omero"] = {
            "channels": [{"label": name, "color": "FFFFFF", "window": window} for name in channels]
        }
    group = zarr.create_group(path, zarr_format=3, attributes={"ome": ome, ATTRIBUTES: attributes or {}})
    return group.create_array(
        "0",
        shape=(*lead, *shape),
        dtype=np.dtype(dtype).newbyteorder("="),
        chunks=(*(1 for _ in lead), *(chunks or chunk_shape(shape, dtype))),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        dimension_names=("c", "z", "y", "x")[1 - len(lead) :],
        fill_value=0,
    )


def describe(path: Path, attributes: dict) -> None:
    """Replace our attributes of the volume at `path` (known only once all voxels were seen)."""
    import zarr

    zarr.open_group(path, mode="r+").attrs[ATTRIBUTES] = attributes


def write_levels(path: Path, level: Levels) -> None:
    """Store background and noise of the volume at `path`, cell by cell, in its folder."""
    import zarr

    cells = zarr.open_group(path, mode="r+").create_group("levels")
    for name in ("low", "high", "noise"):
        cells.create_array(name, data=getattr(level, name), dimension_names=("z", "y", "x"))


def read_levels(path: Path) -> Levels:
    """What `write_levels` stored. InputError where there is nothing (a volume of an older version)."""
    import zarr

    group = zarr.open_group(path, mode="r") if (path / "zarr.json").exists() else None
    summary: Any = group.attrs.get(ATTRIBUTES, {}) if group else {}
    if group is None or "levels" not in group or summary.get("levels") != intensity.VERSION:
        raise InputError(path, "a volume without levels of this version", "a volume written by ingest")
    cells: Any = group["levels"]
    low, high, noise = (np.asarray(cells[name][:]) for name in ("low", "high", "noise"))
    return Levels(low, high, noise, {name: summary[name] for name in SUMMARY if name in summary})


def read_light(path: Path, *, shape: tuple[int, int, int]) -> Light:
    """The light of an image that ingest made, in memory. InputError where its shape is not that of its prediction."""
    return Light(open_like(path, shape=shape).array[:], read_levels(path))


def open_like(
    path: Path, *, shape: tuple[int, int, int], binning: blocks.Zyx = blocks.UNBINNED, what: str = "image"
) -> Volume:
    """An image that ingest made, or labels. InputError where its shape is not that of its prediction.

    binning: of the prediction (`Volume.binning`). what: it is, for the message.
    """
    found = open_volume(path)
    if blocks.binned_shape(found.shape, binning) != shape:
        told = f"shapes {found.shape} of the {what} and {shape} of prediction"
        raise InputError(path, told, _allowed(binning))
    return found


def _allowed(binning: blocks.Zyx) -> str:
    if binning == blocks.UNBINNED:
        return "two equal shapes"
    return f"{' x '.join(map(str, binning))} voxels of the first for one of the second"


def open_volume(path: Path) -> Volume:
    """Open a volume written by `create`. InputError where there is none."""
    import zarr

    path = Path(path)
    if not (path / "zarr.json").exists():
        raise InputError(path, "no OME-Zarr volume here", "a volume written by an earlier stage")
    group = zarr.open_group(path, mode="r")
    level = level_0(path, group)
    array, voxel_size = level.array, level.measured.voxel_size
    ome: Any = group.attrs.get("ome", {})
    channels = tuple(channel["label"] for channel in ome.get("omero", {}).get("channels", ()))
    attributes: Any = group.attrs.get(ATTRIBUTES, {})
    if voxel_size is None or array.shape[:-3] != ((len(channels),) if channels else ()):
        raise InputError(
            path, "an OME-Zarr that no stage has written", "a volume written by an earlier stage"
        )
    return Volume(array, voxel_size, dict(attributes), channels)


def chunk_shape(shape: tuple[int, int, int], dtype: np.dtype | str) -> tuple[int, int, int]:
    """Chunks of 16 x 256 x 256 voxels, thinner where 16 planes exceed SLAB_BYTES; depends on nothing else."""
    planes = SLAB_BYTES // (shape[1] * shape[2] * np.dtype(dtype).itemsize)
    return min(16, shape[0], max(1, planes)), min(256, shape[1]), min(256, shape[2])


def slabs(array: ZarrArray) -> Iterator[slice]:
    """Ranges of z, each one chunk high: what is read, written and held in memory at once."""
    height, depth = array.chunks[-3], array.shape[-3]
    for first in range(0, depth, height):
        yield slice(first, min(first + height, depth))
