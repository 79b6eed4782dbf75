"""Expected run length of skeletons in a segmentation: how far one can walk before a mistake."""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.scores import Scores, undefined

KINDS = ("omitted", "split", "merged", "correct")


@dataclass(frozen=True)
class Skeletons:
    """Nodes of several skeletons: xyz (n, 3) in um or nm, skeleton (n,) its number, edges (m, 2) rows of nodes."""

    xyz: np.ndarray
    skeleton: np.ndarray
    edges: np.ndarray


def segments_at(segmentation: np.ndarray, voxels_zyx: np.ndarray) -> np.ndarray:
    """(n,) the segment at the voxel nearest to each node (n, 3) z, y, x; 0 outside of the volume."""
    index = np.floor(np.asarray(voxels_zyx) + 0.5).astype(np.int64)
    inside = ((index >= 0) & (index < segmentation.shape)).all(1)
    found = np.zeros(len(index), segmentation.dtype)
    found[inside] = segmentation[tuple(index[inside].T)]
    return found


def expected_run_length(skeletons: Skeletons, segment: np.ndarray, *, merge_min_nodes: int = 1) -> Scores:
    """erl, erl_max, erl_normalised (= erl / erl_max) in the unit of the nodes; edges and lengths by kind.

    segment: (n,) the segment of each node, 0 where there is none. An edge is omitted (an end in 0), split (two
    segments), merged (one segment that holds at least `merge_min_nodes` nodes of another skeleton), else correct.
    erl = sum over skeletons and segments of (correct length)^2 / total length; correct edges of a segment
    count together though they may lie apart. Januszewski et al. 2018, Nat. Methods 15:605.
    """
    first, last = skeletons.edges.T
    length = np.sqrt(((skeletons.xyz[first] - skeletons.xyz[last]) ** 2).sum(1))
    merging = merging_segments(skeletons.skeleton, segment, merge_min_nodes=merge_min_nodes)
    ends = segment[first], segment[last]
    kind = np.select(
        [(ends[0] == 0) | (ends[1] == 0), ends[0] != ends[1], np.isin(ends[0], merging)], [0, 1, 2], 3
    )
    scores: Scores = {f"edges_{name}": int((kind == number).sum()) for number, name in enumerate(KINDS)}
    scores |= {f"length_{name}": float(length[kind == number].sum()) for number, name in enumerate(KINDS)}
    scores["merging_segments"] = len(merging)
    total = length.sum()
    if not total:
        return undefined("the skeletons have no cable", "erl", "erl_max", "erl_normalised") | scores
    right = kind == 3
    runs = _grouped(length[right], skeletons.skeleton[first][right], ends[0][right])
    whole = _grouped(length, skeletons.skeleton[first], np.zeros(len(length)))
    erl, erl_max = float((runs**2).sum() / total), float((whole**2).sum() / total)
    return {"erl": erl, "erl_max": erl_max, "erl_normalised": erl / erl_max, **scores}


def merging_segments(skeleton: np.ndarray, segment: np.ndarray, *, merge_min_nodes: int = 1) -> np.ndarray:
    """Segments (ascending, without 0) that hold nodes of two skeletons or more.

    merge_min_nodes: a skeleton with fewer nodes in the segment is taken as a slip of annotation. 1 is the definition.
    """
    pairs, count = np.unique(np.stack([segment, skeleton]), axis=1, return_counts=True)
    held, times = np.unique(pairs[0][count >= merge_min_nodes], return_counts=True)
    return held[(times > 1) & (held != 0)]


def _grouped(length: np.ndarray, *labels: np.ndarray) -> np.ndarray:
    """Sum of lengths over each combination of labels."""
    if not len(length):
        return np.zeros(0)
    _, place = np.unique(np.stack(labels), axis=1, return_inverse=True)
    return np.bincount(place.ravel(), weights=length)
