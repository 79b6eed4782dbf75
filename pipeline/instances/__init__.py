"""Affinities and foreground of a volume to cells: never torch."""

from collections.abc import Mapping
from typing import Literal

import fastremap
import numpy as np

from pipeline.instances.affinities import FOREGROUND, as_bytes, restricted
from pipeline.instances.components import components
from pipeline.instances.fragments import STANDARD, Cutting, fragments, is_flat
from pipeline.instances.multicut import costs, multicut
from pipeline.instances.mutex import mutex_watershed
from pipeline.instances.regions import region_graph

Method = Literal["multicut", "mutex", "components"]
METHODS: tuple[Method, ...] = ("multicut", "mutex", "components")


def segment(
    prediction: Mapping[str, np.ndarray],
    voxel_size: tuple[float, float, float],
    *,
    method: Method = "multicut",
    beta: float = 0.25,
    cutting: Cutting = STANDARD,
    link: float = 0.5,
    bias: float = 0.0,
    min_foreground: float = 0.5,
    restrict: bool = True,
    min_size_um3: float = 0.0,
    blank: np.ndarray | None = None,
) -> np.ndarray:
    """uint32 (z, y, x): cells 1, 2, ... from the largest to the smallest, 0 where there is none.

    prediction: channels affinity_z, affinity_y, affinity_x, foreground and, for mutex, others of greater offsets
    (affinity_x_9); all (z, y, x), uint8 0..255 or floats 0..1. voxel_size: z, y, x um; sections more than twice as
    far apart as pixels are cut into fragments one by one. beta: of the multicut; a smaller one merges more.
    cutting: of its fragments. link: of the components. bias: of the mutex watershed. min_foreground: voxels of less
    belong to no cell (0: cells fill the volume, as in a truth without membranes). restrict: no affinity above the
    foreground. Cells below min_size_um3 become 0. blank: bool (z, y, x), voxels without data: of no cell. Takes 20
    (sections) to 40 bytes a voxel, mutex 200.
    """
    foreground, affinities = prepared(prediction, min_foreground=min_foreground, restrict=restrict)
    if blank is not None:
        foreground &= ~blank
    flat = is_flat(voxel_size)
    if not foreground.any():
        return np.zeros(foreground.shape, np.uint32)
    if method == "components":
        labels = components(affinities, foreground, threshold=link)
    elif method == "mutex":
        labels = mutex_watershed(affinities, foreground, bias=bias, flat=flat)
    elif method == "multicut":
        labels = fragments(affinities, foreground, voxel_size, flat=flat, cutting=cutting)
        graph = region_graph(labels, affinities)
        cost = costs(graph.boundary, graph.faces, beta=beta, sliced=flat)
        cell = np.zeros(int(labels.max()) + 1, np.uint32)
        cell[1:] = multicut(len(cell) - 1, graph.pairs - 1, cost) + 1
        labels = cell[labels]
    else:
        raise ValueError(f"method {method!r}; allowed: {', '.join(METHODS)}")
    return by_size(labels, min_voxels=min_size_um3 / float(np.prod(voxel_size)))


def prepared(
    prediction: Mapping[str, np.ndarray], *, min_foreground: float, restrict: bool
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """bool (z, y, x) foreground, and the affinities of a prediction as uint8, restricted to it unless told not to."""
    certain = as_bytes(prediction[FOREGROUND])
    affinities = {
        name: restricted(as_bytes(channel), certain if restrict else None)
        for name, channel in prediction.items()
        if name != FOREGROUND
    }
    return certain >= np.float32(min_foreground * 255), affinities


def by_size(labels: np.ndarray, *, min_voxels: float = 0) -> np.ndarray:
    """uint32 labels renumbered 1, 2, ... by falling size, equals in raster order; smaller ones 0.

    labels: any unsigned integers; more than 2^32 different ones are refused.
    """
    labels, old = fastremap.renumber(labels, preserve_zero=True)
    if len(old) > np.iinfo(np.uint32).max:
        raise ValueError(f"{len(old)} labels; allowed: fewer than 2^32")
    return new_numbers(np.bincount(labels.ravel()), min_voxels=min_voxels)[labels]


def new_numbers(voxels: np.ndarray, *, min_voxels: float) -> np.ndarray:
    """(n,) uint32: the new number of each old one, by falling size; 0 for 0 and for what is smaller than min_voxels.

    voxels: (n,) how many have each old number, row 0 the background.
    """
    kept = voxels >= max(min_voxels, 1)
    kept[:1] = False
    order = np.argsort(-voxels, kind="stable")
    order = order[kept[order]]
    number = np.zeros(len(voxels), np.uint32)
    number[order] = np.arange(1, len(order) + 1, dtype=np.uint32)
    return number
