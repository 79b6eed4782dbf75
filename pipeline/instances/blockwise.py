"""Cells of a volume that does not fit into memory: fragments by blocks, one graph of them all.

A graph that is too large to be solved at once is first contracted by the multicuts of the blocks: Pape et al. 2017,
ICCV Workshops (domain decomposition).
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Protocol

import numpy as np

from pipeline.instances import new_numbers, prepared
from pipeline.instances.affinities import NEAREST
from pipeline.instances.fragments import STANDARD, Cutting, fragments, is_flat
from pipeline.instances.multicut import costs, multicut
from pipeline.instances.regions import RegionGraph, contracted, merged, region_graph, touching
from pipeline.intensity.blank import blank

Box = tuple[slice, slice, slice]
# Fragments whose graph is solved in one go: 14,000 take a second.
AT_ONCE = 300_000
LARGEST = np.iinfo(np.uint32).max


class Readable(Protocol):
    """What numpy and zarr arrays have in common: (z, y, x), read by boxes."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, box: Box) -> np.ndarray: ...


class Volume(Readable, Protocol):
    """One that is written by boxes, too."""

    def __setitem__(self, box: Box, voxels: np.ndarray) -> None: ...


def segment_blocks(
    prediction: Mapping[str, Readable],
    labels: Volume,
    voxel_size: tuple[float, float, float],
    *,
    block: tuple[int, int, int],
    halo: tuple[int, int, int],
    beta: float = 0.25,
    cutting: Cutting = STANDARD,
    min_foreground: float = 0.5,
    restrict: bool = True,
    min_size_um3: float = 0.0,
    image: Readable | None = None,
    at_once: int = AT_ONCE,
) -> int:
    """Write the cells of `instances.segment` with method multicut into labels (uint32, of the same shape); how many.

    prediction: channels as for `segment`, numpy or zarr arrays. block: voxels (z, y, x) whose fragments are
    found at once; halo: voxels around them that are looked at (along z it serves isotropic volumes alone). image:
    what the prediction was made of; where it is blank there is no cell (halo: blank.REACH in plane at least).
    at_once: of more fragments than this, blocks are solved before the whole. Held in memory: one block, and the graph.
    Blocks are cut out of fragments, so the result is not that of `segment` to the voxel: VI between the two is .03 to
    .14, of blocks solved first .12 to .3 (blocks of 64 pixels, a network early in its training). labels serves as
    scratch on the way.
    """
    flat = is_flat(voxel_size)
    graphs: list[RegionGraph] = []
    last, voxels = [0], [np.zeros(1, np.int64)]
    for core in blocks(labels.shape, block):
        wide = _widened(core, halo, labels.shape)
        foreground, affinities = _read(prediction, wide, min_foreground, restrict)
        if image is not None:
            foreground &= ~blank(np.asarray(image[wide]))
        found = fragments(affinities, foreground, voxel_size, flat=flat, cutting=cutting)
        here = tuple(slice(c.start - w.start, c.stop - w.start) for c, w in zip(core, wide))
        found, count = _numbered(found[here], after=last[-1])
        affinities = {name: affinities[name][here] for name in NEAREST}
        labels[core] = found
        graphs.append(region_graph(found, affinities))
        graphs += [
            touching(labels[_plane_before(core, axis)], found, affinities[name], axis)
            for axis, name in enumerate(NEAREST)
            if core[axis].start
        ]
        last.append(last[-1] + len(count))
        voxels.append(count)
    graph = merged(graphs)
    one, other = _block_of(graph.pairs, last).T
    cost = costs(graph.boundary, graph.faces, beta=beta, sliced=flat | (one != other))
    cell = _solved(graph, cost, last, at_once=at_once)
    size = np.bincount(cell, np.concatenate(voxels)).astype(np.int64)
    number = new_numbers(size, min_voxels=min_size_um3 / float(np.prod(voxel_size)))
    for core in blocks(labels.shape, block):
        labels[core] = number[cell[labels[core]]]
    return int(number.max(initial=0))


