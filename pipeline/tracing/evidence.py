"""What the image itself says for a branch, whatever the network says: is it brighter than what lies beside it?"""

import warnings

import numpy as np
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import splu

from pipeline import swc
from pipeline.swc import Tree, um_to_voxel
from pipeline.tracing import graph
from pipeline.tracing.field import Field
from pipeline.tracing.radius import across

# Where the image beside a line is looked at, in radii and pixels from it, and in so many directions.
BESIDE, DIRECTIONS = ((2.0, 3.0), (4.0, 6.0)), 12
# A neurite so many times longer than thick needs `signal` * (1 + SHORT / root of that): of the many short lines that
# noise draws, a network finds the brightest.
SHORT = 2.0
# Stretch (um) of a piece that is judged as one before pieces are joined.
STRETCH_UM = 4.0
# Brightness beyond so many times what is asked for says no more: a bright trunk lends its false branches no light.
ENOUGH = 2.0
# So it is of a whole section, which may be dimmer in the mean: one end of it lends the other little, and nothing where
# it shows less than this share of that.
ENOUGH_WHOLE, DIM = 1.25, 0.5
# The axial blur of a bright spot: steeper than this and no longer (um), its end less than DIMMED as bright as the
# spot, its far half less than FADED as bright as its near one.
STEEP, BLUR_UM, DIMMED, FADED = 2.0, 8.0, 0.5, 0.7


def contrast(tree: Tree, field: Field) -> np.ndarray:
    """(n,) how much brighter the image is at each node than beside it, in units of the noise.

    Bright is the mean over the middle of the cross-section. Beside is what lies around it across its direction: of
    each two opposite places the mean, the median of these pairs, so that the flank of something brighter has no
    contrast; within somata nothing counts; of two distances the darker, for lines thicker than
    their radius says. The noise is that of the background (1 by definition of the light) or the spread of what lies
    beside the line where that is more: haze has a grain of its own.
    """
    if field.light is None or not len(tree):
        return np.full(len(tree), np.inf)
    angle = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    way = np.einsum("rd,ndj->nrj", np.stack([np.cos(angle), np.sin(angle)], 1), across(tree))
    # The axial blur reaches further: a pixel is the size of the voxel in that direction.
    pixel = np.abs(way) @ np.array(field.voxel_size[::-1])
    sides = []
    for radii, pixels in BESIDE:
        away = radii * tree.radius[:, None] + pixels * pixel
        sides.append(_seen_inside(field, tree.xyz[:, None] + way * away[..., None]))
    half = DIRECTIONS // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing beside a node lies in the volume: 0 then
        pairs = [np.nanmedian(np.nanmean([side[:, :half], side[:, half:]], axis=0), axis=1) for side in sides]
        beside = np.nan_to_num(np.fmin(*pairs))
        spread = np.nan_to_num(np.subtract(*np.nanquantile(sides[0], (0.5, 0.16), axis=1)))
    ring = tree.xyz[:, None] + way[:, ::2] * (tree.radius / 2)[:, None, None]
    bright = (_seen(field, tree.xyz) + _seen(field, ring).sum(1)) / (1 + half)
    return (bright - beside) / np.maximum(spread, 1)


def asked(length_um: np.ndarray, radius_um: np.ndarray, signal: float) -> np.ndarray:
    """Mean contrast (sigma) that a branch of this length and radius must have."""
    thicknesses = np.maximum(length_um / (2 * np.maximum(radius_um, 1e-6)), 3)
    return signal * (1 + SHORT / np.sqrt(thicknesses))


def wanted(field: Field, signal: float) -> float:
    """Sigma that branches are asked for in this image: `signal`; 0 where the background was cut away.

    There the noise is that of bright voxels, which is more than that of dim ones, and what had no signal is gone.
    """
    return 0.0 if field.light is not None and field.light.level.cleaned else signal


def lit(forest: Tree, field: Field, *, signal: float) -> np.ndarray:
    """Rows of a forest where the image shows something: contrast, averaged along it over STRETCH_UM, is enough.

    Or it is enough, for one so long, in the mean over an unbranched section. What is left may be more pieces than
    before; a single node that was cut off on both sides goes too.
    """
    if field.light is None or not signal or not len(forest):
        return np.arange(len(forest))
    least = asked(np.full(len(forest), 2 * STRETCH_UM), forest.radius, signal)
    value = np.clip(contrast(forest, field) / least, -ENOUGH, ENOUGH)
    value = _averaged(forest, value, STRETCH_UM)
    keep = value >= 1
    for rows in _sections(forest):
        length = np.linalg.norm(np.diff(forest.xyz[rows], axis=0), axis=1).sum()
        share = value[rows] * least[rows] / asked(length, forest.radius[rows], signal)
        if np.minimum(share, ENOUGH_WHOLE).mean() >= 1:
            keep[rows] |= share >= DIM
    alone = graph.degree(swc.take(forest, np.flatnonzero(keep))) == 0
    was_alone = graph.degree(forest)[keep] == 0
    return np.flatnonzero(keep)[~alone | was_alone]


