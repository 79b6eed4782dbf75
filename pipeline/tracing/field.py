"""What the tracer knows of an image: the probability of neurite, its light, and where its voxels lie."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import map_coordinates

from pipeline import intensity
from pipeline.intensity import CELL, Levels
from pipeline.swc import um_to_voxel, voxel_to_um

Zyx = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


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
        low, high = (_linear(each, cell) for each in (self.level.low, self.level.high))
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
        noise = np.minimum(_linear(self.level.noise, cell), self.level.summary["noise"])
        counts = _linear(self.counts, points)
        if self._hole is not None:  # as if the background went on there
            counts += _linear(self._hole, points) * (low - self.level.summary["hole"])
        return (counts - np.clip(counts, low, np.maximum(high, low))) / noise


@dataclass(frozen=True)
class Soma:
    """xyz: centre, um. radius: um. light: in its middle, in units of the noise."""

    xyz: tuple[float, float, float]
    radius: float
    light: float

    @property
    def rim(self) -> float:
        """um from the centre to where its arms are cut off: its surface and the blur of it."""
        return 1.03 * self.radius + 0.5


@dataclass(frozen=True, eq=False)
class Field:
    """probability: uint8 (z, y, x), 0..255 = 0..1. voxel_size: z, y, x um. light: of the image, where it is known.

    somata: those that were found.
    """

    probability: np.ndarray
    voxel_size: VoxelSize
    light: Light | None = None
    somata: tuple[Soma, ...] = ()

    @property
    def shape(self) -> Zyx:
        depth, height, width = self.probability.shape
        return depth, height, width

    @property
    def seen(self) -> Light:
        """The light, for those who asked whether it is known."""
        assert self.light is not None
        return self.light

    def at(self, xyz: np.ndarray) -> np.ndarray:
        """float32 (...), 0..255 = 0..1, at points (..., 3) in um: trilinear, the border repeated."""
        return _linear(self.probability, np.moveaxis(um_to_voxel(xyz, self.voxel_size), -1, 0))

    def crop(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The voxels low .. high - 1 (z, y, x), as stored."""
        return self.probability[tuple(slice(a, b) for a, b in zip(low, high))]

    def last_xyz(self) -> np.ndarray:
        """um: the centre of the last voxel; the centre of the first one is 0."""
        return voxel_to_um(np.array(self.shape) - 1, self.voxel_size)


def _index(points: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Points (3, ...) -> indices of the nearest elements of an array of that shape."""
    return tuple(np.clip(np.rint(at).astype(int), 0, size - 1) for at, size in zip(points, shape))


def _linear(volume: np.ndarray, points: np.ndarray) -> np.ndarray:
    """float32 (...): a volume (z, y, x) at fractional voxels (3, ...)."""
    return map_coordinates(volume, points, output=np.float32, order=1, mode="nearest")
