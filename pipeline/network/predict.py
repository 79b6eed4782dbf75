"""Windows of a block of grey voxels through a network, blended into probabilities of the block."""

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from pipeline.blocks import Block, Grid, Zyx, blending_sum, blending_weight

# Along which of z, y, x the views of a window are mirrored: none of them, both of the plane (a half turn), x, y.
VIEWS = np.array([(0, 0, 0), (0, 1, 1), (0, 0, 1), (0, 1, 0)], bool)
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
    directions: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    views: int = 1,
    batch: int = 16,
    device: str = "cpu",
    told: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Probabilities, float32 (c, z, y, x) of the block.

    grey: (z, y, x) float32, what `grid.reach` asks for. directions: see `Contract.directions`. device: where `run`
    computes; windows are cut and blended there too. Windows that are not in the block's list are zero. Sums run in
    grid order and every batch has the same size (the last one is filled up), so that a voxel's value does not depend
    on the block it was computed in. told: called with the number of windows that are done, batch by batch.

    views: of a window, whose answers are averaged (VIEWS). Along each axis along which windows overlap every second one
    is read as its mirror image, so that what is blended are views, too.
    """
    over = grid.over(block.start, block.stop)
    first = np.array([touching[0] for touching in over])
    light = _windows(torch.from_numpy(np.ascontiguousarray(grey)).to(device), grid.window, grid.stride)
    weight = torch.from_numpy(blending_weight(grid.core)).to(device)
    # Cores reach over the block's border; what lies beyond is the neighbour's and is cut off.
    extent = [(len(each) - 1) * step + core for each, step, core in zip(over, grid.stride, grid.core)]
    total = torch.zeros((channels, *extent), device=device)
    stack = torch.zeros((batch, *grid.window), device=device)
    places = np.array(block.windows, int).reshape(-1, 3)
    mirrored = (places % 2 == 1) & (np.array(grid.stride) < grid.core)
    places -= first
    answer = partial(_answer, run, directions=directions, views=views)
    held = torch.zeros((0, channels, *grid.core), device=device)
    begin = 0  # of the windows that are held: a row of the grid is added when it is whole
    for low in range(0, len(places), batch):
        stop = min(low + batch, len(places))
        chosen = torch.from_numpy(places[low:stop].T.copy()).to(device)
        stack[: stop - low] = light[tuple(chosen)]
        stack[stop - low :] = 0
        held = torch.cat([held, weight * answer(stack, mirrored[low:stop])])
        rows = _rows(places[begin:stop])
        for here in rows if stop == len(places) else rows[:-1]:
            _add_row(total, held[here], places[begin:stop][here], first, grid)
        added = len(held) if stop == len(places) else rows[-1].start
        held, begin = held[added:], begin + added
        if told:
            told(stop - low)
    inside = [
        slice(a - int(w) * step, b - int(w) * step)
        for a, b, w, step in zip(block.start, block.stop, first, grid.stride)
    ]
    total = total[(slice(None), *inside)]
    for axis, (size, core, stride) in enumerate(zip(grid.shape, grid.core, grid.stride)):
        sums = torch.from_numpy(blending_sum(size, core, stride)[block.start[axis] : block.stop[axis]])
        total /= sums.to(device).reshape([-1 if each == axis else 1 for each in range(3)])
    return total.cpu().numpy()


def _windows(light: Tensor, window: Zyx, stride: Zyx) -> Tensor:
    """A view (z, y, x of the grid, window) of the windows that lie one stride apart; light begins with the first."""
    for axis, (edge, step) in enumerate(zip(window, stride)):
        light = light.unfold(axis, edge, step)
    return light


def _answer(
    run: Run, windows: Tensor, mirrored: np.ndarray, *, directions: Mapping[int, tuple[int, int]], views: int
) -> Tensor:
    """What the first n windows answer, the mean over their views. mirrored: bool (n, 3), along z, y, x."""
    total = None
    for view in VIEWS[:views]:
        turned = mirrored ^ view
        seen = windows.clone()
        _mirror(seen, turned)
        answers = run(seen)[: len(mirrored)]
        _mirror(answers, turned)
        _move_on(answers, turned, directions)
        total = answers if total is None else total + answers
    return total / views


def _mirror(windows: Tensor, mirrored: np.ndarray) -> None:
    """Turn those of the first windows (n, ..., z, y, x) round that are mirrored, bool (n, 3), along z, y, x."""
    for axis in range(3):
        which = torch.from_numpy(np.flatnonzero(mirrored[:, axis])).to(windows.device)
        if len(which):
            windows[which] = windows[which].flip(axis - 3)


def _move_on(answers: Tensor, mirrored: np.ndarray, directions: Mapping[int, tuple[int, int]]) -> None:
    """What a mirrored window says of a voxel and the one before it is said of that one and the one behind it."""
    for channel, (axis, steps) in directions.items():
        which = torch.from_numpy(np.flatnonzero(mirrored[:, axis])).to(answers.device)
        before = (torch.arange(answers.shape[axis], device=answers.device) - steps).clamp(min=0)
        answers[which, channel] = answers[which, channel].index_select(axis, before)


def _rows(places: np.ndarray) -> list[slice]:
    """Runs of windows (n, 3), in grid order, that lie in one row of the grid."""
    ends = np.flatnonzero(np.diff(places[:, :2], axis=0).any(1)) + 1
    bounds = [0, *ends.tolist(), len(places)]
    return [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:])]


def _add_row(total: Tensor, values: Tensor, places: np.ndarray, first: np.ndarray, grid: Grid) -> None:
    """Add cores (n, c, z, y, x) of one row of the grid: those that do not touch each other at once.

    The order is one of the whole volume's grid: first every k-th window, then those beside them.
    """
    (z, y), (_, _, step) = places[0, :2] * grid.stride[:2], grid.stride
    apart = -(-grid.core[2] // step)
    row = total[:, z : z + grid.core[0], y : y + grid.core[1]]
    for turn in range(apart):
        chosen = np.flatnonzero((places[:, 2] + first[2]) % apart == turn)
        if len(chosen):
            begin = (turn - int(first[2])) % apart
            cores = row[..., begin * step :].unfold(3, grid.core[2], apart * step)  # (c, z, y, n, x)
            at = torch.from_numpy((places[chosen, 2] - begin) // apart).to(total.device)
            picked = values[torch.from_numpy(chosen).to(total.device)]
            cores.index_add_(3, at, picked.permute(1, 2, 3, 0, 4))


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
