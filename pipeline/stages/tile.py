"""tile: which windows of a volume the network must look at, cut into blocks."""

from pathlib import Path

import numpy as np

from pipeline import blocks, intensity, volume
from pipeline.blocks import Grid
from pipeline.config.tile import Tile
from pipeline.files import write_text
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
    grid = network.grid(source.shape, overlap=overlap)
    if network.dark_is_empty:
        level = volume.read_levels(image)
        signal = windows_with_signal(source.array, level, settings.signal_noise / 3, grid)
    else:
        signal = np.ones(grid.counts, bool)
    plan = blocks.make_plan(signal, grid, plane=settings.block_edge, voxels=settings.block_voxels)
    write_text(output, blocks.plan_text(plan))
    print(f"{signal.sum()} of {signal.size} windows hold signal, in {len(plan.blocks)} blocks")


def windows_with_signal(array, level: intensity.Levels, threshold: float, grid: Grid) -> np.ndarray:
    """bool (z, y, x) over the grid: windows in which the mean light of some 3 x 3 pixels exceeds `threshold` sigma.

    array: (z, y, x), read slab by slab. The mean of nine has a third of the noise, and a neurite is at least
    two pixels wide: what stays below 6 sigma / 3 everywhere is less than 2 sigma bright. All slices of a window
    count, so that a neurite is found beside a lost slice too. Padding has no light: its windows are skipped.
    """
    sides = [(0, size) for size in grid.shape[1:]]
    planes = np.stack(
        [
            _plane_signal(intensity.above(plane[None], level, [(z, z + 1), *sides])[0], threshold, grid)
            for slab in volume.slabs(array)
            for z, plane in enumerate(array[slab], slab.start)
        ]
    )
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
