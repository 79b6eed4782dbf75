"""Dense tissue whose cells are known: neurites that fill space, as an electron microscope shows them.

Neurites grow as trees, many more than in light microscopy; each voxel belongs to the neurite whose nearest ball
reaches it first (a power diagram: touching tubes press each other flat), so cells touch everywhere.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

from pipeline import rasterise, swc
from pipeline.simulation.electron import STANDARD, Microscope, picture, stain
from pipeline.simulation.grow import grow
from pipeline.simulation.render import smooth_field
from pipeline.swc import Tree, um_to_voxel

# Neurites are grown this many times larger, where grow() bends and branches as light microscopes see it.
GROWN = 14.0
# Cells grow around the volume too: its middle would else be fuller than its corners.
MARGIN = 0.2
# Tubes that would fill so much of the volume if they did not overlap.
FILLED = 1.2
COARSE = 3
# Sections thicker than this many pixels are stacked from thinner ones, as oblique membranes blur in them.
THINNEST = 1.5


@dataclass(frozen=True, eq=False)
class Tissue:
    """image: uint8 (z, y, x). labels: uint32 (z, y, x), cells 1..n from the largest, each in one piece, no 0.

    trees: the centre lines of the cells, by label, in um; each in one piece within its cell.
    """

    image: np.ndarray
    labels: np.ndarray
    trees: dict[int, Tree]


def tissue(
    rng: np.random.Generator,
    *,
    shape_zyx: tuple[int, int, int] = (64, 256, 256),
    voxel_size: tuple[float, float, float] = (0.008, 0.008, 0.008),
    radius_um: float = 0.065,
    somata: int = 1,
    microscope: Microscope = STANDARD,
    min_length_um: float = 1.0,
) -> Tissue:
    """A block of tissue. voxel_size: z, y, x um; sections thicker than pixels are averaged over their thickness.

    radius_um: median of the neurites. somata: cell bodies at the rim. min_length_um: trees shorter than that are left
    out. The labels of a lost or shifted section are those of the tissue, not of its picture. Depends on `rng` and
    the arguments alone.
    """
    fine, thick = _thin_sections(shape_zyx, voxel_size)
    size = (voxel_size[0] / thick, *voxel_size[1:])
    labels, grown, shift = cells(rng, shape_zyx=fine, voxel_size=size, radius_um=radius_um, somata=somata)
    brightness = stain(rng, labels, grown, voxel_size=size)
    image = picture(rng, brightness, voxel_size=size, sections=thick, microscope=microscope)
    # A section shows all of its thickness; its cells are those in its middle.
    labels = labels[thick // 2 :: thick]
    labels, old = _in_one_piece(labels)
    trees = {}
    for label, number in enumerate(old, 1):
        tree = _within(grown[number], labels, label, voxel_size, shift, size, thick)
        if swc.cable_length(tree) >= min_length_um:
            trees[label] = tree
    return Tissue(image, labels, trees)


def cells(
    rng: np.random.Generator,
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    radius_um: float,
    somata: int,
) -> tuple[np.ndarray, list[Tree], np.ndarray]:
    """Labels uint32 (z, y, x) without 0, the tree of each (labels[i] = 1 + row), and how the tissue is warped.

    Warp: float32 (3, z, y, x) um, z, y, x: a voxel shows what was grown that far from it.
    """
    extent = np.array(shape_zyx)[::-1] * voxel_size[::-1]
    trees = _neurites(rng, extent, radius_um=radius_um, somata=somata)
    parts = [rasterise.balls(tree, step_um=0.4 * radius_um) for tree in trees]
    centre = np.concatenate([points for points, _ in parts])
    radius = np.concatenate([radii for _, radii in parts])
    owner = np.repeat(np.arange(len(parts)), [len(radii) for _, radii in parts])
    warp = np.stack([smooth_field(shape_zyx, rng=rng, cells=5) for _ in range(3)]) * np.float32(
        0.3 * radius_um
    )
    labels = _power_diagram(centre[:, ::-1], radius, owner, warp, voxel_size) + np.uint32(1)
    labels, old = _in_one_piece(labels)
    return labels, [trees[number] for number in old], warp


def _power_diagram(
    centre: np.ndarray, radius: np.ndarray, owner: np.ndarray, warp: np.ndarray, voxel_size
) -> np.ndarray:
    """uint32 (z, y, x): owner of the ball with the least d^2 - r^2 from each (warped) voxel.

    centre: (n, 3) z, y, x um. Every COARSE voxels all balls are searched; a voxel in between asks the eight nearest
    there: 3 s instead of 30 for 4 million voxels.
    """
    shape = warp.shape[1:]
    size = np.asarray(voxel_size, np.float32)
    grid = [np.arange(0, length + COARSE - 1, COARSE) for length in shape]
    corner = np.stack(np.meshgrid(*grid, indexing="ij"), -1)
    held = tuple(np.minimum(corner[..., axis], length - 1) for axis, length in enumerate(shape))
    place = corner * size + np.moveaxis(warp[(slice(None), *held)], 0, -1)
    # In a fourth dimension, sqrt(R^2 - r^2) away from the tissue, the ball of the least d^2 - r^2 is the nearest.
    lift = np.sqrt(radius.max() ** 2 - radius**2)
    query = np.concatenate([place, np.zeros((*place.shape[:-1], 1))], -1)
    ball = cKDTree(np.column_stack([centre, lift])).query(query.reshape(-1, 4))[1].reshape(place.shape[:-1])
    centre, square = centre.astype(np.float32), (radius**2).astype(np.float32)
    labels = np.empty(shape, np.uint32)
    plane = np.stack(np.meshgrid(*map(np.arange, shape[1:]), indexing="ij"))
    y, x = (part // COARSE for part in plane)
    for z, section in enumerate(labels):
        place = np.stack([np.full(section.shape, z, np.float32), *plane], -1) * size
        place += np.moveaxis(warp[:, z], 0, -1)
        least = np.full(section.shape, np.inf, np.float32)
        for dz, dy, dx in np.ndindex(2, 2, 2):
            near = ball[
                min(z // COARSE + dz, ball.shape[0] - 1),
                np.minimum(y + dy, ball.shape[1] - 1),
                np.minimum(x + dx, ball.shape[2] - 1),
            ]
            power = ((place - centre[near]) ** 2).sum(-1) - square[near]
            section[power < least] = owner[near][power < least]
            np.minimum(least, power, out=least)
    return labels


def _neurites(rng: np.random.Generator, extent: np.ndarray, *, radius_um: float, somata: int) -> list[Tree]:
    """Trees in um whose tubes, together, fill the box from 0 to extent (x, y, z)."""
    margin = MARGIN * extent.min() + 2 * radius_um
    outer = (extent + 2 * margin) * GROWN
    trees, filled = [], 0.0
    for number in range(10_000):
        body = number < somata
        caliber = radius_um * float(np.exp(0.5 * rng.standard_normal())) * GROWN
        tree = grow(
            rng,
            extent_um=tuple(outer),
            style="multipolar" if body else "fibre",
            tips=4 if body else int(rng.integers(1, 5)),
            radius_um=(0.7 * caliber, 1.4 * caliber),
            section_um=10.0,
            wander=0.3,
            soma_um=5 * radius_um * GROWN,
        )
        xyz = tree.xyz / GROWN - margin
        if body:  # a soma in the middle would leave little else
            xyz[:, :2] += rng.choice([-0.4, 0.4], 2) * extent[:2]
        tree = Tree(xyz, tree.radius / GROWN, tree.parent, tree.type)
        inside = ((tree.xyz > 0) & (tree.xyz < extent)).all(1)
        trees.append(tree)
        filled += float((np.pi * tree.radius**2 * swc.edge_lengths(tree))[inside].sum())
        if number >= somata and filled > FILLED * extent.prod():
            break
    return trees


def _in_one_piece(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1..n from the largest, each its greatest 6-connected part, the rest being given to neighbours.

    And the old label - 1 of each.
    """
    parts = cc3d.connected_components(labels, connectivity=6, out_dtype=np.uint32)
    count = np.bincount(parts.ravel())
    count[0] = 0
    owner = np.zeros(len(count), np.int64)
    owner[parts.ravel()] = labels.ravel()
    order = np.lexsort((np.arange(len(count)), -count))[: np.count_nonzero(count)]
    largest = order[np.sort(np.unique(owner[order], return_index=True)[1])]
    number = np.zeros(len(count), np.uint32)
    number[largest] = np.arange(1, len(largest) + 1)
    kept = number[parts]
    if (kept == 0).any():
        # Flooding from the cells keeps each in one piece.
        given = watershed(np.zeros(kept.shape, np.uint8), kept.astype(np.int32))
        kept = given.astype(np.uint32)
    # What was given away may change who is larger.
    size = np.bincount(kept.ravel(), minlength=len(largest) + 1)[1:]
    falling = np.argsort(-size, kind="stable")
    rank = np.zeros(len(largest) + 1, np.uint32)
    rank[falling + 1] = np.arange(1, len(largest) + 1)
    return rank[kept], owner[largest[falling]] - 1


