"""Somata, found in the image: big, bright, compact. The network may leave the inside of big ones blank."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cc3d
import edt
import numpy as np
from scipy import ndimage

from pipeline import intensity, swc
from pipeline.intensity import CELL
from pipeline.swc import Tree, um_to_voxel
from pipeline.tracing import graph
from pipeline.tracing.field import Field, Soma

# The image is looked at in voxels of about this share of the least soma radius.
GRAIN = 0.3
# Where such a block is one voxel its noise is taken off by a blur of so many voxels instead.
BLUR = 0.6
# Thresholds are so many times the noise, each the next by STEP; a soma is brighter than LEAST times the noise.
LEAST, STEP = 8.0, 2**0.5
# Rays from the middle of a soma: so many, of which this share ends (falls to half of its brightness) within WIDE radii
# while its size is sought, and in the end the share ROUND within COMPACT radii; their lengths spread (quartiles) by no
# more than SPREAD of the median. Of a tube, however thick, fewer end so near.
RAYS, ENDED, WIDE, ROUND, COMPACT, SPREAD = 200, 0.8, 1.5, 0.85, 1.3, 0.3
# Before its size is measured the image is looked at that far from the middle, in radii, in blocks of this share of one.
REACH, FINE = 2.2, 0.07
# Share of the rays that must run within the volume.
SEEN = 0.6
# Centres of two somata are this share of the sum of their radii apart, or they are one.
APART = 0.9
# Stems are looked for up to so many radii from a soma's surface.
STEM = 0.6
# Shorter pieces (um) beside a soma are what is left of its rim.
SPECK_UM = 1.0
# An arm that was cut from a soma ends at its rim, its round end drawn back by its radius.
RIM_RADII = 1.5
# Else an arm starts within so many um, and this share of the radius, from the surface.
NEAR_UM, NEAR_SHARE = 5.0, 0.25
# It heads for the middle (cosine), one that starts beyond the rim more so.
HEADED, HEADED_FAR = 0.3, 0.6


def find(field: Field, *, soma_um: float) -> list[Soma]:
    """Balls of radius soma_um or more that are bright to their border, the largest first; none without the light.

    On a coarse grid: distance to what is darker than half of the brightness in the middle, for all brightnesses
    (a granulometry). What is left is measured by rays in the image itself: their ends, where the light falls to half,
    must lie on a sphere; a thick dendrite is none.
    """
    if field.light is None or not soma_um:
        return []
    coarse = _coarse(field, GRAIN * soma_um)
    found: list[Soma] = []
    for place, radius in _balls(coarse.light, coarse.size, 0.8 * soma_um):
        centre = tuple((np.array(place) * coarse.size + coarse.first)[::-1])
        if any(
            np.linalg.norm(np.subtract(centre, other.xyz)) < other.radius + 0.5 * radius for other in found
        ):
            continue
        one = _measured(field, np.array(centre), radius)
        if one is None or one.radius < soma_um:
            continue
        if all(
            np.linalg.norm(np.subtract(one.xyz, other.xyz)) > APART * (one.radius + other.radius)
            for other in found
        ):
            found.append(one)
    return found


def filled(field: Field, labels: np.ndarray, somata: list[Soma]) -> tuple[Field, np.ndarray]:
    """The field with each soma and its stems certain, and labels of what is left without the somata: arms.

    The network sees a ring where a soma is larger than what it knows, and may see nothing of the thick beginnings of
    its arms: what is half as bright as the soma and hangs together with it is neurite too, up to STEM radii from its
    surface. Labels are numbered anew.
    """
    if not somata:
        return field, labels
    probability, arms = field.probability.copy(), labels > 0
    for one in somata:
        box, away = _around(field, one, (1 + STEM) * one.radius)
        bright = _seen(field, box) > one.light / 2
        bright &= away <= (1 + STEM) * one.radius
        bright |= away <= one.radius
        body = cc3d.connected_components(bright, connectivity=6)
        body = body == body.flat[away.argmin()]
        probability[box][body] = 255
        arms[box] |= body
    for one in somata:
        box, away = _around(field, one, one.rim)
        arms[box][away <= one.rim] = False
    field = replace(field, probability=probability, somata=tuple(somata))
    return field, cc3d.connected_components(arms, connectivity=26)


def joined(forest: Tree, somata: list[Soma]) -> Tree:
    """The forest with a node for each soma, and an edge to it from each arm: an end that lies near its surface.

    Of a piece that comes near without such an end, the nearest node. Loops that arms make which touch elsewhere are
    opened there.
    """
    placed = np.zeros(len(forest), bool)  # nodes that are somata: no arms of another
    for one in somata:
        away = np.linalg.norm(forest.xyz - one.xyz, axis=1)
        outside = np.flatnonzero(away > one.radius)
        forest, away, placed = swc.take(forest, outside), away[outside], placed[outside]
        piece = graph.pieces(forest)
        length = np.bincount(piece, weights=swc.edge_lengths(forest))
        rim = one.rim + RIM_RADII * forest.radius + 1.0
        reach = np.maximum((1 + NEAR_SHARE) * one.radius + NEAR_UM, rim)
        arm = (length[piece] > SPECK_UM) & ~placed
        ends = np.flatnonzero((graph.degree(forest) <= 1) & (away < reach) & arm)
        heading = np.array([_heading(forest, int(end), one) for end in ends])
        chosen = heading > np.where(away[ends] < rim[ends], HEADED, HEADED_FAR)
        ends = ends[chosen | _alone(forest.xyz[ends], heading, away[ends] < rim[ends], reach_um=one.radius)]
        # The nearest of a piece may lie in a gap; others belong to the soma where they were cut from it.
        ends = ends[np.lexsort((away[ends], piece[ends]))]
        nearest = np.unique(piece[ends], return_index=True)[1]
        ends = np.union1d(ends[nearest], ends[away[ends] < rim[ends]])
        beside = np.flatnonzero((away < rim) & arm & ~np.isin(piece, piece[ends]))
        beside = beside[np.lexsort((away[beside], piece[beside]))]
        ends = np.append(ends, beside[np.unique(piece[beside], return_index=True)[1]])
        links = np.array([(end, len(forest)) for end in ends], np.int64).reshape(-1, 2)
        edges = np.concatenate([graph.edges(forest), links])
        forest = graph.rooted(
            np.concatenate([forest.xyz, [one.xyz]]),
            np.append(forest.radius, one.radius),
            edges,
            kept=np.arange(len(edges)) >= len(edges) - len(links),
        )
        placed = np.append(placed, True)
    return forest


def restored(tree: Tree, somata: list[Soma]) -> tuple[Tree, np.ndarray]:
    """A finished tree whose soma nodes are where and as large as they were found, of type 1, and no line in them.

    Arms start at the surface, their first node's parent is the soma's. Also the rows of `tree` that are left.
    """
    keep = np.ones(len(tree), bool)
    xyz, radius, parent, kind = (part.copy() for part in (tree.xyz, tree.radius, tree.parent, tree.type))
    for one in somata:
        away = np.linalg.norm(xyz - one.xyz, axis=1)
        centre = int(away.argmin()) if len(away) else -1
        if centre < 0 or away[centre] > 0.5 * one.radius:
            continue
        inside = (away < 0.95 * one.radius) & (np.arange(len(xyz)) != centre)
        # Of a soma that is not the root: where the way from the root first comes to it. It may leave it and come back.
        above = row = parent[centre]
        while row >= 0:
            row, above = parent[row], parent[row] if inside[row] else above
        parent[(parent >= 0) & inside[parent] & ~inside] = centre
        parent[centre] = above
        keep &= ~inside
        xyz[centre], radius[centre], kind[centre] = one.xyz, one.radius, swc.SOMA
    rows = np.flatnonzero(keep)
    return swc.take(Tree(xyz, radius, parent, kind), rows), rows


@dataclass(frozen=True, eq=False)
class _Coarse:
    """Light, in units of the noise of the whole volume, as means of blocks.

    size: z, y, x um of a block. first: centre of the first one.
    Not in units of the noise around: in a large soma that is the noise of its own light.
    """

    light: np.ndarray
    size: tuple[float, ...]
    first: np.ndarray

    def at(self, xyz: np.ndarray) -> np.ndarray:
        place = (np.asarray(xyz)[..., ::-1] - self.first) / self.size
        return ndimage.map_coordinates(
            self.light, np.moveaxis(place, -1, 0), output=np.float32, order=1, mode="nearest"
        )


def _coarse(field: Field, grain_um: float, box: tuple[slice, ...] | None = None) -> _Coarse:
    """The light of a box (all without one) in blocks of about grain_um."""
    level = field.seen.level
    box = box or tuple(slice(0, n) for n in field.shape)
    counts = field.seen.counts[box]
    steps = [max(1, min(round(grain_um / size), n)) for size, n in zip(field.voxel_size, counts.shape)]
    shape = [n // step for n, step in zip(counts.shape, steps)]
    (dz, dy, dx), (nz, ny, nx) = steps, shape
    cut = counts[: nz * dz, : ny * dy, : nx * dx]
    # Along z first, plane by plane: no copy of the volume in floating point.
    planes = [
        cut[z * dz : (z + 1) * dz].sum(0, dtype=np.float32).reshape(ny, dy, nx, dx).sum((1, 3))
        for z in range(nz)
    ]
    mean = np.stack(planes) / np.float32(np.prod(steps))
    centre = [side.start + (step - 1) / 2 + step * np.arange(n) for side, step, n in zip(box, steps, shape)]
    plane = np.minimum(np.rint(centre[0]).astype(int), len(level.low) - 1)
    rows, columns = (_between(place, size) for place, size in zip(centre[1:], level.low.shape[1:]))
    light = (mean - rows @ level.low[plane] @ columns.T) / np.float32(level.summary["noise"])
    ndimage.gaussian_filter(light, [BLUR if step == 1 else 0 for step in steps], output=light)
    size = tuple(size * step for size, step in zip(field.voxel_size, steps))
    return _Coarse(light, size, np.array([place[0] for place in centre]) * field.voxel_size)


def _between(place: np.ndarray, cells: int) -> np.ndarray:
    """float32 (n, cells): what each cell counts at each pixel, linear between the cells' centres."""
    return np.stack(
        [np.interp((place + 0.5) / CELL - 0.5, np.arange(cells), one) for one in np.eye(cells)], axis=1
    ).astype(np.float32)


