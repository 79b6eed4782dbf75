"""tile: which windows of a volume the network must look at, cut into blocks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline import blocks, intensity, volume
from pipeline.blocks import Grid
from pipeline.config.tile import Tile
from pipeline.files import write_text
from pipeline.intensity.blank import blank, looks, tissue_grey
from pipeline.network import contract


def run(image: Path, weights: Path, output: Path, *, settings: Tile = Tile()) -> None:
    """Plan the blocks of an ingested image.

    Args:
        image: OME-Zarr made by ingest.
        weights: safetensors made by train: their header says what a window is.
        output: the plan (JSON): the window grid, the blocks, and the windows of each that hold signal.
    """
    source, network = volume.open_volume(image), contract.read(weights)
    overlap = settings.overlap_em if network.volumetric else settings.overlap
    binning = network.binning(source.voxel_size)
    grid = network.grid(blocks.binned_shape(source.shape, binning), overlap=overlap)
    noise, fill = 1.0, None
    if network.dark_is_empty:
        level = volume.read_levels(image)
        noise = noise_left(source.array, level, binning)
        threshold = settings.signal_noise / 3 * noise
        signal = windows_with_signal(binned_planes(source.array, level, binning), threshold, grid)
    else:
        fill = tissue_grey(source.array)
        signal = np.ones(grid.counts, bool)
    plan = blocks.make_plan(
        signal,
        grid,
        plane=settings.block_edge,
        voxels=settings.block_voxels,
        binning=binning,
        noise=noise,
        fill=fill,
    )
    write_text(output, blocks.plan_text(plan))
    if max(binning) > 1:
        read, least = " x ".join(map(str, binning)), network.voxel_um[0]
        print(f"the network reads {read} voxels (z,y,x) as one: it was trained on {least} um and more")
    print(f"{signal.sum()} of {signal.size} windows hold signal, in {len(plan.blocks)} blocks")


def binned_planes(array, level: intensity.Levels, binning: blocks.Zyx) -> Iterator[np.ndarray]:
    """Light, in units of the noise of single voxels, of the planes that the network reads: means of `binning` voxels.

    array: (z, y, x), read slab by slab.
    """
    depth, height, width = binning
    total, planes = np.float32(0), 0
    for slab in volume.slabs(array):
        for z, plane in enumerate(array[slab], slab.start):
            box = [(z, z + 1), *((0, size) for size in plane.shape)]
            light = _whole_bins(intensity.above(plane[None], level, box), binning)
            total, planes = total + intensity.binned(light, (1, height, width))[0], planes + 1
            if planes == depth or z + 1 == array.shape[0]:
                yield total if planes == 1 else total / np.float32(planes)
                total, planes = np.float32(0), 0


def noise_left(array, level: intensity.Levels, binning: blocks.Zyx) -> float:
    """The share of the noise that means of `binning` voxels keep, the median of what some places say; 1 without any."""
    if binning == blocks.UNBINNED:
        return 1.0
    found = []
    for box in looks(array.shape, binning):
        voxels = array[tuple(slice(*side) for side in box)]
        said = intensity.noise_kept(intensity.above(voxels, level, box), ~blank(voxels), binning)
        found += [] if said is None else [said]
    return float(np.median(found)) if found else 1.0


def _whole_bins(planes: np.ndarray, binning: blocks.Zyx) -> np.ndarray:
    """Planes whose last pixels repeat until all bins are full."""
    missing = [(0, 0), *((0, -size % step) for size, step in zip(planes.shape[1:], binning[1:]))]
    return np.pad(planes, missing, mode="edge") if any(map(max, missing)) else planes


def windows_with_signal(planes: Iterable[np.ndarray], threshold: float, grid: Grid) -> np.ndarray:
    """bool (z, y, x) over the grid: windows in which the mean light of some 3 x 3 pixels exceeds `threshold`.

    planes: light (y, x) of each plane that the network reads. The mean of nine has a third of the noise, and a neurite
    is at least two pixels wide: what stays below 6 sigma / 3 everywhere is less than 2 sigma bright. All slices of a
    window count, so that a neurite is found beside a lost slice too. Padding has no light: its windows are skipped.
    """
    planes = np.stack([_plane_signal(plane, threshold, grid) for plane in planes])
    starts = blocks.grid_starts(grid.shape[0], grid.core[0], grid.stride[0]) - grid.margin[0]
    ends = np.minimum(starts + grid.window[0], len(planes))
    return np.stack([planes[max(a, 0) : b].any(0) for a, b in zip(starts, ends)])


def _plane_signal(plane: np.ndarray, threshold: float, grid: Grid) -> np.ndarray:
    """bool (y, x) of the window grid over one plane."""
    padded = np.pad(plane, 1, mode="edge")
    lines = padded[:-2] + padded[1:-1] + padded[2:]
    signal = (lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]) > 9 * threshold
    # How many bright pixels lie above and left of each place: four of them tell how many a window holds.
    count = np.pad(signal.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    ranges = []
    for axis in (1, 2):
        size = plane.shape[axis - 1]
        starts = blocks.grid_starts(size, grid.core[axis], grid.stride[axis]) - grid.margin[axis]
        ranges.append((np.maximum(starts, 0), np.minimum(starts + grid.window[axis], size)))
    (top, bottom), (left, right) = ranges
    held = count[np.ix_(bottom, right)] - count[np.ix_(top, right)] - count[np.ix_(bottom, left)]
    return held + count[np.ix_(top, left)] > 0