def _within(tree, labels, label, voxel_size, warp, fine_size, thick) -> Tree:
    """The longest part of a grown tree that lies within its cell, where the warped tissue shows it."""
    # A node at c is seen where voxel + warp = c; the warp is smooth, so that of c itself will do.
    place = np.rint(um_to_voxel(tree.xyz, fine_size)).astype(np.int64)
    at = tuple(np.clip(place, 0, np.array(warp.shape[1:]) - 1).T)
    xyz = tree.xyz - warp[(slice(None), *at)].T[:, ::-1]
    # Section i of the volume is the middle one of those it was averaged from.
    xyz[:, 2] -= (thick // 2) * fine_size[0]
    voxel = np.rint(um_to_voxel(xyz, voxel_size)).astype(np.int64)
    inside = ((voxel >= 0) & (voxel < labels.shape)).all(1)
    inside[inside] = labels[tuple(voxel[inside].T)] == label
    seen = swc.take(Tree(xyz, tree.radius, tree.parent, tree.type), np.flatnonzero(inside))
    if not len(seen):
        return seen
    top = np.where(seen.parent < 0, np.arange(len(seen)), seen.parent)
    while (top != top[top]).any():
        top = top[top]
    length = np.bincount(top, swc.edge_lengths(seen), minlength=len(seen))
    return swc.sorted_tree(swc.take(seen, np.flatnonzero(top == length.argmax())))


def _thin_sections(
    shape_zyx: tuple[int, int, int], voxel_size: tuple[float, float, float]
) -> tuple[tuple[int, int, int], int]:
    """Shape of the volume in sections about as thick as a pixel is wide, and how many make one of ours."""
    ratio = voxel_size[0] / min(voxel_size[1:])
    thick = round(ratio) if ratio > THINNEST else 1
    return (shape_zyx[0] * thick, *shape_zyx[1:]), thick
