"""Scores of a predicted mask against a reference mask: Dice, clDice, surface distances.

P, R: bool arrays (z, y, x) of one shape; spacing: z, y, x in um. Undefined is NaN with a reason.
"""

import numpy as np
from scipy import ndimage

from pipeline.metrics.scores import Scores, harmonic_mean, undefined


def dice(prediction: np.ndarray, reference: np.ndarray) -> Scores:
    """2 |P and R| / (|P| + |R|) of the foreground (`dice`), of the background, and their mean.

    Papers often mean `dice_class_mean`, which is near 0.5 for an empty prediction of a sparse neurite: say which.
    """
    result: Scores = {}
    for name, p, r in (("dice", prediction, reference), ("dice_background", ~prediction, ~reference)):
        total = int(p.sum()) + int(r.sum())
        if total:
            result[name] = 2 * int((p & r).sum()) / total
        else:
            result |= undefined("both are empty", name)
    if len(result) == 2:
        return result | {"dice_class_mean": (result["dice"] + result["dice_background"]) / 2}
    return result | undefined("one class is empty in both", "dice_class_mean")


def cldice(prediction: np.ndarray, reference: np.ndarray, *, rescue: bool = True) -> Scores:
    """Centre-line Dice, Shit et al. 2021, CVPR: share of each skeleton inside the other mask, and their mean.

    cldice_precision = |S(P) and R| / |S(P)|, cldice_sensitivity = |S(R) and P| / |S(R)|, cldice = harmonic mean.
    The published code names the first two the other way round. rescue: see skeleton; without it a mask that thins
    to nothing is undefined.
    """
    names = ("cldice", "cldice_precision", "cldice_sensitivity")
    if not prediction.any() or not reference.any():
        return undefined("a mask is empty", *names)
    ours, theirs = (skeleton(mask, rescue=rescue) for mask in (prediction, reference))
    if not ours.any() or not theirs.any():
        return undefined("a skeleton is empty", *names)
    precision = float(reference[ours].mean())
    sensitivity = float(prediction[theirs].mean())
    return dict(zip(names, (harmonic_mean(precision, sensitivity), precision, sensitivity)))


def skeleton(mask: np.ndarray, *, rescue: bool = True) -> np.ndarray:
    """Bool array of the mask's shape: Lee's skeleton; rescue: at least one voxel for every 26-connected component.

    scikit-image erases objects of even thickness in 3D (a rod of 2 x 2 x 40 leaves nothing), which makes clDice 0/0.
    Such a component is thickened by one voxel to an odd thickness, thinned again and cut back; if that
    leaves nothing either, its deepest voxel stands for it.
    """
    from skimage.morphology import skeletonize

    padded = np.pad(mask, 1)  # objects at the border of the array thin otherwise
    found = skeletonize(padded) & padded
    if not rescue:
        return found[1:-1, 1:-1, 1:-1]
    labels, _ = ndimage.label(padded, np.ones((3, 3, 3)))
    alive = np.zeros(labels.max() + 1, bool)
    alive[labels[found]] = True
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if not alive[label]:
            component = np.pad(labels[box] == label, 1)
            found[box] |= _rescue(component)[1:-1, 1:-1, 1:-1]
    return found[1:-1, 1:-1, 1:-1]


def _rescue(component: np.ndarray) -> np.ndarray:
    from skimage.morphology import skeletonize

    thick = component.copy()
    for axis in range(3):
        thick |= np.roll(thick, 1, axis)  # the padding keeps it from wrapping round
    found = skeletonize(np.pad(thick, 1))[1:-1, 1:-1, 1:-1] & component
    if not found.any():
        found = np.zeros_like(component)
        found[np.unravel_index(ndimage.distance_transform_edt(component).argmax(), component.shape)] = True
    return found


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """um from each surface voxel of P to the nearest of R, and the reverse; both masks hold something.

    Surface: a voxel of the mask with one of six neighbours outside; beyond the array is outside.
    """
    # Nothing beyond the union's box matters, and tree masks fill little of a volume.
    (box,) = ndimage.find_objects((prediction | reference).astype(np.int8))
    ours, theirs = (_surface(mask[box]) for mask in (prediction, reference))
    to_theirs, to_ours = (
        ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in (theirs, ours)
    )
    return to_theirs[ours], to_ours[theirs]


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def surfaces(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float], *, tolerance: float
) -> Scores:
    """Distances of the surfaces in um.

    hd95: 95th percentile of both directed sets pooled (as MedPy); hd95_max: the larger of the two directed
    percentiles (as MONAI); hausdorff; assd: mean of the pooled set; surface_dice: share of all surface voxels
    within `tolerance` of the other surface, inclusive.
    """
    names = ("hd95", "hd95_max", "hausdorff", "assd", "surface_dice")
    if not prediction.any() or not reference.any():
        return undefined("a mask is empty", *names)
    both = surface_distances(prediction, reference, spacing)
    pooled = np.concatenate(both)
    values = (
        np.percentile(pooled, 95),
        max(np.percentile(one, 95) for one in both),
        pooled.max(),
        pooled.mean(),
        (pooled <= tolerance).mean(),
    )
    return dict(zip(names, map(float, values)))
