"""From counts of a detector to the grey that the network sees: one rule for training and inference.

The network sees light above the background, as a share of that of the brightest voxels; those count as so many times
the noise at least. Background and noise are measured in small squares of each plane, so that offset, gain, pedestal,
haze, flickering planes and steps between tiles move nothing, and what holds no data (padding, black planes,
what was cut away around a neuron) has no say.
"""

from collections.abc import Callable

import numpy as np

from pipeline.blocks import UNBINNED, Zyx
from pipeline.errors import InputError
from pipeline.intensity.cells import CELL, Cells, Hole, find_hole, join, look, lost_planes
from pipeline.intensity.estimate import STEP, VERSION, Levels, levels, sample_step
from pipeline.intensity.hits import find_hits, without_hits

__all__ = [
    "CELL",
    "VERSION",
    "Cells",
    "Hole",
    "Levels",
    "find_hits",
    "find_hole",
    "join",
    "levels",
    "look",
    "lost_planes",
    "sample_step",
    "without_hits",
]

Box = list[tuple[int, int]]
# What an image must have to go without a warning: data in so much of it, no more white than that, signal (sigma).
LEAST_DATA, MOST_SATURATED, LEAST_SIGNAL = 0.9, 0.02, 6.0
# Sigma: where grey is 0, and the least light at which it may be 1.
BLACK, DARKEST_WHITE = 1.0, 40.0
LEAST_MEANS = 1000  # fewer tell nothing of their noise
KNEE, WHITE = 2.0, 300.0  # sigma: where the curve bends from linear to logarithmic, and where it is 1


