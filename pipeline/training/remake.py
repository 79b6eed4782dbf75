"""More images from the images with truth: taken again under other noise, or their own noise under grown neurites."""

from dataclasses import replace

import numpy as np

from pipeline import intensity
from pipeline.simulation.noise import picture
from pipeline.simulation.scene import random_light, random_signal, random_voxel_size
from pipeline.training import pairs
from pipeline.training.pairs import Pair

NOISY = 0.3  # share of the voxels that differ from the background: less, and the image was cleaned
TRIES = 40


def part(pair: Pair, box: tuple[slice, slice, slice], name: str = "") -> Pair:
    """The pair of a box of its voxels."""
    first = np.array([axis.indices(n)[0] for axis, n in zip(box, pair.image.shape, strict=True)])
    image = pair.image[box]

    def inside(points: np.ndarray) -> np.ndarray:
        points = points - first.astype(np.int32)
        return points[np.all((points >= 0) & (points < image.shape), axis=1)]

    return Pair(
        name=name or pair.name,
        image=image,
        distance=pair.distance[box],
        counts=pair.counts[box],
        foreground=inside(pair.foreground),
        bright=inside(pair.bright),
        brightest=pair.brightest,
        cleaned=pair.cleaned,
    )


def retaken(rng: np.random.Generator, pair: Pair, *, shape_zyx: tuple[int, int, int]) -> Pair:
    """A part of a real image as another microscope would have taken it: dimmer or not, under noise of any kind."""
    cut = part(pair, _box(rng, pair, shape_zyx))
    light = cut.image.astype(np.float32)
    noisy = float(np.mean(pair.image[::4, ::4, ::4] > 0)) > NOISY
    median = float(np.median(light[tuple(cut.foreground.T)])) if len(cut.foreground) else 20.0
    scale = min(random_signal(rng) / max(median, 1.0), 1.0 if noisy else 6.0)
    image = picture(rng, light * np.float32(scale), own_noise=min(scale, 0.95) if noisy else 0.0)
    taken = intensity.measure(image)
    seen = intensity.light(image, taken)
    return replace(
        cut,
        image=np.minimum(seen, pairs.BRIGHTEST).astype(np.float16),
        brightest=taken.brightest,
        cleaned=taken.cleaned,
    )


def grown_in(rng: np.random.Generator, pair: Pair, voxels, *, shape_zyx: tuple[int, int, int]) -> Pair | None:
    """Simulated neurites in a neurite-free part of a real image, whose noise is real; None where no part is free.

    voxels: the counts (z, y, x) that `pair` was made of, read by boxes.
    """
    box = _free_box(rng, pair, shape_zyx)
    if box is None:
        return None
    free = voxels[box]
    counts, level = free.astype(np.float32), intensity.measure(free)
    voxel_size = random_voxel_size(rng)
    light, trees = random_light(rng, shape_zyx=counts.shape, voxel_size=voxel_size)
    counts += light * np.float32(random_signal(rng) * level.summary["noise"])
    if voxels.dtype.kind in "ui":
        counts = np.rint(np.clip(counts, 0, np.iinfo(voxels.dtype).max)).astype(voxels.dtype)
    taken = intensity.measure(counts)
    seen = intensity.light(counts, taken)
    name = f"grown in {pair.name}"
    return pairs.from_tree(name, seen, trees, voxel_size, complete=True, level=taken)


def _box(rng: np.random.Generator, pair: Pair, shape_zyx: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """A box of at most shape_zyx, mostly about a neurite; where few planes are labelled, one of them is in it."""
    if len(pair.foreground) and rng.random() < 0.8:
        centre = pair.foreground[rng.integers(len(pair.foreground))]
    else:
        labelled = np.flatnonzero(pair.counts.any((1, 2)))
        centre = np.array([rng.choice(labelled), *rng.integers(0, pair.image.shape[1:])])
    low = [
        int(np.clip(at - rng.integers(n // 4, n - n // 4), 0, max(size - n, 0)))
        for at, n, size in zip(centre, shape_zyx, pair.image.shape, strict=True)
    ]
    return tuple(slice(first, first + n) for first, n in zip(low, shape_zyx, strict=True))  # type: ignore[return-value]


def _free_box(rng: np.random.Generator, pair: Pair, shape_zyx: tuple[int, int, int]):
    """A box of shape_zyx that no neurite touches and whose truth is known everywhere, or None."""
    for _ in range(TRIES):
        low = [
            int(rng.integers(0, max(size - n, 0) + 1))
            for size, n in zip(pair.image.shape, shape_zyx, strict=True)
        ]
        box = tuple(slice(first, first + n) for first, n in zip(low, shape_zyx, strict=True))
        if pair.counts[box].all() and float(pair.distance[box].min()) >= pairs.REACH:
            return box
    return None
