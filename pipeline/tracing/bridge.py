"""Pieces to trees: links across gaps, weighed along the probability, joined as a minimum-cost forest."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree

from pipeline.swc import Tree, um_to_voxel, voxel_to_um
from pipeline.tracing import graph

# Cost of a um inside certain foreground; above 0 so that the shortest of equally certain ways wins.
CERTAIN = 0.05
# Stretch behind a tip over which its direction is measured, in um.
HEADING_UM = 3.0


def join(
    forest: Tree, probability: np.ndarray, voxel_size: tuple[float, float, float], *, gap_um: float
) -> Tree:
    """Join pieces whose tips lie near other pieces; returns the larger forest, links included.

    A link is the cheapest way from a tip to a node of another piece, at a cost of 1 - probability (at least
    0.05) a um: a gap without any signal costs its length. It ends within `gap_um` of the tip along each axis. A link that leaves its tip sideways costs twice, one
    that turns back three times as much (the same at its other end when that is a tip too). Links up to
    `gap_um` of cost are candidates; a minimum-cost forest over the pieces picks those that stay, so two
    pieces never get two links.

    probability: uint8 (z, y, x), 0..255 = 0..1.
    """
    if not len(forest):
        return forest
    piece = graph.pieces(forest)
    tips = np.flatnonzero(graph.degree(forest) <= 1)
    heading = _headings(forest, piece, tips)
    ways = {}
    for tip in tips:
        for way in _ways(forest, piece, tip, heading, probability, voxel_size, gap_um):
            pair = tuple(sorted((piece[way[1]], piece[tip])))
            if pair not in ways or way[0] < ways[pair][0]:
                ways[pair] = way
    return _with_links(forest, [ways[pair] for pair in _cheapest(ways, piece.max() + 1)])


def _headings(forest: Tree, piece: np.ndarray, tips: np.ndarray) -> dict[int, np.ndarray]:
    """Tip -> outward unit vector (x,y,z): from the mean of the piece's nodes near the tip to the tip."""
    near = cKDTree(forest.xyz).query_ball_point(forest.xyz[tips], HEADING_UM, return_sorted=True)
    heading = {}
    for tip, nodes in zip(tips, near, strict=True):
        nodes = np.asarray(nodes)
        arrow = forest.xyz[tip] - forest.xyz[nodes[piece[nodes] == piece[tip]]].mean(0)
        heading[tip] = arrow / max(np.linalg.norm(arrow), 1e-9)
    return heading


def _ways(forest, piece, tip, heading, probability, voxel_size, gap_um):
    """Cheapest way from `tip` to each other piece in reach: (cost, node reached, tip, xyz between them)."""
    from skimage.graph import MCP_Geometric

    low, high = _box(forest.xyz[tip], gap_um, probability.shape, voxel_size)
    voxel = np.rint(um_to_voxel(forest.xyz, voxel_size)).astype(np.int64)
    inside = np.flatnonzero(((voxel >= low) & (voxel < high)).all(1) & (piece != piece[tip]))
    if not len(inside):
        return
    crop = probability[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    cost = np.maximum(1 - crop / np.float32(255), CERTAIN)
    mcp = MCP_Geometric(cost, sampling=voxel_size)
    total, _ = mcp.find_costs([tuple(voxel[tip] - low)])
    reached = total[tuple((voxel[inside] - low).T)]
    order = np.argsort(reached, kind="stable")
    order = order[reached[order] <= gap_um]
    for first in order[np.unique(piece[inside[order]], return_index=True)[1]]:
        node = inside[first]
        path = voxel_to_um(np.array(mcp.traceback(tuple(voxel[node] - low))) + low, voxel_size)
        arrow = forest.xyz[node] - forest.xyz[tip]
        arrow = arrow / max(np.linalg.norm(arrow), 1e-9)
        turn = 2 - heading[tip] @ arrow
        if node in heading:
            turn = (turn + 2 + heading[node] @ arrow) / 2
        if reached[first] * turn <= gap_um:
            yield reached[first] * turn, node, tip, path[1:-1]


def _box(centre_xyz, reach_um, shape_zyx, voxel_size):
    """First and last + 1 voxel (z,y,x) of the cube of half edge `reach_um`, within the volume."""
    centre = um_to_voxel(centre_xyz, voxel_size)
    reach = reach_um / np.asarray(voxel_size)
    low = np.maximum(np.floor(centre - reach), 0).astype(np.int64)
    return low, np.minimum(np.ceil(centre + reach) + 1, shape_zyx).astype(np.int64)


def _cheapest(ways: dict, pieces: int) -> list[tuple[int, int]]:
    pairs = sorted(ways)
    if not pairs:
        return []
    first, second = np.array(pairs).T
    cost = np.array([ways[pair][0] for pair in pairs]) + 1e-9
    tree = minimum_spanning_tree(coo_array((cost, (first, second)), shape=(pieces, pieces)).tocsr()).tocoo()
    return sorted((min(pair), max(pair)) for pair in zip(tree.row.tolist(), tree.col.tolist(), strict=True))


def _with_links(forest: Tree, links: list) -> Tree:
    """Add the nodes and edges of the links; a link's radius goes linearly from end to end."""
    xyz, radius, edges = [forest.xyz], [forest.radius], [graph.edges(forest)]
    count = len(forest)
    for _, node, tip, between in links:
        chain = np.concatenate([[tip], count + np.arange(len(between)), [node]])
        edges.append(np.stack([chain[:-1], chain[1:]], 1))
        xyz.append(between)
        radius.append(np.linspace(forest.radius[tip], forest.radius[node], len(chain))[1:-1])
        count += len(between)
    return graph.rooted(np.concatenate(xyz), np.concatenate(radius), np.concatenate(edges))


