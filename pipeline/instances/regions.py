"""Fragments to a graph: which touch, over how many faces, and how strong the membrane between them is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.instances.affinities import CERTAIN, NEAREST

# Planes looked at at once: the pairs of that many planes, not of the volume, are held before they are summed.
PLANES = 16


@dataclass(frozen=True)
class RegionGraph:
    """Pairs of touching fragments.

    pairs: (m, 2) int64 ids from 1, the smaller first, in order, each pair once. faces: (m,) int64 voxel faces
    between the two. cut: (m,) int64 sum of 255 - affinity over them.
    """

    pairs: np.ndarray
    faces: np.ndarray
    cut: np.ndarray

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def boundary(self) -> np.ndarray:
        """(m,) float64, 0..1: the mean membrane of each pair."""
        return self.cut / np.maximum(self.faces, 1) / CERTAIN


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
        return RegionGraph(np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))
    pairs = np.concatenate([graph.pairs for graph in graphs])
    faces = np.concatenate([graph.faces for graph in graphs])
    cut = np.concatenate([graph.cut for graph in graphs])
    return _summed(
        (pairs[:, 0].astype(np.uint64) << np.uint64(32)) | pairs[:, 1].astype(np.uint64), faces, cut
    )


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
    one, two = before[apart].astype(np.uint64), after[apart].astype(np.uint64)
    cut = CERTAIN - affinity[1:][apart].astype(np.int64)
    return _summed((np.minimum(one, two) << np.uint64(32)) | np.maximum(one, two), np.ones_like(cut), cut)


def _summed(keys: np.ndarray, faces: np.ndarray, cut: np.ndarray) -> RegionGraph:
    """keys: (k,) uint64, smaller id in the upper half. Integer sums: exact in any order."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1))) if len(keys) else np.zeros(0, int)
    pairs = np.stack([keys[first] >> np.uint64(32), keys[first] & np.uint64(2**32 - 1)], 1).astype(np.int64)
    if not len(first):
        return RegionGraph(pairs, np.zeros(0, np.int64), np.zeros(0, np.int64))
    return RegionGraph(pairs, np.add.reduceat(faces[order], first), np.add.reduceat(cut[order], first))
