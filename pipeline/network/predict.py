"""Windows of a slab of grey planes through the network, blended into probabilities of the planes."""

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from pipeline.blocks import Block, Plan, blending_profile, blending_sum, grid_starts

Network = Callable[[torch.Tensor], torch.Tensor]  # (B, 1, D, S, S) grey in [0, 1] -> (B, 1, S, S) logits


def predict_block(
    network: Network, grey: np.ndarray, block: Block, plan: Plan, *, batch: int = 16
) -> np.ndarray:
    """Probability of neurite, float32 (z, y, x) of the block's core.

    grey: (planes, rows, columns) float32, what `reach` asks for. Windows without signal are zero. Sums run in
    grid order and every batch has the same size (the last one is filled up), so that a voxel's value does not
    depend on the block it was computed in.
    """
    total = np.zeros([stop - start for start, stop in zip(block.start, block.stop, strict=True)], np.float32)
    first_row, first_column = reach(block, plan)[1][0], reach(block, plan)[2][0]
    profile = blending_profile(plan.window)
    weight = profile[:, None] * profile
    for windows in _batches(block.windows, batch):
        stack = np.zeros((batch, 1, plan.depth, plan.window, plan.window), np.float32)
        for place, (z, row, column) in enumerate(windows):
            y, x = row * plan.stride - first_row, column * plan.stride - first_column
            planes = slice(z - block.start[0], z - block.start[0] + plan.depth)
            stack[place, 0] = grey[planes, y : y + plan.window, x : x + plan.window]
        probability = torch.sigmoid(network(torch.from_numpy(stack)).float())[:, 0].cpu().numpy()
        for (z, row, column), values in zip(windows, probability, strict=False):
            _add(total[z - block.start[0]], weight * values, row * plan.stride, column * plan.stride, block)
    for axis in (1, 2):
        sums = blending_sum(plan.shape[axis], plan.window, plan.stride)[block.start[axis] : block.stop[axis]]
        total /= sums[:, None] if axis == 1 else sums
    return total


def reach(block: Block, plan: Plan) -> list[tuple[int, int]]:
    """(first, stop) of the voxels that a block's windows see, axis by axis; may lie outside the volume."""
    half = plan.depth // 2
    ranges = [(block.start[0] - half, block.stop[0] + half)]
    for axis in (1, 2):
        starts = grid_starts(plan.shape[axis], plan.window, plan.stride)
        touching = starts[(starts < block.stop[axis]) & (starts + plan.window > block.start[axis])]
        ranges.append((int(touching[0]), int(touching[-1]) + plan.window))
    return ranges


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


def _add(plane: np.ndarray, values: np.ndarray, y: int, x: int, block: Block) -> None:
    """Add a window whose first pixel is (y, x) of the volume to a plane of the block's core."""
    (y0, x0), (y1, x1) = block.start[1:], block.stop[1:]
    top, left, bottom, right = max(y, y0), max(x, x0), min(y + len(values), y1), min(x + len(values), x1)
    plane[top - y0 : bottom - y0, left - x0 : right - x0] += values[
        top - y : bottom - y, left - x : right - x
    ]
