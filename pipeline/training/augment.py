"""Windows cut from pairs and changed as a microscope, a stain or a camera would change them.

A window is one object: whatever happens in plane happens to all its slices alike.
"""

import numpy as np
from scipy import ndimage

from pipeline import intensity
from pipeline.training.pairs import RIM, THINNEST, Pair

SMALL = 0.08  # share of the windows that show the border of a small image


def sample_window(
    rng: np.random.Generator, pair: Pair, *, depth: int, tile: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (window (depth, tile, tile) in [0, 1], target (tile, tile), weight (tile, tile)), all float32."""
    window, distance, counts = _cut(rng, pair, depth, tile)
    window, distance, counts = _flip(rng, window, distance, counts)
    window = change_image(rng, window, brightest=pair.brightest, cleaned=pair.cleaned)
    target = (distance <= 0).astype(np.float32)
    weight = counts * ((distance <= 0) | (distance > RIM)).astype(np.float32)
    return window, target, weight


def overlay(
    first: tuple[np.ndarray, np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two windows in one picture, the brighter voxel wins: another neuron in view. Both must be labelled to count."""
    target = np.maximum(first[1], second[1])
    weight = np.where(
        target > 0, np.maximum(first[1] * first[2], second[1] * second[2]), first[2] * second[2]
    )
    return np.maximum(first[0], second[0]), target, weight


def change_image(
    rng: np.random.Generator, window: np.ndarray, *, brightest: float, cleaned: bool
) -> np.ndarray:
    """Staining, haze, blur, noise, a lost slice, saturation, rounding; (D, S, S) float32 grey in [0, 1].

    window: light in units of the noise (intensity.light). brightest: of its volume; now and then something brighter
    lies elsewhere. cleaned: whether its background was cut away; where noise is added it is no more. Noise that is
    added is counted: the unit grows with it, as ingest would measure it. How well ingest measures is drawn too.
    """
    light = window.astype(np.float32)
    unit, noisy = 1.0, False
    if rng.random() < 0.3:
        brightest *= np.exp(rng.uniform(0, np.log(4)))
    if rng.random() < 0.15:
        light = light * _smooth_field(rng, light.shape, low=0.15, high=1.0)
    if rng.random() < 0.12:
        light = ndimage.gaussian_filter(light, (0, *[rng.uniform(0.3, 1.1)] * 2))
    if rng.random() < 0.25:
        dimmed = np.float32(np.exp(rng.uniform(np.log(0.2), 0)))
        light = light * dimmed
        brightest *= rng.choice([1.0, dimmed])  # all of it, or what lies elsewhere is not
    if rng.random() < 0.15:
        light = light + _smooth_field(rng, light.shape, low=0.0, high=rng.uniform(0.5, 5))
    if rng.random() < 0.3:
        sigma = rng.uniform(0.2, 1.5)
        photon = rng.choice([0.0, rng.uniform(0, 0.5)])
        light = light + np.sqrt(sigma**2 + photon * light, dtype=np.float32) * rng.standard_normal(
            light.shape, np.float32
        )
        unit, noisy = np.hypot(unit, sigma), True
    if rng.random() < 0.2:
        sigma = rng.uniform(0.2, 1.5)
        light = light + np.float32(sigma) * _grain(rng, light.shape)
        unit, noisy = np.hypot(unit, sigma), True
    if rng.random() < 0.04 and len(light) > 1:
        lost = rng.choice([index for index in range(len(light)) if index != len(light) // 2])
        light[lost] = 0 if rng.random() < 0.5 else light[len(light) // 2]
    if rng.random() < 0.25:
        saturated = np.exp(rng.uniform(np.log(5), np.log(100)))
        light, brightest = np.minimum(light, np.float32(saturated)), min(brightest, saturated)
    if rng.random() < 0.3:
        step = np.float32(rng.uniform(0.2, 2))
        light = np.rint(light / step) * step
    if rng.random() < 0.3:
        light = light + np.float32(rng.uniform(-0.7, 0.7))
    unit *= np.exp(rng.normal(0, 0.25))
    return intensity.share(light / np.float32(unit), brightest / unit, cleaned=cleaned and not noisy)


def _cut(rng: np.random.Generator, pair: Pair, depth: int, tile: int):
    """Cut a window around a drawn centre and zoom it to tile x tile; slices and rows outside repeat the edge."""
    side = round(tile * np.exp(rng.uniform(np.log(0.75), np.log(1.4))))
    z, y, x = _centre(rng, pair, side)
    step = 2 if rng.random() < 0.1 else 1  # now and then a coarser slice distance
    slices = np.clip(z + step * (np.arange(depth) - depth // 2), 0, pair.image.shape[0] - 1)
    rows, columns = (_span(at, side, size) for at, size in zip((y, x), pair.image.shape[1:], strict=True))
    if rng.random() < SMALL:
        rows, columns = _narrowed(rng, *rows), _narrowed(rng, *columns)
    window = pair.image[np.ix_(slices, rows[0], columns[0])].astype(np.float32)
    distance = pair.distance[z][np.ix_(rows[0], columns[0])].astype(np.float32)
    # What repeats the edge is no picture of a neurite, whatever it looks like.
    counts = pair.counts[z][np.ix_(rows[0], columns[0])] & rows[1][:, None] & columns[1]
    if side != tile:
        window, distance = _zoom(window, tile), _zoom(distance[None], tile)[0]
        # A picture made smaller must not make the thinnest tubes thinner in pixels.
        distance = distance - THINNEST * max(side / tile - 1, 0)
        nearest = np.minimum((np.arange(tile) + 0.5) * side / tile, side - 1).astype(int)
        counts = counts[np.ix_(nearest, nearest)]
    return window, distance, counts


def _span(centre: int, side: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `side` pixels around a centre, moved so that at most an eighth of them lies outside, and bool:
    which of them lie inside. Those outside repeat the edge."""
    most = max(side // 8, (side - size + 1) // 2)
    first = int(np.clip(centre - side // 2, -most, max(size + most - side, -most)))
    at = np.arange(first, first + side)
    return np.clip(at, 0, size - 1), (at >= 0) & (at < size)


def _narrowed(rng: np.random.Generator, at: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of an image that is smaller than a window: what `_span` gives where only a part of it is image."""
    wide = int(len(at) * rng.uniform(0.3, 0.9))
    first = int(rng.integers(0, len(at) - wide + 1))
    place = np.arange(len(at))
    return np.clip(at, at[first], at[first + wide - 1]), inside & (place >= first) & (place < first + wide)


def _centre(rng: np.random.Generator, pair: Pair, side: int) -> np.ndarray:
    """Half of the windows look at a neurite, a tenth at something bright that is none, the rest anywhere."""
    draw = rng.random()
    if draw < 0.5 and len(pair.foreground):
        centre = pair.foreground[rng.integers(len(pair.foreground))]
    elif draw < 0.6 and len(pair.bright):
        centre = pair.bright[rng.integers(len(pair.bright))]
    else:
        labelled = np.flatnonzero(pair.counts.any((1, 2)))
        return np.array([rng.choice(labelled), *rng.integers(0, pair.image.shape[1:])])
    jitter = rng.integers(-side // 3, side // 3 + 1, 2)
    return centre + [0, *jitter]


def _zoom(stack: np.ndarray, tile: int) -> np.ndarray:
    """(D, s, s) -> (D, tile, tile), linear, pixel edges kept in place."""
    side = stack.shape[-1]
    place = np.clip((np.arange(tile) + 0.5) * side / tile - 0.5, 0, side - 1)
    low = np.minimum(place.astype(int), side - 2)
    part = (place - low).astype(np.float32)
    stack = stack[:, low] * (1 - part[:, None]) + stack[:, low + 1] * part[:, None]
    return stack[:, :, low] * (1 - part) + stack[:, :, low + 1] * part


def _flip(rng: np.random.Generator, window: np.ndarray, *planes: np.ndarray) -> list[np.ndarray]:
    stacks = [window, *planes]
    if rng.random() < 0.5:
        stacks = [stack[..., ::-1, :] for stack in stacks]
    if rng.random() < 0.5:
        stacks = [stack[..., ::-1] for stack in stacks]
    if rng.random() < 0.5:
        stacks = [np.swapaxes(stack, -1, -2) for stack in stacks]
    if rng.random() < 0.5:
        stacks[0] = stacks[0][::-1]
    return stacks


def _grain(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise of unit sigma, a pixel or two wide, each plane for itself, often skewed: most dark, few bright."""
    specks = rng.standard_exponential(shape, np.float32) ** np.float32(rng.uniform(0.7, 3))
    if rng.random() < 0.4:
        specks = rng.standard_normal(shape, np.float32)
    width = rng.uniform(0, 1.2)
    specks = ndimage.gaussian_filter(specks, (0, width, width))
    return (specks - specks.mean()) / max(float(specks.std()), 1e-3)


def _smooth_field(
    rng: np.random.Generator, shape: tuple[int, int, int], *, low: float, high: float
) -> np.ndarray:
    """A field that varies over 16 to 64 pixels between low and high, the same in all slices; (1, S, S) float32."""
    cells = int(rng.integers(2, 9))
    coarse = rng.uniform(low, high, (1, cells, cells)).astype(np.float32)
    return _zoom(coarse, shape[-1])
