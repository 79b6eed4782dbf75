"""Background and noise of a volume from what was seen in its cells."""

from dataclasses import dataclass

import numpy as np

from pipeline.intensity.cells import CONTINUED, Cells, Hole, noise_from_roughness

# Levels and the curve of grey decide what weights mean: a change of either asks for new weights, and a name in LEVELS.
VERSION = 3
# Voxels looked at for the least and the greatest brightness, and the percentiles that are taken for them (of the
# greatest: of what lies within a flat border).
SAMPLE_VOXELS, PERCENTILES = 4_000_000, (0.1, 99.99)
# Bright things narrower than this many cells are no background: a soma of 60 pixels radius has 7.5.
WIDEST = 9
ROUNDING = 12**-0.5  # sigma of rounding to whole numbers: the least noise that an image of integers has
# Grey values above the background: of a cleaned image that has fewer, compression left noise.
LEAST_STEPS = 8.0
LEAST_OF_CELL = 0.1  # share of a cell that holds data, to tell the background there
ALONE = 0.2  # more cells than this share, partly flat and not at the border of what is flat: it is no padding
STEP = 4.0  # sigma: backgrounds of neighbouring cells further apart are a step, not a slope
STEP_PLANES = 7  # a step runs through as many planes at the same place
_DIMMER = 0.5  # noise of the dim light that cleaning left beside that of the bright light: photons


@dataclass(frozen=True, eq=False)
class Levels:
    """Background and noise of a volume in counts, (z, rows, columns) float32 on its cells, and what to tell.

    low, high: the background; they differ only in cells that a step runs through, where it may be either. noise: sigma.
    summary, for attributes: background, noise (medians), data (share of the volume that holds any), darkest and
    brightest (PERCENTILES), saturated (share of the voxels that are as bright as the brightest), cleaned (1 or 0), hole
    (the value of voxels without data, where there is one).
    """

    low: np.ndarray
    high: np.ndarray
    noise: np.ndarray
    summary: dict[str, float]

    @property
    def cleaned(self) -> bool:
        """Whether the background was cut away: its noise is a guess from what was left, everywhere alike."""
        return bool(self.summary["cleaned"])

    @property
    def brightest(self) -> float:
        """Light of the brightest voxels, in units of the noise."""
        return (self.summary["brightest"] - self.summary["background"]) / self.summary["noise"]


def sample_step(shape_zyx: tuple[int, int, int]) -> int:
    """Every how many-th voxel along each axis gives a sample of about SAMPLE_VOXELS."""
    return int(np.ceil((np.prod(shape_zyx, dtype=float) / SAMPLE_VOXELS) ** (1 / 3)))


def levels(cells: Cells, sample: np.ndarray, *, integers: bool, hole: Hole | None = None) -> Levels:
    """Background and noise of a volume from its cells. sample: of its voxels; integers: they are whole numbers.

    hole: what the cells were told.
    """
    empty = _padding(cells)
    noise, cleaned = _noise(cells, empty, integers)
    if (
        hole is not None
    ):  # beside it little but the neuron may be left: its own light is in what the cells say
        noise = np.where(cells.data < 1, np.minimum(noise, np.float32(hole.noise)), noise)
    background = _background(cells.middle, empty)
    low, high = _beside_steps(cells, background, noise, empty)
    data = ~empty if not empty.all() else ~cells.flat
    # A border without data is dark: the brightest voxels are a share of what it leaves, however wide it is. Not of what
    # holds data: a background that was cut away would have been dark, too.
    brightest = 100 - (100 - PERCENTILES[1]) * _share_within_border(cells.flat | empty)
    summary = {
        "background": float(np.median(background[data])) if data.any() else 0.0,
        "noise": float(np.median(noise[data])) if data.any() else 1.0,
        "data": float(np.mean(cells.data * data)),
        "darkest": _darkest(cells, empty, sample if hole is None else sample[sample != hole.value]),
        "brightest": float(np.percentile(sample, brightest)),
        "saturated": float(np.mean(sample == sample.max()))
        if integers and sample.max() > sample.min()
        else 0.0,
        "cleaned": float(cleaned),
        "levels": VERSION,
    }
    if hole is not None:
        summary["hole"] = hole.value
    return Levels(low, high, noise, summary)


def _share_within_border(flat: np.ndarray) -> float:
    """Share of the volume in the box around all cells that are not flat: padding may be as dark as the background.

    flat: bool (z, rows, columns). A border that is not quite flat stays in.
    """
    share = 1.0
    for axis in range(3):
        live = np.flatnonzero(~flat.all(tuple(other for other in range(3) if other != axis)))
        share *= (live[-1] - live[0] + 1) / flat.shape[axis] if len(live) else 1.0
    return share


def _darkest(cells: Cells, empty: np.ndarray, sample: np.ndarray) -> float:
    """The least brightness of what holds data. sample: of the voxels that are no hole."""
    least = float(np.percentile(sample, PERCENTILES[0]))
    if empty.all() or not empty.any():
        return least
    return max(least, float(np.quantile(cells.floor[~empty], 0.01)))


def _padding(cells: Cells) -> np.ndarray:
    """bool: cells without data: hardly any voxel that is no hole. Where no hole is known, flat cells beside cells whose
    darkest voxels are all well above them.

    An image cleaned to zero has flat cells too, but its other cells hold voxels of that value: it is data.
    """
    from scipy import ndimage

    if (cells.data < 1).any():
        return cells.data < LEAST_OF_CELL
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


def _beside_steps(
    cells: Cells, background: np.ndarray, noise: np.ndarray, empty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high background of each cell: smoothed; beside a step its own; of a cell that a step runs through, both.

    A step runs through a cell that holds voxels of both sides in all planes nearby; a neurite does so in few.
    """
    from scipy import ndimage

    low, high = ndimage.minimum_filter(background, (1, 3, 3)), ndimage.maximum_filter(background, (1, 3, 3))
    step = high - low > STEP * noise
    half = (low + high) / 2
    planes = (STEP_PLANES, 1, 1)
    through = step & (ndimage.minimum_filter(np.where(empty, np.inf, cells.ceiling - half), planes) > 0)
    through &= ndimage.maximum_filter(np.where(empty, -np.inf, cells.floor - half), planes) < 0
    smooth = ndimage.uniform_filter(background, (1, 3, 3), mode="nearest")
    single = np.where(step, background, smooth)
    return np.where(through, low, single), np.where(through, high, single)


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


def _noise(cells: Cells, empty: np.ndarray, integers: bool) -> tuple[np.ndarray, bool]:
    """Sigma of the noise of the background around each cell, (z, rows, columns) float32; whether it was cut away.

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
        return np.full(shape, max(rough, least) or contrast / 100 or 1.0, np.float32), True
    whole = float(np.quantile(cells.spread[live], 0.25))
    around = np.where(live, cells.spread, np.nan).astype(np.float32)
    filled = _fill(around)
    local = ndimage.percentile_filter(filled, 25, (3, WIDEST, WIDEST), mode="nearest")
    local = ndimage.uniform_filter(local, (1, 5, 5), mode="nearest")
    return np.maximum(np.clip(local, 0.5 * whole, 4 * whole), np.float32(max(least, 1e-12))), False
