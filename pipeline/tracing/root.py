"""Which tree of the forest is the neuron, and where it starts."""

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree, voxel_to_um
from pipeline.tracing import graph, skeleton

# Over this distance (um) the thickness of a neurite's end is measured.
NEAR_UM = 5.0


def choose(
    forest: Tree,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    root_zyx: tuple[float, float, float] | None,
    root_um: float,
    soma_um: float,
) -> Tree:
    """The one tree that is the neuron, hung from its root.

    With root_zyx (voxels): of the trees that come within `root_um` of being nearest to it, the longest, from
    its node nearest to the point; when that is a tip within `root_um`, the line goes on to the point. Without:
    the longest tree, from its thickest node when that is a soma (radius >= soma_um), else from its thickest
    tip at the border of the volume (an axon that comes in), else from its thickest tip.
    """
    if not len(forest):
        return forest
    piece = graph.pieces(forest)
    length = np.bincount(piece, weights=swc.edge_lengths(forest))
    if root_zyx is None:
        mine = piece == length.argmax()
        tips = mine & (graph.degree(forest) <= 1)
        cut = tips & skeleton.at_border(forest, shape_zyx, voxel_size)
        soma = mine & (forest.radius >= soma_um)
        starts = np.flatnonzero(next(nodes for nodes in (soma, cut, tips) if nodes.any()))
        root = starts[_thickness(forest, mine, starts).argmax()]
    else:
        point = voxel_to_um(np.array(root_zyx), voxel_size)
        away = np.linalg.norm(forest.xyz - point, axis=1)
        nearest = np.full(len(length), np.inf)
        np.minimum.at(nearest, piece, away)
        mine = piece == np.where(nearest <= nearest.min() + root_um, length, -1).argmax()
        root = np.where(mine, away, np.inf).argmin()
        if away[root] <= root_um and graph.degree(forest)[root] <= 1:
            forest, root, mine = _drawn_on(forest, int(root), point), len(forest), np.append(mine, True)
    hung = graph.rooted(forest.xyz, forest.radius, graph.edges(forest), root=int(root))
    return swc.take(hung, np.flatnonzero(mine))


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
