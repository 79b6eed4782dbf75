"""Affinities to fragments: small pieces that hold one cell each, by a watershed from the middles of the cells."""

from collections.abc import Mapping
from dataclasses import dataclass

import bioimage_cpp as bic
import cc3d
import edt
import fastremap
import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.morphology import local_maxima

from pipeline.instances.affinities import CERTAIN, NEAREST, boundary

# Share of the membranes in the height that is flooded; the rest is the distance from them.
MEMBRANE = 0.9
# A border moves from where the flood has put it when the cut beside it is so much deeper.
STAY = 0.2
# Planes (in 2D: lines) in which borders settle at once, and those looked at beyond them: the library takes some 60
# bytes for each voxel there.
SLAB, MARGIN = 32, 8


@dataclass(frozen=True)
class Cutting:
    """How fragments are cut.

    threshold: boundary (0..1) beyond which a voxel is wall. seed_sigma, height_sigma: blur of the distance to the
    walls, whose maxima are seeds, and of the boundary that is flooded; pixels of x. min_voxels: fragments of fewer
    give way to their neighbours, unless they have none. settle: move borders to the deepest cut nearby.
    """

    threshold: float = 0.25
    seed_sigma: float = 1.0
    height_sigma: float = 0.5
    min_voxels: int = 100
    settle: bool = True


STANDARD = Cutting()


def is_flat(voxel_size: tuple[float, float, float]) -> bool:
    """Whether sections are so far apart that cells must be looked for in each of them alone."""
    return voxel_size[0] > 2 * min(voxel_size[1:])


def fragments(
    affinities: Mapping[str, np.ndarray],
    foreground: np.ndarray,
    voxel_size: tuple[float, float, float],
    *,
    flat: bool,
    cutting: Cutting = STANDARD,
) -> np.ndarray:
    """uint32 (z, y, x): fragments 1, 2, ... that fill the foreground, 0 elsewhere.

    affinities: NEAREST, restricted, uint8 (z, y, x). foreground: bool (z, y, x). flat: cut each section by itself,
    else in 3D with the voxel size (z, y, x) as pitch. From the maxima of the distance to the walls .9 boundary + .1
    (1 - distance / its maximum) is flooded: Beier et al. 2017, Nat. Methods 14:101; that borders then settle is ours
    (`_settled`).
    """
    walls = boundary(affinities, in_plane=flat)
    if not flat:
        return _watershed(walls, [affinities[name] for name in NEAREST], foreground, voxel_size, cutting)
    labels, before = np.zeros(foreground.shape, np.uint32), 0
    for z, inside in enumerate(foreground):
        channels = [affinities[name][z] for name in NEAREST[1:]]
        cells = _watershed(walls[z], channels, inside, voxel_size[1:], cutting)
        # Only what is a fragment moves on: 0 stays 0.
        labels[z][cells > 0] = cells[cells > 0] + np.uint32(before)
        before += int(cells.max(initial=0))
    return labels


def _watershed(
    walls: np.ndarray,
    channels: list[np.ndarray],
    foreground: np.ndarray,
    pitch: tuple[float, ...],
    cutting: Cutting,
) -> np.ndarray:
    """One 2D or 3D watershed; all arrays of one shape, pitch: um a voxel along its axes."""
    if not foreground.any():
        return np.zeros(walls.shape, np.uint32)
    per_pixel = np.asarray(pitch) / pitch[-1]
    contested = foreground & (walls > np.float32(cutting.threshold * CERTAIN))
    inside = foreground & ~contested
    distance = edt.edt(inside, anisotropy=tuple(per_pixel), black_border=False, parallel=1)
    # Without any wall the distance is infinite: one seed, which fills all.
    distance[~np.isfinite(distance)] = 1
    seeds = _seeds(_smooth(distance, cutting.seed_sigma / per_pixel), inside)
    seeds = _with_every_island(seeds, foreground)
    height = _smooth(walls, cutting.height_sigma / per_pixel)
    height *= MEMBRANE / CERTAIN
    distance *= (MEMBRANE - 1) / max(float(distance.max()), 1e-6)
    height += distance
    del distance, inside
    labels = _without_small(
        bic.segmentation.watershed(height, seeds, mask=foreground), height, foreground, cutting.min_voxels
    )
    del height, seeds
    if cutting.settle:
        labels = _settled(labels, channels, contested, foreground)
    return fastremap.renumber(labels, preserve_zero=True)[0].astype(np.uint32, copy=False)


