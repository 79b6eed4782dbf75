"""Windows of a block of grey voxels through a network, blended into probabilities of the block."""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

from pipeline.blocks import Block, Grid, blending_sum, blending_weight

# (B, z, y, x) float32 windows of grey -> (B, c, z, y, x) float32 probabilities of their cores.
Run = Callable[[np.ndarray], np.ndarray]


def predict_block(
    run: Run,
    grey: np.ndarray,
    block: Block,
    grid: Grid,
    *,
    channels: int = 1,
    batch: int = 16,
    told: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Probabilities, float32 (c, z, y, x) of the block.

    grey: (z, y, x) float32, what `grid.reach` asks for. Windows that are not in the block's list are zero. Sums run in
    grid order and every batch has the same size (the last one is filled up), so that a voxel's value does not
    depend on the block it was computed in. told: called with the number of windows that are done, batch by batch.
    """
    total = np.zeros((channels, *block.shape), np.float32)
    first = [low for low, _ in grid.reach(block)]
    weight = blending_weight(grid.core)
    for windows in _batches(block.windows, batch):
        stack = np.zeros((batch, *grid.window), np.float32)
        for place, window in enumerate(windows):
            corner = np.multiply(window, grid.stride) - grid.margin - first
            stack[place] = grey[tuple(slice(a, a + edge) for a, edge in zip(corner.tolist(), grid.window))]
        for window, values in zip(windows, run(stack), strict=False):
            _add(total, weight * values, np.multiply(window, grid.stride), block)
        if told:
            told(len(windows))
    for axis, (size, core, stride) in enumerate(zip(grid.shape, grid.core, grid.stride)):
        sums = blending_sum(size, core, stride)[block.start[axis] : block.stop[axis]]
        total /= sums.reshape([-1 if each == axis else 1 for each in range(3)])
    return total


class Progress:
    """Prints voxels a second and the time left, at most every ten seconds."""

    def __init__(self, voxels: int) -> None:
        self.voxels, self.done = voxels, 0.0
        self.began = self.told = time.monotonic()

    def windows_of(self, block: Block) -> Callable[[int], None]:
        """What to call with the number of windows of a block that are done: a large block takes minutes."""
        share = block.voxels / max(1, len(block.windows))
        return lambda windows: self.add(windows * share)

    def add(self, voxels: float) -> None:
        """Count voxels as done."""
        self.done += voxels
        now = time.monotonic()
        if now - self.told >= 10 or self.done >= self.voxels - 0.5:
            rate = self.done / max(now - self.began, 1e-9)
            left = max(0.0, self.voxels - self.done) / rate
            share = min(1.0, self.done / max(self.voxels, 1))
            print(f"{share:4.0%}  {rate:,.0f} voxels/s  {left:,.0f} s left", file=sys.stderr, flush=True)
            self.told = now


def _batches(windows: list, size: int) -> Iterator[list]:
    for first in range(0, len(windows), size):
        yield windows[first : first + size]


def _add(total: np.ndarray, values: np.ndarray, corner: np.ndarray, block: Block) -> None:
    """Add a core (c, z, y, x) whose first voxel is `corner` of the volume to the part of it in the block."""
    low = np.maximum(corner, block.start)
    high = np.minimum(corner + values.shape[1:], block.stop)
    here = tuple(slice(a, b) for a, b in zip((low - block.start).tolist(), (high - block.start).tolist()))
    there = tuple(slice(a, b) for a, b in zip((low - corner).tolist(), (high - corner).tolist()))
    total[(slice(None), *here)] += values[(slice(None), *there)]
