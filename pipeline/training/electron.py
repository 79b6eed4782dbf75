"""Volumes of electron microscopy for a training: read, checked, parted, weighed; whole in memory."""

from dataclasses import replace

import fastremap
import numpy as np

from pipeline import intensity, volume
from pipeline.dataset import is_tree
from pipeline.errors import InputError
from pipeline.images import labels
from pipeline.images.source import sizes
from pipeline.intensity.blank import Filled, tissue_grey
from pipeline.training.affinities import THICKER, Volume
from pipeline.training.sheet import Row

# The rule of grey that a new training learns (intensity.LEVELS).
LEVELS = "bytes 1"
# A stretched copy is black and white at these percentiles of its voxels.
STRETCHED = (0.1, 99.99)


def load(row: Row, *, membrane: bool) -> Volume:
    """The volume of a row of a training sheet; labels all 0 where the row has no reference.

    membrane: whether label 0 is membrane rather than unlabelled. Labels are renumbered, so that their ids may be of
    any size. Raises InputError for a tree as reference, labels of another shape, of floats, or without any label.
    """
    image = volume.open_volume(row.image)
    # As infer reads it: padding is as grey as the tissue.
    filled = Filled(image.array, tissue_grey(image.array))
    voxels = filled[tuple(slice(0, length) for length in image.shape)]
    grey = as_bytes(voxels, volume.read_levels(row.image))
    if not row.has_reference:
        return Volume(row.sample, grey, np.zeros(grey.shape, np.uint32), image.voxel_size, membrane=False)
    if is_tree(row.reference):
        raise InputError(row.reference, "a tree", "an image of voxel labels (electron microscopy)")
    found, _ = labels.read(row.reference)
    if found.shape != image.shape:
        allowed = f"{sizes(image.shape)} voxels as {row.image}"
        raise InputError(row.reference, f"labels of {sizes(found.shape)} voxels", allowed)
    cells, _ = fastremap.renumber(found, preserve_zero=True)
    if not cells.any():
        raise InputError(row.reference, "no label but 0", "at least one labelled cell")
    return Volume(row.sample, grey, cells.astype(np.uint32), image.voxel_size, membrane)


def as_bytes(voxels: np.ndarray, level: intensity.Levels) -> np.ndarray:
    """The grey that infer makes of an ingested image, as uint8; bytes stay as they are."""
    if voxels.dtype == np.uint8:
        return voxels
    return np.rint(intensity.grey(voxels, level, rule=LEVELS) * 255).astype(np.uint8)


def part(whole: Volume, first: float, last: float) -> Volume:
    """A volume from share `first` to share `last` of its sections, one section at least."""
    depth = len(whole.image)
    low = min(round(depth * first), depth - 1)
    high = max(round(depth * last), low + 1)
    return replace(whole, image=whole.image[low:high], labels=whole.labels[low:high])


def weighed(volumes: list[Volume], *, stretched: float) -> list[Volume]:
    """The volumes with how often crops come from each: as the square root of its size; some from a stretched copy.

    A volume of a tenth of the voxels still teaches a third as often: it is another tissue.
    """
    kinds: list[Volume] = []
    for each in volumes:
        share = each.image.size**0.5
        kinds.append(replace(each, share=share * (1 - stretched)))
        if stretched:
            kinds.append(replace(each, image=stretch(each.image), share=share * stretched))
    return [each for each in kinds if each.share > 0]


def stretch(image: np.ndarray) -> np.ndarray:
    """uint8 with the percentiles STRETCHED at 0 and 255."""
    low, high = np.percentile(image, STRETCHED)
    table = np.clip((np.arange(256) - low) / max(high - low, 1), 0, 1)
    return np.rint(table * 255).astype(np.uint8)[image]


def voxel_range(
    volumes: list[Volume], *, thicken: bool
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Smallest and largest voxel (z, y, x um) that was trained on; isotropic volumes are made thicker, too."""
    seen = [each.voxel_size for each in volumes]
    if thicken:
        for z, y, x in [each.voxel_size for each in volumes if each.isotropic]:
            seen.append((z * max(THICKER), y, x))
    edges = np.array(seen)
    low_z, low_y, low_x = map(float, edges.min(0))
    high_z, high_y, high_x = map(float, edges.max(0))
    return (low_z, low_y, low_x), (high_z, high_y, high_x)
