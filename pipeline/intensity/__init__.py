"""From counts of a detector to the grey that the network sees: one rule for training and inference.

The network sees light above the background in units of the noise. Both are measured in small squares of each
plane, so that offset, gain, pedestal, haze, vignetting, flickering planes and steps between tiles move nothing,
and what holds no data (padding, black planes) has no say.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError
from pipeline.intensity.cells import CELL, CONTINUED, Cells, join, look, lost_planes, noise_from_roughness

__all__ = ["CELL", "Cells", "join", "look", "lost_planes"]

# Levels and the curve below decide what weights mean: a change of either asks for new weights, and a name in LEVELS.
VERSION = 2
# Voxels looked at for the least and the greatest brightness, and the percentiles that are taken for them.
SAMPLE_VOXELS, PERCENTILES = 4_000_000, (0.1, 99.99)
Box = list[tuple[int, int]]
# What an image must have to go without a warning: data in so much of it, no more white than that, signal (sigma).
LEAST_DATA, MOST_SATURATED, LEAST_SIGNAL = 0.9, 0.02, 6.0
# Bright things narrower than this many cells are no background: a soma of 60 pixels radius has 7.5.
WIDEST = 9
ROUNDING = 12**-0.5  # sigma of rounding to whole numbers: the least noise that an image of integers has
LEAST_STEPS = (
    8.0  # grey values above the background: of a cleaned image that has fewer, compression left noise
)
KNEE, WHITE = 2.0, 300.0  # sigma: where the curve bends from linear to logarithmic, and where it is 1
ALONE = 0.2  # more cells than this share, partly flat and not at the border of what is flat: it is no padding
STEP = 4.0  # sigma: backgrounds of neighbouring cells further apart are a step, not a slope
_DIMMER = 0.5  # noise of the dim light that cleaning left beside that of the bright light: photons


@dataclass(frozen=True, eq=False)
class Levels:
    """Background and noise of a volume in counts, (z, rows, columns) float32 on its cells, and what to tell.

    low, high: the background; they differ only beside steps, where it may be either. noise: sigma.
    summary: background, noise (medians), data (share of the volume that is not padding), darkest and brightest
    (PERCENTILES of all voxels), saturated (share of the voxels that are as bright
    as the brightest), for attributes.
    """

    low: np.ndarray
    high: np.ndarray
    noise: np.ndarray
    summary: dict[str, float]


def sample_step(shape_zyx: tuple[int, int, int]) -> int:
    """Every how many-th voxel along each axis gives a sample of about SAMPLE_VOXELS."""
    return int(np.ceil((np.prod(shape_zyx, dtype=float) / SAMPLE_VOXELS) ** (1 / 3)))


def levels(cells: Cells, sample: np.ndarray, *, integers: bool) -> Levels:
    """Background and noise of a volume from its cells. sample: of its voxels; integers: they are whole numbers."""
    from scipy import ndimage

    empty = _padding(cells)
    noise = _noise(cells, empty, integers)
    background = _background(cells.middle, empty)
    beside = ndimage.minimum_filter(background, (1, 3, 3)), ndimage.maximum_filter(background, (1, 3, 3))
    step = beside[1] - beside[0] > STEP * noise
    smooth = ndimage.uniform_filter(background, (1, 3, 3), mode="nearest")
    low, high = (np.where(step, side, smooth) for side in beside)
    data = ~empty if not empty.all() else ~cells.flat
    summary = {
        "background": float(np.median(background[data])) if data.any() else 0.0,
        "noise": float(np.median(noise[data])) if data.any() else 1.0,
        "data": float(np.mean(data)),
        "darkest": _darkest(cells, empty, sample),
        "brightest": float(np.percentile(sample, PERCENTILES[1])),
        "saturated": float(np.mean(sample == sample.max()))
        if integers and sample.max() > sample.min()
        else 0.0,
        "levels": VERSION,
    }
    return Levels(low, high, noise, summary)


def _darkest(cells: Cells, empty: np.ndarray, sample: np.ndarray) -> float:
    """The least brightness of what holds data."""
    least = float(np.percentile(sample, PERCENTILES[0]))
    if empty.all() or not empty.any():
        return least
    return max(least, float(np.quantile(cells.floor[~empty], 0.01)))


def _padding(cells: Cells) -> np.ndarray:
    """bool: cells without data. Flat cells beside cells whose darkest voxels are all well above them.

    An image cleaned to zero has flat cells too, but its other cells hold voxels of that value: it is data.
    """
    from scipy import ndimage

    flat, live = cells.flat, ~cells.flat
    if not flat.any() or not live.any():
        return np.zeros(flat.shape, bool)
    value = np.median(cells.middle[flat])
    mixed = live & (cells.floor == value)  # the border of the padding runs through them
    inner = live & ~mixed
    if inner.sum() < mixed.sum():
        return np.zeros(flat.shape, bool)
    apart = np.median(cells.floor[inner]) - value
    if apart <= np.quantile(cells.spread[inner], 0.25):
        return np.zeros(flat.shape, bool)
    # Neurites within what is flat: a cleaned tile beside one that was cleaned to another value.
    alone = mixed & ~ndimage.maximum_filter(inner, (1, 3, 3))
    if alone.sum() > ALONE * mixed.sum():
        return np.zeros(flat.shape, bool)
    return (flat & (cells.middle == value)) | mixed


def _background(middle: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Opening of the medians in each plane: what is narrower than WIDEST cells in both directions is no background.

    Steps and slopes wider than that stay, to the cell. Cells without data take the nearest background in plane,
    planes without any data that of the nearest plane.
    """
    from scipy import ndimage

    footprint = (1, WIDEST, WIDEST)
    slope = _slope(middle, empty)
    level = middle - slope
    eroded = ndimage.minimum_filter(np.where(empty, np.inf, level), footprint, mode="nearest")
    eroded = np.where(np.isfinite(eroded), eroded, -np.inf)
    opened = ndimage.maximum_filter(eroded, footprint, mode="nearest")
    opened = np.minimum(opened, np.where(empty, np.inf, level)) + slope
    # Where a cell is brighter than what was opened, the opening holds; where darker (min), the cell itself.
    unknown = empty | ~np.isfinite(opened)
    return _fill(np.where(unknown, np.nan, opened).astype(np.float32))


