"""What is seen in small squares of the planes of a volume: how dark, how bright, how noisy."""

from dataclasses import dataclass, field

import numpy as np

CELL = 16  # pixels: edge of the squares that background and noise are measured in
APART = 3  # pixels: noise is measured between voxels this far apart
# White noise of sigma 1: what `_spread` gives of it without this factor (the lesser of two directions), and the
# median of the least of four second differences / sqrt(6).
_DIFFERENCE, _ROUGHNESS = 0.943, 0.226
_BINS = 1024
_OF_PLANES = ("floor", "ceiling", "middle", "spread", "flat", "data")
# Planes in a row that a microscope or a stitching program loses, and how many cells must go on behind them.
MOST_LOST, SEEN_THROUGH = 2, 3
CONTINUED = 0.3  # a share of cells with noise below this: the background was cleaned
# Of a hole: its share of the voxels, the share of the others below the peak of their background, and how far below that
# peak the hole lies and above it the light, in units of the peak's width.
HOLE, TWO_SIDED, HOLE_APART, HOLE_LIGHT = 0.02, 0.05, 3.0, 6.0
# Beside a hole the median is the peak but for this share of its width, and light rarer than elsewhere by this share.
RIM_LIKE = 0.5
HOLE_VOXELS = 1_000_000  # of the rows looked at
LEAST_PAIRS = 16  # of voxels with data in a cell, to tell its noise


@dataclass(frozen=True, eq=False)
class Cells:
    """What was seen in the squares of some planes; all (z, rows, columns) float32, in counts.

    floor, ceiling: 2nd and 98th percentile. middle: median. spread: sigma of the noise (see `_spread`). flat: bool,
    all voxels are alike. data: share of the voxels that is no hole; the others have no part in the rest.
    rough: (_BINS,) counts of the roughness of bright voxels (see `_roughness`).
    """

    floor: np.ndarray
    ceiling: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    flat: np.ndarray
    data: np.ndarray
    rough: np.ndarray = field(repr=False)

    def of_planes(self, planes: list[int], anew: dict[int, "Cells"]) -> "Cells":
        """The cells of these planes, in this order, and in some places those of one plane that was measured anew.

        `rough` is that of all.
        """
        each = {name: getattr(self, name)[planes] for name in _OF_PLANES}
        for place, cells in anew.items():
            for name, own in each.items():
                own[place] = getattr(cells, name)[0]
        return Cells(**each, rough=self.rough)


@dataclass(frozen=True)
class Hole:
    """Where an image holds no data. value: of its voxels, the least of all. noise: sigma of what lies beside it."""

    value: float
    noise: float


