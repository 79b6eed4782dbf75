"""Label volume against label volume: variation of information, adapted Rand error, CREMI score.

A merge is one segment in two objects, a split is one object in two segments. Precision falls with merges,
recall with splits, in every convention here.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.scores import Scores, harmonic_mean, undefined

BACKGROUND = 0


@dataclass(frozen=True)
class Overlap:
    """How many voxels each object of the truth shares with each segment: the pairs that occur.

    truth, segment: (k,) labels. count: (k,) float64 voxels, > 0. voxels: of the whole volume.
    """

    truth: np.ndarray
    segment: np.ndarray
    count: np.ndarray
    voxels: int

    def where(self, keep: np.ndarray) -> "Overlap":
        return Overlap(self.truth[keep], self.segment[keep], self.count[keep], self.voxels)


def overlap(segmentation: np.ndarray, truth: np.ndarray) -> Overlap:
    """The overlaps of two volumes of integer labels of one shape. Needs some 40 bytes a voxel."""
    if segmentation.shape != truth.shape:
        raise ValueError(f"shapes {segmentation.shape} and {truth.shape}")
    segments, segment = np.unique(segmentation, return_inverse=True)
    objects, label = np.unique(truth, return_inverse=True)
    pairs, count = np.unique(label.ravel() * len(segments) + segment.ravel(), return_counts=True)
    return Overlap(
        objects[pairs // len(segments)], segments[pairs % len(segments)], count.astype(float), truth.size
    )


def scores(segmentation: np.ndarray, truth: np.ndarray) -> Scores:
    """All scores of a segmentation (integer labels) against the truth, both of one shape.

    Voxels whose truth is 0 do not count, except in the scores whose name ends in _all. Segment 0 is an ordinary
    segment: one big object (for are_cremi see there).
    """
    everything = overlap(segmentation, truth)
    table = everything.where(everything.truth != BACKGROUND)
    result = {**variation_of_information(everything, suffix="_all"), **variation_of_information(table)}
    result |= {**adapted_rand_cremi(table), **adapted_rand_skimage(table), **rand_split_merge(table)}
    if not len(table.count):
        return result | undefined(NO_TRUTH, "cremi_score")
    information = result["vi_split"] + result["vi_merge"]
    return result | {"cremi_score": float(np.sqrt(information * result["are_cremi"]))}


NO_TRUTH = "no voxel of the truth is labelled"


def variation_of_information(table: Overlap, *, suffix: str = "") -> Scores:
    """vi_split = H(segmentation | truth), vi_merge = H(truth | segmentation), in bits. Meila 2007, J. Multivar. Anal.

    scikit-image returns (split, merge) for (truth, segmentation) as arguments; its default is our _all.
    """
    names = [f"vi_split{suffix}", f"vi_merge{suffix}"]
    if not len(table.count):
        return undefined(NO_TRUTH, *names)
    share = table.count / table.count.sum()
    per_pair = (table.count / _total_of(labels, table.count) for labels in (table.truth, table.segment))
    # + 0.0 makes -0.0 a plain 0
    return {name: float(-(share * np.log2(part)).sum() + 0.0) for name, part in zip(names, per_pair)}


def shares(table: Overlap) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What each object adds to vi_split and each segment to vi_merge: (objects, bits), (segments, bits), by label."""
    share = table.count / max(table.count.sum(), 1)
    parts = []
    for names in (table.truth, table.segment):
        found, place = np.unique(names, return_inverse=True)
        bits = -share * np.log2(table.count / _total_of(names, table.count))
        parts.append((found, np.bincount(place, bits, minlength=len(found)) + 0.0))
    return parts[0], parts[1]


def adapted_rand_cremi(table: Overlap) -> Scores:
    """are_cremi, precision_cremi, recall_cremi as the scripts of SNEMI3D and CREMI have them.

    Over objects without background. Voxels of an object in segment 0 count in no segment; with c of them, c / N
    is added to the sums (N: voxels of the volume). That is left over from a version in shares, where it meant
    "every such voxel is its own segment"; the published figures have it.
    """
    names = ("are_cremi", "precision_cremi", "recall_cremi")
    if not len(table.count):
        return undefined(NO_TRUTH, *names)
    inside = table.where(table.segment != BACKGROUND)
    alone = (table.count.sum() - inside.count.sum()) / table.voxels
    objects = (_sums(table.truth, table.count) ** 2).sum()
    segments = (_sums(inside.segment, inside.count) ** 2).sum() + alone
    shared = (inside.count**2).sum() + alone
    precision, recall = float(shared / segments), float(shared / objects)
    return dict(zip(names, (1 - harmonic_mean(precision, recall), precision, recall)))


def adapted_rand_skimage(table: Overlap) -> Scores:
    """are_skimage, precision, recall over pairs of different voxels.

    Arganda-Carreras et al. 2015, Front. Neuroanat. 9:142.
    scikit-image 0.26 returns precision and recall swapped; ours have their proper sense. Every voxel its own
    segment: no pair is predicted, precision is undefined and the error 1.
    """
    names = ("are_skimage", "precision", "recall")
    if not len(table.count):
        return undefined(NO_TRUTH, *names)
    n = table.count.sum()
    objects = (_sums(table.truth, table.count) ** 2).sum() - n
    segments = (_sums(table.segment, table.count) ** 2).sum() - n
    shared = (table.count**2).sum() - n
    if not objects + segments:
        return undefined("no two voxels are together in an object or a segment", *names)
    result: Scores = {"are_skimage": float(1 - 2 * shared / (objects + segments))}
    for name, pairs, what in (("precision", segments, "a segment"), ("recall", objects, "an object")):
        if pairs:
            result[name] = float(shared / pairs)
        else:
            result |= undefined(f"every voxel is {what} of its own", name)
    return result


def rand_split_merge(table: Overlap) -> Scores:
    """rand_split, rand_merge as in funlib.evaluate, 1 is best; a voxel makes a pair with itself too.

    rand_split: the share of the pairs in one object that are in one segment; rand_merge: the reverse.
    """
    names = ("rand_split", "rand_merge")
    if not len(table.count):
        return undefined(NO_TRUTH, *names)
    shared = (table.count**2).sum()
    both = zip(names, (table.truth, table.segment))
    return {name: float(shared / (_sums(labels, table.count) ** 2).sum()) for name, labels in both}


def _sums(labels: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Voxels of each label."""
    return np.bincount(np.unique(labels, return_inverse=True)[1], count)


def _total_of(labels: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(k,) for each pair the voxels of its label."""
    inverse = np.unique(labels, return_inverse=True)[1]
    return np.bincount(inverse, count)[inverse]