def _settled(
    labels: np.ndarray, channels: list[np.ndarray], contested: np.ndarray, foreground: np.ndarray
) -> np.ndarray:
    """Fragments whose borders lie at the deepest cut between voxels.

    The height of a voxel cannot say on which side of it the cut is: between cells that touch, the flooded border is
    off by a voxel here and there, and the mean over its faces half a membrane. So the voxels beside cuts (contested)
    are flooded again from the others, over links from voxel to voxel. Where all links are weak, in thick membranes,
    the border stays. Perfect affinities of FIB-25, VI after multicut at beta .5: .34 without, .007 with this.
    """
    settled = np.empty_like(labels)
    for first in range(0, len(labels), SLAB):
        last = min(first + SLAB, len(labels))
        wide = slice(max(first - MARGIN, 0), last + MARGIN)
        part = _settled_slab(
            labels[wide], [channel[wide] for channel in channels], contested[wide], foreground[wide]
        )
        settled[first:last] = part[first - wide.start :][: last - first]
    return settled


def _settled_slab(labels, channels, contested, foreground) -> np.ndarray:
    links = np.empty((len(channels), *labels.shape), np.float32)
    for axis, (link, channel) in enumerate(zip(links, channels)):
        np.multiply(channel, np.float32(1 / CERTAIN), out=link)
        steps, side = np.moveaxis(link, axis, 0), np.moveaxis(labels, axis, 0)
        steps[1:] -= (side[1:] != side[:-1]) * np.float32(STAY)
    band = binary_dilation(contested) & foreground
    back = -np.eye(labels.ndim, dtype=int)
    seeds = np.where(contested, np.uint32(0), labels)
    flooded = bic.segmentation.watershed_from_affinities(links, back.tolist(), seeds, mask=band)
    return np.where(flooded == 0, labels, flooded)


def _smooth(volume: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """float32 copy, blurred."""
    if not sigma.any():
        return volume.astype(np.float32)
    return gaussian_filter(volume, sigma, output=np.float32, mode="nearest", truncate=3)


def _seeds(distance: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """uint32: the plateaus of the local maxima, numbered."""
    # scikit-image finds no maximum along an axis of fewer than three voxels: it is repeated to three.
    short = [(0, max(3 - length, 0)) for length in distance.shape]
    peaks = local_maxima(np.pad(distance, short, mode="edge"), connectivity=distance.ndim, allow_borders=True)
    peaks = peaks[tuple(slice(length) for length in distance.shape)].astype(bool) & inside
    return cc3d.connected_components(peaks, connectivity=8 if peaks.ndim == 2 else 26, out_dtype=np.uint32)


def _with_every_island(seeds: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Seeds, and one more for each connected part of the foreground that holds none: it would stay empty."""
    islands = cc3d.connected_components(
        foreground, connectivity=4 if foreground.ndim == 2 else 6, out_dtype=np.uint32
    )
    seeded = np.zeros(int(islands.max()) + 1, bool)
    seeded[islands[seeds > 0]] = True
    seeded[0] = True
    bare = ~seeded[islands]
    if bare.any():
        seeds[bare] = islands[bare] + np.uint32(seeds.max())
    return seeds


def _without_small(
    labels: np.ndarray, height: np.ndarray, foreground: np.ndarray, min_voxels: int
) -> np.ndarray:
    """Fragments below min_voxels flooded by their neighbours; what no neighbour reaches stays."""
    small = np.bincount(labels.ravel()) < min_voxels
    small[0] = False
    if not small.any():
        return labels
    filled = bic.segmentation.watershed(
        height, np.where(small[labels], np.uint32(0), labels), mask=foreground
    )
    return np.where(filled == 0, labels, filled)
