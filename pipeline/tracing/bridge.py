"""Pieces to trees: links across gaps, weighed along the probability, joined as a minimum-cost forest."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.swc import Tree
from pipeline.tracing import graph
from pipeline.tracing.sampling import sample

# Cost of a um inside certain foreground; above 0 so that the shortest of equally certain ways wins.
CERTAIN = 0.05
# Stretch behind a tip over which its direction is measured, in um.
HEADING_UM = 3.0
# Places at which a link looks at the probability.
LOOKS = 16


def join(
    forest: Tree, probability: np.ndarray, voxel_size: tuple[float, float, float], *, gap_um: float
) -> Tree:
    """Join pieces whose tips lie near other pieces; returns the larger forest, links included.

    A link is a straight line from a tip to a node of another piece. It costs 1 - probability (at least 0.05) a um
    times 2 - (c1 + c2) / 2, where c is the cosine between the link and the outward direction of the tip at each
    end, 0 at an end that is no tip: once between tips that face each other, 1.5 times straight on to the side of
    another piece, 3 times back to back. Links that cost up to `gap_um` and are no longer than twice that are
    candidates, so a straight gap without any signal is bridged up to that length, a dim one further. A minimum-cost
    forest over the pieces picks those that stay: two pieces never get two links.

    probability: uint8 (z, y, x), 0..255 = 0..1.
    """
    tip, node = _candidates(forest, 2 * gap_um)
    if not len(tip):
        return forest
    cost = _costs(forest, tip, node, probability, voxel_size)
    piece = graph.pieces(forest)
    pair = np.sort(np.stack([piece[tip], piece[node]], 1), axis=1)
    # The cheapest link of each pair of pieces, then the cheapest pairs.
    order = np.lexsort((node, tip, cost))
    own = np.bincount(piece, weights=swc.edge_lengths(forest))
    order = order[cost[order] <= np.minimum(gap_um, own[pair[order]].min(1))]
    pairs, first = np.unique(pair[order], axis=0, return_index=True)
    best = order[first]
    if not len(best):
        return forest
    count = piece.max() + 1
    weight = coo_array((cost[best], (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    chosen = minimum_spanning_tree(weight.tocsr()).tocoo()
    of_pair = coo_array((1 + np.arange(len(best)), (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr()
    links = best[np.sort([of_pair[i, j] for i, j in zip(chosen.row, chosen.col)]).astype(int) - 1]
    added = np.stack([tip[links], node[links]], 1)
    return graph.rooted(forest.xyz, forest.radius, np.concatenate([graph.edges(forest), added]))


def _candidates(forest: Tree, reach_um: float) -> tuple[np.ndarray, np.ndarray]:
    """(k,) tips and (k,) nodes of other pieces at most reach_um from them."""
    if not len(forest):
        return np.zeros(0, int), np.zeros(0, int)
    piece = graph.pieces(forest)
    tips = np.flatnonzero(graph.degree(forest) <= 1)
    near = cKDTree(forest.xyz).query_ball_point(forest.xyz[tips], reach_um, return_sorted=True)
    tip = np.repeat(tips, [len(nodes) for nodes in near])
    node = np.concatenate([np.asarray(nodes, int) for nodes in near])
    other = piece[tip] != piece[node]
    return tip[other], node[other]


def _costs(forest, tip, node, probability, voxel_size) -> np.ndarray:
    """(k,) um that the links tip-node count."""
    line = forest.xyz[node] - forest.xyz[tip]
    length = np.linalg.norm(line, axis=1)
    part = (np.arange(LOOKS) + 0.5) / LOOKS
    seen = sample(probability, forest.xyz[tip][:, None] + part[:, None] * line[:, None], voxel_size) / 255
    heading = _headings(forest)
    ahead = np.einsum("kj,kj->k", line, heading[tip]) / length
    behind = -np.einsum("kj,kj->k", line, heading[node]) / length
    return length * np.maximum(1 - seen, CERTAIN).mean(1) * (2 - (ahead + behind) / 2)


def _headings(forest: Tree) -> np.ndarray:
    """(n, 3) outward unit vector at tips: from the mean of its piece's nodes near it to the tip; 0 elsewhere."""
    piece = graph.pieces(forest)
    tips = np.flatnonzero(graph.degree(forest) <= 1)
    near = cKDTree(forest.xyz).query_ball_point(forest.xyz[tips], HEADING_UM, return_sorted=True)
    heading = np.zeros((len(forest), 3))
    for tip, nodes in zip(tips, near):
        mine = np.asarray(nodes)[piece[nodes] == piece[tip]]
        arrow = forest.xyz[tip] - forest.xyz[mine].mean(0)
        heading[tip] = arrow / max(np.linalg.norm(arrow), 1e-9)
    return heading
