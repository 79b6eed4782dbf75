"""Branches that do not earn their place go: spurs, haze, lines parallel to a thicker one."""

import numpy as np
from scipy.spatial import cKDTree

from pipeline import swc
from pipeline.config.trace import Trace
from pipeline.swc import Tree
from pipeline.tracing import evidence, graph
from pipeline.tracing.field import Field

# The wall of a neurite is looked at over this stretch (um) to both sides of a branch point, plus the radius.
BESIDE_UM = 3.0


def prune(tree: Tree, field: Field, settings: Trace) -> tuple[np.ndarray, np.ndarray]:
    """The branches that gain something and stick out of the neurite they leave: rows to keep, and new parents (n,).

    tree: one root. settings: doubt, signal, spur_um, spur_walls and cover_radii of them. An edge gains its length times
    (p - doubt) / (1 - doubt): certain foreground its um, a gap a loss. The tree is taken apart into paths, the
    greatest gain first (from the root to the best tip, then from that path to the next best ...). Each is cut where
    its sum of gains is greatest; what lies within cover_radii * radius of paths already taken gains nothing. It stays
    when it gains more than spur_um and its far end reaches beyond spur_walls times the distance from the line it
    leaves to the wall in that direction, as measured beside it, and when the image shows it (see evidence). The root
    path stays when the image shows it; without it nothing does. A path that first runs
    along the one it leaves is cut loose there and joined where it departs; so is a branch that hangs on such a start.
    """
    gain = swc.edge_lengths(tree) * _edge_value(tree, field, settings.doubt)
    light, signal = evidence.contrast(tree, field), evidence.wanted(field, settings.signal)
    parent = tree.parent.copy()
    kept = np.zeros(len(tree), bool)
    stand_in = np.full(
        len(tree), -1
    )  # for a node that runs within a kept line: the node of that line beside it
    for path in _paths(tree, gain):
        if parent[path[0]] < 0:
            best = path[: 1 + np.cumsum(gain[path]).argmax()]
            if not evidence.shows(tree, best, light, signal=signal):
                break
            kept[best] = True
            continue
        if not kept[parent[path[0]]]:
            parent[path[0]] = stand_in[parent[path[0]]]
            if parent[path[0]] < 0:
                continue
        taken = np.flatnonzero(kept)
        lines = cKDTree(tree.xyz[taken])
        away, nearest = lines.query(tree.xyz[path])
        covered = away < settings.cover_radii * np.maximum(tree.radius[taken[nearest]], tree.radius[path])
        first = len(path) if covered.all() else int(covered.argmin())
        stand_in[path[:first]] = taken[nearest[:first]]
        value = np.cumsum(np.where(covered, np.minimum(gain[path], 0), gain[path]))
        end = 1 + value.argmax()
        if value[end - 1] <= settings.spur_um or covered[:end].all():
            continue
        if not evidence.shows(tree, path[first:end], light, signal=signal):
            continue
        far = away[:end].argmax()
        foot = taken[nearest[far]]
        beside = taken[
            lines.query_ball_point(tree.xyz[foot], BESIDE_UM + tree.radius[foot], return_sorted=True)
        ]
        wall = _wall_um(tree, foot, path[far], beside, field)
        # Tips were drawn back by their radius, walls were not.
        if away[far] + tree.radius[path[far]] < settings.spur_walls * wall:
            continue
        if first:
            parent[path[first]] = taken[nearest[first]]
        kept[path[first:end]] = True
    return np.flatnonzero(kept), parent


def _edge_value(tree, field, doubt) -> np.ndarray:
    certain = field.at(tree.xyz) / 255
    mean = (certain + certain[tree.parent]) / 2
    return np.where(tree.parent >= 0, (mean - doubt) / (1 - doubt), 0.0)


def _wall_um(tree, foot, far, beside, field) -> float:
    """How far the wall of a line is in the direction from its node `foot` to the node `far` of a branch.

    The median over the nodes `beside` of the way to where the probability falls below 1/2, looked for up to twice
    the length of the branch. Nodes from which that way leads into the branch itself do not count; 0 without any.
    """
    arrow = tree.xyz[far] - tree.xyz[foot]
    length = np.linalg.norm(arrow)
    arrow = arrow / length
    offset = tree.xyz[beside] - tree.xyz[foot]
    aside = np.linalg.norm(offset - (offset @ arrow)[:, None] * arrow, axis=1)
    beside = beside[aside > 2 * tree.radius[far]]
    if not len(beside):
        return 0.0
    step = min(field.voxel_size) / 2
    steps = np.arange(1, 2 + int((2 * length + max(field.voxel_size)) / step)) * step
    value = field.at(tree.xyz[beside][:, None] + steps[:, None] * arrow)
    return float(np.median(np.logical_and.accumulate(value >= 127.5, axis=1).sum(1)) * step)


def _paths(tree: Tree, gain: np.ndarray) -> list[np.ndarray]:
    """Greatest-first paths: rows from the node below the branch point down to a tip, by falling gain."""
    depth = graph.depth(tree)
    order = np.argsort(-depth, kind="stable")
    levels = np.split(order, np.flatnonzero(np.diff(depth[order])) + 1)
    best = np.zeros(len(tree))  # greatest gain from a node down to where it is best to stop
    heir = np.full(len(tree), -1)  # the child on that way
    for level in levels[:-1]:
        # Rising: the last writer, hence the greatest, wins.
        rising = level[np.argsort(best[level] + gain[level], kind="stable")]
        heir[tree.parent[rising]] = rising
        best[tree.parent[rising]] = np.maximum(best[rising] + gain[rising], 0)
    first = np.flatnonzero((tree.parent < 0) | (heir[tree.parent] != np.arange(len(tree))))
    first = first[np.lexsort((first, depth[first], -(best + gain)[first]))]
    top = np.where(np.isin(np.arange(len(tree)), first), np.arange(len(tree)), tree.parent)
    while (top != top[top]).any():
        top = top[top]
    rank = np.empty(len(tree), np.int64)
    rank[first] = np.arange(len(first))
    order = np.lexsort((depth, rank[top]))
    return np.split(order, np.flatnonzero(np.diff(rank[top][order])) + 1)
