"""What the image itself says for a branch, whatever the network says: is it brighter than what lies beside it?"""

import numpy as np

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.field import sample
from pipeline.tracing.radius import _across

# Where the image beside a line is looked at: this many radii and pixels from it, in so many directions.
BESIDE_RADII, BESIDE_PIXELS, DIRECTIONS = 2.0, 3.0, 12


def contrast(tree: Tree, light: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n,) how much brighter the image is on each node's section than beside it, in units of the noise.

    light: (z, y, x) light in units of the noise (intensity.light). A section runs from branch point to branch
    point (or tip). Its brightness is the mean along its line, each node for the length it stands for; that
    beside it the mean of the medians of what lies around each node, so that a neighbour on one side does not
    count. A branch through nothing has 0 but for the noise of its mean, whatever the haze it lies in.
    """
    value = np.zeros(len(tree))
    if len(tree) < 2:
        return value
    above = sample(light, tree.xyz, voxel_size) - _beside(tree, light, voxel_size)
    for section in graph.sections(tree):
        step = np.linalg.norm(np.diff(tree.xyz[section], axis=0), axis=1)
        weight = np.concatenate([step, [0]]) + np.concatenate([[0], step])
        own = section[1:] if len(section) > 1 else section
        value[own] = np.average(above[section], weights=weight + 1e-9)
    for row in np.flatnonzero(tree.parent < 0):
        # A root has no section of its own: the brightest of those that leave it stands for it.
        value[row] = max(value[tree.parent == row], default=0.0)
    return value


def dark_share(
    tree: Tree, light: np.ndarray, voxel_size: tuple[float, float, float], *, least: float
) -> float:
    """Share of the cable in sections whose `contrast` is below `least` times the noise; 0 for an empty tree."""
    length = swc.edge_lengths(tree)
    if not length.sum():
        return 0.0
    return float(length[contrast(tree, light, voxel_size) < least].sum() / length.sum())


def _beside(tree: Tree, light: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n,) median of the light around each node, across its direction, at BESIDE_RADII and BESIDE_PIXELS away."""
    angle = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    way = np.einsum("rd,ndj->nrj", np.stack([np.cos(angle), np.sin(angle)], 1), _across(tree))
    # The axial blur reaches further: a pixel is the size of the voxel in that direction.
    pixel = np.abs(way) @ np.array(voxel_size[::-1])
    away = BESIDE_RADII * tree.radius[:, None] + BESIDE_PIXELS * pixel
    return np.median(sample(light, tree.xyz[:, None] + way * away[..., None], voxel_size), axis=1)