def blocks(shape: tuple[int, ...], block: tuple[int, int, int]) -> Iterator[Box]:
    """Boxes that fill the volume, in raster order."""
    starts = [range(0, length, edge) for length, edge in zip(shape, block)]
    for corner in product(*starts):
        z, y, x = (slice(c, min(c + edge, length)) for c, edge, length in zip(corner, block, shape))
        yield z, y, x


def _solved(graph: RegionGraph, cost: np.ndarray, last: list[int], *, at_once: int) -> np.ndarray:
    """(n + 1,) the cell of each fragment, 0 of 0. Block i holds the fragments last[i] + 1 ... last[i + 1]."""
    group = np.arange(last[-1] + 1)
    if last[-1] > at_once:
        group = _joined_in_blocks(graph.pairs, cost, last)
    pairs, row = contracted(graph, group)
    summed = np.bincount(row[row >= 0], cost[row >= 0], minlength=len(pairs))
    return np.concatenate([[0], multicut(int(group.max()), pairs - 1, summed) + 1])[group]


def _block_of(fragments: np.ndarray, last: list[int]) -> np.ndarray:
    """The number of the block that each fragment lies in, the shape of `fragments`."""
    return np.searchsorted(last, fragments - 1, side="right") - 1


def _joined_in_blocks(pairs: np.ndarray, cost: np.ndarray, last: list[int]) -> np.ndarray:
    """(n + 1,) groups 1, 2, ... of fragments that the multicut of their own block joins; 0 of 0.

    A block is solved with the fragments that touch it: without them, cells are joined at its border for
    lack of what parts them beyond (VI to the whole .26 against .12 on an early network).
    """
    block = _block_of(pairs, last)
    order = np.argsort(block, axis=0, kind="stable")
    edges_of = [
        np.split(order[:, end], np.searchsorted(block[order[:, end], end], np.arange(1, len(last) - 1)))
        for end in (0, 1)
    ]
    group, near = np.arange(last[-1] + 1), np.zeros(last[-1] + 1, bool)
    for before, end, *touching_edges in zip(last, last[1:], *edges_of):
        if before == end:
            continue
        own = np.arange(before + 1, end + 1)
        nodes = np.union1d(own, pairs[np.concatenate(touching_edges)])
        around = np.unique(np.searchsorted(last, nodes - 1, side="right") - 1)
        edges = np.unique(np.concatenate([side[number] for side in edges_of for number in around]))
        near[nodes] = True
        edges = edges[near[pairs[edges]].all(1)]
        near[nodes] = False
        cell = multicut(len(nodes), np.searchsorted(nodes, pairs[edges]), cost[edges])
        mine = cell[np.searchsorted(nodes, own)]
        # The first fragment of a group stands for it.
        group[own] = own[np.unique(mine, return_index=True)[1][np.unique(mine, return_inverse=True)[1]]]
    group[1:] = np.unique(group[1:], return_inverse=True)[1].ravel() + 1
    return group


def _read(
    prediction: Mapping[str, Readable], box: Box, min_foreground: float, restrict: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    names = (*NEAREST, "foreground")
    part = {name: np.asarray(prediction[name][box]) for name in names}
    return prepared(part, min_foreground=min_foreground, restrict=restrict)


def _numbered(labels: np.ndarray, *, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels as uint32 `after` + 1, 2, ... (0 stays) and the voxels of each."""
    old, inverse, count = np.unique(labels, return_inverse=True, return_counts=True)
    if after + len(old) > LARGEST:
        raise ValueError(f"more than {after} fragments; allowed: {LARGEST}: take larger ones")
    first = 1 if old[0] == 0 else 0
    number = np.arange(len(old)) + after + 1 - first
    number[:first] = 0
    return number.astype(np.uint32)[inverse.reshape(labels.shape)], count[first:]


def _widened(core: Box, halo: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
    z, y, x = (
        slice(max(part.start - edge, 0), min(part.stop + edge, length))
        for part, edge, length in zip(core, halo, shape)
    )
    return z, y, x


def _plane_before(core: Box, axis: int) -> Box:
    z, y, x = (
        slice(part.start - 1, part.start) if place == axis else part for place, part in enumerate(core)
    )
    return z, y, x
