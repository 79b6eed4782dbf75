"""The demos: neurons of three kinds in turn, each next one harder to see and to follow, and blocks of tissue."""

from dataclasses import dataclass

import numpy as np

from pipeline.simulation.grow import Style, grow
from pipeline.simulation.render import Camera, Staining, render
from pipeline.simulation.tissue import Tissue, tissue
from pipeline.swc import Tree

SHAPE_ZYX = (48, 256, 256)
VOXEL_SIZE = (0.8, 0.33, 0.33)  # z, y, x um
# Blocks of tissue in turn: shape and voxel size (z, y, x um). A network for them does 30 thousand voxels a second.
BLOCKS = (((48, 256, 256), (0.008, 0.008, 0.008)), ((24, 256, 256), (0.032, 0.008, 0.008)))
STYLES: tuple[Style, ...] = ("projection", "multipolar", "projection")


@dataclass(frozen=True, eq=False)
class Demo:
    """A simulated image (uint8, z, y, x), its voxel size (z, y, x um) and the exact tree in it (um)."""

    image: np.ndarray
    voxel_size: tuple[float, float, float]
    tree: Tree


def demo_neuron(index: int, neurons: int, *, seed: int) -> Demo:
    """Number `index` (from 0) of `neurons`, from easy to hard; `seed` and `index` draw it.

    Harder means: fewer photons, more background and its haze, unevener and more beaded staining with dim stretches,
    fibres of other neurons and bright bodies beside it, less clipping to hide noise in.
    """
    rng = np.random.default_rng([seed, index])
    hard = index / max(neurons - 1, 1)
    z, y, x = ((n - 1) * size for n, size in zip(SHAPE_ZYX, VOXEL_SIZE, strict=True))
    style = STYLES[index % len(STYLES)]
    tree = grow(
        rng,
        extent_um=(x, y, z),
        style=style,
        tips=18 if style == "multipolar" else round(16 - 4 * hard),
        radius_um=(0.3 - 0.05 * hard, 0.9 - 0.3 * hard),
        section_um=8.0,
        wander=0.3 + 0.1 * hard,
        boutons=0.6,
        soma_um=4.0,
    )
    others = [
        grow(rng, extent_um=(x, y, z), style="fibre", tips=2, radius_um=(0.2, 0.3))
        for _ in range(round(2 * hard))
    ]
    own = Staining(uneven=0.15 + 0.2 * hard, dim=0.1 * hard, beads=0.15 + 0.45 * hard)
    image = render(
        [tree, *others],
        shape_zyx=SHAPE_ZYX,
        voxel_size=VOXEL_SIZE,
        rng=rng,
        psf_um=(0.75, 0.25, 0.25),
        photons=[150 - 40 * hard, *[30.0] * len(others)],
        staining=[own, *[Staining(uneven=0.4, beads=0.5)] * len(others)],
        camera=Camera(
            background=0.5 + 1.2 * hard,
            uneven=0.3 + 0.3 * hard,
            haze=0.1 * hard,
            read_noise=0.7 + 0.5 * hard,
            white=60 - 5 * hard,
        ),
        blobs=round(2 * hard),
        blob_um=(0.6, 2.5),
    )
    return Demo(image, VOXEL_SIZE, tree)


def demo_tissue(index: int, *, seed: int) -> tuple[Tissue, tuple[float, float, float]]:
    """Block number `index` (from 0) with its voxel size (z, y, x um): isotropic and cut into sections in turn.

    One section is lost and one shifted, in the first of each kind and in every other.
    """
    shape, voxel_size = BLOCKS[index % len(BLOCKS)]
    rng = np.random.default_rng([seed, index, 1])
    made = tissue(rng, shape_zyx=shape, voxel_size=voxel_size, somata=0, min_length_um=0.5)
    return made, voxel_size