def _slope(middle: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Each plane's even slope from side to side, 0 in its middle: float32, the shape of `middle`.

    An opening follows slopes, but not at the sides; in a small image all cells are at the sides.
    """
    known = np.where(empty, np.nan, middle)
    slope = np.zeros(middle.shape, np.float32)
    for axis in (1, 2):
        # The median of the differences: neurites and the edges of padding are few.
        steps = np.diff(known, axis=axis).reshape(len(middle), -1)
        found = np.isfinite(steps).any(1)
        each = np.zeros(len(middle), np.float32)
        each[found] = np.nanmedian(steps[found], axis=1)
        shape = [1, 1, 1]
        shape[axis] = middle.shape[axis]
        place = np.arange(middle.shape[axis], dtype=np.float32) - (middle.shape[axis] - 1) / 2
        slope += each[:, None, None] * place.reshape(shape)
    return slope


def _fill(values: np.ndarray) -> np.ndarray:
    """Every NaN takes the value of the nearest cell that has one, in its own plane where there is one."""
    from scipy import ndimage

    known = np.isfinite(values)
    if known.all():
        return values
    if not known.any():
        return np.zeros_like(values)
    far = float(sum(values.shape[1:]))
    nearest = ndimage.distance_transform_edt(
        ~known, sampling=(far, 1, 1), return_distances=False, return_indices=True
    )
    return values[tuple(nearest)]


def _noise(cells: Cells, empty: np.ndarray, integers: bool) -> np.ndarray:
    """Sigma of the noise of the background around each cell, (z, rows, columns) float32.

    The quarter of the cells that are quietest have no neurite. A cleaned image has no such cells: there it is
    the roughness of what was left, everywhere alike.
    """
    from scipy import ndimage

    least = ROUNDING if integers else 0.0
    data = ~empty
    live = data & ~cells.flat & (cells.spread > 0)
    shape = cells.flat.shape
    if live.sum() < CONTINUED * max(data.sum(), 1):
        rough = _DIMMER * noise_from_roughness(cells.rough)
        contrast = float(np.max(cells.ceiling[data] - cells.middle[data], initial=0.0))
        if integers and contrast < LEAST_STEPS:
            least = max(least, contrast)
        return np.full(shape, max(rough, least) or contrast / 100 or 1.0, np.float32)
    whole = float(np.quantile(cells.spread[live], 0.25))
    around = np.where(live, cells.spread, np.nan).astype(np.float32)
    filled = _fill(around)
    local = ndimage.percentile_filter(filled, 25, (3, WIDEST, WIDEST), mode="nearest")
    local = ndimage.uniform_filter(local, (1, 5, 5), mode="nearest")
    return np.maximum(np.clip(local, 0.5 * whole, 4 * whole), np.float32(max(least, 1e-12)))


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
    low, high = _on_voxels(level.low, box), _on_voxels(level.high, box)
    counts = voxels.astype(np.float32)
    counts -= np.clip(counts, low, np.maximum(high, low, out=high), out=low)
    return counts


def _on_voxels(cells: np.ndarray, box: Box) -> np.ndarray:
    """(z, rows, columns) on the cells of a volume -> float32 on the voxels of a box of it."""
    z, y, x = (np.arange(first, stop) for first, stop in box)
    return _spread_out(cells[np.clip(z, 0, len(cells) - 1)], y, x)


def _spread_out(cells: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(z, rows, columns) of the cells -> (z, len(y), len(x)), linear between the cells' centres."""
    for axis, at in ((1, y), (2, x)):
        last = cells.shape[axis] - 1
        place = np.clip((at + 0.5) / CELL - 0.5, 0, last)
        first = np.minimum(place.astype(int), max(last - 1, 0))
        part = (place - first).astype(np.float32).reshape((-1, 1) if axis == 1 else (-1,))
        after = np.minimum(first + 1, last)
        cells = cells.take(first, axis) * (1 - part) + cells.take(after, axis) * part
    return cells


def curve(sigmas: np.ndarray) -> np.ndarray:
    """Grey in [0, 1] of light in units of the noise (0 or more); float32.

    Linear within the noise, logarithmic above: noise looks alike in every image, a misjudged noise shifts the
    grey of all neurites by the same little amount, and thin dim neurites keep their contrast beside bright ones.
    """
    grey = np.arcsinh(np.asarray(sigmas, np.float32) / np.float32(KNEE))
    return np.minimum(grey * np.float32(1 / np.arcsinh(WHITE / KNEE)), 1)


def grey(voxels: np.ndarray, level: Levels, box: Box | None = None, *, rule: str = "noise 2") -> np.ndarray:
    """What the network sees of counts: float32 in [0, 1], shape of `voxels`.

    level: of the whole volume (ingest), never of a window: an empty window stays empty and no result depends on how
    the volume was cut. box: see `above`. rule: the name of one of LEVELS, as the weights say.
    """
    if rule not in LEVELS:
        raise InputError("weights", f"levels {rule!r}", " | ".join(LEVELS))
    return LEVELS[rule](voxels, level, box)


def above_noise(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """`curve` of the `light`: for light microscopy."""
    return curve(light(voxels, level, box))


def between_percentiles(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """Square root of the light between the volume's darkest and brightest voxels: the rule of the first weights."""
    return np.sqrt(_share(voxels, level))


def between_percentiles_evenly(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """The same of an image whose background is even: padding, steps and haze have the background of the rest.

    In an image without them it is `between_percentiles`: the first weights serve as they are.
    """
    counts = _above_counts(voxels, level, box or [(0, n) for n in voxels.shape])
    return np.sqrt(_share(np.maximum(counts + np.float32(level.summary["background"]), 0, out=counts), level))


def as_stored(voxels: np.ndarray, level: Levels, box: Box | None = None) -> np.ndarray:
    """Bytes as shares of 255, anything else between the volume's darkest and brightest voxels.

    Electron microscopes' volumes are delivered as bytes with an even contrast: taken as they are.
    """
    return voxels.astype(np.float32) / 255 if voxels.dtype == np.uint8 else _share(voxels, level)


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
LEVELS: dict[str, Callable[[np.ndarray, Levels, Box | None], np.ndarray]] = {
    "noise 2": above_noise,
    "percentiles 1": between_percentiles,
    "percentiles 2": between_percentiles_evenly,
    "bytes 1": as_stored,
}


def measure(volume: np.ndarray) -> Levels:
    """Levels of a volume (z, y, x) that is in memory."""
    step = sample_step(volume.shape)
    return levels(look(volume), volume[::step, ::step, ::step].ravel(), integers=volume.dtype.kind in "ui")
