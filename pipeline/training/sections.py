"""What a microscope of serial sections does to a volume: thick, thin, lost, shifted, noisy and badly lit sections.

All functions take grey in [0, 1] and return new arrays; (D, H, W) throughout, the section axis first.
"""

import numpy as np
from scipy import ndimage

VoxelSize = tuple[float, float, float]
FURTHEST = 17  # pixels that a misaligned section is off by at most (Lee et al. 2017)


def thin(
    image: np.ndarray, labels: np.ndarray, voxel_size: VoxelSize, step: int
) -> tuple[np.ndarray, np.ndarray, VoxelSize]:
    """Every `step`-th section, and the voxel size that this makes."""
    return image[::step], labels[::step], (voxel_size[0] * step, *voxel_size[1:])


def average(
    image: np.ndarray, labels: np.ndarray, voxel_size: VoxelSize, count: int
) -> tuple[np.ndarray, np.ndarray, VoxelSize]:
    """Sections `count` times as thick: mean grey (float32), labels of the middle section, the new voxel size."""
    whole = len(image) // count * count
    thick = image[:whole].reshape(-1, count, *image.shape[1:]).mean(1, dtype=np.float32)
    return thick, labels[:whole][count // 2 :: count], (voxel_size[0] * count, *voxel_size[1:])


def turn(rng: np.random.Generator, *volumes: np.ndarray) -> list[np.ndarray]:
    """All volumes flipped along the same axes and, half the time, transposed in plane (16 cases).

    What is not square in plane is not transposed: crops of one window have one shape.
    """
    flips = tuple(slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(3))
    transposed = rng.random() < 0.5 and volumes[0].shape[1] == volumes[0].shape[2]
    turned = [volume[flips] for volume in volumes]
    return [np.swapaxes(volume, 1, 2) for volume in turned] if transposed else turned


def misalign(
    rng: np.random.Generator,
    image: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    furthest: int = FURTHEST,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One section that slipped (the image alone moves), or all from a section on shifted (everything moves).

    counts: which voxels are scored; none where a shift brought in what was outside.
    """
    section = int(rng.integers(1, len(image)))
    down, right = (int(step) for step in rng.integers(-furthest, furthest + 1, 2))
    if rng.random() < 0.5:
        image = image.copy()
        image[section] = _shift(image[section], down, right)
        return image, labels, counts
    image, labels, counts = image.copy(), labels.copy(), counts.copy()
    inside = _shift(np.ones(image.shape[1:], bool), down, right, outside=False)
    for volume in (image, labels, counts):
        volume[section:] = _shift(volume[section:], down, right)
    counts[section:] &= inside
    return image, labels, counts


def end(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The crop as a window at the end of a volume: from somewhere on along one axis the last plane repeats.

    At most half of the crop is repeated, and that is not scored.
    """
    axis = int(rng.integers(3))
    length = image.shape[axis]
    kept = int(rng.integers(length // 2, length))
    planes = np.minimum(np.arange(length), kept - 1)
    if rng.random() < 0.5:
        planes = length - 1 - planes[::-1]
    image, labels, counts = (np.take(volume, planes, axis) for volume in (image, labels, counts))
    repeated = [1, 1, 1]
    repeated[axis] = length
    inside = np.arange(length) == planes
    return image, labels, counts & inside.reshape(repeated)


def lose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """One section black, or a copy of the one before."""
    image = image.copy()
    section = int(rng.integers(1, len(image)))
    image[section] = 0 if rng.random() < 0.5 else image[section - 1]
    return image


def relight(rng: np.random.Generator, image: np.ndarray, *, by_section: bool) -> np.ndarray:
    """Another contrast, brightness and gamma, for the volume or for every section by itself."""
    count = len(image) if by_section else 1
    strength = 0.5 if by_section else 1.0

    def draw(spread: float) -> np.ndarray:
        return (rng.uniform(-spread, spread, (count, 1, 1)) * strength).astype(np.float32)

    lit = (image - 0.5) * np.exp(draw(0.4)) + 0.5 + draw(0.15)
    return np.clip(lit, 0, 1) ** np.exp(draw(0.4))


def add_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Gaussian noise of standard deviation .01 to .12."""
    return image + np.float32(rng.uniform(0.01, 0.12)) * rng.standard_normal(image.shape, np.float32)


def blur(rng: np.random.Generator, image: np.ndarray, *, in_plane: bool) -> np.ndarray:
    """Out of focus: a Gaussian of .3 to 1.2 pixels."""
    sigma = rng.uniform(0.3, 1.2)
    return ndimage.gaussian_filter(image, (0 if in_plane else sigma, sigma, sigma), truncate=3)


def cut_out(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A few boxes of 2 to 6 sections and 6 to 16 pixels gone black: dirt, or a fold."""
    image = image.copy()
    for _ in range(int(rng.integers(2, 9))):
        size = np.array([rng.integers(2, 7), *rng.integers(6, 17, 2)])
        low = rng.integers(0, np.maximum(np.array(image.shape) - size, 0) + 1)
        image[tuple(slice(start, start + length) for start, length in zip(low, size))] = 0
    return image


def change_image(rng: np.random.Generator, image: np.ndarray, *, isotropic: bool) -> np.ndarray:
    """Light, blur, noise, dirt and lost sections, each now and then; (D, H, W) float32 in [0, 1]."""
    if rng.random() < 0.5:
        image = relight(rng, image, by_section=False)
    if rng.random() < (0.1 if isotropic else 0.3):
        image = relight(rng, image, by_section=True)
    if rng.random() < 0.2:
        image = blur(rng, image, in_plane=not isotropic)
    if rng.random() < 0.35:
        image = add_noise(rng, image)
    if rng.random() < 0.07:
        image = cut_out(rng, image)
    if rng.random() < (0.03 if isotropic else 0.1):
        image = lose(rng, image)
    return np.clip(image, 0, 1).astype(np.float32)


def _shift(plane: np.ndarray, down: int, right: int, outside: bool = True) -> np.ndarray:
    """(..., H, W) moved by whole pixels; what comes in repeats the edge, or is 0 (outside=False)."""
    rows = np.arange(plane.shape[-2]) - down
    columns = np.arange(plane.shape[-1]) - right
    moved = plane[..., np.clip(rows, 0, len(rows) - 1)[:, None], np.clip(columns, 0, len(columns) - 1)]
    if not outside:
        kept = ((rows >= 0) & (rows < len(rows)))[:, None] & ((columns >= 0) & (columns < len(columns)))
        moved = np.where(kept, moved, 0).astype(plane.dtype)
    return moved
