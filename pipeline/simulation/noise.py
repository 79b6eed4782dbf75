"""What is in an image beside the light of the sample: noise of many kinds, and what cameras and people do to it.

Everything is in units of the noise: the light of the sample stands `light` sigma above the background, and what
comes out is an image of whole numbers as a file would hold it.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft, ndimage

from pipeline.simulation.render import smooth_field

Shape = tuple[int, int, int]


def picture(rng: np.random.Generator, light: np.ndarray, *, own_noise: float = 0.0) -> np.ndarray:
    """uint8 or uint16 (z, y, x): `light` (in sigma of the noise to come) under noise of a kind drawn at random.

    own_noise: sigma of the noise that `light` already has, where it comes from a real image.
    """
    expected = _unevenly_lit(rng, light)
    kind = rng.choice(list(KINDS), p=_SHARES)
    sigma = float(np.sqrt(max(1 - own_noise**2, 0.0)))
    image = KINDS[kind](rng, expected, sigma)
    image = _handled(rng, image)
    if rng.random() < 0.08:
        image = _cut_out(rng, image, light)
    image = _damaged(rng, image)
    return _stored(rng, image)


def white(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """The camera's read noise."""
    return light + np.float32(sigma) * rng.standard_normal(light.shape, np.float32)


def photons(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Photon noise: the fewer photons of background a voxel has, the more skewed."""
    background = float(np.exp(rng.uniform(np.log(0.03), np.log(100))))
    root = np.float32(np.sqrt(background))
    expected = np.clip(background + light * root, 0, None)
    return light + np.float32(sigma) * (rng.poisson(expected).astype(np.float32) - expected) / root


def correlated(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Noise a few pixels wide in plane, as binning, scanning or smoothing leave it; now and then along z too."""
    width = rng.uniform(0.4, 1.6, 2) if rng.random() < 0.3 else np.full(2, rng.uniform(0.4, 1.6))
    deep = rng.choice([0.0, rng.uniform(0.3, 0.8)])
    return light + sigma * _unit(ndimage.gaussian_filter(_grain(rng, light.shape), (deep, *width)))


def binned(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Noise of an image that was enlarged after it was taken: squares or linear ramps of two to three pixels."""
    factor = rng.uniform(1.4, 3)
    small = _grain(rng, (light.shape[0], *(int(np.ceil(n / factor)) + 1 for n in light.shape[1:])))
    large = ndimage.zoom(small, (1, factor, factor), order=int(rng.integers(0, 2)))
    return light + sigma * _unit(large[:, : light.shape[1], : light.shape[2]])


def sharpened(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Noise after an unsharp mask: specks with dark rings."""
    grain = _grain(rng, light.shape)
    width = rng.uniform(0.4, 1.0)
    fine = ndimage.gaussian_filter(grain, (0, width, width))
    wide = ndimage.gaussian_filter(grain, (0, 2.5 * width, 2.5 * width))
    return light + sigma * _unit(fine - rng.uniform(0.4, 1.0) * wide)


def heavy_tailed(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Most voxels dark and few bright, slice by slice: detector hits, a high gain."""
    grain = rng.standard_exponential(light.shape, np.float32) ** np.float32(rng.uniform(1, 3))
    width = rng.choice([0.0, rng.uniform(0.3, 1.0)])
    return light + sigma * _unit(ndimage.gaussian_filter(grain, (0, width, width)) if width else grain)


def salted(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Read noise and single bright voxels."""
    image = white(rng, light, sigma)
    hit = rng.random(light.shape, np.float32) < 10 ** rng.uniform(-4, -1.7)
    return np.where(hit, image + np.float32(rng.uniform(5, 80)), image)


def by_slice(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Planes that differ in noise, gain and offset."""
    each = (len(light), 1, 1)
    noise = correlated if rng.random() < 0.5 else white
    gain = np.exp(rng.normal(0, 0.3, each)).astype(np.float32)
    return gain * noise(rng, light, sigma) + rng.normal(0, rng.uniform(0, 3), each).astype(np.float32)


def banded(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Rows (or columns) of different offset, and the hum of a scanner."""
    image = (white if rng.random() < 0.5 else correlated)(rng, light, sigma)
    axis = int(rng.integers(1, 3))
    each = [1, 1, 1]
    each[axis] = light.shape[axis]
    if rng.random() < 0.5:
        each[0] = len(light)
    image = image + np.float32(rng.uniform(0.1, 0.8)) * rng.standard_normal(each, np.float32)
    if rng.random() < 0.5:
        y, x = np.mgrid[: light.shape[1], : light.shape[2]].astype(np.float32)
        angle, pitch = rng.uniform(0, np.pi), rng.uniform(3, 30)
        wave = np.sin((y * np.sin(angle) + x * np.cos(angle)) * (2 * np.pi / pitch) + rng.uniform(0, 6.3))
        image += np.float32(rng.uniform(0.1, 0.8)) * wave
    return image


def mottled(rng: np.random.Generator, light: np.ndarray, sigma: float) -> np.ndarray:
    """Tissue: soft clouds from a few to tens of pixels wide beside the noise, no line in it."""
    image = (white if rng.random() < 0.5 else correlated)(rng, light, sigma)
    width = float(np.exp(rng.uniform(np.log(2.5), np.log(15))))
    cloud = ndimage.gaussian_filter(
        rng.standard_normal(light.shape, np.float32), (rng.uniform(0.5, 2), width, width)
    )
    return image + np.float32(rng.uniform(0.3, 2)) * np.maximum(_unit(cloud), -1)


def tissue(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """float32 (z, y, x), in sigma: what tissue shows without a stain. Clouds of two widths, bright patches of haze."""

    def cloud(low: float, high: float) -> np.ndarray:
        width = np.exp(rng.uniform(np.log(low), np.log(high)))
        deep = width * rng.uniform(0.3, 1)
        return _unit(ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (deep, width, width)))

    light = rng.uniform(0.2, 2) * cloud(1, 3.5) + rng.uniform(0.2, 2) * cloud(5, 20)
    patches = np.maximum(cloud(5, 25) - np.float32(rng.uniform(1, 2.5)), 0)
    return (light + np.float32(rng.uniform(0, 8)) * patches).astype(np.float32)


KINDS: dict[str, Callable[[np.random.Generator, np.ndarray, float], np.ndarray]] = {
    "white": white,
    "photons": photons,
    "correlated": correlated,
    "binned": binned,
    "sharpened": sharpened,
    "heavy_tailed": heavy_tailed,
    "salted": salted,
    "by_slice": by_slice,
    "banded": banded,
    "mottled": mottled,
}
_SHARES = np.array([2, 4, 2, 2, 1, 2, 1, 1, 1, 2]) / 18


def _unit(noise: np.ndarray) -> np.ndarray:
    noise = noise - noise.mean(dtype=np.float64)
    return (noise / max(float(noise.std(dtype=np.float64)), 1e-6)).astype(np.float32)


def _grain(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Normal or skewed white noise."""
    if rng.random() < 0.6:
        return rng.standard_normal(shape, np.float32)
    return rng.standard_exponential(shape, np.float32) ** np.float32(rng.uniform(0.7, 2))


def _unevenly_lit(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """Haze, vignetting and tiles: what ingest takes out, and what it leaves."""
    light = light.astype(np.float32)
    if rng.random() < 0.3:
        light = light + rng.uniform(0, 8) * np.clip(smooth_field(light.shape, rng=rng), 0, None)
    if rng.random() < 0.15:
        light = light * np.clip(0.7 + 0.3 * smooth_field(light.shape, rng=rng), 0.1, None)
    if rng.random() < 0.15:
        axis = int(rng.integers(1, 3))
        beyond = np.arange(light.shape[axis]) >= rng.integers(16, light.shape[axis] - 16)
        beyond = beyond.reshape([-1 if a == axis else 1 for a in range(3)])
        if rng.random() < 0.5:
            beyond = ~beyond
        offset, gain = rng.choice([0.0, rng.uniform(2, 60)]), np.exp(rng.normal(0, 0.4))
        light = np.where(beyond, light * gain + offset, light)
    return light.astype(np.float32)


def _handled(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What software did: smoothing, sharpening, a median, compression, a background cut away."""
    draw = rng.random()
    if draw < 0.08:
        image = ndimage.median_filter(image, (1, 3, 3))
    elif draw < 0.2:
        width = rng.uniform(0.3, 0.9)
        image = ndimage.gaussian_filter(image, (rng.choice([0.0, 0.4]), width, width))
    elif draw < 0.26:
        image = image + rng.uniform(0.3, 1) * (image - ndimage.gaussian_filter(image, (0, 1, 1)))
    if rng.random() < 0.1:
        image = _compressed(image, step=rng.uniform(1, 12))
    if rng.random() < 0.25:
        cut = rng.uniform(-0.5, 4) * max(1.0, float(np.std(np.minimum(image, 5))))
        image = np.maximum(image - np.float32(cut), 0)
        if rng.random() < 0.4:  # small pieces removed too
            labels, count = ndimage.label(image > 0)
            keep = np.bincount(labels.ravel(), minlength=count + 1) >= rng.integers(2, 30)
            keep[0] = False
            image = image * keep[labels]
    return image


def _cut_out(rng: np.random.Generator, image: np.ndarray, light: np.ndarray) -> np.ndarray:
    """One neuron cut out of its surroundings, as collections of single cells are published.

    Squares of pixels near the `light` keep their noise, the others are of one value.
    """
    lit = light >= 0.3 * max(float(np.quantile(light[::2, ::4, ::4], 0.999)), 1.0)
    if not lit.any():
        return image
    side, reach = int(rng.integers(1, 9)), int(rng.integers(2, 17))
    near = ndimage.maximum_filter(lit, (2 * int(rng.integers(1, 5)) + 1, side, side))[:, ::side, ::side]
    near = ndimage.maximum_filter(near, (1, 2 * (reach // side) + 1, 2 * (reach // side) + 1))
    near = near.repeat(side, 1).repeat(side, 2)[:, : image.shape[1], : image.shape[2]]
    return np.where(near, image, image.min() - np.float32(rng.choice([0.0, rng.uniform(0, 10)])))


def _compressed(image: np.ndarray, *, step: float) -> np.ndarray:
    """JPEG's doing: cosines of squares of 8 x 8 pixels, rounded the more the finer they are."""
    depth, height, width = image.shape
    squares = image[:, : height // 8 * 8, : width // 8 * 8].reshape(depth, height // 8, 8, width // 8, 8)
    cosines = fft.dctn(squares, axes=(2, 4), norm="ortho")
    order = np.add.outer(np.arange(8), np.arange(8)).astype(np.float32)[None, None, :, None, :]
    coarse = np.float32(step) * (1 + order / 4)
    image = image.copy()
    image[:, : height // 8 * 8, : width // 8 * 8] = fft.idctn(
        np.rint(cosines / coarse) * coarse, axes=(2, 4), norm="ortho"
    ).reshape(depth, height // 8 * 8, width // 8 * 8)
    return image


def _damaged(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Now and then a plane that is black or repeats its neighbour, or a border without data."""
    image = image.astype(np.float32)
    least = float(image.min()) - rng.choice([0.0, rng.uniform(0, 30)])
    if rng.random() < 0.06:
        image[rng.integers(len(image))] = least
    if rng.random() < 0.06:
        z = int(rng.integers(1, len(image)))
        image[z] = image[z - 1]
    if rng.random() < 0.08:
        width = int(rng.integers(8, max(9, image.shape[2] // 3)))
        image[:, :, :width] = least
    return image


def _stored(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Whole numbers: coarse (a grey value is up to two sigma) or fine, saturated or not, on a pedestal or cut."""
    per_sigma = float(np.exp(rng.uniform(np.log(0.5), np.log(20))))
    if rng.random() < 0.1:
        per_sigma = 300.0
    floor = float(np.quantile(image[::2, ::4, ::4], 0.001))
    pedestal = rng.choice([0.0, rng.uniform(0, 100)])
    if rng.random() < 0.3:  # an offset of the detector too high: the dark half is cut
        floor = max(floor, rng.uniform(-1, 0.5))
        pedestal = 0.0
    counts = (image - floor) * per_sigma + pedestal
    top = 65535.0 if per_sigma > 20 or rng.random() < 0.3 else 255.0
    if top == 255 and rng.random() < 0.5:
        bright = float(np.quantile(counts[::2, ::2, ::2], 0.9995))
        counts *= 255 / max(bright * rng.uniform(0.4, 1.5), 255 * 0.02)
    return np.rint(np.clip(counts, 0, top)).astype(np.uint8 if top == 255 else np.uint16)
