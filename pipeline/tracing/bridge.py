"""Pieces to trees: links across gaps, weighed along the probability, joined as a minimum-cost forest."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree
from skimage.graph import MCP_Geometric

from pipeline import swc
from pipeline.swc import Tree, um_to_voxel, voxel_to_um
from pipeline.tracing import graph
from pipeline.tracing.field import Field

# A um costs 1 at the probability DARK or less and falls with its logarithm to the least cost, CERTAIN, near SURE:
# .1 over a background of .01 is good evidence of a dim stretch, though far from 1. CERTAIN is above 0 so
# that the shortest of equally certain ways wins.
DARK, SURE, CERTAIN = 0.02, 0.9, 0.05
# Stretch behind a tip over which its direction is measured, and between the bends of a link, in um.
HEADING_UM, BEND_UM = 3.0, 2.0
# How far from its tip a link may reach a wall, in gap_um: dim stretches are bridged further than dark ones.
REACH = 2.0
# A link costs at most this share of the length of the shorter piece: specks are no stepping stones.
WORTH = 0.5
# Places at which each stretch of a link looks at the probability.
LOOKS = 8
ZERO = np.zeros(3)


@dataclass(frozen=True)
class Link:
    """A way from a tip to a node of another piece: rows of the forest, (k, 3) bends in between (um), cost in um."""

    tip: int
    node: int
    bends: np.ndarray
    cost: float


@dataclass(frozen=True, eq=False)
class Bridges:
    """The edges that links added to a forest.

    rows: (m, 2) pairs of rows, the smaller first. cost: (m,) um, of the link that each belongs to.
    """

    rows: np.ndarray
    cost: np.ndarray

    def cost_of(self, rows: np.ndarray, parent: np.ndarray) -> np.ndarray:
        """(n,) um: the cost of the link that the edge from each node to its parent lies in, NaN where in none.

        rows: (n,) of the forest, one for each node of a tree that was taken from it. parent: (n,) nodes, -1 for a root.
        """
        if not len(self.rows):
            return np.full(len(rows), np.nan)
        ends = np.sort(np.stack([rows, np.where(parent >= 0, rows[parent], rows)], 1), axis=1)
        base = 1 + max(int(rows.max()), int(self.rows.max()))
        known, wanted = (pair[:, 0] * base + pair[:, 1] for pair in (self.rows, ends))
        order = np.argsort(known)
        place = order[np.minimum(np.searchsorted(known[order], wanted), len(known) - 1)]
        return np.where(known[place] == wanted, self.cost[place], np.nan)


def join(forest: Tree, field: Field, *, gap_um: float) -> tuple[Tree, Bridges]:
    """Join pieces whose tips lie near other pieces; returns the larger forest, links included, and which they are.

    A link is the cheapest way from a tip to another piece, straight or bent. A um of it costs `um_cost`, times
    2 - (c1 + c2) / 2, where c is the cosine between its first (last) stretch and the outward direction of the
    tip at that end, 0 at an end that is no tip: once between tips that face each other, 1.5 times straight on to
    the side of another piece, 3 times back to back. Candidates cost at most `gap_um` and at most half the length
    of the shorter piece, and the wall that they reach lies within 2 gap_um of the tip: a straight gap without any
    signal is bridged up to gap_um, a dim one further. A minimum-cost forest over the pieces picks those that stay:
    two pieces never get two links.
    """
    if not len(forest):
        return forest, Bridges(np.zeros((0, 2), np.int64), np.zeros(0))
    piece = graph.pieces(forest)
    own = np.bincount(piece, weights=swc.edge_lengths(forest))
    best: dict[tuple[int, int], Link] = {}
    for link in _candidates(forest, piece, field, gap_um):
        here, there = int(piece[link.tip]), int(piece[link.node])
        pair = min(here, there), max(here, there)
        if link.cost <= min(gap_um, WORTH * own[here], WORTH * own[there]) and (
            pair not in best or link.cost < best[pair].cost
        ):
            best[pair] = link
    return _with_links(forest, [best[pair] for pair in _cheapest(best, len(own))])


def um_cost(probability: np.ndarray) -> np.ndarray:
    """float32: what a um of a link costs at this probability (0..1); see DARK, SURE, CERTAIN."""
    share = np.log(np.maximum(probability, 1e-6) / SURE) / np.log(DARK / SURE)
    return np.clip(share, CERTAIN, 1).astype(np.float32)


def _candidates(forest, piece, field, gap_um):
    """The cheapest straight and the cheapest bent link of each tip to each other piece in reach."""
    tips = np.flatnonzero(graph.degree(forest) <= 1)
    heading = _headings(forest, piece, tips)
    for tip, nodes in zip(tips, _near(forest, tips, REACH * gap_um)):
        nodes = nodes[piece[nodes] != piece[tip]]
        if len(nodes):
            for node, bends in _ways(forest, piece, tip, nodes, field):
                yield _link(forest, tip, node, bends, heading, field)


def _near(forest, tips, reach_um) -> list[np.ndarray]:
    """For each tip the rows in reach, in order: to the wall, as a thick neurite's line lies far behind it."""
    # One question a node, with its own reach: one a tip would ask as far as the thickest node of all.
    found = cKDTree(forest.xyz[tips]).query_ball_point(forest.xyz, reach_um + forest.radius)
    row = np.repeat(np.arange(len(forest)), [len(each) for each in found])
    tip = np.array([at for each in found for at in each], int)
    order = np.lexsort((row, tip))
    return np.split(row[order], np.searchsorted(tip[order], np.arange(1, len(tips))))


