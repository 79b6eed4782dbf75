"""Affinities to cells without a graph: what hangs together by links above a threshold."""

from collections.abc import Mapping

import cc3d
import numpy as np

from pipeline.instances.affinities import CERTAIN, NEAREST

# Bits of cc3d's connectivity graph for the steps +, - along the first, second and third axis.
STEPS = ((1, 2), (4, 8), (16, 32))


def components(
    affinities: Mapping[str, np.ndarray], foreground: np.ndarray, *, threshold: float
) -> np.ndarray:
    """uint32 (z, y, x): parts of the foreground (bool) linked by nearest affinities > threshold (0..1).

    affinities: NEAREST, restricted, uint8 (z, y, x). One wrong link joins two cells: for networks that were trained
    to make none, as BANIS (Riegger et al. 2025) is, which takes its long-range channels for training only. Takes 20
    bytes a voxel.
    """
    # cc3d takes its axes in the order of memory.
    links = np.zeros(foreground.shape, np.uint8, order="C")
    for axis, name in enumerate(NEAREST):
        linked = affinities[name] > np.float32(threshold * CERTAIN)
        after, before = [slice(None)] * 3, [slice(None)] * 3
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        linked = linked[tuple(after)] & foreground[tuple(after)] & foreground[tuple(before)]
        forth, back = STEPS[axis]
        links[tuple(before)] |= linked * np.uint8(forth)
        links[tuple(after)] |= linked * np.uint8(back)
    labels = cc3d.color_connectivity_graph(links, connectivity=6)
    labels[~foreground] = 0
    return labels
