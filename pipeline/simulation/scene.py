"""Training scenes: neurons under every condition a microscope may meet, drawn at random."""

import numpy as np

from pipeline.simulation.grow import grow
from pipeline.simulation.noise import picture, tissue
from pipeline.simulation.render import Staining, fluorescence
from pipeline.swc import Tree, um_to_voxel

# Smallest and largest voxel (z, y, x um) of a scene.
VOXEL_UM = ((0.2, 0.2, 0.2), (3.2, 0.8, 0.8))
# Share of the scenes that show axons of many cells in tissue, as a light sheet sees a cleared brain.
IN_TISSUE = 0.5


def random_voxel_size(rng: np.random.Generator) -> tuple[float, float, float]:
    """z, y, x um: 0.2 to 0.8 in plane, slices one to four times as far apart."""
    plane = float(np.exp(rng.uniform(np.log(0.2), np.log(0.8))))
    return plane * float(rng.choice([1.0, 1.5, 2.0, 3.0, 4.0])), plane, plane


def random_scene(
    rng: np.random.Generator,
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
) -> tuple[np.ndarray, list[Tree]]:
    """An image (uint8 or uint16, z, y, x) of several neurons and the trees in it, in um of its voxels.

    Every neurite of the image is in the trees (what lies outside the image too); bright blobs are not. Half of them
    show `axons_in_tissue`, half neurons: radii follow the voxel size within 0.15 to 2 um or 8 pixels, somata have 4 to
    60 pixels, signal from hardly above the noise to a hundred times that. Noise of every kind of `noise.picture`.
    """
    if rng.random() < IN_TISSUE:
        light, trees = axons_in_tissue(rng, shape_zyx=shape_zyx, voxel_size=voxel_size)
        return picture(rng, light), trees
    light, trees = random_light(rng, shape_zyx=shape_zyx, voxel_size=voxel_size)
    return picture(rng, light * np.float32(random_signal(rng))), trees


def axons_in_tissue(
    rng: np.random.Generator,
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
) -> tuple[np.ndarray, list[Tree]]:
    """float32 (z, y, x): light, in sigma of the noise to come, of thin axons that cross a view of tissue in every
    direction, many along z, each of a brightness of its own; and their trees, um."""
    extent, plane = np.asarray(shape_zyx)[::-1] * voxel_size[::-1], voxel_size[2]
    count = int(np.exp(rng.uniform(np.log(8), np.log(60))))
    trees = [_axon(rng, extent, plane_um=plane) for _ in range(count)]
    deep, wide = plane * rng.uniform(0.5, 2), plane * rng.uniform(0.5, 1)
    light = fluorescence(
        trees,
        shape_zyx=shape_zyx,
        voxel_size=voxel_size,
        rng=rng,
        psf_um=(deep, wide, wide),
        photons=100 * np.exp(rng.normal(0, 0.9, count)),
        staining=[_staining(rng) for _ in trees],
    )
    median = np.exp(rng.uniform(np.log(4), np.log(30)))
    return light * np.float32(median / _brightness(light, trees, voxel_size)) + tissue(rng, shape_zyx), trees


def random_signal(rng: np.random.Generator) -> float:
    """How many times the noise the median neurite stands above the background: 2.5 to 100."""
    return float(np.exp(rng.uniform(np.log(2.5), np.log(100))))


def random_light(
    rng: np.random.Generator,
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
) -> tuple[np.ndarray, list[Tree]]:
    """float32 (z, y, x): the light of several neurons (and blobs), 1 at the median node; and their trees, um."""
    extent = np.asarray(shape_zyx)[::-1] * voxel_size[::-1]
    crowded = rng.random() < 0.15
    count = int(rng.integers(8, 25) if crowded else rng.integers(1, 6))
    trees = [
        _neuron(rng, extent, plane_um=voxel_size[2], fibre=0.9 if crowded else 0.3) for _ in range(count)
    ]
    light = fluorescence(
        trees,
        shape_zyx=shape_zyx,
        voxel_size=voxel_size,
        rng=rng,
        psf_um=_psf(rng, voxel_size),
        photons=100 * np.exp(rng.normal(0, 0.4, count)),
        staining=[_staining(rng) for _ in trees],
        blobs=int(rng.integers(1, 7)) if rng.random() < 0.4 else 0,
        blob_um=(3 * voxel_size[2], 20 * voxel_size[2]),
    )
    return light / np.float32(_brightness(light, trees, voxel_size)), trees