def _balls(
    light: np.ndarray, voxel_size: tuple[float, ...], least_um: float
) -> Iterator[tuple[tuple, float]]:
    """(z, y, x) block and radius (um) of balls brighter than half of what their middle is; the largest first."""
    # The least of the cube that fits into the least ball: where it is dark there is no ball, as in most of a volume.
    cube = [2 * int(least_um / 3**0.5 / size) + 1 for size in voxel_size]
    inner = ndimage.minimum_filter(light, cube, mode="nearest")
    found = []
    threshold = LEAST / 2
    while (seeds := inner > threshold).any():
        for box in _boxes(seeds, light > threshold):
            found += _of_threshold(light, box, threshold, voxel_size, least_um)
        threshold *= STEP
    for radius, place in sorted(found, key=lambda each: (-each[0], each[1])):
        yield place, radius


def _boxes(seeds: np.ndarray, bright: np.ndarray) -> list[tuple[slice, ...]]:
    """A box around each bright part that holds a seed, a voxel wider than it."""
    labels = cc3d.connected_components(bright, connectivity=6)
    wanted = np.unique(labels[seeds])
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    return [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in boxes[number])
        for number in wanted
        if number
    ]


def _of_threshold(light, box, threshold: float, voxel_size, least_um: float) -> list[tuple[float, tuple]]:
    """(radius, voxel) of the balls in a box of the light at one threshold."""
    inside = light[box]
    # Beyond the border of the volume it may go on: only what is seen to be dark bounds a ball.
    away = edt.edt(inside > threshold, anisotropy=voxel_size, black_border=False)
    reach = [2 * max(1, round(least_um / size)) + 1 for size in voxel_size]
    peak = (away >= least_um) & np.isfinite(away)
    if not peak.any():
        return []
    peak &= away == ndimage.maximum_filter(away, reach)
    found = []
    for place in np.argwhere(peak):
        radius = float(away[tuple(place)])
        middle = float(
            np.median(
                inside[
                    tuple(
                        slice(max(0, int(at - 0.5 * radius / size)), int(at + 0.5 * radius / size) + 1)
                        for at, size in zip(place, voxel_size)
                    )
                ]
            )
        )
        # Half of the middle's brightness, to a step.
        if threshold / STEP <= middle / 2 < threshold * STEP:
            found.append((radius, tuple(int(at) + side.start for at, side in zip(place, box))))
    return found