def _ways(forest, piece, tip, nodes, field):
    """(node, bends): the nearest node of each piece, straight on, and the one that is cheapest to reach.

    Both, since steps from voxel to voxel make an oblique way through the dark longer than it is.
    """
    away = np.linalg.norm(forest.xyz[nodes] - forest.xyz[tip], axis=1)
    for node in _first_of_each(nodes, away, piece):
        yield node, np.zeros((0, 3))
    voxel = np.rint(um_to_voxel(forest.xyz[np.append(nodes, tip)], field.voxel_size)).astype(np.int64)
    low = np.maximum(voxel.min(0) - 2, 0)
    high = np.minimum(voxel.max(0) + 3, field.shape)
    mcp = MCP_Geometric(um_cost(field.crop(low, high) / np.float32(255)), sampling=field.voxel_size)
    total, _ = mcp.find_costs([tuple(voxel[-1] - low)])
    total = total[tuple((voxel[:-1] - low).T)]
    for node in _first_of_each(nodes, total, piece):
        end = np.rint(um_to_voxel(forest.xyz[node], field.voxel_size)).astype(np.int64) - low
        path = voxel_to_um(np.array(mcp.traceback(tuple(end))) + low, field.voxel_size)
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        place = np.linspace(0, along[-1], max(1, round(along[-1] / BEND_UM)) + 1)[1:-1]
        yield node, np.column_stack([np.interp(place, along, column) for column in path.T])


def _first_of_each(nodes, cost, piece):
    """The cheapest of `nodes` in each piece."""
    order = np.argsort(cost, kind="stable")
    return nodes[order[np.unique(piece[nodes[order]], return_index=True)[1]]]


def _link(forest, tip, node, bends, heading, field) -> Link:
    line = np.concatenate([forest.xyz[[tip]], bends, forest.xyz[[node]]])
    steps = np.diff(line, axis=0)
    length = np.linalg.norm(steps, axis=1)
    part = ((np.arange(LOOKS) + 0.5) / LOOKS)[:, None, None]
    seen = field.at(line[:-1] + part * steps) / 255
    cost = (length * um_cost(seen).mean(0)).sum()
    ahead = heading.get(tip, ZERO) @ steps[0] / length[0]
    behind = -heading.get(node, ZERO) @ steps[-1] / length[-1]
    return Link(tip, node, bends, float(cost * (2 - (ahead + behind) / 2)))


def _headings(forest, piece, tips) -> dict[int, np.ndarray]:
    """Tip -> outward unit vector (x, y, z): from the mean of its piece's nodes near it to the tip."""
    near = cKDTree(forest.xyz).query_ball_point(forest.xyz[tips], HEADING_UM, return_sorted=True)
    heading = {}
    for tip, nodes in zip(tips, near):
        mine = np.asarray(nodes)[piece[nodes] == piece[tip]]
        arrow = forest.xyz[tip] - forest.xyz[mine].mean(0)
        heading[tip] = arrow / max(np.linalg.norm(arrow), 1e-9)
    return heading


def _cheapest(best: dict[tuple[int, int], Link], pieces: int) -> list[tuple[int, int]]:
    """The pairs of pieces that a minimum-cost forest joins."""
    if not best:
        return []
    pairs = sorted(best)
    first, second = np.array(pairs).T
    cost = np.array([best[pair].cost for pair in pairs])
    chosen = minimum_spanning_tree(coo_array((cost, (first, second)), shape=(pieces, pieces)).tocsr()).tocoo()
    return sorted(zip(chosen.row.tolist(), chosen.col.tolist()))


def _with_links(forest: Tree, links: list[Link]) -> tuple[Tree, Bridges]:
    """Add the nodes and edges of the links; a link's radius goes linearly from end to end."""
    xyz, radius, edges = [forest.xyz], [forest.radius], [graph.edges(forest)]
    added, cost = [np.zeros((0, 2), np.int64)], []
    count = len(forest)
    for link in links:
        chain = np.concatenate([[link.tip], count + np.arange(len(link.bends)), [link.node]])
        edges.append(np.stack([chain[:-1], chain[1:]], 1))
        added.append(np.sort(edges[-1], axis=1))
        cost += [link.cost] * len(edges[-1])
        xyz.append(link.bends)
        radius.append(np.linspace(forest.radius[link.tip], forest.radius[link.node], len(chain))[1:-1])
        count += len(link.bends)
    joined = graph.rooted(np.concatenate(xyz), np.concatenate(radius), np.concatenate(edges))
    return joined, Bridges(np.concatenate(added), np.array(cost))
