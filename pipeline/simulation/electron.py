"""Stained cells and the electron microscope that pictures them: dark membranes, organelles, noise, bad sections."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import edt
import numpy as np
from scipy.ndimage import gaussian_filter, shift

from pipeline import rasterise
from pipeline.simulation.render import smooth_field
from pipeline.swc import Tree, um_to_voxel, voxel_to_um

CYTOPLASM, MEMBRANE = 0.66, 0.18  # brightness; membranes hold the stain
MEMBRANE_UM = 0.011  # half of the double membrane between two cells
WALL_UM = 0.007  # of organelles


@dataclass(frozen=True)
class Microscope:
    """What is done to the picture.

    blur: sigma in pixels. noise: standard deviation, 0..1 = black..white. uneven: of the contrast between sections
    (and over the field). lost: sections without a picture. shifted: sections moved in plane by up to shift_px.
    """

    blur: float = 0.8
    noise: float = 0.045
    uneven: float = 0.03
    lost: int = 1
    shifted: int = 1
    shift_px: float = 6.0


STANDARD = Microscope()


def stain(
    rng: np.random.Generator,
    labels: np.ndarray,
    trees: Sequence[Tree],
    *,
    voxel_size: tuple[float, float, float],
) -> np.ndarray:
    """float32 (z, y, x) brightness 0..1: membranes of even thickness, cytoplasm, organelles.

    labels: uint32 (z, y, x), 1..n without 0. trees: of each label, in um.
    """
    # To the nearest voxel of another cell; the membrane is half a voxel nearer.
    wall = edt.edt(labels, anisotropy=voxel_size, black_border=False, parallel=1) - min(voxel_size) / 2
    tone = rng.normal(0, 0.06, len(trees) + 1).astype(np.float32)
    brightness = CYTOPLASM + tone[labels]
    brightness += _grain(rng, labels.shape, (1.0, 0.03), (1.9, 0.045))
    _tubes_and_vesicles(rng, brightness, wall, trees, voxel_size)
    for label, tree in enumerate(trees, 1):
        for organelle in _mitochondria(rng, tree):
            _paint_mitochondrion(rng, brightness, labels, wall, label, organelle, voxel_size)
        for node in np.flatnonzero(tree.radius > 0.25):
            if tree.parent[node] < 0:
                _paint_nucleus(rng, brightness, wall, tree, node, voxel_size)
    _synapses(rng, brightness, wall, voxel_size)
    depth = np.exp(-((np.maximum(wall, 0) / MEMBRANE_UM) ** 2))
    return brightness + (MEMBRANE - brightness) * depth.astype(np.float32)


def picture(
    rng: np.random.Generator,
    brightness: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    sections: int,
    microscope: Microscope,
) -> np.ndarray:
    """uint8 (z / sections, y, x): brightness averaged over so many planes, blurred, noisy, with its bad sections."""
    planes = brightness.reshape(-1, sections, *brightness.shape[1:]).mean(1)
    blur = microscope.blur
    planes = gaussian_filter(planes, (blur * (sections == 1) * 0.7, blur, blur))
    gain = 1 + microscope.uneven * rng.standard_normal((len(planes), 1, 1))
    level = microscope.uneven * (
        smooth_field(planes.shape, rng=rng) + rng.standard_normal((len(planes), 1, 1))
    )
    planes = 0.5 + (planes - 0.5) * gain.astype(np.float32) + level.astype(np.float32)
    bad = rng.permutation(np.arange(1, max(len(planes) - 1, 1)))
    for z in bad[: microscope.shifted]:
        move = rng.uniform(0.5, 1, 2) * rng.choice([-1, 1], 2) * microscope.shift_px
        planes[z] = shift(planes[z], move, order=1, mode="nearest")
    # Charging and the statistics of few electrons: fine noise, and some that neighbouring pixels share.
    planes += microscope.noise * rng.standard_normal(planes.shape, dtype=np.float32)
    planes += _grain(rng, planes.shape, (0.7, microscope.noise / 2))
    for z in bad[microscope.shifted : microscope.shifted + microscope.lost]:
        planes[z] = 0
    return np.rint(np.clip(planes, 0, 1) * 255).astype(np.uint8)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], *layers: tuple[float, float]) -> np.ndarray:
    """float32: sum of Gaussian noises, each of a correlation (sigma in voxels) and a standard deviation."""
    total = np.zeros(shape, np.float32)
    for sigma, deviation in layers:
        noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
        total += noise * np.float32(deviation / max(float(noise.std()), 1e-6))
    return total


def _tubes_and_vesicles(rng, brightness, wall, trees: Sequence[Tree], voxel_size) -> None:
    """Endoplasmic reticulum along the neurites and clouds of vesicles in some: light inside, a dark wall."""
    points: list[np.ndarray] = []
    radius: list[np.ndarray] = []
    parent: list[np.ndarray] = []

    def add(xyz: np.ndarray, size: np.ndarray, chain: bool) -> None:
        first = sum(len(part) for part in points)
        points.append(xyz)
        radius.append(size)
        parent.append(np.arange(first - 1, first + len(xyz) - 1) if chain else np.full(len(xyz), -1))
        parent[-1][:1] = -1

    for tree in trees:
        thick = np.flatnonzero((tree.radius > 0.06) & (tree.radius < 0.25))
        if not len(thick):
            continue
        if rng.random() < 0.35:
            centre = tree.xyz[rng.choice(thick)]
            count = int(rng.integers(15, 60))
            cloud = centre + rng.normal(0, 0.09, (count, 3))
            add(cloud, rng.normal(0.02, 0.002, count), chain=False)
        for _ in range(1 + len(thick) // 60):
            start = int(rng.choice(thick))
            rows = _upward(tree, start, 14)
            aside = np.cumsum(rng.normal(0, 0.012, (len(rows), 3)), axis=0)
            add(
                tree.xyz[rows] + 0.4 * tree.radius[rows, None] * rng.normal(0, 0.6, 3) + aside,
                np.full(len(rows), 0.016),
                chain=True,
            )
    if not points:
        return
    count = sum(len(part) for part in points)
    forest = Tree(
        np.concatenate(points), np.concatenate(radius), np.concatenate(parent), np.zeros(count, np.int64)
    )
    reach = 3 * WALL_UM
    distance = rasterise.tube_distance(forest, brightness.shape, voxel_size, reach_um=reach)
    distance[wall < 2 * MEMBRANE_UM] = reach
    brightness[distance < -WALL_UM] = CYTOPLASM + 0.06
    brightness -= 0.38 * np.exp(-((distance / WALL_UM) ** 2))


def _mitochondria(rng, tree: Tree) -> Iterator[tuple[np.ndarray, np.ndarray, float, float]]:
    """Centre (x, y, z um), direction, half length and radius (um), about one in 1.2 um of thick neurite."""
    thick = np.flatnonzero((tree.radius > 0.09) & (tree.radius < 0.4) & (tree.parent >= 0))
    for node in rng.permutation(thick)[: len(thick) // 30 + (rng.random() < len(thick) / 30)]:
        along = tree.xyz[node] - tree.xyz[tree.parent[node]]
        length = np.linalg.norm(along)
        if length:
            radius = min(rng.uniform(0.55, 0.8) * tree.radius[node], 0.16)
            yield tree.xyz[node], along / length, rng.uniform(0.2, 0.5), radius


def _paint_mitochondrion(rng, brightness, labels, wall, label, organelle, voxel_size) -> None:
    centre, along, half, radius = organelle
    box = _box(centre, half * np.abs(along) + radius, brightness.shape, voxel_size)
    if box is None:
        return
    away = voxel_to_um(_places(box), voxel_size) - centre
    forth = away @ along
    aside = np.linalg.norm(away - forth[..., None] * along, axis=-1)
    depth = 1 - np.hypot(forth / half, aside / radius)  # 0 at the surface, 1 in the middle
    inside = (depth > 0) & (labels[box] == label) & (wall[box] > 1.5 * MEMBRANE_UM)
    bent = forth + 0.02 * _grain(rng, forth.shape, (4.0, 1.0))
    cristae = np.sin(2 * np.pi * bent / rng.uniform(0.05, 0.08) + rng.uniform(0, 6)) > 0.3
    matrix = 0.34 + 0.1 * rng.random() - 0.1 * cristae
    skin = np.minimum(depth * radius, wall[box] - 1.5 * MEMBRANE_UM)
    tone = matrix + (0.2 - matrix) * np.exp(-((skin / WALL_UM) ** 2))
    brightness[box] = np.where(inside, tone, brightness[box])


def _paint_nucleus(rng, brightness, wall, tree, node, voxel_size) -> None:
    radius = 0.7 * tree.radius[node]
    box = _box(tree.xyz[node], radius + 0.05, brightness.shape, voxel_size)
    if box is None:
        return
    away = np.linalg.norm(voxel_to_um(_places(box), voxel_size) - tree.xyz[node], axis=-1) - radius
    chromatin = _grain(rng, away.shape, (5.0, 0.09))
    part = brightness[box]
    part[away < 0] = (0.58 + chromatin)[away < 0]
    for surface in (0.0, 0.03):
        part -= 0.4 * np.exp(-(((away - surface) / WALL_UM) ** 2)).astype(np.float32)


def _synapses(rng, brightness, wall, voxel_size) -> None:
    """Membranes thickened by a dark density here and there."""
    flat = rng.integers(0, wall.size, 4000)
    flat = flat[wall.ravel()[flat] < min(voxel_size)][: max(1, round(wall.size * np.prod(voxel_size) * 4))]
    for place in np.stack(np.unravel_index(flat, wall.shape), 1):
        centre, reach = voxel_to_um(place, voxel_size), rng.uniform(0.06, 0.14)
        box = _box(centre, reach, brightness.shape, voxel_size)
        if box is None:
            continue
        away = np.linalg.norm(voxel_to_um(_places(box), voxel_size) - centre, axis=-1)
        dark = np.exp(-((wall[box] / 0.022) ** 2)) * np.clip(2 * (1 - away / reach), 0, 1)
        brightness[box] -= (0.4 * dark).astype(np.float32)


def _upward(tree: Tree, row: int, steps: int) -> np.ndarray:
    """Rows from a node towards its root."""
    rows = [row]
    while len(rows) < steps and tree.parent[rows[-1]] >= 0:
        rows.append(int(tree.parent[rows[-1]]))
    return np.array(rows)


def _box(centre_xyz, reach_um, shape, voxel_size) -> tuple[slice, slice, slice] | None:
    """The voxels within reach (um, of all axes or x, y, z) of a point; None where there are none."""
    middle = um_to_voxel(centre_xyz, voxel_size)
    half = um_to_voxel(np.broadcast_to(reach_um, 3), voxel_size)
    low = np.maximum(np.ceil(middle - half), 0).astype(int)
    high = np.minimum(np.floor(middle + half) + 1, shape).astype(int)
    if (low >= high).any():
        return None
    z, y, x = (slice(int(first), int(last)) for first, last in zip(low, high))
    return z, y, x


def _places(box: tuple[slice, slice, slice]) -> np.ndarray:
    """(z, y, x, 3) voxel indices of a box."""
    return np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), -1)
