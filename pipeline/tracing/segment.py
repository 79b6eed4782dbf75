"""Probability to labelled foreground: hysteresis, components, size."""

import cc3d
import fastremap
import numpy as np

from pipeline import intensity
from pipeline.config.segment import Segment
from pipeline.intensity.points import Light


def components(
    probability: np.ndarray,
    voxel_size: tuple[float, float, float],
    settings: Segment,
    *,
    light: Light | None = None,
) -> np.ndarray:
    """Connected foreground pieces (26 neighbours) of a probability map, numbered 1..n in raster order.

    probability: uint8 (z, y, x), 0..255 = 0..1. voxel_size: z,y,x um. A piece is a component of
    probability >= settings.low (>= settings.dim where `light` is settings.dim_signal and more) that holds a voxel
    >= settings.high, fills at least `min_size_um3` and is seen in
    `min_slices` slices (or all there are); the rest is 0. The network looks at each slice for itself and may see
    a line in the noise of one; light of a real neurite is blurred along z over more than that.
    Returns uint32 (z, y, x).
    """
    labels = cc3d.connected_components(_foreground(probability, settings, light), connectivity=26)
    voxels = np.bincount(labels.ravel())
    keep = np.bincount(labels[probability >= np.float32(settings.high * 255)], minlength=len(voxels)) > 0
    keep &= voxels * np.prod(voxel_size) >= settings.min_size_um3
    keep &= _slices(labels, len(voxels)) >= min(settings.min_slices, len(labels))
    keep[0] = False
    labels = fastremap.mask_except(labels, list(np.flatnonzero(keep)), in_place=True)
    return fastremap.renumber(labels, preserve_zero=True, in_place=True)[0].astype(np.uint32)


def _foreground(probability: np.ndarray, settings: Segment, light: Light | None) -> np.ndarray:
    """bool (z, y, x): probable enough, or dim and shown by the image (a slice at a time: light takes four bytes)."""
    mask = probability >= np.float32(settings.low * 255)
    if light is None:
        return mask
    dim = probability >= np.float32(settings.dim * 255)
    height, width = mask.shape[1:]
    for z in np.flatnonzero((dim & ~mask).any((1, 2))):
        box = [(int(z), int(z) + 1), (0, height), (0, width)]
        (sigmas,) = intensity.above(light.counts[z : z + 1], light.level, box)
        mask[z] |= dim[z] & (sigmas >= settings.dim_signal)
    return mask


def _slices(labels: np.ndarray, count: int) -> np.ndarray:
    """int (count,): how many slices each label is seen in."""
    seen = np.zeros(count, np.int64)
    for plane in labels:
        seen[fastremap.unique(plane)] += 1
    return seen
