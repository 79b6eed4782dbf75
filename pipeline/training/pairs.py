"""Images with truth: scaled voxels, distance to the neurites, and where the truth counts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pipeline.intensity import Levels
from pipeline.rasterise import tube_distance
from pipeline.swc import Tree, um_to_voxel
from pipeline.training import align

REACH = 2.5  # distances beyond this many voxels are all alike
THINNEST = 1.5  # radius in pixels of the thinnest neurite that is asked for
# Voxels that people's lines lie beside their neurites, after they were moved to what is bright (align).
SCATTER = 1
RIM = 0.7  # voxels beside a tube that belong to neither side: references are not drawn to the voxel
FAINT, DIM = 2.5, 4.0  # sigma: see from_labels
# Sigma, after a little smoothing: what was grown, but no brighter, cannot be seen. Asked of each voxel of the image
# with its noise: of dim neurites and of rims it leaves the dark half out.
HIDDEN = 2.0
# What was not traced: brighter than this share of the median light of the traced neurites. Its dim ends: brighter than
# the second share, connected, so near to it.
UNTRACED, ENDS, ENDS_UM = 0.25, 0.1, 5.0
BRIGHTEST = 2000.0  # sigma; float16 keeps 65504

# Sparse voxel labels as TRAILMAP writes them (Friedmann et al. 2020).
UNLABELLED, BACKGROUND, NEURITE, ARTEFACT, RIM_LABEL = range(5)


@dataclass(frozen=True, eq=False)
class Pair:
    """One image and its truth; all arrays (z, y, x) of one shape.

    image: float16, light in units of the noise (intensity.light), at most BRIGHTEST. distance: float16, in-plane
    voxels to the nearest neurite's surface, negative inside, at most REACH. counts: bool, False where the truth
    is not known. foreground, bright: (n, 3) int32 voxels inside neurites, and bright voxels outside (what is easily
    mistaken). brightest, cleaned: of its volume (see Levels); what is drawn has no levels, its own voxels tell.
    """

    name: str
    image: np.ndarray
    distance: np.ndarray
    counts: np.ndarray
    foreground: np.ndarray
    bright: np.ndarray
    brightest: float
    cleaned: bool


def from_tree(
    name: str,
    image: np.ndarray,
    trees: list[Tree],
    voxel_size: tuple[float, float, float],
    *,
    complete: bool,
    scatter: int = SCATTER,
    level: Levels | None = None,
) -> Pair:
    """Pair an image (z, y, x, light in units of the noise) with trees (um).

    complete: every neurite in view is in `trees` (simulations); where one is HIDDEN does not count. Otherwise bright
    structures apart from the trees are other people's neurons, neither neurite nor background: they do not count. The
    trees were drawn by hand: they are moved to what is bright near them; what lies up to `scatter` pixels or slices
    beside a tree does not count, nor a part of a tree that is dark beside bright voxels.
    """
    pixel = min(voxel_size[1:])
    # A tube thinner than the distance of slices would have holes; thinner than 3 pixels it hangs on one voxel.
    thinnest = max(THINNEST * pixel, 0.6 * voxel_size[0])
    distance = np.full(image.shape, REACH * pixel, np.float32)
    if not complete:
        trees = [align.to_ridge(tree, image, voxel_size) for tree in trees]
    for tree in trees:
        tubes = tube_distance(tree, image.shape, voxel_size, reach_um=REACH * pixel, min_radius_um=thinnest)
        np.minimum(distance, tubes, out=distance)
    if complete:
        counts = (distance > 0) | (_smooth(image) >= HIDDEN)
    else:
        counts = ~_untraced(image, trees, distance, voxel_size) & ~_misdrawn(image, distance, scatter, pixel)
    return _pair(name, image, distance / pixel, counts, level)


def from_labels(name: str, image: np.ndarray, labels: np.ndarray, *, level: Levels | None = None) -> Pair:
    """Pair an image with sparse voxel labels (TRAILMAP's codes: 0 unlabelled ... 4 rim).

    People label voxels by what they see: those no brighter than FAINT, after a little smoothing, are background, those
    up to DIM do not count. (A tree is taught in its dim stretches too: they hold it together.)
    """
    smooth = _smooth(image)
    value = np.array([REACH, REACH, -1.0, REACH, RIM / 2], np.float32)
    neurite = labels == NEURITE
    distance = np.where(neurite & (smooth < FAINT), np.float32(REACH), value[labels])
    counts = (labels != UNLABELLED) & ~(neurite & (smooth >= FAINT) & (smooth < DIM))
    return _pair(name, image, distance, counts, level)


def empty(name: str, image: np.ndarray, *, level: Levels | None = None) -> Pair:
    """Pair of an image (z, y, x, light in units of the noise) without any neurite."""
    return _pair(name, image, np.full(image.shape, REACH, np.float32), np.ones(image.shape, bool), level)


def _pair(
    name: str, image: np.ndarray, distance: np.ndarray, counts: np.ndarray, level: Levels | None
) -> Pair:
    inside = (distance <= 0) & counts
    dim = np.quantile(image[inside], 0.25) if inside.any() else 0.0
    easily_mistaken = counts & (distance >= 2) & (image >= max(0.25 * dim, 3.0))
    return Pair(
        name=name,
        image=np.minimum(image, BRIGHTEST).astype(np.float16),
        distance=distance.astype(np.float16),
        counts=counts,
        foreground=np.argwhere(inside).astype(np.int32),
        bright=np.argwhere(easily_mistaken).astype(np.int32),
        brightest=level.brightest if level else float(image.max(initial=0)),
        cleaned=bool(level and level.cleaned),
    )


def _smooth(image: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(np.float32), (0, 0.7, 0.7))


def _untraced(
    image: np.ndarray, trees: list[Tree], distance: np.ndarray, voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """bool: structures as bright as the traced neurites that no tree passes within 2 um, and 1 voxel around.

    With their dim ends: as background they would teach that dim neurites are none.
    """
    nodes = np.rint(um_to_voxel(np.concatenate([tree.xyz for tree in trees]), voxel_size)).astype(int)
    nodes = nodes[np.all((nodes >= 0) & (nodes < image.shape), axis=1)]
    median = np.median(image[tuple(nodes.T)]) if len(nodes) else 0.0
    bright, dim = (max(share * median, 3.0) for share in (UNTRACED, ENDS))
    apart = ndimage.distance_transform_edt(distance > 0, sampling=voxel_size) > 2.0
    labels, _ = ndimage.label((image >= bright) & apart, np.ones((3, 3, 3)))
    size = np.bincount(labels.ravel())
    size[0] = 0
    # Specks are noise and must stay background; a stretch of neurite is larger than this.
    untraced = (size >= 100)[labels]
    if untraced.any():
        near = ndimage.distance_transform_edt(~untraced, sampling=voxel_size) <= ENDS_UM
        untraced = ndimage.binary_propagation(
            untraced, np.ones((3, 3, 3)), mask=(image >= dim) & apart & near | untraced
        )
    return ndimage.binary_dilation(untraced, iterations=1)


def _misdrawn(image: np.ndarray, distance: np.ndarray, scatter: int, pixel: float) -> np.ndarray:
    """bool: where a tree drawn by hand may be beside its neurite, most of all along z.

    image: light (z, y, x). distance: to the trees' surface, in the unit of `pixel`. scatter: pixels and slices.
    """
    depth = 2 * scatter + 1
    beside = (ndimage.minimum_filter(distance, (depth, 1, 1)) <= scatter * pixel) & (distance > 0)
    smooth = _smooth(image)
    dark = smooth < 0.5 * ndimage.maximum_filter(smooth, (depth, 5, 5))
    return beside | (dark & (distance <= 0))
