"""Which voxels of a dense image hold no data: padding around what was turned or aligned, and what was cut away."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

# Pixels: in so large a square an image of tissue has some noise; REACH of them decide about a voxel, each way.
SIDE = 15
REACH = SIDE - 1


@dataclass(frozen=True)
class Filled:
    """An image (z, y, x; numpy or zarr) with `value` where it is blank, read by boxes."""

    image: Any
    value: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape

    def __getitem__(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        z, y, x = box
        rows, columns = (slice(max(side.start - REACH, 0), side.stop + REACH) for side in (y, x))
        wide = np.asarray(self.image[z, rows, columns])
        value = round(self.value) if wide.dtype.kind in "ui" else self.value
        filled = np.where(blank(wide), wide.dtype.type(value), wide)
        down, right = y.start - rows.start, x.start - columns.start
        return filled[:, down : down + y.stop - y.start, right : right + x.stop - x.start]


def blank(planes: np.ndarray) -> np.ndarray:
    """bool (z, y, x): voxels in a square of SIDE x SIDE pixels of their plane that are all alike, whatever their value.

    planes: (z, y, x) of any type, as stored. Beyond the border of a plane its outermost pixels repeat, so that
    padding is found from half a square on there.
    """
    found = np.zeros(planes.shape, bool)
    for plane, here in zip(planes, found):
        alike = maximum_filter(plane, SIDE, mode="nearest") == minimum_filter(plane, SIDE, mode="nearest")
        if alike.any():
            maximum_filter(alike, SIDE, output=here, mode="constant")
    return found