def above(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """Light above (or below) the background in units of the noise; float32, shape of `voxels`.

    voxels: (z, y, x) counts. box: (first, stop) of its voxels in the volume, axis by axis; what lies outside
    repeats the edge (blocks.read_clamped). None: the whole volume. The result of a voxel depends on its place
    alone, not on the box.
    """
    box = box or [(0, n) for n in voxels.shape]
    counts = _above_counts(voxels, level, box)
    return np.divide(counts, _on_voxels(level.noise, box), out=counts)


def light(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """`above`, not below 0: nothing is darker than the background."""
    sigmas = above(voxels, level, box)
    return np.maximum(sigmas, 0, out=sigmas)


def _above_counts(voxels: np.ndarray, level: Levels, box: Box) -> np.ndarray:
    """Counts above (or below) the background, float32."""
    low, high = _background_on_voxels(level, box)
    counts = voxels.astype(np.float32)
    counts -= np.clip(counts, low, np.maximum(high, low, out=high), out=low)
    if "hole" in level.summary:
        counts[voxels == level.summary["hole"]] = 0
    return counts


def _background_on_voxels(level: Levels, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Low and high background of the voxels of a box: between cells, and of the nearest cell beside a step."""
    low, high = _on_voxels(level.low, box), _on_voxels(level.high, box)
    z, y, x = (np.arange(first, stop) for first, stop in box)
    z = np.clip(z, 0, len(level.low) - 1)
    jump = jumps(level, z)
    rows, columns = level.low.shape[1:]
    row, column = between(y, rows)[0], between(x, columns)[0]
    nearest = np.ix_(np.clip(y // CELL, 0, rows - 1), np.clip(x // CELL, 0, columns - 1))
    for plane in np.flatnonzero(jump.any((1, 2))):
        near = jump[plane][np.ix_(row, column)]
        for side, own in ((low, level.low), (high, level.high)):
            side[plane] = np.where(near, own[z[plane]][nearest], side[plane])
    return low, high


def jumps(level: Levels, planes: np.ndarray | slice = slice(None)) -> np.ndarray:
    """bool (planes, rows, columns): a step lies between each cell, the next along y, along x, and along both.

    There the background does not change evenly from centre to centre: that of the nearest cell holds.
    """
    least, most = _of_four(level.low[planes], np.minimum), _of_four(level.high[planes], np.maximum)
    return most - least > STEP * _of_four(level.noise[planes], np.minimum)


def _of_four(cells: np.ndarray, pick: np.ufunc) -> np.ndarray:
    """(z, rows, columns): `pick` of each cell, its next along y, along x, and along both; the last has itself."""
    for axis in (1, 2):
        after = np.minimum(np.arange(cells.shape[axis]) + 1, cells.shape[axis] - 1)
        cells = pick(cells, cells.take(after, axis))
    return cells


def _on_voxels(cells: np.ndarray, box: Box) -> np.ndarray:
    """(z, rows, columns) on the cells of a volume -> float32 on the voxels of a box of it."""
    z, y, x = (np.arange(first, stop) for first, stop in box)
    return _spread_out(cells[np.clip(z, 0, len(cells) - 1)], y, x)


def _spread_out(cells: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(z, rows, columns) of the cells -> (z, len(y), len(x)), linear between the cells' centres."""
    for axis, at in ((1, y), (2, x)):
        first, part = between(at, cells.shape[axis])
        part = part.reshape((-1, 1) if axis == 1 else (-1,))
        after = np.minimum(first + 1, cells.shape[axis] - 1)
        cells = cells.take(first, axis) * (1 - part) + cells.take(after, axis) * part
    return cells


def between(at: np.ndarray, cells: int, *, side: int = CELL) -> tuple[np.ndarray, np.ndarray]:
    """Of voxels along an axis the cell of `side` whose centre lies before each, and how far (0..1) to the next's."""
    place = np.clip((at + 0.5) / side - 0.5, 0, cells - 1)
    first = np.minimum(place.astype(int), max(cells - 2, 0))
    return first, (place - first).astype(np.float32)


def curve(sigmas: np.ndarray) -> np.ndarray:
    """Grey in [0, 1] of light in units of the noise (0 or more); float32. Linear within the noise, logarithmic above.

    Thin dim neurites keep their contrast beside bright ones: for finding ridges, and for pictures.
    """
    grey = np.arcsinh(np.asarray(sigmas, np.float32) / np.float32(KNEE))
    return np.minimum(grey * np.float32(1 / np.arcsinh(WHITE / KNEE)), 1)


def grey(
    voxels: np.ndarray,
    level: Levels,
    box: Box | None = None,
    *,
    rule: str = "share 1",
    binning: Zyx = UNBINNED,
    noise: float = 1.0,
) -> np.ndarray:
    """What the network sees of counts: float32 in [0, 1], a value for each `binning` voxels.

    level: of the whole volume (ingest), never of a window: an empty window stays empty and no result depends on how
    the volume was cut. box: see `above`. rule: the name of one of LEVELS, as the weights say. noise: what is left of
    the noise in the means (`noise_kept`).
    """
    if rule not in LEVELS:
        raise InputError("weights", f"levels {rule!r}", " | ".join(LEVELS))
    return LEVELS[rule](voxels, level, box or [(0, n) for n in voxels.shape], binning, noise)


def above_share(voxels: np.ndarray, level: Levels, box: Box, binning: Zyx, noise: float) -> np.ndarray:
    """`share` of the light above the background: for light microscopy."""
    counts = binned(_above_counts(voxels, level, box), binning)
    sigmas = np.divide(counts, np.float32(level.summary["noise"] * noise), out=counts)
    return share(sigmas, level.brightest / noise, cleaned=level.cleaned)


def share(sigmas: np.ndarray, brightest: float, *, cleaned: bool) -> np.ndarray:
    """float32 in [0, 1]: square root of the light's share of that of the brightest voxels of a volume.

    sigmas, brightest: in units of the noise. The brightest count as DARKEST_WHITE at least: noise stays as dark as in
    images with signal. BLACK is taken off, but not where an image was cleaned: what is left is no noise.
    """
    white, black = max(brightest, DARKEST_WHITE), 0.0 if cleaned else BLACK
    light = (np.asarray(sigmas, np.float32) - np.float32(black)) * np.float32(1 / (white - black))
    np.clip(light, 0, 1, out=light)
    return np.sqrt(light, out=light)


def as_stored(voxels: np.ndarray, level: Levels, box: Box, binning: Zyx, noise: float) -> np.ndarray:
    """Bytes as shares of 255, anything else between the volume's darkest and brightest voxels.

    Electron microscopes' volumes are delivered as bytes with an even contrast: taken as they are.
    """
    grey = voxels.astype(np.float32) / 255 if voxels.dtype == np.uint8 else _share(voxels, level)
    return binned(grey, binning)


def _share(voxels: np.ndarray, level: Levels) -> np.ndarray:
    low, high = level.summary["darkest"], level.summary["brightest"]
    if high <= low:
        return np.zeros(voxels.shape, np.float32)
    light = (voxels.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(light, 0, 1, out=light)


def doubts(summary: dict[str, float]) -> list[str]:
    """What speaks against trusting what comes of an image of light microscopy, one short sentence each."""
    told = []
    if summary["data"] < LEAST_DATA:
        told.append(f"only {summary['data']:.0%} of the image holds data")
    if summary["saturated"] > MOST_SATURATED:
        told.append(f"{summary['saturated']:.0%} of the voxels are saturated")
    bright = summary["brightest"] - summary["background"]
    dark = summary["background"] - summary["darkest"]
    if dark > max(2 * bright, LEAST_SIGNAL * summary["noise"]):
        told.append("dark structures on a bright ground: invert the image")
    elif bright < LEAST_SIGNAL * summary["noise"]:
        told.append(
            f"hardly any signal: the brightest voxels are {bright / summary['noise']:.1f} times the noise"
        )
    return told


# Rules by which counts become grey, named in the header of the weights that were trained with them.
LEVELS: dict[str, Callable[[np.ndarray, Levels, Box, Zyx, float], np.ndarray]] = {
    "share 1": above_share,
    "bytes 1": as_stored,
}


def binned(voxels: np.ndarray, binning: Zyx) -> np.ndarray:
    """float32: means of so many voxels along z, y and x; `voxels` (z, y, x) where none are averaged.

    The sides of `voxels` are multiples of `binning`. Summed in one order, whatever their layout in memory.
    """
    if binning == UNBINNED:
        return voxels
    total = np.zeros([length // step for length, step in zip(voxels.shape, binning)], np.float32)
    for z, y, x in np.ndindex(*binning):
        total += voxels[z :: binning[0], y :: binning[1], x :: binning[2]]
    total /= np.prod(binning)
    return total


def noise_kept(sigmas: np.ndarray, known: np.ndarray, binning: Zyx) -> float | None:
    """The share of the noise that means of `binning` voxels keep; None where too little of the image is background.

    sigmas: `above`, sides multiples of binning. known: bool, which voxels hold data. White noise keeps 1 / sqrt(n) of n
    voxels; the noise of an image that was enlarged or smoothed keeps all. Asked are means within 3 sigma.
    """
    means = binned(sigmas, binning)
    asked = (binned(known, binning) == 1) & (np.abs(means) < 3)
    if asked.sum() < LEAST_MEANS:
        return None
    kept = float(means[asked].std())
    for axis, step in enumerate(binning):
        asked = asked.repeat(step, axis)
    single = float(sigmas[asked].std())
    return min(1.0, max(kept / single, float(np.prod(binning)) ** -0.5)) if single > 0 else None


def measure(volume: np.ndarray) -> Levels:
    """Levels of a volume (z, y, x) that is in memory."""
    step = sample_step(volume.shape)
    sample = volume[::step, ::step, ::step].ravel()
    hole = find_hole(volume[::step, ::step].reshape(-1, volume.shape[2]))
    return levels(look(volume, hole), sample, integers=volume.dtype.kind in "ui", hole=hole)
