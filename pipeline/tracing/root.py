"""Which trees of the forest are neurons, and where they start."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree, voxel_to_um
from pipeline.tracing import graph, skeleton
from pipeline.tracing.field import VoxelSize, Zyx

# Over this distance (um) the thickness of a neurite's end is measured.
NEAR_UM = 5.0


@dataclass(frozen=True, eq=False)
class Hung:
    """A tree taken from a forest and hung from its root. rows: (n,) of the forest, its length for a node drawn on."""

    tree: Tree
    rows: np.ndarray


def longest(forest: Tree, shape_zyx: Zyx, voxel_size: VoxelSize, *, soma_um: float) -> Hung:
    """The tree with the most cable, hung by itself (see `_start`)."""
    piece = graph.pieces(forest)
    mine = piece == np.bincount(piece, weights=swc.edge_lengths(forest)).argmax()
    return _hang(forest, mine, _start(forest, mine, shape_zyx, voxel_size, soma_um))


def every(
    forest: Tree, shape_zyx: Zyx, voxel_size: VoxelSize, *, soma_um: float, min_length_um: float
) -> list[Hung]:
    """All trees with at least so much cable, each hung by itself: those with a soma first, then by falling length."""
    piece = graph.pieces(forest)
    length = np.bincount(piece, weights=swc.edge_lengths(forest))
    with_soma = np.bincount(piece, weights=forest.radius >= soma_um) > 0
    wanted = [number for number in np.lexsort((-length, ~with_soma)) if length[number] >= min_length_um]
    parts = [piece == number for number in wanted]
    starts = [_start(forest, mine, shape_zyx, voxel_size, soma_um) for mine in parts]
    return [_hang(forest, mine, start) for mine, start in zip(parts, starts)]


def at_point(
    forest: Tree, voxel_size: VoxelSize, root_zyx: tuple[float, float, float], *, root_um: float
) -> Hung:
    """Of the trees that come within `root_um` of being nearest to a point (voxels), the longest.

    It hangs from its node nearest to the point. When that is a tip within `root_um`, the line goes on to the point.
    """
    piece = graph.pieces(forest)
    length = np.bincount(piece, weights=swc.edge_lengths(forest))
    point = voxel_to_um(np.array(root_zyx), voxel_size)
    away = np.linalg.norm(forest.xyz - point, axis=1)
    nearest = np.full(len(length), np.inf)
    np.minimum.at(nearest, piece, away)
    mine = piece == np.where(nearest <= nearest.min() + root_um, length, -1).argmax()
    root = int(np.where(mine, away, np.inf).argmin())
    if away[root] <= root_um and graph.degree(forest)[root] <= 1:
        forest, root, mine = _drawn_on(forest, root, point), len(forest), np.append(mine, True)
    return _hang(forest, mine, root)


def _start(forest: Tree, mine: np.ndarray, shape_zyx: Zyx, voxel_size: VoxelSize, soma_um: float) -> int:
    """Where a tree begins of which nothing is said.

    At its thickest node when that is a soma (radius >= soma_um), else at its thickest tip at the border of the volume
    (an axon that comes in), else at its thickest tip.
    """
    tips = mine & (graph.degree(forest) <= 1)
    cut = tips & skeleton.at_border(forest, shape_zyx, voxel_size)
    soma = mine & (forest.radius >= soma_um)
    starts = np.flatnonzero(next(nodes for nodes in (soma, cut, tips) if nodes.any()))
    return int(starts[_thickness(forest, mine, starts).argmax()])


def _hang(forest: Tree, mine: np.ndarray, root: int) -> Hung:
    hung = graph.rooted(forest.xyz, forest.radius, graph.edges(forest), root=root)
    rows = np.flatnonzero(mine)
    return Hung(swc.take(hung, rows), rows)


def _drawn_on(forest: Tree, tip: int, point: np.ndarray) -> Tree:
    """The forest with one more node, at `point` (x, y, z um), joined to `tip` and as thick."""
    link = [[tip, len(forest)]]
    return graph.rooted(
        np.concatenate([forest.xyz, [point]]),
        np.append(forest.radius, forest.radius[tip]),
        np.concatenate([graph.edges(forest), link]),
    )


def _thickness(forest: Tree, mine: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Median radius near each of `nodes` in the same tree: at a tip itself the radius says little."""
    rows = np.flatnonzero(mine)
    near = cKDTree(forest.xyz[rows]).query_ball_point(forest.xyz[nodes], NEAR_UM)
    return np.array([np.median(forest.radius[rows[places]]) for places in near])
