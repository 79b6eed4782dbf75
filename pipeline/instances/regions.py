"""Fragments to a graph: which touch, over how many faces, and how strong the membrane between them is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.instances.affinities import CERTAIN, NEAREST

# Planes looked at at once: the pairs of that many planes, not of the volume, are held before they are summed.
PLANES = 16
# Levels of cut that a pair's faces are counted in: 64 of 4 grey levels each, 256 bytes a pair.
BINS = 64


@dataclass(frozen=True)
class RegionGraph:
    """Pairs of touching fragments.

    pairs: (m, 2) int64 ids from 1, the smaller first, in order, each pair once. cut: (m,) int64 sum of 255 - affinity
    over the voxel faces between the two. histogram: (m, BINS) int32, how many of these faces have a cut within each of
    BINS equal levels of 0..256.
    """

    pairs: np.ndarray
    cut: np.ndarray
    histogram: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def faces(self) -> np.ndarray:
        """(m,) int64 voxel faces between the two."""
        return self.histogram.sum(1, dtype=np.int64)

    @property
    def boundary(self) -> np.ndarray:
        """(m,) float64, 0..1: the membrane of each pair, the middle of the mean and the lower quartile of its faces.

        A border within a cell has weak faces in many places, a membrane in few. The mean alone asks for another beta
        in each tissue; the quartile alone joins a small cell whose fragment took a quarter of its neighbour
        (docs/em.md).
        """
        return (self.mean + self.quantile(0.25)) / 2

    @property
    def mean(self) -> np.ndarray:
        """(m,) float64, 0..1: the mean cut of the faces of each pair."""
        return self.cut / np.maximum(self.faces, 1) / CERTAIN

    def quantile(self, share: float) -> np.ndarray:
        """(m,) float64, 0..1: the cut that `share` of the faces of each pair do not exceed; 0.5 is the median.

        As exact as the levels are; within one, faces are taken as evenly spread.
        """
        below = np.cumsum(self.histogram, axis=1, dtype=np.float64)
        wanted = share * below[:, -1:]
        level = (below < wanted).sum(1).clip(max=BINS - 1)
        row = np.arange(len(self))
        inside = self.histogram[row, level]
        within = (wanted[:, 0] - below[row, level] + inside) / np.maximum(inside, 1)
        return ((level + within) / BINS).clip(0, 1)


def region_graph(labels: np.ndarray, affinities: Mapping[str, np.ndarray]) -> RegionGraph:
    """The graph of the fragments (uint32, 0 = none) by their common faces.

    affinities: NEAREST, restricted, uint8 (z, y, x); the channel of an axis holds each voxel's face to the
    voxel before.
    """
    parts = []
    for axis, name in enumerate(NEAREST):
        # Along z, the plane before the slab belongs to its faces.
        reach = 1 if axis == 0 else 0
        for first in range(reach, labels.shape[0], PLANES):
            planes = slice(first - reach, first + PLANES)
            parts.append(_touching(labels[planes], affinities[name][planes], axis))
    return merged(parts)


def touching(before: np.ndarray, after: np.ndarray, affinity: np.ndarray, axis: int) -> RegionGraph:
    """The graph across the face of a box: one plane of fragments before it, its own fragments and their affinities."""
    z, y, x = (slice(0, 1) if place == axis else slice(None) for place in range(3))
    two = np.concatenate([before, after[z, y, x]], axis)
    return _touching(two, np.concatenate([affinity[z, y, x]] * 2, axis), axis)


def merged(graphs: Iterable[RegionGraph]) -> RegionGraph:
    """One graph with the faces of all."""
    graphs = [graph for graph in graphs if len(graph)]
    if not graphs:
        return RegionGraph(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros((0, BINS), np.int32))
    pairs, edge = _numbered(np.concatenate([_keys(*graph.pairs.T) for graph in graphs]))
    cut, histogram = np.zeros(len(pairs), np.int64), np.zeros((len(pairs), BINS), np.int32)
    np.add.at(cut, edge, np.concatenate([graph.cut for graph in graphs]))
    np.add.at(histogram, edge, np.concatenate([graph.histogram for graph in graphs]))
    return RegionGraph(pairs, cut, histogram)


def contracted(graph: RegionGraph, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges between groups of fragments and which edge of `graph` went into which.

    group: (n + 1,) int64 group of each id. Returns pairs (k, 2) of groups, the smaller first, and (m,) for each
    edge its row among them, -1 within a group.
    """
    ends = np.sort(group[graph.pairs], axis=1)
    apart = ends[:, 0] != ends[:, 1]
    row = np.full(len(graph), -1)
    pairs, row[apart] = np.unique(ends[apart], axis=0, return_inverse=True)
    return pairs.reshape(-1, 2), row


def _touching(labels: np.ndarray, affinity: np.ndarray, axis: int) -> RegionGraph:
    labels, affinity = np.moveaxis(labels, axis, 0), np.moveaxis(affinity, axis, 0)
    before, after = labels[:-1], labels[1:]
    apart = (before != after) & (before != 0) & (after != 0)
    pairs, edge = _numbered(_keys(before[apart], after[apart]))
    cut = CERTAIN - affinity[1:][apart].astype(np.int64)
    total = np.zeros(len(pairs), np.int64)
    np.add.at(total, edge, cut)
    counts = np.bincount(edge * BINS + cut * BINS // 256, minlength=len(pairs) * BINS)
    return RegionGraph(pairs, total, counts.reshape(-1, BINS).astype(np.int32))


def _keys(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """uint64 of two fragments, the smaller id in the upper half."""
    one, two = one.astype(np.uint64), two.astype(np.uint64)
    return (np.minimum(one, two) << np.uint64(32)) | np.maximum(one, two)


def _numbered(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) int64 the different pairs in order, and (k,) which of them each key is."""
    found, edge = np.unique(keys, return_inverse=True)
    return np.stack([found >> np.uint64(32), found & np.uint64(2**32 - 1)], 1).astype(np.int64), edge.ravel()
