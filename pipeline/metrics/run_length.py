"""Skeletons against a segmentation: expected run length (ERL), and which edges are split, merged or omitted."""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree, um_to_voxel

OUTSIDE = 0
KINDS = ("correct", "omitted", "split", "merged")


@dataclass(frozen=True)
class Skeletons:
    """Nodes of several skeletons and the edges between them.

    xyz: (n, 3) float64, um. skeleton: (n,) int64, the skeleton of each node. edges: (m, 2) int64 rows; both ends
    belong to one skeleton.
    """

    xyz: np.ndarray
    skeleton: np.ndarray
    edges: np.ndarray


def from_trees(trees: list[Tree]) -> Skeletons:
    """One skeleton a tree, numbered from 0."""
    first = np.cumsum([0, *map(len, trees)])
    children = [np.flatnonzero(tree.parent >= 0) for tree in trees]
    edges = [
        np.column_stack([rows, tree.parent[rows]]) + start
        for tree, rows, start in zip(trees, children, first)
    ]
    return Skeletons(
        np.concatenate([tree.xyz for tree in trees]),
        np.repeat(np.arange(len(trees)), [len(tree) for tree in trees]),
        np.concatenate(edges),
    )


def segments_at(xyz: np.ndarray, labels: np.ndarray, *, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n,) label of the voxel (z, y, x; size in um) that holds each point (n, 3) um; 0 outside of the volume."""
    place = np.floor(um_to_voxel(xyz, voxel_size) + 0.5).astype(np.int64)
    inside = ((place >= 0) & (place < labels.shape)).all(1)
    found = np.full(len(xyz), OUTSIDE, labels.dtype)
    found[inside] = labels[tuple(place[inside].T)]
    return found


def expected_run_length(skeletons: Skeletons, segment: np.ndarray, *, merge_min_nodes: int = 1) -> Scores:
    """erl: how long, in um, the correct stretch of one segment is in which a random point of the skeletons lies.

    segment: (n,) integer label at each node, 0 for none. An edge is omitted (an end in 0), split (ends in two
    segments), merged (its segment holds merge_min_nodes or more nodes of another skeleton too), else correct; in
    this order. With l the correct length of a skeleton in a segment, contiguous or not, erl = sum l^2 / total
    length. erl_max: of a perfect segmentation; erl_normalised = erl / erl_max (AxonEM's NERL). edges_<kind>,
    length_<kind>_um: of the four kinds. Januszewski et al. 2018, Nat. Methods 15:605, where one node of
    another skeleton is enough for a merge.
    """
    names = ("erl", "erl_max", "erl_normalised")
    kind, length = classify(skeletons, segment, merge_min_nodes=merge_min_nodes), edge_lengths(skeletons)
    result: Scores = {}
    for number, name in enumerate(KINDS):
        result[f"edges_{name}"] = int((kind == number).sum())
        result[f"length_{name}_um"] = float(length[kind == number].sum())
    result["merging_segments"] = len(merging_segments(skeletons, segment, merge_min_nodes=merge_min_nodes))
    total = length.sum()
    if not total:
        return undefined("the skeletons have no cable", *names) | result
    correct = kind == KINDS.index("correct")
    child = skeletons.edges[:, 0]
    owner = skeletons.skeleton[child]
    run = np.unique(np.column_stack([owner, _numbered(segment)[child]]), axis=0, return_inverse=True)[1]
    erl = (np.bincount(run.ravel()[correct], length[correct]) ** 2).sum() / total
    erl_max = (np.bincount(_numbered(owner), length) ** 2).sum() / total
    return {"erl": float(erl), "erl_max": float(erl_max), "erl_normalised": float(erl / erl_max), **result}


def classify(skeletons: Skeletons, segment: np.ndarray, *, merge_min_nodes: int = 1) -> np.ndarray:
    """(m,) int64 for each edge: its place in KINDS."""
    one, two = segment[skeletons.edges].T
    number = _numbered(segment)
    holders = _holders(skeletons, number, merge_min_nodes)
    count = np.bincount(holders[:, 0], minlength=number.max(initial=0) + 1)
    sole = np.zeros_like(count)
    sole[holders[:, 0]] = holders[:, 1]  # read only where one skeleton holds the segment
    child = skeletons.edges[:, 0]
    here = number[child]
    merged = (count[here] > 1) | ((count[here] == 1) & (sole[here] != skeletons.skeleton[child]))
    return np.select([(one == OUTSIDE) | (two == OUTSIDE), one != two, merged], [1, 2, 3], 0)


def merging_segments(skeletons: Skeletons, segment: np.ndarray, *, merge_min_nodes: int = 1) -> np.ndarray:
    """Labels of the segments that hold merge_min_nodes or more nodes of each of two skeletons or more."""
    holders = _holders(skeletons, _numbered(segment), merge_min_nodes)
    merging = np.unique(segment)[np.flatnonzero(np.bincount(holders[:, 0]) > 1)]
    return merging[merging != OUTSIDE]


def edge_lengths(skeletons: Skeletons) -> np.ndarray:
    """(m,) um."""
    ends = skeletons.xyz[skeletons.edges]
    return np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)


def _holders(skeletons: Skeletons, number: np.ndarray, least: int) -> np.ndarray:
    """(k, 2): number of a segment, and a skeleton with at least so many nodes in it."""
    pairs, count = np.unique(np.column_stack([number, skeletons.skeleton]), axis=0, return_counts=True)
    return pairs[count >= least]


def _numbered(values: np.ndarray) -> np.ndarray:
    """(n,) place of each value among the sorted different values."""
    return np.unique(values, return_inverse=True)[1].ravel()
