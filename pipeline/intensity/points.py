"""The light of an image at points, in units of the noise."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline import intensity
from pipeline.intensity.cells import CELL
from pipeline.intensity.estimate import Levels


@dataclass(frozen=True, eq=False)
class Light:
    """An image and its levels: light above (or below) the background in units of the noise, at points.

    Not `intensity.above` of the whole volume, which would take four bytes a voxel and most of the tracer's time: a
    tree asks at some ten thousand points. counts: (z, y, x) as the detector gave them.
    """

    counts: np.ndarray
    level: Levels

    @cached_property
    def _jumps(self) -> np.ndarray:
        return intensity.jumps(self.level)

    @cached_property
    def _hole(self) -> np.ndarray | None:
        """uint8 (z, y, x): 1 where the image holds no data; None where it does everywhere."""
        hole = self.level.summary.get("hole")
        return None if hole is None else (self.counts == hole).view(np.uint8)

    def at(self, points_zyx: np.ndarray) -> np.ndarray:
        """float32 (...), sigma, at fractional voxels (..., 3): trilinear, the border repeated."""
        points = np.moveaxis(np.asarray(points_zyx, float), -1, 0)
        cell = np.stack([points[0], *((points[1:] + 0.5) / CELL - 0.5)])
        low, high = (linear(each, cell) for each in (self.level.low, self.level.high))
        if self._jumps.any():
            depth, rows, columns = self._jumps.shape
            # Beyond the last centre lie the last two cells, as in intensity.above.
            before = _index(np.floor(cell), (depth, max(rows - 1, 1), max(columns - 1, 1)))
            near = self._jumps[_index(cell[:1], (depth,)) + before[1:]]
            own = _index(cell, self._jumps.shape)
            low, high = (
                np.where(near, a[own], b) for a, b in ((self.level.low, low), (self.level.high, high))
            )
        # Around something large the noise of a cell is that of its light: no more than the volume's.
        noise = np.minimum(linear(self.level.noise, cell), self.level.summary["noise"])
        counts = linear(self.counts, points)
        if self._hole is not None:  # as if the background went on there
            counts += linear(self._hole, points) * (low - self.level.summary["hole"])
        return (counts - np.clip(counts, low, np.maximum(high, low))) / noise


def _index(points: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Points (3, ...) -> indices of the nearest elements of an array of that shape."""
    return tuple(np.clip(np.rint(at).astype(int), 0, size - 1) for at, size in zip(points, shape))


def linear(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """float32 (...): a volume (z, y, x) at fractional voxels (3, ...)."""
    from scipy.ndimage import map_coordinates

    return map_coordinates(volume, points, output=np.float32, order=1, mode="nearest")
