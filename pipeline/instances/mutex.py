"""Affinities to cells without seeds: the mutex watershed."""

from collections.abc import Mapping

import bioimage_cpp as bic
import numpy as np

from pipeline.instances.affinities import CERTAIN, NEAREST, offset

# Every so many voxels (z, y, x) a far channel is asked; the nearest are asked at each. Asked at fewer, small cells
# are never parted: perfect affinities of a tissue in sections gave VI .19 at (2, 4, 4), 0 at (1, 2, 2).
STRIDES = (1, 2, 2)


def mutex_watershed(
    affinities: Mapping[str, np.ndarray],
    foreground: np.ndarray,
    *,
    bias: float,
    flat: bool,
    strides: tuple[int, int, int] = STRIDES,
) -> np.ndarray:
    """uint32 (z, y, x): cells of the foreground (bool) by links and vetoes, the surest first.

    affinities: NEAREST, which join, and channels of greater offsets, which part; restricted, uint8. Where a network
    has none of these, the weakest link along the straight way stands for them (`far_links`). bias: added to every
    link: more joins more (0: as sure as a veto). flat: far links within a section only. Wolf et al. 2018, ECCV.
    Takes about 200 bytes a voxel: for volumes of less than a hundred million voxels.
    """
    far = {name: channel for name, channel in affinities.items() if name not in NEAREST}
    far = far or far_links(affinities, flat=flat)
    channels = np.empty((len(NEAREST) + len(far), *foreground.shape), np.float32)
    for row, name in zip(channels, NEAREST):
        row[...] = affinities[name] * np.float32(1 / CERTAIN) + np.float32(bias)
    for row, channel in zip(channels[len(NEAREST) :], far.values()):
        row[...] = 1 - channel * np.float32(1 / CERTAIN)
    labels = bic.segmentation.mutex_watershed(
        channels, [offset(name) for name in (*NEAREST, *far)], len(NEAREST), strides=strides, mask=foreground
    )
    return labels.astype(np.uint32)


def far_links(
    affinities: Mapping[str, np.ndarray], *, flat: bool, distance: int = 9
) -> dict[str, np.ndarray]:
    """Channels of offset `distance` in the plane (and along z unless flat): the weakest link on the way."""
    result = {}
    for axis, name in enumerate(NEAREST):
        if flat and axis == 0:
            continue
        channel = affinities[name]
        weakest = channel.copy()
        for step in range(1, min(distance, channel.shape[axis])):
            after, before = [slice(None)] * 3, [slice(None)] * 3
            after[axis], before[axis] = slice(step, None), slice(None, -step)
            view = weakest[tuple(after)]
            np.minimum(view, channel[tuple(before)], out=view)
        result[f"{name}_{distance}"] = weakest
    return result
