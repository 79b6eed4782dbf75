"""Windows of a block of grey voxels through a network, blended into probabilities of the block."""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pipeline.blocks import Block, Grid, blending_sum, blending_weight

# (B, z, y, x) float32 windows of grey -> (B, c, z, y, x) float32 probabilities of their cores, on the same device.
Run = Callable[[Tensor], Tensor]


@torch.inference_mode()
def predict_block(
    run: Run,
    grey: np.ndarray,
    block: Block,
    grid: Grid,
    *,
    channels: int = 1,
    batch: int = 16,
    device: str = "cpu",
) -> np.ndarray:
    """Probabilities, float32 (c, z, y, x) of the block.

    grey: (z, y, x) float32, what `grid.reach` asks for. device: where `run` computes; windows are cut and blended
    there too. Windows that are not in the block's list are zero. Sums run in grid order and every batch has the
    same size (the last one is filled up), so that a voxel's value does not depend on the block it was computed in.
    """
    light = torch.from_numpy(np.ascontiguousarray(grey)).to(device)
    total = torch.zeros((channels, *block.shape), device=device)
    first = [low for low, _ in grid.reach(block)]
    weight = torch.from_numpy(blending_weight(grid.core)).to(device)
    stack = torch.zeros((batch, *grid.window), device=device)
    for windows in _batches(block.windows, batch):
        stack[len(windows) :] = 0
        for place, window in enumerate(windows):
            corner = np.multiply(window, grid.stride) - grid.margin - first
            stack[place] = light[tuple(slice(a, a + edge) for a, edge in zip(corner.tolist(), grid.window))]
        values = weight * run(stack)
        for place, window in enumerate(windows):
            _add(total, values[place], np.multiply(window, grid.stride), block)
    for axis, (size, core, stride) in enumerate(zip(grid.shape, grid.core, grid.stride)):
        sums = torch.from_numpy(blending_sum(size, core, stride)[block.start[axis] : block.stop[axis]])
        total /= sums.to(device).reshape([-1 if each == axis else 1 for each in range(3)])
    return total.cpu().numpy()


class Progress:
    """Prints voxels a second and the time left, at most every ten seconds."""

    def __init__(self, voxels: int) -> None:
        self.voxels, self.done, self.began, self.told = voxels, 0, time.monotonic(), time.monotonic()

    def add(self, voxels: int) -> None:
        self.done += voxels
        now = time.monotonic()
        if now - self.told >= 10 or self.done == self.voxels:
            rate = self.done / max(now - self.began, 1e-9)
            left = (self.voxels - self.done) / rate
            share = self.done / max(self.voxels, 1)
            print(f"{share:4.0%}  {rate:,.0f} voxels/s  {left:,.0f} s left", file=sys.stderr, flush=True)
            self.told = now


def _batches(windows: list, size: int) -> Iterator[list]:
    for first in range(0, len(windows), size):
        yield windows[first : first + size]


def _add(total: Tensor, values: Tensor, corner: np.ndarray, block: Block) -> None:
    """Add a core (c, z, y, x) whose first voxel is `corner` of the volume to the part of it in the block."""
    low = np.maximum(corner, block.start)
    high = np.minimum(np.add(corner, values.shape[1:]), block.stop)
    here = tuple(slice(a, b) for a, b in zip((low - block.start).tolist(), (high - block.start).tolist()))
    there = tuple(slice(a, b) for a, b in zip((low - corner).tolist(), (high - corner).tolist()))
    total[(slice(None), *here)] += values[(slice(None), *there)]
