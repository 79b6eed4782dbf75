"""What the tracer knows of an image: the probability of neurite, its light, and where its voxels lie."""

from dataclasses import dataclass

import numpy as np

from pipeline.intensity.points import Light, linear
from pipeline.swc import um_to_voxel, voxel_to_um

Zyx = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


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
        return linear(self.probability, np.moveaxis(um_to_voxel(xyz, self.voxel_size), -1, 0))

    def crop(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The voxels low .. high - 1 (z, y, x), as stored."""
        return self.probability[tuple(slice(a, b) for a, b in zip(low, high))]

    def last_xyz(self) -> np.ndarray:
        """um: the centre of the last voxel; the centre of the first one is 0."""
        return voxel_to_um(np.array(self.shape) - 1, self.voxel_size)