def _sections(forest: Tree) -> list[np.ndarray]:
    """Those of `graph.sections`, but a root within a line does not part it: roots of a forest are arbitrary."""
    from_root: dict[int, list[np.ndarray]] = {}
    found = []
    for rows in graph.sections(forest):
        if forest.parent[rows[0]] < 0:
            from_root.setdefault(int(rows[0]), []).append(rows)
        else:
            found.append(rows)
    for parts in from_root.values():
        found += [np.concatenate([parts[0][::-1], parts[1][1:]])] if len(parts) == 2 else parts
    return found


def shows(tree: Tree, path: np.ndarray, value: np.ndarray, *, signal: float) -> bool:
    """Whether a path (rows of a tree, in order) is bright enough in the mean. value: (n,) contrast of the tree."""
    length = np.linalg.norm(np.diff(tree.xyz[path], axis=0), axis=1).sum()
    return bool(value[path].mean() >= asked(length, np.median(tree.radius[path]), signal))


def unblurred(tree: Tree, field: Field) -> np.ndarray:
    """Rows of a tree without the branches that are the axial blur of the spot where they start.

    Light spreads several times further along the axis of a microscope than across it: above and below a bright spot
    a column fades that looks like a neurite. Such a branch ends there (not at the border of the volume), is steep,
    short, and fades. The root is never taken off.
    """
    if field.light is None:
        return np.arange(len(tree))
    keep = np.ones(len(tree), bool)
    degree = graph.degree(tree)
    height_um = field.last_xyz()[2]
    for rows in graph.sections(tree):
        start, end = tree.xyz[rows[0]], tree.xyz[rows[-1]]
        if degree[rows[0]] < 3 or degree[rows[-1]] > 1:
            continue
        aside_x, aside_y, deep = np.abs(end - start)
        inside = field.voxel_size[0] < end[2] < height_um - field.voxel_size[0]
        if (
            inside
            and STEEP * np.hypot(aside_x, aside_y) <= deep <= BLUR_UM
            and _fades(_seen(field, tree.xyz[rows]))
        ):
            keep[rows[1:]] = False
    return np.flatnonzero(keep)


def _fades(light: np.ndarray) -> bool:
    """Whether the light along a branch falls from the spot where it starts (first) to its end."""
    near, far = np.array_split(light[1:], 2) if len(light) > 2 else (light[:1], light[1:])
    return bool(light[-1] < DIMMED * light[0] and far.mean() < FADED * near.mean())


def _seen(field: Field, xyz: np.ndarray) -> np.ndarray:
    return field.seen.at(um_to_voxel(xyz, field.voxel_size))


def _seen_inside(field: Field, xyz: np.ndarray) -> np.ndarray:
    """The light at points, NaN outside the volume and within somata."""
    place = um_to_voxel(xyz, field.voxel_size)
    inside = ((place >= -0.5) & (place <= np.array(field.shape) - 0.5)).all(-1)
    for one in field.somata:
        inside &= np.linalg.norm(xyz - one.xyz, axis=-1) > one.rim
    return np.where(inside, field.seen.at(place), np.nan)


def _averaged(tree: Tree, value: np.ndarray, length_um: float) -> np.ndarray:
    """(n,) averaged along the tree with an exponential kernel of that length, each node for the cable it stands for."""
    child, parent = graph.edges(tree).T
    step = np.maximum(swc.edge_lengths(tree)[child], 1e-3)
    nodes = len(tree)
    weight = np.bincount(np.concatenate([child, parent]), np.tile(step / 2, 2), minlength=nodes) + 1e-3
    flow = length_um**2 / step
    rows, columns = np.concatenate([child, parent]), np.concatenate([parent, child])
    pull = coo_array((np.tile(flow, 2), (rows, columns)), shape=(nodes, nodes)).tocsr()
    total = np.asarray(pull.sum(1)).ravel() + weight
    system = (eye_array(nodes).multiply(total[:, None]) - pull).tocsc()
    return splu(system).solve(weight * value)
