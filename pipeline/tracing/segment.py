"""Probability to labelled foreground: hysteresis, components, size."""

import cc3d
import fastremap
import numpy as np


def components(
    probability: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    high: float,
    low: float,
    min_size_um3: float,
    min_depth_um: float,
) -> np.ndarray:
    """Connected foreground pieces (26 neighbours) of a probability map, numbered 1..n in raster order.

    probability: uint8 (z, y, x), 0..255 = 0..1. voxel_size: z,y,x um. A piece is a component of
    probability >= low that holds a voxel >= high, fills at least `min_size_um3` and is more than `min_depth_um`
    deep (its slices times their distance); the rest is 0. The network looks at each slice for itself and may see
    a line in the noise of one; light of a real neurite is blurred along z over more than that.
    Returns uint32 (z, y, x).
    """
    if not low <= high:
        raise ValueError(f"low must not exceed high, found {low} > {high}")
    labels = cc3d.connected_components(probability >= np.float32(low * 255), connectivity=26)
    voxels = np.bincount(labels.ravel())
    keep = np.bincount(labels[probability >= np.float32(high * 255)], minlength=len(voxels)) > 0
    keep &= voxels * np.prod(voxel_size) >= min_size_um3
    keep &= _slices(labels, len(voxels)) * voxel_size[0] > min_depth_um
    keep[0] = False
    labels = fastremap.mask_except(labels, list(np.flatnonzero(keep)), in_place=True)
    return fastremap.renumber(labels, preserve_zero=True, in_place=True)[0].astype(np.uint32)


def _slices(labels: np.ndarray, count: int) -> np.ndarray:
    """int (count,): how many slices each label is seen in."""
    seen = np.zeros(count, np.int64)
    for plane in labels:
        seen[fastremap.unique(plane)] += 1
    return seen
