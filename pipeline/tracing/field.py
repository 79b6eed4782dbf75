"""What the tracer knows of an image: the probability of neurite, and where its voxels lie."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from pipeline.swc import um_to_voxel, voxel_to_um

Zyx = tuple[int, int, int]
VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Field:
    """probability: uint8 (z, y, x), 0..255 = 0..1. voxel_size: z, y, x um."""

    probability: np.ndarray
    voxel_size: VoxelSize

    @property
    def shape(self) -> Zyx:
        depth, height, width = self.probability.shape
        return depth, height, width

    def at(self, xyz: np.ndarray) -> np.ndarray:
        """float32 (...), 0..255 = 0..1, at points (..., 3) in um: trilinear, the border repeated."""
        points = np.moveaxis(um_to_voxel(xyz, self.voxel_size), -1, 0)
        return map_coordinates(self.probability, points, output=np.float32, order=1, mode="nearest")

    def crop(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The voxels low .. high - 1 (z, y, x), as stored."""
        return self.probability[tuple(slice(a, b) for a, b in zip(low, high))]

    def last_xyz(self) -> np.ndarray:
        """um: the centre of the last voxel; the centre of the first one is 0."""
        return voxel_to_um(np.array(self.shape) - 1, self.voxel_size)
