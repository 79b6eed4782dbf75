"""Trees and the SWC format: the one place where voxel indices (z,y,x) and um (x,y,z) meet."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Tree:
    """A forest of nodes; edges join a node to its parent.

    xyz: (n, 3) float64, um. radius: (n,) float64, um. parent: (n,) int64, the row of the parent, -1 for
    a root. type: (n,) int64, SWC type code (0 undefined, 1 soma, 2 axon, 3 dendrite ...).
    """

    xyz: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    type: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)


def voxel_to_um(points_zyx: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n, 3) voxel indices z,y,x -> (n, 3) um x,y,z. voxel_size: z,y,x um. Index i is the centre of voxel i."""
    return (np.asarray(points_zyx, float) * voxel_size)[..., ::-1]


def um_to_voxel(xyz: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n, 3) um x,y,z -> (n, 3) fractional voxel indices z,y,x: the inverse of voxel_to_um."""
    return np.asarray(xyz, float)[..., ::-1] / voxel_size
