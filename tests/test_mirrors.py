"""Averages over mirror images: of what a network says of voxels, and of pairs of voxels."""

import pytest
import torch

from pipeline.network import mirrors

CHANNELS = ("affinity_z", "affinity_y", "affinity_x", "affinity_y_3", "foreground")
SHIFTS = ((0, 1), (1, 1), (2, 1), (1, 3))


def even(windows):
    """Says the same of a window and of its mirror image: products of the two voxels of a pair, and the voxels."""
    channels = []
    for axis, distance in SHIFTS:
        before = torch.zeros_like(windows)
        length = windows.shape[1 + axis] - distance
        before.narrow(1 + axis, distance, length).copy_(windows.narrow(1 + axis, 0, length))
        channels.append(windows * before)
    return torch.stack([*channels, windows], 1)


@pytest.fixture
def windows():
    return torch.rand(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))


def test_what_does_not_depend_on_the_mirror_stays(windows):
    torch.testing.assert_close(mirrors.averaged(even, windows, CHANNELS), even(windows))


def test_what_depends_on_it_is_averaged(windows):
    def slanted(windows):
        slope = torch.linspace(0, 1, windows.shape[3])
        return even(windows) * slope

    found = mirrors.averaged(slanted, windows, CHANNELS)
    torch.testing.assert_close(found[:, 4], windows * 0.5)
    # A pair (i - 1, i) along x is seen at i, and in the mirror at size - i.
    size = windows.shape[3]
    slope = torch.arange(size) / (size - 1)
    both = (slope + (size - torch.arange(size)) / (size - 1)) / 2
    torch.testing.assert_close(found[:, 2, ..., 1:], even(windows)[:, 2, ..., 1:] * both[1:])


def test_every_view_is_asked_once(windows):
    asked = []
    mirrors.averaged(lambda view: asked.append(view) or even(view), windows, CHANNELS)
    assert len(asked) == mirrors.VIEWS
    assert len({tuple(view.flatten().tolist()) for view in asked}) == mirrors.VIEWS
