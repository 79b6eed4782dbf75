"""Training scenes: neurons under every condition a microscope may meet, drawn at random."""

import numpy as np
from scipy.ndimage import gaussian_filter

from pipeline.simulation.grow import grow
from pipeline.simulation.render import Camera, Staining, expose, fluorescence, smooth_field
from pipeline.swc import Tree, um_to_voxel

# Smallest and largest voxel (z, y, x um) of a scene.
VOXEL_UM = ((0.2, 0.2, 0.2), (3.2, 0.8, 0.8))


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

    Every neurite of the image is in the trees (what lies outside the image too); bright blobs are not.
    Radii follow the voxel size within 0.15 to 2 um, so that neurites are 1.5 to 8 voxels wide. Signal
    from hardly above the noise to saturated; dark, hazy and uneven backgrounds, or one cut to zero.
    """
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
    light, camera = _conditions(light, _brightness(light, trees, voxel_size), rng=rng)
    dtype = np.uint16 if rng.random() < 0.4 else np.uint8
    return expose(light, rng=rng, camera=camera, dtype=dtype), trees


def empty_scene(rng: np.random.Generator, *, shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """float32 (z, y, x): what a microscope shows where no neurite is: noise, grain, haze, the edge of a tissue.

    Grain is noise of a few pixels' width with rare bright specks, slice by slice: what is left of photon noise
    and detector hits after a scanner or a filter has smoothed a plane.
    """
    image = rng.uniform(0, 0.3) * np.clip(smooth_field(shape_zyx, rng=rng), 0, None)
    for _ in range(rng.integers(1, 3)):
        grain = rng.standard_normal(shape_zyx, np.float32)
        if rng.random() < 0.6:
            # A heavy tail: most voxels dark, few bright.
            grain = rng.standard_exponential(shape_zyx, np.float32) ** rng.uniform(1, 3)
        width = rng.choice([0.0, rng.uniform(0.3, 1.3)])
        grain = gaussian_filter(grain, (rng.choice([0.0, rng.uniform(0, 0.6)]), width, width))
        image += rng.uniform(0.05, 0.5) * (grain - grain.mean()) / max(float(grain.std()), 1e-3)
    if rng.random() < 0.4:
        image *= np.where(smooth_field(shape_zyx, rng=rng) > rng.uniform(-1, 1), 1, rng.uniform(0, 0.5))
    return np.clip(image - rng.uniform(-0.3, 0.3), 0, None).astype(np.float32)


def _neuron(rng: np.random.Generator, extent: np.ndarray, *, plane_um: float, fibre: float) -> Tree:
    """A neuron in a box larger than the view and laid at random over it, so that any part of it may show."""
    style = rng.choice(["projection", "multipolar", "fibre"], p=[0.6 * (1 - fibre), 0.4 * (1 - fibre), fibre])
    box = np.maximum(extent * rng.uniform(1.0, 2.0, 3), [40, 40, 15])
    thin = float(np.clip(plane_um * rng.uniform(0.7, 1.5), 0.15, 0.6))
    tree = grow(
        rng,
        extent_um=tuple(box),
        style=style,
        tips=int(rng.integers(1, 6)) if style == "fibre" else int(rng.integers(4, 40)),
        radius_um=(thin, thin * rng.uniform(1.3, 3.5)),
        section_um=float(np.exp(rng.uniform(np.log(15), np.log(50)))) * plane_um,
        wander=rng.uniform(0.15, 0.6),
        boutons=rng.uniform(0, 0.9),
        soma_um=rng.uniform(4, 16) * plane_um,
    )
    xyz = tree.xyz
    if rng.random() < 0.5:
        xyz, box = xyz[:, [1, 0, 2]], box[[1, 0, 2]]
    mirrored = rng.random(3) < 0.5
    xyz = np.where(mirrored, box - xyz, xyz)
    seen = xyz[rng.integers(len(xyz))]  # one node of it lies in the view for sure
    return Tree(xyz - seen + rng.uniform(0.15, 0.85, 3) * extent, tree.radius, tree.parent, tree.type)


def _staining(rng: np.random.Generator) -> Staining:
    return Staining(
        uneven=rng.uniform(0, 0.6),
        length_um=float(np.exp(rng.uniform(np.log(1.5), np.log(25)))),
        dim=rng.choice([0.0, 0.1, 0.3]),
        beads=rng.choice([0.0, rng.uniform(0.2, 0.85)]),
        bead_um=rng.uniform(1.5, 5),
    )


def _psf(rng: np.random.Generator, voxel_size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Sigma z, y, x um: half to one and a half pixels in plane, one to three and a half times that along z."""
    plane = voxel_size[2] * rng.uniform(0.5, 1.5)
    return plane * rng.uniform(1.0, 3.5), plane, plane


def _brightness(light: np.ndarray, trees: list[Tree], voxel_size: tuple[float, float, float]) -> float:
    """Median light at the nodes that lie in the view: how bright a neurite is here."""
    at = np.rint(um_to_voxel(np.concatenate([tree.xyz for tree in trees]), voxel_size)).astype(int)
    at = at[np.all((at >= 0) & (at < light.shape), axis=1)]
    return max(float(np.median(light[tuple(at.T)])), 1e-3)


def _conditions(
    light: np.ndarray, brightness: float, *, rng: np.random.Generator
) -> tuple[np.ndarray, Camera]:
    """`light` scaled to a drawn signal to noise ratio, and the camera that pictures it."""
    background = float(np.exp(rng.uniform(np.log(0.3), np.log(40))))
    read_noise = rng.uniform(0, 2)
    noise = np.sqrt(background + read_noise**2)
    # The median neurite stands 2 (seen only because it is a line) to 60 times the noise above the background.
    signal = float(np.exp(rng.uniform(np.log(2), np.log(60)))) * noise
    black = rng.choice([0, 0.8]) * background
    match rng.choice(["plain", "saturated", "cleaned", "dark"], p=[0.4, 0.25, 0.2, 0.15]):
        case "plain":
            white = background + signal * rng.uniform(1, 4)
        case "saturated":
            white = background + max(signal * rng.uniform(0.2, 0.8), 2 * noise)
        case "cleaned":
            black = background + rng.uniform(1.5, 4) * noise
            white = black + signal * rng.uniform(0.3, 2)
        case _:
            white = background + signal * rng.uniform(4, 15)
    camera = Camera(
        background=background,
        uneven=rng.choice([0.0, rng.uniform(0, 0.6)]),
        haze=rng.choice([0.0, rng.uniform(0, 0.4)]),
        read_noise=read_noise,
        black=black,
        white=white,
    )
    return light * np.float32(signal / brightness), camera
