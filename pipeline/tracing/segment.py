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
) -> np.ndarray:
    """Connected foreground pieces (26 neighbours) of a probability map, numbered 1..n in raster order.

    probability: uint8 (z, y, x), 0..255 = 0..1. voxel_size: z,y,x um. A piece is a component of
    probability >= low that holds a voxel >= high and fills at least `min_size_um3`; the rest is 0.
    Returns uint32 (z, y, x).
    """
    if not low <= high:
        raise ValueError(f"low must not exceed high, found {low} > {high}")
    labels = cc3d.connected_components(probability >= np.float32(low * 255), connectivity=26)
    voxels = np.bincount(labels.ravel())
    keep = np.bincount(labels[probability >= np.float32(high * 255)], minlength=len(voxels)) > 0
    keep &= voxels * np.prod(voxel_size) >= min_size_um3
    keep[0] = False
    labels = fastremap.mask_except(labels, list(np.flatnonzero(keep)), in_place=True)
    return fastremap.renumber(labels, preserve_zero=True, in_place=True)[0].astype(np.uint32)
