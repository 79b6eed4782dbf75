"""Pairs of volumes of any size: what does not fit into a slab lies on disk, mapped into memory where a window looks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.training.pairs import Pair

# Voxels whose truth is made at once: about 30 bytes each. Slices beside a slab that are looked at with it.
SLAB_VOXELS, HALO = 32_000_000, 8
# Places kept of each list: a training looks at far fewer.
PLACES = 500_000


def in_slabs(
    name: str, shape_zyx: tuple[int, int, int], make: Callable[[int, int], Pair], *, folder: Path
) -> Pair:
    """The pair of a volume, made slab by slab.

    make: (first, last) -> the pair of planes first .. last - 1. folder: for the arrays of a volume of several slabs.
    """
    depth, height, width = shape_zyx
    planes = max(1, SLAB_VOXELS // (height * width))
    if planes >= depth:
        return make(0, depth)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"image": np.float16, "distance": np.float16, "counts": np.bool_}
    paths = {field: folder / f"{name}.{field}.npy" for field in kinds}
    arrays = {
        field: np.lib.format.open_memmap(paths[field], "w+", kind, shape_zyx) for field, kind in kinds.items()
    }
    places: dict[str, list[np.ndarray]] = {"foreground": [], "bright": []}
    for first in range(0, depth, planes):
        last = min(first + planes, depth)
        low = max(0, first - HALO)
        part = make(low, min(depth, last + HALO))
        for field, array in arrays.items():
            array[first:last] = getattr(part, field)[first - low : last - low]
        for field, found in places.items():
            at = getattr(part, field) + np.array([low, 0, 0], np.int32)
            found.append(at[(at[:, 0] >= first) & (at[:, 0] < last)])
    mapped = {field: np.load(path, mmap_mode="r") for field, path in paths.items()}
    thinned = {field: _thinned(np.concatenate(found)) for field, found in places.items()}
    return Pair(name, **mapped, **thinned, brightest=part.brightest, cleaned=part.cleaned)


def _thinned(places: np.ndarray) -> np.ndarray:
    return places[:: 1 + len(places) // PLACES]
