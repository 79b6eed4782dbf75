"""Single voxels that no light of the sample makes: hits of a detector, hot pixels, salt."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

# A hit stands so many sigma above the background, has this share of the light of the volume's brightest voxels (photons
# that a detector counts one by one are alone too, but dim), and is so many times as bright as the second-brightest of
# its 26 neighbours: a microscope spreads light over more than a voxel, and in a line that it does not spread each voxel
# but the last has two neighbours as bright.
SIGMAS, BRIGHT, TIMES, RANK = 8.0, 0.25, 5.0, 2
_AROUND = [(z, y, x) for z in (0, 1, 2) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (1, 0, 0)]


def find_hits(lights: Iterable[np.ndarray], brightest: float) -> Iterator[np.ndarray]:
    """For each plane its hits: (n, 2) places (y, x).

    lights: the planes (y, x) of a volume in order, in units of the noise above the background; three are held at once.
    brightest: light of the volume's brightest voxels (Levels). What lies outside is dark.
    """
    planes = (np.pad(light, 1) for light in lights)
    here = next(planes)
    before, none = np.zeros_like(here), np.zeros_like(here)
    for after in chain(planes, [none]):
        places = np.argwhere(here >= max(SIGMAS, BRIGHT * brightest))
        y, x = places.T
        three = (before, here, after)
        around = np.array([three[dz][y + dy, x + dx] for dz, dy, dx in _AROUND])
        second = np.partition(around, -RANK, axis=0)[-RANK]
        yield places[here[y, x] > TIMES * np.maximum(second, 1)] - 1
        before, here = here, after


def without_hits(plane: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A plane (y, x) whose `places` (n, 2) have the median of the eight voxels around them. Same type.

    Of the two middle ones the lower: whole numbers stay whole.
    """
    mended = plane.copy()
    y, x = places.T + 1
    padded = np.pad(plane, 1, mode="reflect" if min(plane.shape) > 1 else "edge")
    around = np.array([padded[y + dy, x + dx] for dz, dy, dx in _AROUND if dz == 1])
    mended[tuple(places.T)] = np.partition(around, 3, axis=0)[3]
    return mended
