"""Affinities: from labels, restricted to the foreground, and as a map of the membranes between them.

An affinity channel tells of each voxel whether it and the voxel `offset` away belong to one cell. All arrays are
uint8, 0..255 = 0..1, as the network's prediction is stored: sums of them are exact and do not depend on order.
"""

from collections.abc import Mapping

import numpy as np

# The voxel before along z, y and x: the channels that every method needs, in this order.
NEAREST = ("affinity_z", "affinity_y", "affinity_x")
FOREGROUND = "foreground"
CERTAIN = 255


def offset(name: str) -> tuple[int, int, int]:
    """The voxel that a channel asks about: "affinity_y" -> (0, -1, 0), "affinity_x_9" -> (0, 0, -9)."""
    _, axis, *distance = name.split("_")
    far = -int(distance[0]) if distance else -1
    return (far if axis == "z" else 0, far if axis == "y" else 0, far if axis == "x" else 0)


def from_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """uint8 (z, y, x): 255 where a voxel and the one `offset(name)` away have the same label other than 0.

    Where there is no such voxel (the first planes): 255 where the label is not 0.
    """
    axis, distance = _axis(name), -min(offset(name))
    affinity = labels != 0
    after, before = _pair(labels, axis, distance)
    _pair(affinity, axis, distance)[0][...] &= after == before
    return affinity * np.uint8(CERTAIN)


def prediction_of(labels: np.ndarray, names: tuple[str, ...] = NEAREST) -> dict[str, np.ndarray]:
    """What a perfect network says of these labels: the named affinities and the foreground, uint8 (z, y, x)."""
    return {
        **{name: from_labels(labels, name) for name in names},
        FOREGROUND: (labels != 0) * np.uint8(CERTAIN),
    }


def restricted(affinity: np.ndarray, foreground: np.ndarray | None) -> np.ndarray:
    """min(affinity, foreground): no link into a voxel that belongs to no cell. None: the affinity as it is."""
    return affinity if foreground is None else np.minimum(affinity, foreground)


def boundary(affinities: Mapping[str, np.ndarray], *, in_plane: bool) -> np.ndarray:
    """uint8 (z, y, x): 255 at certain membranes; the strongest cut of a voxel from any of its neighbours.

    affinities: NEAREST, restricted. in_plane: look at neighbours along y and x only. Both voxels beside a cut are
    marked: with one side only, two cells whose labels touch are joined by the watershed (VI 4.2 instead of .4 on
    FIB-25).
    """
    strongest = np.zeros_like(affinities[NEAREST[0]])
    for name in NEAREST[1:] if in_plane else NEAREST:
        cut = CERTAIN - affinities[name]
        np.maximum(strongest, cut, out=strongest)
        after, _ = _pair(cut, _axis(name), 1)
        _, before = _pair(strongest, _axis(name), 1)
        np.maximum(before, after, out=before)
    return strongest


def doubtful(least: np.ndarray) -> tuple[int, int]:
    """How many voxels are neither within a cell nor at a membrane for sure, and how many are at one for sure.

    least: any shape, uint8, the least of the nearest affinities of each voxel: between .25 and .75, below .25.
    """
    sure, within = CERTAIN // 4, CERTAIN - CERTAIN // 4
    return int(((least > sure) & (least < within)).sum()), int((least <= sure).sum())


def as_bytes(probability: np.ndarray) -> np.ndarray:
    """uint8, 0..255 = 0..1, of floating-point probabilities; uint8 stays as it is."""
    if probability.dtype == np.uint8:
        return probability
    if probability.dtype.kind != "f":
        raise ValueError(f"a prediction of type {probability.dtype}; allowed: uint8, or floats within 0..1")
    return np.rint(np.clip(probability, 0, 1) * CERTAIN).astype(np.uint8)


def _axis(name: str) -> int:
    return int(np.argmin(offset(name)))


def _pair(volume: np.ndarray, axis: int, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of all voxels that have one `distance` before them along the axis, and of those before."""
    after, before = [slice(None)] * 3, [slice(None)] * 3
    after[axis], before[axis] = slice(distance, None), slice(None, max(volume.shape[axis] - distance, 0))
    return volume[tuple(after)], volume[tuple(before)]
