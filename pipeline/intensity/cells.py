"""What is seen in small squares of the planes of a volume: how dark, how bright, how noisy."""

from dataclasses import dataclass, field

import numpy as np

CELL = 16  # pixels: edge of the squares that background and noise are measured in
APART = 3  # pixels: noise is measured between voxels this far apart
# White noise of sigma 1: what `_spread` gives of it without this factor (the lesser of two directions), and the
# median of the least of four second differences / sqrt(6).
_DIFFERENCE, _ROUGHNESS = 0.943, 0.226
_BINS = 1024
_OF_PLANES = ("floor", "ceiling", "middle", "spread", "flat")
# Planes in a row that a microscope or a stitching program loses, and how many cells must go on behind them.
MOST_LOST, SEEN_THROUGH = 2, 3
CONTINUED = 0.3  # a share of cells with noise below this: the background was cleaned


@dataclass(frozen=True, eq=False)
class Cells:
    """What was seen in the squares of some planes; all (z, rows, columns) float32, in counts.

    floor, ceiling: 2nd and 98th percentile. middle: median. spread: sigma of the noise (see `_spread`). flat: bool,
    all voxels are alike. rough: (_BINS,) counts of the roughness of bright voxels (see `_roughness`).
    """

    floor: np.ndarray
    ceiling: np.ndarray
    middle: np.ndarray
    spread: np.ndarray
    flat: np.ndarray
    rough: np.ndarray = field(repr=False)

    def of_planes(self, planes: list[int]) -> "Cells":
        """The cells of these planes, in this order; `rough` is that of all."""
        return Cells(**{name: getattr(self, name)[planes] for name in _OF_PLANES}, rough=self.rough)


def look(planes: np.ndarray) -> Cells:
    """Measure the cells of planes (z, y, x), each plane for itself."""
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
    spread = np.minimum(_spread(cells, axis=3), _spread(cells, axis=4))
    cells = np.sort(cells.reshape(len(planes), *size, CELL * CELL), axis=-1)
    count = CELL * CELL
    floor, middle, ceiling = (cells[..., int(q * count)].astype(np.float32) for q in (0.02, 0.5, 0.98))
    flat = cells[..., 0] == cells[..., -1]
    # Where noise covers a plane, the cells tell it.
    cleaned = np.mean(~flat, axis=(1, 2)) < 2 * CONTINUED
    return Cells(floor, ceiling, middle, spread, flat, _roughness(planes[cleaned], middle[cleaned]))


def _spread(cells: np.ndarray, *, axis: int) -> np.ndarray:
    """float32 (z, rows, columns): sigma of the noise from differences of voxels that lie APART pixels apart.

    Haze and tissue vary over more pixels than that, noise of a smoothed or enlarged image over fewer. Their root
    mean square, not their median: where most voxels are alike and few are bright, those few are the noise. The
    largest 2 % are cut, as a bright speck or a thin neurite would be.
    """
    place = [slice(None)] * 5
    place[7 - axis] = slice(None, None, 2)  # every second line tells as much
    place[axis] = slice(APART, None)
    after = cells[tuple(place)].astype(np.float32)
    place[axis] = slice(None, -APART)
    after -= cells[tuple(place)]
    differences = np.abs(after, out=after).reshape(*cells.shape[:3], -1)
    most = int(0.98 * differences.shape[-1])
    differences.partition(most, axis=-1)
    np.minimum(differences, differences[..., most, None], out=differences)
    square = np.einsum("...i,...i->...", differences, differences) / differences.shape[-1]
    return np.sqrt(square / 2) / np.float32(_DIFFERENCE)


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