def _measured(field: Field, xyz: np.ndarray, radius: float) -> Soma | None:
    """Centre and radius by rays to where the light falls to half of that in the middle; None for what is no ball."""
    way = _sphere(RAYS)
    box, _ = _around(field, Soma(tuple(xyz), radius, 0.0), REACH * radius + 4.0)
    coarse = _coarse(field, FINE * radius, box)
    step = min(coarse.size) / 2
    for _ in range(4):
        steps = np.arange(0, WIDE * radius + 2 * step + 2.0, step)
        places = xyz + steps[:, None, None] * way
        value = coarse.at(places)
        middle = np.median(value[steps <= 0.5 * radius])
        if middle < LEAST:
            return None
        below = value < middle / 2
        ended, first = below.any(0), below.argmax(0)
        within = ((places >= 0) & (places <= field.last_xyz())).all(2)
        seen = within[np.where(ended, first, len(steps) - 1), np.arange(RAYS)]
        if seen.mean() < SEEN:
            return None
        length = _exact(value, first, middle / 2) * step
        good = seen & ended
        share = good.sum() / seen.sum()
        if share < ENDED:
            return None
        ends = xyz + length[good, None] * way[good]
        median = float(np.median(length[good]))
        rim = np.abs(length[good] - median) < 0.3 * median  # an arm's ray goes far
        xyz, radius = _fitted(ends[rim] if rim.sum() > RAYS / 4 else ends)
    lower, upper = np.quantile(length[good], (0.25, 0.75))
    compact = (good & (length <= COMPACT * radius)).sum() / seen.sum()
    if upper - lower > SPREAD * median or compact < ROUND:
        return None
    x, y, z = map(float, xyz)
    return Soma((x, y, z), float(radius), float(middle))


