"""Trees to voxels: distances to the surface of the tubes that the edges of a tree span."""

import numpy as np

from pipeline.arrays import spread
from pipeline.swc import Tree, um_to_voxel

# Voxels tested at once: 1 M need about 100 MB.
CANDIDATES = 1_000_000


def tube_distance(
    tree: Tree,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    reach_um: float,
    min_radius_um: float = 0.0,
) -> np.ndarray:
    """Signed distance of each voxel centre to the nearest tube surface, in um.

    float32 (z, y, x): negative inside a tube, `reach_um` where no surface is nearer than that. A tube is the
    union of balls along an edge whose radius goes linearly from node to node, no ball thinner than
    `min_radius_um`; balls are placed at most a third of the smallest voxel edge apart, so the surface is
    exact to 1/50 of that. Nodes without an edge are single balls.
    """
    centre_xyz, radius = balls(tree, step_um=min(voxel_size) / 3)
    centre_zyx = um_to_voxel(centre_xyz, voxel_size)
    radius = np.maximum(radius, min_radius_um)
    margin = (radius[:, None] + reach_um) / voxel_size
    seen = ((centre_zyx > -margin - 1) & (centre_zyx < np.asarray(shape_zyx) + margin)).all(1)
    centre_zyx, radius = centre_zyx[seen], radius[seen]
    distance = np.full(shape_zyx, reach_um, np.float32)
    # Balls of like size share one stencil of candidate voxels; the largest of a group sets its size.
    order = np.argsort(radius, kind="stable")
    group = np.digitize(radius[order], np.geomspace(0.1, 100, 31))
    for members in np.split(order, np.flatnonzero(np.diff(group)) + 1):
        if len(members):
            _paint(distance, centre_zyx[members], radius[members], voxel_size, reach_um)
    return distance


def mask(
    tree: Tree,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    min_radius_um: float = 0.0,
) -> np.ndarray:
    """bool (z, y, x): voxel centres inside the tubes of `tree` (see tube_distance)."""
    return tube_distance(tree, shape_zyx, voxel_size, reach_um=1e-3, min_radius_um=min_radius_um) <= 0


def balls(tree: Tree, step_um: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres (n, 3) um and radii (n,) of balls along all edges, ends included, and at all nodes."""
    child = np.flatnonzero(tree.parent >= 0)
    start, end = tree.xyz[child], tree.xyz[tree.parent[child]]
    count = np.ceil(np.linalg.norm(end - start, axis=1) / step_um).astype(int)
    edge, place = spread(count)
    t = (place / np.maximum(count[edge], 1))[:, None]
    centre = start[edge] * (1 - t) + end[edge] * t
    radius = tree.radius[child][edge] * (1 - t[:, 0]) + tree.radius[tree.parent[child]][edge] * t[:, 0]
    return np.concatenate([centre, tree.xyz]), np.concatenate([radius, tree.radius])


def _paint(distance, centre_zyx, radius, voxel_size, reach_um) -> None:
    half = np.ceil((radius.max() + reach_um) / np.asarray(voxel_size)).astype(int)
    stencil = np.stack(np.meshgrid(*(np.arange(-h, h + 1) for h in half), indexing="ij"), -1).reshape(-1, 3)
    # What lies outside the ball around the stencil's centre (and half a voxel's slack) is never reached.
    slack = radius.max() + reach_um + 0.5 * np.linalg.norm(voxel_size)
    stencil = stencil[((stencil * voxel_size) ** 2).sum(1) <= slack**2]
    batch = max(1, CANDIDATES // len(stencil))
    for first in range(0, len(radius), batch):
        centre = centre_zyx[first : first + batch]
        nearest = np.rint(centre).astype(np.int64)
        z, y, x = (nearest[:, axis, None] + stencil[:, axis] for axis in range(3))
        square = sum(
            np.square((voxel - centre[:, axis, None]) * voxel_size[axis])
            for axis, voxel in enumerate((z, y, x))
        )
        gap = np.sqrt(square) - radius[first : first + batch, None]
        inside = (gap < reach_um) & (z >= 0) & (y >= 0) & (x >= 0)
        inside &= (z < distance.shape[0]) & (y < distance.shape[1]) & (x < distance.shape[2])
        flat = (z[inside] * distance.shape[1] + y[inside]) * distance.shape[2] + x[inside]
        np.minimum.at(distance.reshape(-1), flat, gap[inside].astype(np.float32))
