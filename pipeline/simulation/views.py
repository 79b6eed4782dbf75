"""Views that ask a tracer one question each: two neurons that touch, one neuron with a large soma."""

import numpy as np
from scipy.spatial import cKDTree

from pipeline.simulation.grow import Style, grow
from pipeline.simulation.render import Camera, Staining, render
from pipeline.swc import SOMA, Tree

# Two neurons: voxels (z, y, x) of so many um.
PAIR_ZYX, PAIR_UM = (48, 256, 256), (0.8, 0.33, 0.33)
STYLES: tuple[Style, ...] = ("projection", "multipolar", "fibre")


def two_neurons(rng: np.random.Generator, *, shown: int = 2) -> tuple[np.ndarray, list[Tree]]:
    """uint8 PAIR_ZYX: an image of two neurons that cross and touch at one place or more, and both trees (um).

    shown: 1 leaves the second one out, of the image and of the trees.

    At the place that is made to touch, the lines of both are nearer than the sum of their radii: no image tells them
    apart there. Trees are drawn in boxes as large as the view and shifted, so some of them lies outside.
    """
    extent = tuple((n - 1) * size for n, size in zip(PAIR_ZYX[::-1], PAIR_UM[::-1]))
    trees = [_neuron(rng, extent) for _ in range(2)]
    first, second = trees
    if rng.random() < 0.7:  # most pairs cross rather than run along each other
        second = Tree(second.xyz[:, [1, 0, 2]], second.radius, second.parent, second.type)
    second = _touching(rng, first, second, np.array(extent))
    photons = 100 * np.exp(rng.normal(0, 0.3, 2))
    staining = [Staining(uneven=rng.uniform(0.1, 0.3), beads=rng.uniform(0.1, 0.4)) for _ in range(2)]
    trees = [first, second][:shown]
    image = render(
        trees,
        shape_zyx=PAIR_ZYX,
        voxel_size=PAIR_UM,
        rng=rng,
        psf_um=(0.75, 0.25, 0.25),
        photons=photons[:shown],
        staining=staining[:shown],
        camera=Camera(background=1.0, uneven=0.3, haze=0.03, read_noise=1.0, white=70),
    )
    return image, trees


def soma_view(
    rng: np.random.Generator, *, soma_um: float, plane_um: float, reach_um: float = 15.0
) -> tuple[np.ndarray, tuple[float, float, float], Tree]:
    """An image (uint8), its voxel size (z, y, x um) and the multipolar neuron in it, whose soma lies wholly in view.

    soma_um: radius of the soma. plane_um: pixels; planes are one to three times as far apart. reach_um: of the
    arms beyond the soma in plane, at least.
    """
    voxel_size = (plane_um * float(rng.choice([1.0, 2.0, 3.0])), plane_um, plane_um)
    side = max(2 * (soma_um + reach_um), soma_um / 0.3)
    extent = np.array([side, side, max(soma_um / 0.29, 20.0)])
    thin = float(np.clip(plane_um * rng.uniform(0.8, 1.5), 0.2, 0.6))
    tree = grow(
        rng,
        extent_um=tuple(extent),
        style="multipolar",
        tips=int(rng.integers(5, 12)),
        radius_um=(thin, float(np.clip(soma_um * rng.uniform(0.1, 0.25), 2 * thin, 2.5))),
        section_um=15.0,
        soma_um=soma_um,
    )
    z, y, x = (int(np.ceil(um / size)) + 1 for um, size in zip(extent[::-1], voxel_size))
    blur = max(0.2, 0.7 * plane_um)
    image = render(
        tree,
        shape_zyx=(z, y, x),
        voxel_size=voxel_size,
        rng=rng,
        psf_um=(max(blur, 0.7 * voxel_size[0]), blur, blur),
        photons=rng.uniform(30, 150),
        staining=Staining(uneven=rng.uniform(0.1, 0.3), beads=rng.uniform(0.0, 0.4)),
        camera=Camera(
            background=1.0, uneven=0.3, haze=0.02, read_noise=1.0, white=float(rng.uniform(60, 200))
        ),
    )
    return image, voxel_size, tree


def _neuron(rng: np.random.Generator, extent: tuple[float, ...]) -> Tree:
    style = STYLES[rng.choice(3, p=[0.4, 0.4, 0.2])]
    x, y, z = extent
    return grow(
        rng,
        extent_um=(x, y, z),
        style=style,
        tips=int(rng.integers(2, 4)) if style == "fibre" else int(rng.integers(8, 16)),
        radius_um=(rng.uniform(0.25, 0.35), rng.uniform(0.6, 0.9)),
        section_um=rng.uniform(8, 14),
        soma_um=rng.uniform(3.8, 6),
    )


def _touching(rng: np.random.Generator, still: Tree, moved: Tree, extent: np.ndarray) -> Tree:
    """`moved` shifted so that one of its nodes, no soma, lies beside one of `still`, about the middle of the view."""
    middle = np.all((still.xyz > 0.25 * extent) & (still.xyz < 0.75 * extent), axis=1) & (still.type != SOMA)
    if not middle.any():  # a neuron at the side of its box: the node nearest to the middle of the view
        away = np.linalg.norm((still.xyz - extent / 2) / extent, axis=1)
        middle[1 + away[1:].argmin()] = True
    here = rng.choice(np.flatnonzero(middle))
    there = np.all((moved.xyz > 0.25 * extent) & (moved.xyz < 0.75 * extent), axis=1) & (moved.type != SOMA)
    there = rng.choice(np.flatnonzero(there) if there.any() else np.arange(1, len(moved)))
    aside = rng.normal(size=3)
    aside *= rng.uniform(0, 0.9) * (still.radius[here] + moved.radius[there]) / np.linalg.norm(aside)
    xyz = moved.xyz + (still.xyz[here] + aside - moved.xyz[there])
    return Tree(xyz, moved.radius, moved.parent, moved.type)


def touching_places(one: Tree, other: Tree) -> np.ndarray:
    """(k, 3) um: nodes of `one` nearer to a node of `other` than the sum of their radii."""
    away, nearest = cKDTree(other.xyz).query(one.xyz)
    return one.xyz[away < one.radius + other.radius[nearest]]
