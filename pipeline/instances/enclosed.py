"""Cells within one other cell: nuclei and organelles whose membranes part them from the cell that they are of."""

from collections.abc import Iterable

import networkx as nx
import numpy as np

# In the graph of cells: what lies beyond the volume, and the voxels that belong to no cell.
OUTSIDE = 0
WHOLE = ((True, True),) * 3


def at_outside(labels: np.ndarray, ends: Iterable[tuple[bool, bool]] = WHOLE) -> np.ndarray:
    """The fragments of a box (ids, each once) that lie at an end of the volume or beside voxels of label 0.

    labels: unsigned (z, y, x), 0 = none. ends: by axis, whether the first and the last plane are the volume's.
    """
    found = [np.zeros(0, labels.dtype)]
    gaps = bool((labels == 0).any())
    for axis, (first, last) in enumerate(ends):
        planes = np.moveaxis(labels, axis, 0)
        found += [planes[0].ravel()] * first + [planes[-1].ravel()] * last
        if gaps:
            found += [beside_none(before, after) for before, after in zip(planes, planes[1:])]
    ids = np.unique(np.concatenate(found))
    return ids[ids != 0]


def beside_none(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The fragments (ids, each once) of two neighbouring planes that face label 0 in the other one."""
    return np.unique(
        np.concatenate([before[(before != 0) & (after == 0)], after[(after != 0) & (before == 0)]])
    )


def joined(cell: np.ndarray, pairs: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(n + 1,) cells of fragments, where those that one cell parts from the outside are that cell.

    cell: (n + 1,) from 1, 0 of fragment 0. pairs: (m, 2) fragments that touch. outside: those at the outside. All
    ways from there to such a cell lead through the other, which dominates it (an inclusion, as NeuroProof calls it).
    """
    ends = np.sort(cell[pairs], axis=1)
    touching = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
    graph = nx.DiGraph([*touching.tolist(), *touching[:, ::-1].tolist()])
    graph.add_edges_from((OUTSIDE, number) for number in np.unique(cell[outside]).tolist())
    into = np.arange(int(cell.max(initial=0)) + 1)
    if OUTSIDE in graph:
        for number, above in nx.immediate_dominators(graph, OUTSIDE).items():
            into[number] = above or number
    while (into != into[into]).any():
        into = into[into]
    return into[cell]
