"""Which voxels of a dense image hold no data: padding around what was turned or aligned, and what was cut away."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from pipeline.blocks import UNBINNED, Zyx

# Pixels: in so large a square an image of tissue has some noise; REACH of them decide about a voxel, each way.
SIDE = 15
REACH = SIDE - 1
# Places at which noise and grey are measured, and rows at each.
LOOKS, ROWS = 9, 512


@dataclass(frozen=True)
class Filled:
    """An image (z, y, x; numpy or zarr) with `value` where it is blank, read by boxes."""

    image: Any
    value: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.image.shape

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
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


def tissue_grey(array) -> float:
    """The median of what is not blank at some places; 0 where all is.

    Dense networks see it in place of padding: their norms look at the whole window.
    """
    places = (array[tuple(slice(*side) for side in box)] for box in looks(array.shape, UNBINNED))
    known = [voxels[~blank(voxels)] for voxels in places]
    return float(np.median(np.concatenate(known))) if any(map(len, known)) else 0.0


def looks(shape: tuple[int, ...], binning: Zyx) -> list[list[tuple[int, int]]]:
    """LOOKS boxes of one bin's planes and up to ROWS rows, evenly from first to last; their sides are whole bins."""
    held = [length // step * step for length, step in zip(shape, binning)]
    size = [min(held[0], binning[0]), min(held[1], ROWS // binning[1] * binning[1]), held[2]]
    if min(size) < 1:
        return []
    found = []
    for part in np.linspace(0, 1, LOOKS):
        first = [int(part * (n - edge)) // step * step for n, edge, step in zip(held, size, binning)]
        found.append([(low, low + edge) for low, edge in zip(first, size)])
    return found
