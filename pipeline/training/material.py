"""What the slice segmenter learns from and what decides about it: real images, remade ones, scenes, noise.

Each volume of the dataset gives a part to train on and a part that is only scored. Scenes and noise volumes
that are scored come from seeds of their own.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline import intensity
from pipeline.simulation.scene import empty_scene, random_scene, random_voxel_size
from pipeline.training import pairs, remake
from pipeline.training.pairs import Pair

SCENE_ZYX = (16, 192, 192)
KEPT_BACK = 0.25  # of the rows of an image with a tree: scored only
JUDGES = 1_000_000  # seeds of the scenes that are scored
JUDGED = 20  # of scenes, and of noise; no more than are trained on


@dataclass(frozen=True)
class Counts:
    """A box of the counts of a volume, read where one looks. array: (z, y, x), numpy or zarr; low: its first voxel."""

    array: Any
    low: tuple[int, int, int] = (0, 0, 0)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        return self.array[tuple(slice(a + part.start, a + part.stop) for a, part in zip(self.low, box))]


@dataclass(frozen=True)
class Material:
    """Pairs to train on: of images, remade parts of them, scenes. And those that are scored, never trained on.

    judges: parts of the images; judged_scenes: with neurites; empty: noise without any.
    """

    images: list[Pair]
    remade: list[Pair]
    scenes: list[Pair]
    judges: list[Pair]
    judged_scenes: list[Pair]
    empty: list[Pair]

    def shares(self, simulated_share: float) -> np.ndarray:
        """(pairs,) share of the windows of each to train on: even among images, remade parts, and scenes."""
        groups = self.images, self.remade, self.scenes
        real = (1 - simulated_share) / (2 if self.remade else 1)
        weight = (real, real, simulated_share)
        share = np.concatenate(
            [np.full(len(some), part / max(len(some), 1)) for some, part in zip(groups, weight)]
        )
        return share / share.sum() if share.any() else np.full(len(share), 1 / max(len(share), 1))


def gather(
    volumes: list[tuple[Pair, Counts]], *, remade: int, scenes: int, empty_share: float, seed: int
) -> Material:
    """Material from pairs and the counts (z, y, x) they were made of.

    remade: how many parts of images under other noise, or neurites grown into their own noise. scenes: how many
    simulated, the share `empty_share` of them without neurite. Item i of each is a function of (seed, i) alone.
    """
    halves = [_halves(pair, voxels) for pair, voxels in volumes]
    images = [half[0] for half in halves]
    others = [_remade(np.random.default_rng([seed, 1, index]), halves, index) for index in range(remade)]
    return Material(
        images=images,
        remade=others,
        scenes=[_scene(seed, index, empty_share) for index in range(scenes)],
        judges=[half[1] for half in halves],
        judged_scenes=[_scene(JUDGES, index, 0.0) for index in range(min(JUDGED, scenes))],
        empty=[_scene(JUDGES + 1, index, 1.0) for index in range(min(JUDGED, scenes))],
    )


def _halves(pair: Pair, voxels: Counts) -> tuple[Pair, Pair, Counts]:
    """The part to train on, the part to score, and the counts of the first.

    An image with a tree gives the side that has as much of the neurites as of the volume, about. One of which
    single planes are labelled gives the last of them.
    """
    labelled = np.flatnonzero(pair.counts.any((1, 2)))
    every = slice(None)
    if len(labelled) == len(pair.image):
        train, score = min(_cuts(pair.image.shape), key=lambda cut: _unevenness(pair, cut[1]))
        low = tuple(part.indices(size)[0] for part, size in zip(train, pair.image.shape))
        return remake.part(pair, train), remake.part(pair, score), Counts(voxels.array, low)
    last = labelled[-1]
    kept = pair.counts.copy()
    kept[last] = False
    near = pair.foreground[:, 0] != last, pair.bright[:, 0] != last
    train = replace(pair, counts=kept, foreground=pair.foreground[near[0]], bright=pair.bright[near[1]])
    score = remake.part(pair, (slice(max(last - 2, 0), last + 3), every, every))
    return train, score, voxels


def _cuts(shape: tuple[int, int, int]):
    """Four ways to keep back KEPT_BACK of a volume: (box to train on, box to score)."""
    every = slice(None)
    for axis in (1, 2):
        for share, low_side in ((KEPT_BACK, True), (1 - KEPT_BACK, False)):
            at = round(shape[axis] * share)
            sides = [[every, every, every], [every, every, every]]
            sides[0][axis], sides[1][axis] = slice(None, at), slice(at, None)
            yield (tuple(sides[1]), tuple(sides[0])) if low_side else (tuple(sides[0]), tuple(sides[1]))


def _unevenness(pair: Pair, box: tuple[slice, slice, slice]) -> float:
    return abs(len(remake.part(pair, box).foreground) / max(len(pair.foreground), 1) - KEPT_BACK)


def _remade(rng: np.random.Generator, halves: list[tuple[Pair, Pair, Counts]], index: int) -> Pair:
    """Every third one: neurites grown into real noise, where some image has a free part of it."""
    if index % 3 == 0:
        for place in rng.permutation(len(halves)):
            pair, _, voxels = halves[place]
            if np.mean(pair.image[::4, ::4, ::4] > 0) > remake.NOISY:
                grown = remake.grown_in(rng, pair, voxels, shape_zyx=(SCENE_ZYX[0], 128, 128))
                if grown is not None:
                    return grown
    pair = halves[rng.integers(len(halves))][0]
    return remake.retaken(rng, pair, shape_zyx=SCENE_ZYX)


def _scene(seed: int, index: int, empty_share: float) -> Pair:
    rng = np.random.default_rng([seed, index])
    if rng.random() < empty_share:
        image = empty_scene(rng, shape_zyx=SCENE_ZYX)
        level = intensity.measure(image)
        return pairs.empty(f"empty {index}", intensity.light(image, level), level=level)
    voxel_size = random_voxel_size(rng)
    image, trees = random_scene(rng, shape_zyx=SCENE_ZYX, voxel_size=voxel_size)
    level = intensity.measure(image)
    seen = intensity.light(image, level)
    return pairs.from_tree(f"scene {index}", seen, trees, voxel_size, complete=True, level=level)
