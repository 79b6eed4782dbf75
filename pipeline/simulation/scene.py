"""Training scenes: neurons under every condition a microscope may meet, drawn at random."""

import numpy as np

from pipeline.simulation.grow import grow
from pipeline.simulation.render import Camera, Staining, render
from pipeline.swc import Tree


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
    Radii follow the voxel size within 0.2 to 1.5 um, so that neurites are 1.5 to 8 voxels wide. Signal
    from hardly above the noise to saturated; dark, hazy and uneven backgrounds, or one cut to zero.
    """
    extent = np.asarray(shape_zyx)[::-1] * voxel_size[::-1]
    trees = [_neuron(rng, extent, plane_um=voxel_size[2]) for _ in range(int(rng.integers(1, 6)))]
    photons, camera, dtype = _conditions(rng)
    image = render(
        trees,
        shape_zyx=shape_zyx,
        voxel_size=voxel_size,
        rng=rng,
        psf_um=_psf(rng, voxel_size),
        photons=photons * np.exp(rng.normal(0, 0.4, len(trees))),
        staining=[_staining(rng) for _ in trees],
        camera=camera,
        blobs=int(rng.integers(1, 7)) if rng.random() < 0.4 else 0,
        blob_um=(3 * voxel_size[2], 20 * voxel_size[2]),
        dtype=dtype,
    )
    return image, trees


def _neuron(rng: np.random.Generator, extent: np.ndarray, *, plane_um: float) -> Tree:
    """A neuron in a box larger than the view and laid at random over it, so that any part of it may show."""
    style = rng.choice(["projection", "multipolar", "fibre"], p=[0.4, 0.3, 0.3])
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
    for axis in range(3):
        if rng.random() < 0.5:
            xyz = np.where(np.arange(3) == axis, box - xyz, xyz)
    seen = xyz[rng.integers(len(xyz))]  # one node of it lies in the view for sure
    return Tree(xyz - seen + rng.uniform(0.15, 0.85, 3) * extent, tree.radius, tree.parent, tree.type)


def _staining(rng: np.random.Generator) -> Staining:
    return Staining(
        uneven=rng.uniform(0, 0.6),
        length_um=rng.uniform(4, 25),
        dim=rng.choice([0.0, 0.1, 0.3]),
        beads=rng.choice([0.0, rng.uniform(0.2, 0.85)]),
        bead_um=rng.uniform(1.5, 5),
    )


def _psf(rng: np.random.Generator, voxel_size: tuple[float, float, float]) -> tuple[float, float, float]:
    """Sigma z, y, x um: half to one and a half pixels in plane, one to three and a half times that along z."""
    plane = voxel_size[2] * rng.uniform(0.5, 1.5)
    return plane * rng.uniform(1.0, 3.5), plane, plane


def _conditions(rng: np.random.Generator) -> tuple[float, Camera, type[np.unsignedinteger]]:
    """Photons of a full voxel, the camera and the type of the numbers."""
    background = float(np.exp(rng.uniform(np.log(0.3), np.log(40))))
    # Signal in units of the background's noise: 4 (only a line makes it visible) to 100.
    photons = float(np.exp(rng.uniform(np.log(4), np.log(100)))) * np.sqrt(background + 1)
    kind = rng.choice(["plain", "saturated", "cleaned", "dark"], p=[0.4, 0.25, 0.2, 0.15])
    white = (
        background
        + photons
        * {
            "plain": rng.uniform(0.6, 2.0),
            "saturated": rng.uniform(0.1, 0.4),
            "cleaned": rng.uniform(0.2, 1.2),
            "dark": rng.uniform(2, 10),
        }[kind]
    )
    black = (
        background + 3 * np.sqrt(background + 1) if kind == "cleaned" else rng.choice([0, 0.8]) * background
    )
    camera = Camera(
        background=background,
        uneven=rng.uniform(0, 0.6),
        haze=rng.choice([0.0, rng.uniform(0, 0.5)]),
        read_noise=rng.uniform(0, 2),
        black=black,
        white=max(white, black + 4),
    )
    return photons, camera, (np.uint8, np.uint16)[int(rng.random() < 0.4)]
