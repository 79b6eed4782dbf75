"""Scores of a segmentation against true labels: variation of information, adapted Rand error, in the two conventions
of the field, each under its name.

truth, segmentation: integer arrays of one shape. Truth 0 is unknown and left out where not said otherwise;
segmentation 0 is an ordinary label, one big object.
"""

import math

import numpy as np

from pipeline.metrics.scores import Scores, harmonic_mean, undefined


def contingency(truth: np.ndarray, segmentation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of labels that occur: truth (k,), segmentation (k,), voxels (k,) int64, ascending."""
    true, i = np.unique(truth.ravel(), return_inverse=True)
    seen, j = np.unique(segmentation.ravel(), return_inverse=True)
    pair, count = np.unique(i.astype(np.int64) * len(seen) + j, return_counts=True)
    return true[pair // len(seen)], seen[pair % len(seen)], count


def label_scores(truth: np.ndarray, segmentation: np.ndarray) -> Scores:
    """All scores below from one contingency table, and cremi_score = sqrt((vi_split + vi_merge) * are_cremi)."""
    if truth.shape != segmentation.shape:
        raise ValueError(f"truth {truth.shape} and segmentation {segmentation.shape} differ in shape")
    table = contingency(truth, segmentation)
    known = tuple(column[table[0] != 0] for column in table)
    everything = information(*table)
    scores = {f"{name}_all": value for name, value in everything.items() if not name.endswith("_reason")}
    if not len(known[2]):
        names = (*VI_NAMES, *RAND_NAMES, *CREMI_NAMES, "rand_split", "rand_merge", "cremi_score")
        return scores | undefined("the truth holds no object", *names)
    scores |= information(*known) | rand(*known) | rand_cremi(*known, voxels=truth.size)
    scores["cremi_score"] = math.sqrt((scores["vi_split"] + scores["vi_merge"]) * scores["are_cremi"])
    return scores


VI_NAMES = ("vi_split", "vi_merge")
RAND_NAMES = ("are_skimage", "precision", "recall")
CREMI_NAMES = ("are_cremi", "precision_cremi", "recall_cremi")


def information(truth: np.ndarray, segmentation: np.ndarray, count: np.ndarray) -> Scores:
    """Variation of information in bits: vi_split = H(segmentation | truth), vi_merge = H(truth | segmentation).

    Meila 2007, J. Multivar. Anal. 98:873. scikit-image gives the same pair for (truth, segmentation), CREMI's
    voi with the arguments the other way round.
    """
    share = count / count.sum()
    split, merge = (
        float(-(share * np.log2(count / _sums(label, count))).sum()) for label in (truth, segmentation)
    )
    return dict(zip(VI_NAMES, (split + 0.0, merge + 0.0)))  # + 0.0: no minus zero


def rand(truth: np.ndarray, segmentation: np.ndarray, count: np.ndarray) -> Scores:
    """Adapted Rand error over pairs of different voxels, as scikit-image; rand_split and rand_merge as funlib.

    precision falls with merges, recall with splits. (scikit-image 0.26 returns the two swapped.)
    """
    n = int(count.sum())
    a, b = _squares(truth, count), _squares(segmentation, count)
    ab = int((count.astype(object) ** 2).sum())
    scores: Scores = {"rand_split": ab / a, "rand_merge": ab / b}
    if a == b == n:
        return scores | undefined("every object on both sides is one voxel", *RAND_NAMES)
    scores["are_skimage"] = 1 - 2 * (ab - n) / (a + b - 2 * n)
    for name, pairs, why in (
        ("precision", b - n, "no two voxels share a segment"),
        ("recall", a - n, "no two voxels share an object"),
    ):
        scores |= {name: (ab - n) / pairs} if pairs else undefined(why, name)
    return scores


def rand_cremi(truth: np.ndarray, segmentation: np.ndarray, count: np.ndarray, *, voxels: int) -> Scores:
    """Adapted Rand error as SNEMI3D's script, gala and CREMI have it (Arganda-Carreras et al. 2015).

    Voxels of an object in segmentation 0 count as objects of their own: they add c / `voxels` (all of the volume),
    a remainder of a normalised version that is negligible in counts and in every published figure.
    """
    seen = segmentation != 0
    alone = int(count[~seen].sum()) / voxels
    a = _squares(truth, count)
    b = _squares(segmentation[seen], count[seen]) + alone
    ab = int((count[seen].astype(object) ** 2).sum()) + alone
    precision, recall = ab / b, ab / a
    return dict(zip(CREMI_NAMES, (1 - harmonic_mean(precision, recall), precision, recall)))


def _sums(label: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(k,) voxels of the label in each row of the table."""
    _, place = np.unique(label, return_inverse=True)
    return np.bincount(place, weights=count)[place]


def _squares(label: np.ndarray, count: np.ndarray) -> int:
    """Sum over labels of voxels squared, in whole numbers that do not overflow."""
    if not len(label):
        return 0
    _, place = np.unique(label, return_inverse=True)
    sums = np.zeros(place.max() + 1, np.int64)
    np.add.at(sums, place, count)
    return int((sums.astype(object) ** 2).sum())