def find_hole(rows: np.ndarray) -> Hole | None:
    """The voxels that hold no data: padding, or all but one neuron cut out of its surroundings.

    rows: (n, x) of the volume. Theirs is the least value, of many voxels. The background of the others has a peak well
    above it with voxels on both sides, and light beyond; it is what lies beside the hole, and the light does not.
    Where a background was cut away instead, neurites lie beside the zeros, and what is left falls from its least value
    on: None.
    """
    rows = rows[:: 1 + rows.size // HOLE_VOXELS]
    least = rows.min()
    inside = rows != least
    others = rows[inside].astype(np.float64)
    if len(others) > (1 - HOLE) * rows.size or len(others) < _BINS:
        return None
    low, most = np.quantile(others, (0.01, 0.9))
    # Whole numbers of a narrow range: a bin each, else the spikes between bins would be peaks.
    whole = rows.dtype.kind in "ui" and most - low <= _BINS
    bins = int(most - low) + 1 if whole else _BINS // 4
    ends = (low - 0.5, low - 0.5 + bins) if whole else (low, max(most, low + 1e-30))
    counts, edges = np.histogram(others, bins, range=ends)
    at = int(counts.argmax())
    peak = float(edges[at] + edges[at + 1]) / 2
    below = others[others < peak]
    if len(below) < TWO_SIDED * len(others):
        return None
    width = float(np.sqrt(np.mean((peak - below) ** 2)))
    light = peak + HOLE_LIGHT * width
    beside = np.zeros(rows.shape, bool)
    beside[:, 1:] |= ~inside[:, :-1]
    beside[:, :-1] |= ~inside[:, 1:]
    rim = rows[beside & inside]
    if peak - float(least) <= HOLE_APART * width or np.quantile(others, 0.999) <= light or not len(rim):
        return None
    dark = abs(float(np.median(rim)) - peak) < RIM_LIKE * width
    return (
        Hole(float(least), width)
        if dark and np.mean(rim > light) < RIM_LIKE * np.mean(others > light)
        else None
    )


def look(planes: np.ndarray, hole: Hole | None = None) -> Cells:
    """Measure the cells of planes (z, y, x), each plane for itself; what is a hole has no part in it."""
    size = [-(-n // CELL) for n in planes.shape[1:]]
    # The last cell ends with the image, whole: a sliver of pixels has no steady median.
    rows, columns = (
        np.minimum(
            np.minimum(np.arange(k) * CELL, max(n - CELL, 0))[:, None] + np.arange(CELL), n - 1
        ).ravel()
        for k, n in zip(size, planes.shape[1:], strict=True)
    )
    cells = planes[:, rows[:, None], columns] if np.any(np.mod(planes.shape[1:], CELL)) else planes
    cells = np.ascontiguousarray(cells.reshape(len(planes), size[0], CELL, size[1], CELL).swapaxes(2, 3))
    spread = np.minimum(_spread(cells, axis=3, hole=hole), _spread(cells, axis=4, hole=hole))
    cells = np.sort(cells.reshape(len(planes), *size, CELL * CELL), axis=-1)
    # A hole is the least value: its voxels come first (but for a few that were not sampled).
    holes = np.zeros(cells.shape[:-1], int) if hole is None else (cells == hole.value).sum(-1)
    count = CELL * CELL - holes

    def ranked(share: float) -> np.ndarray:
        rank = np.minimum(holes + (share * count).astype(int), CELL * CELL - 1)
        return np.take_along_axis(cells, rank[..., None], -1)[..., 0]

    floor, middle, ceiling = (ranked(share).astype(np.float32) for share in (0.02, 0.5, 0.98))
    flat = ranked(0.0) == cells[..., -1]
    data = (count / np.float32(CELL * CELL)).astype(np.float32)
    # Where noise covers a plane, the cells tell it.
    cleaned = np.mean(~flat, axis=(1, 2)) < 2 * CONTINUED * np.mean(data > 0, axis=(1, 2))
    return Cells(floor, ceiling, middle, spread, flat, data, _roughness(planes[cleaned], middle[cleaned]))


def _spread(cells: np.ndarray, *, axis: int, hole: Hole | None) -> np.ndarray:
    """float32 (z, rows, columns): sigma of the noise from differences of voxels that lie APART pixels apart.

    Haze and tissue vary over more pixels than that, noise of a smoothed or enlarged image over fewer. Their root
    mean square, not their median: where most voxels are alike and few are bright, those few are the noise. The
    largest 2 % are cut, as a bright speck or a thin neurite would be. Differences to a hole are none; 0 where too few
    are left.
    """
    place = [slice(None)] * 5
    place[7 - axis] = slice(None, None, 2)  # every second line tells as much
    place[axis] = slice(APART, None)
    one = cells[tuple(place)]
    place[axis] = slice(None, -APART)
    other = cells[tuple(place)]
    after = one.astype(np.float32)
    after -= other
    differences = np.abs(after, out=after).reshape(*cells.shape[:3], -1)
    if hole is not None:
        return _root_mean_square(
            differences, ((one != hole.value) & (other != hole.value)).reshape(differences.shape)
        )
    most = int(0.98 * differences.shape[-1])
    differences.partition(most, axis=-1)
    np.minimum(differences, differences[..., most, None], out=differences)
    square = np.einsum("...i,...i->...", differences, differences) / differences.shape[-1]
    return np.sqrt(square / 2) / np.float32(_DIFFERENCE)


def _root_mean_square(differences: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`_spread` of the known ones of the differences (z, rows, columns, n)."""
    count = known.sum(-1)
    differences = np.sort(np.where(known, differences, np.inf), axis=-1)
    most = np.take_along_axis(differences, (0.98 * count).astype(int)[..., None], -1)
    inside = np.arange(differences.shape[-1]) < count[..., None]
    square = np.where(inside, np.minimum(differences, most), 0) ** 2
    mean = square.sum(-1) / np.maximum(count, 1)
    found = np.sqrt(mean / 2) / np.float32(_DIFFERENCE)
    return np.where(count >= LEAST_PAIRS, found, 0).astype(np.float32)


def _roughness(planes: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(_BINS,) counts of sigma from the second difference along the smoothest of four directions in plane.

    Along a neurite its light changes little: what is left is noise, also where a cleaned background tells
    nothing about it. Only voxels above their cell's median count, none whose neighbours are alike (saturated,
    flat). Bins are a sixteenth of an octave.
    """
    counts = np.zeros(_BINS, np.int64)
    rows, columns = planes.shape[1:]
    if min(rows, columns) < 3:
        return counts
    for plane, level in zip(planes, middle, strict=True):
        some = plane.astype(np.float32)
        centre = some[1:-1, 1:-1]
        bright = centre > level.repeat(CELL, 0).repeat(CELL, 1)[1 : rows - 1, 1 : columns - 1]
        least = np.full(centre.shape, np.inf, np.float32)
        alike = np.zeros(centre.shape, np.uint8)
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            after = some[1 + dy : rows - 1 + dy, 1 + dx : columns - 1 + dx]
            before = some[1 - dy : rows - 1 - dy, 1 - dx : columns - 1 - dx]
            bend = np.abs(after + before - 2 * centre)
            alike += bend == 0
            np.minimum(least, bend, out=least)
        found = least[bright & (alike < 2)] / np.float32(6**0.5)
        place = np.rint(16 * np.log2(np.maximum(found, 1e-30)) + _BINS // 2)
        counts += np.bincount(np.clip(place, 0, _BINS - 1).astype(int), minlength=_BINS)
    return counts


def noise_from_roughness(counts: np.ndarray) -> float:
    """Sigma of the noise of bright voxels from what `_roughness` counted; 0 where it counted nothing."""
    if not counts.any():
        return 0.0
    half = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return 0.0 if half == 0 else float(2.0 ** ((half - _BINS // 2) / 16)) / _ROUGHNESS


def join(parts: list[Cells]) -> Cells:
    """The cells of a volume from those of its slabs, in order."""
    each = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_PLANES}
    return Cells(**each, rough=np.sum([part.rough for part in parts], axis=0))


def lost_planes(cells: Cells) -> dict[int, int]:
    """For each lost plane the nearest one that is not, the one before of two.

    All voxels of a lost plane are alike. More than MOST_LOST such planes in a row, and those at the ends, are no
    accident: the volume is empty there; so it is where hardly anything (SEEN_THROUGH cells) lies both before and behind
    them.
    """
    instead = {}
    single = cells.flat.all((1, 2)) & (np.ptp(cells.middle, axis=(1, 2)) == 0)
    kept = np.flatnonzero(~single)
    for before, after in zip(kept[:-1].tolist(), kept[1:].tolist()):
        through = np.count_nonzero(~cells.flat[before] & ~cells.flat[after])
        if 1 < after - before <= MOST_LOST + 1 and through >= SEEN_THROUGH:
            for plane in range(before + 1, after):
                instead[plane] = before if plane - before <= after - plane else after
    return instead
