"""Predictions averaged over mirrored views of each window.

A network that was trained on mirrored crops answers nearly alike for a window and its mirror image. Where it does not,
it is unsure, and the mean of the answers is the better one (test-time augmentation; for affinities Lee et al. 2017,
*Superhuman accuracy on the SNEMI3D connectomics challenge*).
"""

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

Run = Callable[[Tensor], Tensor]
VIEWS = 8  # mirrored along none, some, or all of z, y, x
PAIRED = "affinity_z"  # a channel of a network that answers for pairs of voxels


def averaged(run: Run, windows: Tensor, channels: tuple[str, ...]) -> Tensor:
    """(B, c, z, y, x): the mean of what `run` answers for the VIEWS of windows (B, z, y, x).

    channels: names; affinity_y is that of a voxel and the one before it in y, which in a mirror is the one behind:
    mirrored along y the answer lies one voxel further (affinity_y_6: six).
    """
    pairs = [_pair(channel) for channel in channels]
    total = torch.zeros(())
    for axes in (axes for count in range(4) for axes in combinations(range(3), count)):
        answer = run(windows.flip([1 + axis for axis in axes])).flip([2 + axis for axis in axes])
        for number, (axis, distance) in enumerate(pairs):
            if axis in axes:
                answer[:, number] = _moved(answer[:, number], axis, distance)
        total = total + answer
    for number, (axis, distance) in enumerate(pairs):
        if axis is not None:  # half of the views say nothing of the first voxels
            total[:, number].narrow(1 + axis, 0, distance).mul_(2)
    return total / VIEWS


def _pair(channel: str) -> tuple[int | None, int]:
    """Axis and distance of the two voxels that an affinity is of; None, 0 of a channel of single voxels."""
    kind, *parts = channel.split("_")
    if kind != "affinity":
        return None, 0
    return "zyx".index(parts[0]), int(parts[1]) if len(parts) > 1 else 1


def _moved(values: Tensor, axis: int, distance: int) -> Tensor:
    """Values (B, z, y, x) further along an axis; 0 comes in."""
    size = values.shape[1 + axis]
    moved = torch.zeros_like(values)
    moved.narrow(1 + axis, distance, size - distance).copy_(values.narrow(1 + axis, 0, size - distance))
    return moved
