"""Cells of a dense tissue against what is known of it: its labels, and the skeletons of some neurons."""

from collections.abc import Mapping

import cc3d
import fastremap
import numpy as np

from pipeline.metrics import compare, labels, run_length
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import EMPTY, Tree, cable_length, edge_lengths

# What the figures of label_scores mean, beside them in metrics.json.
CONVENTIONS = {"reference_split": True, "reference_zero": "not scored", "prediction_zero": "one segment"}
RENAMED = {
    f"{name}{ending}": f"{name}_skimage{ending}"
    for name in ("precision", "recall")
    for ending in ("", "_reason")
}
LENGTH_NAMES = ("f1", "precision", "recall")


def in_pieces(reference: np.ndarray) -> np.ndarray:
    """uint32 (z, y, x): the pieces 1..n of equal labels that hang together by faces; 0 stays 0.

    A neuron that leaves a crop and comes back is two objects in it: no segmentation of the crop could join them.
    """
    return cc3d.connected_components(reference, connectivity=6, out_dtype=np.uint32)


def label_scores(segmentation: np.ndarray, pieces: np.ndarray) -> Scores:
    """All scores of metrics.labels of a segmentation against a reference that was cut by in_pieces.

    Their precision and recall, which count pairs of voxels, are called precision_skimage and recall_skimage here:
    without a suffix these names are those of cable. cells_reference: pieces of the reference.
    """
    scores = {RENAMED.get(name, name): value for name, value in labels.scores(segmentation, pieces).items()}
    return {**scores, "cells_reference": int(pieces.max(initial=0)), **CONVENTIONS}


def describe(segmentation: np.ndarray) -> Scores:
    """cells: labels but 0. unassigned: the share of the voxels that are 0."""
    found, count = fastremap.unique(segmentation, return_counts=True)
    none = int(count[found == 0].sum())
    return {"cells": int((found != 0).sum()), "unassigned": none / segmentation.size}


def run_lengths(
    skeletons: list[Tree], segmentation: np.ndarray, *, voxel_size: tuple[float, float, float]
) -> Scores:
    """metrics.run_length of reference skeletons (um), one or more, in a segmentation."""
    lines = run_length.from_trees(skeletons)
    segment = run_length.segments_at(lines.xyz, segmentation, voxel_size=voxel_size)
    return run_length.expected_run_length(lines, segment)


def matched(
    skeletons: list[Tree],
    segmentation: np.ndarray,
    trees: Mapping[int, Tree],
    *,
    voxel_size: tuple[float, float, float],
    tolerance_um: float,
    min_length_um: float,
) -> Scores:
    """f1, precision, recall by length: means over the reference skeletons (um) of min_length_um or more.

    Each is compared with the tree (um) of the label that holds most of its cable. trees: by label. A label without
    a tree is an empty prediction: f1 and recall 0, precision undefined and left out of its mean.
    neurons_reference: how many were compared.
    """
    rows: list[Scores] = []
    measured: dict[int, compare.Measured] = {}
    nothing = compare.Measured(EMPTY)
    for skeleton in skeletons:
        if cable_length(skeleton) < min_length_um:
            continue
        label = label_of(skeleton, segmentation, voxel_size=voxel_size)
        if label in trees and label not in measured:
            measured[label] = compare.Measured(trees[label])
        reference = compare.Measured(skeleton)
        found = measured.get(label, nothing)
        rows.append(compare.compare(found, reference, tolerance_um=tolerance_um, topology=False))
    result: Scores = {}
    for name in LENGTH_NAMES:
        values = [row[name] for row in rows if not np.isnan(row[name])]
        if values:
            result[name] = float(np.mean(values))
        else:
            why = (
                "no label of a reference neuron has a tree" if rows else "no reference neuron is long enough"
            )
            result |= undefined(why, name)
    return {**result, "neurons_reference": len(rows)}


def label_of(skeleton: Tree, segmentation: np.ndarray, *, voxel_size: tuple[float, float, float]) -> int:
    """The label but 0 that holds most of a skeleton's cable, the smallest of equals; 0 where none holds any."""
    segment = run_length.segments_at(skeleton.xyz, segmentation, voxel_size=voxel_size)
    half = edge_lengths(skeleton) / 2
    weight = half.copy()
    child = np.flatnonzero(skeleton.parent >= 0)
    np.add.at(weight, skeleton.parent[child], half[child])
    found, place = np.unique(segment, return_inverse=True)
    held = np.bincount(place.ravel(), weight, minlength=len(found))
    held[found == 0] = 0
    return int(found[held.argmax()]) if held.any() else 0
