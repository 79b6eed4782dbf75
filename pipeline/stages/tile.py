"""tile: which windows of a volume the network must look at, cut into blocks."""

import math
from pathlib import Path

import numpy as np

from pipeline import blocks, volume
from pipeline.config import Tile
from pipeline.files import write_text

# Sigma of rounding to whole numbers: all the noise that an image has whose background was cleaned to one value.
ROUNDING = 1 / math.sqrt(12)


def run(image: Path, output: Path, *, settings: Tile = Tile()) -> None:
    """Plan the blocks of an ingested image.

    Args:
        image: OME-Zarr made by ingest.
        output: the plan (JSON): the window grid, the blocks, and the windows of each that hold signal.
    """
    source = volume.open_volume(image)
    background, noise = (source.attributes[name] for name in ("background", "noise"))
    if source.array.dtype.kind in "ui":
        noise = max(noise, ROUNDING)
    stride = round(settings.window * (1 - settings.overlap))
    signal = windows_with_signal(
        source.array,
        background + settings.signal_noise * noise / 3,
        depth=settings.depth,
        window=settings.window,
        stride=stride,
    )
    plan = blocks.make_plan(
        signal,
        source.array.shape,
        depth=settings.depth,
        window=settings.window,
        stride=stride,
        plane=settings.block_edge,
        voxels=settings.block_voxels,
    )
    write_text(output, blocks.plan_text(plan))
    print(f"{signal.sum()} of {signal.size} windows hold signal, in {len(plan.blocks)} blocks")


def windows_with_signal(array, threshold: float, *, depth: int, window: int, stride: int) -> np.ndarray:
    """bool (z, rows, columns): windows in which the mean of some 3 x 3 pixels exceeds `threshold`.

    array: (z, y, x), read plane by plane. The mean of nine has a third of the noise, and a neurite is at least
    two pixels wide: what stays below background + 6 sigma / 3 everywhere is less than 2 sigma bright. All slices
    of a window count, so that a neurite is found beside a lost slice too.
    """
    planes = np.stack([_plane_signal(array[z], threshold, window, stride) for z in range(array.shape[0])])
    half = depth // 2
    reach = [np.clip(np.arange(len(planes)) + step, 0, len(planes) - 1) for step in range(-half, half + 1)]
    return np.logical_or.reduce([planes[index] for index in reach])


def _plane_signal(plane: np.ndarray, threshold: float, window: int, stride: int) -> np.ndarray:
    """bool (rows, columns) of the window grid over one plane."""
    padded = np.pad(plane.astype(np.float32), 1, mode="edge")
    lines = padded[:-2] + padded[1:-1] + padded[2:]
    signal = (lines[:, :-2] + lines[:, 1:-1] + lines[:, 2:]) > 9 * threshold
    # Windows overlap: look at the cells that window and stride share once, then gather the cells of each window.
    cell = math.gcd(window, stride)
    rows, columns = (blocks.grid_starts(size, window, stride) for size in plane.shape)
    extent = (rows[-1] + window, columns[-1] + window)
    signal = np.pad(signal, [(0, total - size) for total, size in zip(extent, signal.shape, strict=True)])
    cells = signal.reshape(extent[0] // cell, cell, extent[1] // cell, cell).any((1, 3))
    views = np.lib.stride_tricks.sliding_window_view(cells, (window // cell, window // cell))
    return np.any(views[:: stride // cell, :: stride // cell], axis=(2, 3))
