"""Mask against mask: Dice, clDice, distances between surfaces, surface Dice."""

import numpy as np
from scipy import ndimage

from pipeline.metrics.scores import Scores, harmonic_mean, undefined

NEAR_27 = np.ones((3, 3, 3), bool)
SURFACE_NAMES = ("hd95", "hd95_max", "hausdorff", "assd", "surface_dice")
CLDICE_NAMES = ("cldice_precision", "cldice_sensitivity", "cldice")


def scores(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    tolerance_um: float = 1.0,
) -> Scores:
    """All scores of two masks of one shape (z, y, x), bool. voxel_size: z,y,x in um; distances are in um."""
    return {
        **dice_scores(prediction, reference),
        **cldice(prediction, reference),
        **surface_scores(prediction, reference, voxel_size=voxel_size, tolerance_um=tolerance_um),
    }


def dice_scores(prediction: np.ndarray, reference: np.ndarray) -> Scores:
    """dice of the foreground, dice_background of the complements, dice_class_mean of both.

    "Dice" in papers is often the class mean, which hardly moves on sparse neurites: about .5 for an empty
    prediction. Both masks empty: dice is undefined, not 1.
    """
    both = int((prediction & reference).sum())
    sizes = int(prediction.sum()) + int(reference.sum())
    voxels = prediction.size
    names = ("dice", "dice_background")
    result: Scores = {}
    for name, shared, total in zip(names, (both, voxels - sizes + both), (sizes, 2 * voxels - sizes)):
        result |= {name: 2 * shared / total} if total else undefined("neither mask has a voxel of it", name)
    lacking = [name for name in names if np.isnan(result[name])]
    if lacking:
        return result | undefined(f"{lacking[0]} is undefined", "dice_class_mean")
    return result | {"dice_class_mean": (result["dice"] + result["dice_background"]) / 2}


def cldice(prediction: np.ndarray, reference: np.ndarray) -> Scores:
    """Centre-line Dice, and its parts: the share of each skeleton that lies in the other mask.

    cldice_precision: of the prediction's skeleton; cldice_sensitivity: of the reference's (the authors' code has
    the two names the other way round). Undefined where a mask is empty. Shit et al. 2021, CVPR.
    """
    for mask, name in ((prediction, "prediction"), (reference, "reference")):
        if not mask.any():
            return undefined(f"the {name} is empty", *CLDICE_NAMES)
    precision = float(reference[skeleton(prediction)].mean())
    sensitivity = float(prediction[skeleton(reference)].mean())
    return dict(zip(CLDICE_NAMES, (precision, sensitivity, harmonic_mean(precision, sensitivity))))


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Centre line of a mask (z, y, x), bool, of which every 26-connected component keeps a voxel.

    scikit-image's 3D thinning (Lee 1994) erases objects of even thickness whole: 2 x 2 x 40 leaves nothing.
    Such a component is thickened by one voxel to an odd thickness first; should that fail too, its deepest
    voxel stands for it. Components that the plain thinning keeps are as it leaves them.
    """
    lines = thinned(mask)
    component, count = ndimage.label(mask, NEAR_27)
    lost = np.setdiff1d(np.arange(1, count + 1), component[lines])
    boxes = ndimage.find_objects(component)
    for number in lost:
        box = boxes[number - 1]
        lines[box] |= _thickened_skeleton(component[box] == number)
    return lines


def thinned(mask: np.ndarray) -> np.ndarray:
    """scikit-image's thinning of a mask (z, y, x), unguarded; the array's border counts as outside."""
    from skimage.morphology import skeletonize

    return skeletonize(np.pad(mask, 1)).astype(bool)[1:-1, 1:-1, 1:-1]


def _thickened_skeleton(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    lines = thinned(ndimage.binary_dilation(padded, np.ones((2, 2, 2), bool))) & padded
    if not lines.any():
        lines.flat[ndimage.distance_transform_edt(padded).argmax()] = True
    return lines[1:-1, 1:-1, 1:-1]


def surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask with a 6-neighbour outside of it; what is outside of the array is outside of the mask."""
    return mask & ~ndimage.binary_erosion(mask)


def surface_scores(
    prediction: np.ndarray,
    reference: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    tolerance_um: float,
) -> Scores:
    """Distances between the surfaces of two masks (z, y, x), bool, in um. Undefined where one is empty.

    hd95: 95th percentile (linear) of both directed sets of distances pooled, as MedPy has it. hd95_max: the
    larger of the two directed percentiles, as MONAI has it. hausdorff: the maximum. assd: the pooled mean.
    surface_dice: share of both surfaces that lies within the tolerance of the other, inclusive.
    """
    for mask, name in ((prediction, "prediction"), (reference, "reference")):
        if not mask.any():
            return undefined(f"the {name} is empty", *SURFACE_NAMES)
    # No distance leaves the box that holds both masks: the distance transforms stay small.
    [box] = ndimage.find_objects((prediction | reference).astype(np.int8))
    surfaces = surface(prediction[box]), surface(reference[box])
    directed = [
        ndimage.distance_transform_edt(~second, sampling=voxel_size)[first]
        for first, second in (surfaces, surfaces[::-1])
    ]
    pooled = np.concatenate(directed)
    return {
        "hd95": float(np.percentile(pooled, 95)),
        "hd95_max": max(float(np.percentile(one, 95)) for one in directed),
        "hausdorff": float(pooled.max()),
        "assd": float(pooled.mean()),
        "surface_dice": float((pooled <= tolerance_um).mean()),
    }