def _exact(value: np.ndarray, first: np.ndarray, level: float) -> np.ndarray:
    """(RAYS,) steps to where a ray falls below a level, between two samples."""
    rows = np.arange(value.shape[1])
    after, before = value[first, rows], value[np.maximum(first - 1, 0), rows]
    return first - np.clip((level - after) / np.maximum(before - after, 1e-6), 0, 1)


def _fitted(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere through points (n, 3), by least squares."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solved = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return solved[:3], float(np.sqrt(max(solved[3] + solved[:3] @ solved[:3], 0)))


def _sphere(count: int) -> np.ndarray:
    """(count, 3) unit vectors, evenly over the sphere (a Fibonacci spiral)."""
    row = np.arange(count) + 0.5
    z, turn = 1 - 2 * row / count, np.pi * (1 + 5**0.5) * row
    return np.column_stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z])


def _around(field: Field, one: Soma, reach_um: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box around a soma, and the distance (um) of its voxels from the centre."""
    centre = um_to_voxel(np.array(one.xyz), field.voxel_size)
    half = reach_um / np.array(field.voxel_size)
    low = np.maximum(np.floor(centre - half).astype(int), 0)
    high = np.minimum(np.ceil(centre + half).astype(int) + 1, field.shape)
    axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high))]
    square = sum(((axis - at) * size) ** 2 for axis, at, size in zip(axes, centre, field.voxel_size))
    return tuple(slice(a, b) for a, b in zip(low, high)), np.sqrt(square)


def _seen(field: Field, box: tuple[slice, ...]) -> np.ndarray:
    """The light in a box in units of the noise of the whole volume, blurred by a pixel: float32 (z, y, x)."""
    counts, level = field.seen.counts[box], field.seen.level
    level = replace(level, noise=np.full_like(level.noise, level.summary["noise"]))
    sides = [(side.start, side.stop) for side in box]
    return ndimage.gaussian_filter(intensity.above(counts, level, sides), (0.5, 1, 1))


def _alone(xyz: np.ndarray, heading: np.ndarray, at_rim: np.ndarray, *, reach_um: float) -> np.ndarray:
    """(n,) bool: ends at the rim of a soma that run along it, where no other such end is near.

    An arm may bend as soon as it has left; a neurite that passes is cut by the rim and has two such ends.
    """
    along = at_rim & (np.abs(heading) <= HEADED)
    near = np.linalg.norm(xyz[:, None] - xyz, axis=-1) < reach_um
    return along & ((near & along).sum(axis=1) == 1)


def _heading(forest: Tree, end: int, one: Soma) -> float:
    """Cosine between the way on from an end, away from the nodes behind it, and the way to the middle of a soma."""
    near = np.linalg.norm(forest.xyz - forest.xyz[end], axis=1) < 4.0
    arrow, towards = forest.xyz[end] - forest.xyz[near].mean(0), one.xyz - forest.xyz[end]
    length = np.linalg.norm(arrow) * np.linalg.norm(towards)
    return float(arrow @ towards / length) if length > 1e-9 else 1.0
