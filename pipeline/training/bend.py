"""Crops of a labelled volume that are turned by any angle, made a little larger or smaller, and bent.

Flips and exchanged axes give a volume 48 views; a membrane lies in any direction, also along the sections. The bending
is SegNeuron's elastic deformation (Zhang et al. 2024: control points that jitter by two pixels); turning is that of
most augmentations for electron microscopy.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

KNOTS = 20  # voxels between the points that are moved
JITTER = 2.0  # voxels, standard deviation of their movement along each axis
SCALE = 0.15  # voxels are up to so much larger or smaller, as the logarithm
# What is tried, one after the other, where a volume has no room.
TURNS = ("any", "in plane", "none")


def bent_crop(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int, int],
    *,
    voxel_size: tuple[float, float, float],
    in_plane: bool,
) -> tuple[np.ndarray, np.ndarray] | None:
    """(image float32, labels) of a crop of `shape` (zyx) from anywhere in a volume (D, H, W).

    Grey is interpolated linearly, a label is that of the nearest voxel. voxel_size: z, y, x, any unit; what is turned
    keeps its shape in space. in_plane: sections stay what they are. Where the volume has no room for a crop that is
    turned by any angle, it is turned in plane, or not at all; None where it has none for a bent one either.
    """
    for turn in TURNS[1:] if in_plane else TURNS:
        place = _places(rng, shape, np.array(voxel_size), turn=turn, in_plane=in_plane)
        low, high = place.min((1, 2, 3)), place.max((1, 2, 3))
        room = np.array(image.shape) - 1 - (high - low)
        if (room >= 0).all():
            break
    else:
        return None
    moved = rng.uniform(0, 1, 3) * room
    if in_plane:  # between two sections lies no picture of either
        moved[0] = np.rint(moved[0])
    place += (moved - low).astype(np.float32)[:, None, None, None]
    first = np.floor(place.min((1, 2, 3))).astype(int)
    last = np.ceil(place.max((1, 2, 3))).astype(int)
    box = tuple(slice(start, stop + 1) for start, stop in zip(first, last))
    place -= first[:, None, None, None]
    grey = ndimage.map_coordinates(image[box].astype(np.float32), place, order=1, mode="nearest")
    nearest = np.rint(place).astype(int)
    return grey, labels[box][tuple(nearest)]


def _places(
    rng: np.random.Generator, shape: tuple[int, int, int], size: np.ndarray, *, turn: str, in_plane: bool
) -> np.ndarray:
    """(3, *shape) float32: where each voxel of a crop is taken from, around 0, in voxels."""
    middle = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape)
    grid = np.stack(np.meshgrid(*middle, indexing="ij"))
    between = [_between_knots(n) for n in shape]
    for axis in range(1 if in_plane else 0, 3):
        moved = rng.normal(0, JITTER, [each.shape[1] for each in between]).astype(np.float32)
        grid[axis] += np.einsum("za,yb,xc,abc->zyx", *between, moved, optimize=True)
    turned = Rotation.identity()
    if turn == "any":
        turned = Rotation.from_quat(rng.normal(size=4))
    elif turn == "in plane":
        turned = Rotation.from_rotvec([rng.uniform(-np.pi, np.pi), 0, 0])
    scale = np.exp(rng.uniform(-SCALE, SCALE))
    scales = np.array([1 if in_plane else scale, scale, scale])
    matrix = turned.as_matrix() * size / size[:, None] * scales[:, None]
    return np.einsum("ij,j...->i...", matrix.astype(np.float32), grid)


def _between_knots(length: int) -> np.ndarray:
    """(length, knots) float32: cubic splines, how much each knot says at each voxel."""
    spans = -(-length // KNOTS)
    one_each = np.eye(spans + 1, dtype=np.float32)
    return ndimage.zoom(one_each, ((spans * KNOTS + 1) / (spans + 1), 1), order=3, mode="nearest")[:length]
