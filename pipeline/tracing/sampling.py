"""Volumes read at points in um."""

import numpy as np
from scipy.ndimage import map_coordinates

from pipeline.swc import um_to_voxel


def sample(volume: np.ndarray, xyz: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """float32 (...) values of a (z, y, x) volume at points (..., 3) in um, trilinear, the border repeated."""
    points = np.moveaxis(um_to_voxel(xyz, voxel_size), -1, 0)
    return map_coordinates(volume, points, output=np.float32, order=1, mode="nearest")