def empty_scene(rng: np.random.Generator, *, shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """uint8 or uint16 (z, y, x): what a microscope shows where no neurite is: noise, haze, now and then blobs."""
    light = np.zeros(shape_zyx, np.float32)
    if rng.random() < 0.25:
        size = random_voxel_size(rng)
        light = fluorescence(
            [],
            shape_zyx=shape_zyx,
            voxel_size=size,
            rng=rng,
            psf_um=_psf(rng, size),
            blobs=int(rng.integers(1, 12)),
            blob_um=(2 * size[2], 25 * size[2]),
        )
        light *= np.float32(random_signal(rng) / max(float(light.max()), 1e-3))
    return picture(rng, light)


def _neuron(rng: np.random.Generator, extent: np.ndarray, *, plane_um: float, fibre: float) -> Tree:
    """A neuron in a box larger than the view and laid at random over it, so that any part of it may show."""
    style = rng.choice(["projection", "multipolar", "fibre"], p=[0.6 * (1 - fibre), 0.4 * (1 - fibre), fibre])
    # Somata of all sizes, small ones more often; `grow` holds them below .3 of the box.
    soma_um = float(np.exp(rng.uniform(np.log(4), np.log(60)))) * plane_um
    box = np.maximum(extent * rng.uniform(1.0, 2.0, 3), [40, 40, 15])
    if style == "multipolar":
        box = np.maximum(box, soma_um / 0.3)
    thin = float(np.clip(plane_um * rng.uniform(0.7, 1.5), 0.15, 0.6))
    tree = grow(
        rng,
        extent_um=tuple(box),
        style=style,
        tips=int(rng.integers(1, 6)) if style == "fibre" else int(rng.integers(4, 40)),
        radius_um=(
            thin,
            thin * rng.uniform(1.3, 3.5) if rng.random() < 0.8 else rng.uniform(3, 8) * plane_um,
        ),
        section_um=float(np.exp(rng.uniform(np.log(15), np.log(50)))) * plane_um,
        wander=rng.uniform(0.15, 0.6),
        boutons=rng.uniform(0, 0.9),
        soma_um=soma_um,
    )
    xyz = tree.xyz
    if rng.random() < 0.5:
        xyz, box = xyz[:, [1, 0, 2]], box[[1, 0, 2]]
    mirrored = rng.random(3) < 0.5
    xyz = np.where(mirrored, box - xyz, xyz)
    seen = xyz[rng.integers(len(xyz))]  # one node of it lies in the view for sure
    return Tree(xyz - seen + rng.uniform(0.15, 0.85, 3) * extent, tree.radius, tree.parent, tree.type)


def _axon(rng: np.random.Generator, extent: np.ndarray, *, plane_um: float) -> Tree:
    """A thin axon in a cube as wide as the view, whatever the depth of the view: any direction is as likely."""
    thin = plane_um * rng.uniform(0.6, 1.3)
    tree = grow(
        rng,
        extent_um=(1.2 * extent.max(),) * 3,
        style="fibre",
        tips=int(rng.integers(1, 4)),
        radius_um=(thin, thin * rng.uniform(1.0, 1.8)),
        section_um=40 * plane_um,
        wander=rng.uniform(0.15, 0.6),
        boutons=rng.uniform(0, 0.9),
        step_um=max(0.5, plane_um),
    )
    xyz = tree.xyz[:, rng.permutation(3)]
    seen = xyz[rng.integers(len(xyz))]
    return Tree(xyz - seen + rng.uniform(0, 1, 3) * extent, tree.radius, tree.parent, tree.type)


def _staining(rng: np.random.Generator) -> Staining:
    return Staining(
        uneven=rng.uniform(0, 0.6),
        length_um=float(np.exp(rng.uniform(np.log(1.5), np.log(25)))),
        dim=rng.choice([0.0, 0.1, 0.3]),
        beads=rng.choice([0.0, rng.uniform(0.2, 0.85)]),
        bead_um=rng.uniform(1.5, 5),
    )


def _psf(rng: np.random.Generator, voxel_size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Sigma z, y, x um: half to 1.5 (now and then 3) pixels in plane, one to three and a half times that along z."""
    plane = voxel_size[2] * (rng.uniform(0.5, 1.5) if rng.random() < 0.85 else rng.uniform(1.5, 3))
    return plane * rng.uniform(1.0, 3.5), plane, plane


def _brightness(light: np.ndarray, trees: list[Tree], voxel_size: tuple[float, float, float]) -> float:
    """Median light at the nodes that lie in the view: how bright a neurite is here."""
    at = np.rint(um_to_voxel(np.concatenate([tree.xyz for tree in trees]), voxel_size)).astype(int)
    at = at[np.all((at >= 0) & (at < light.shape), axis=1)]
    return max(float(np.median(light[tuple(at.T)])), 1e-3)
