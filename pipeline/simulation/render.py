"""Trees to fluorescence: what a microscope would show of neurons whose truth is known.

Dye fills the neurites; each bit of it is a point of light that is spread to its eight nearest voxels (exact
in its amount and its place), blurred by a Gaussian point-spread function, joined by background, and counted
as photons with Poisson and read noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.signal import lfilter
from scipy.special import ndtri

from pipeline.arrays import spread
from pipeline.swc import Tree, um_to_voxel

SOMA = 1  # SWC type
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
LINEAR_SPREAD = 1 / 6  # mean variance, in voxels^2, that spreading a point to its neighbours adds an axis
REACH_SIGMAS = 3.0


@dataclass(frozen=True)
class Staining:
    """How unevenly a neurite takes the dye; 0 is even.

    uneven: standard deviation of the logarithm of the brightness along the neurite, correlated over
    `length_um`. dim: share of the length whose brightness falls to about a fifth. beads: contrast of
    varicosities (0..1: necks between them go down to 1 - beads), about `bead_um` apart.
    """

    uneven: float = 0.0
    length_um: float = 12.0
    dim: float = 0.0
    beads: float = 0.0
    bead_um: float = 3.0


@dataclass(frozen=True)
class Camera:
    """From photons to stored numbers.

    background: photons a voxel of empty tissue; it varies smoothly by the share `uneven`. haze: share of the
    light of the sample that returns as a wide glow. read_noise: standard deviation in photons.
    black, white: photon counts stored as 0 and as the largest number of the type; beyond they clip.
    """

    background: float = 2.0
    uneven: float = 0.0
    haze: float = 0.0
    read_noise: float = 1.0
    black: float = 0.0
    white: float = 255.0


def render(
    trees: Tree | Sequence[Tree],
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    rng: np.random.Generator,
    psf_um: tuple[float, float, float] = (0.8, 0.25, 0.25),
    photons: ArrayLike = 100.0,
    staining: Staining | Sequence[Staining] = Staining(),
    camera: Camera = Camera(),
    blobs: int = 0,
    blob_um: tuple[float, float] = (1.0, 6.0),
    dtype: type[np.unsignedinteger] = np.uint8,
) -> np.ndarray:
    """uint8 or uint16 (z, y, x): an image of the trees; voxel i of an axis is centred at i * voxel size.

    voxel_size: z, y, x um. psf_um: sigma of the Gaussian PSF, z, y, x um. photons: expected count of a
    voxel that lies wholly inside a neurite, before the blur; one number, or one a tree, as `staining`.
    blobs: how many bright bodies that belong to no tree to add, with radii between the two of `blob_um`.
    Parts of trees outside the volume are cut off; their blur reaches in.
    """
    trees = [trees] if isinstance(trees, Tree) else list(trees)
    light = fluorescence(
        trees,
        shape_zyx=shape_zyx,
        voxel_size=voxel_size,
        rng=rng,
        psf_um=psf_um,
        photons=photons,
        staining=staining,
        blobs=blobs,
        blob_um=blob_um,
    )
    return expose(light, rng=rng, camera=camera, dtype=dtype)


def fluorescence(
    trees: Sequence[Tree],
    *,
    shape_zyx: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    rng: np.random.Generator,
    psf_um: tuple[float, float, float],
    photons: ArrayLike = 100.0,
    staining: Staining | Sequence[Staining] = Staining(),
    blobs: int = 0,
    blob_um: tuple[float, float] = (1.0, 6.0),
) -> np.ndarray:
    """float32 (z, y, x): expected photons of the sample in focus, without background (see render)."""
    sigma = np.asarray(psf_um, float) / voxel_size
    pad = np.ceil(REACH_SIGMAS * sigma).astype(int) + 1
    volume = np.zeros(np.asarray(shape_zyx) + 2 * pad, np.float32)
    each_photons = np.broadcast_to(np.asarray(photons, float), len(trees))
    each_staining = [staining] * len(trees) if isinstance(staining, Staining) else staining
    bodies = [
        (dye(tree, voxel_size, rng=rng, gain=stain_gain(tree, stain, rng=rng)), level)
        for tree, level, stain in zip(trees, each_photons, each_staining, strict=True)
    ]
    brightest = np.max(each_photons, initial=100.0)
    bodies += [
        (blob, brightest * rng.uniform(0.3, 2.0))
        for blob in _blobs(blobs, blob_um, shape_zyx, voxel_size, rng=rng)
    ]
    points = np.concatenate([np.empty((0, 3)), *(points for (points, _), _ in bodies)])
    voxels = np.concatenate([np.empty(0), *(um3 * level for (_, um3), level in bodies)]) / np.prod(voxel_size)
    _splat(volume, um_to_voxel(points, voxel_size) + pad, voxels)
    for axis in range(3):
        # The linear spread has blurred a little already.
        rest = np.sqrt(max(sigma[axis] ** 2 - LINEAR_SPREAD, 0))
        if rest > 0.1:
            ndimage.gaussian_filter1d(volume, rest, axis=axis, output=volume, mode="constant", truncate=4)
    return volume[tuple(slice(p, p + n) for p, n in zip(pad, shape_zyx, strict=True))]


def expose(
    light: np.ndarray, *, rng: np.random.Generator, camera: Camera, dtype: type[np.unsignedinteger]
) -> np.ndarray:
    """Stored image of `light` (float32 photons, z, y, x): background, noise and clipping (see Camera)."""
    expected = light + camera.background
    if camera.uneven:
        field = smooth_field(light.shape, rng=rng)
        expected += camera.background * np.clip(camera.uneven * field, -0.95, None)
    if camera.haze:
        expected += camera.haze * _glow(light)
    counts = rng.poisson(expected).astype(np.float32)
    if camera.read_noise:
        counts += camera.read_noise * rng.standard_normal(light.shape, dtype=np.float32)
    top = np.iinfo(dtype).max
    return np.rint(np.clip((counts - camera.black) / (camera.white - camera.black), 0, 1) * top).astype(dtype)


def stain_gain(tree: Tree, staining: Staining, *, rng: np.random.Generator) -> np.ndarray:
    """(n,) brightness of each node about 1: smooth noise along every neurite of the tree (see Staining)."""
    gain = np.ones(len(tree))
    for rows in _chains(tree):
        along = _arc_length(tree, rows)
        step = max(along[-1] / max(len(rows) - 1, 1), 1e-3)
        if staining.uneven:
            gain[rows] *= np.exp(staining.uneven * _smooth_noise(rng, len(rows), staining.length_um / step))
        if staining.dim:
            level = _smooth_noise(rng, len(rows), staining.length_um / step)
            weak = 1 / (1 + np.exp(-6 * (level - ndtri(1 - staining.dim))))
            gain[rows] *= 1 - 0.8 * weak
        if staining.beads:
            pace = np.exp(0.4 * _smooth_noise(rng, len(rows), 2 * staining.bead_um / step))
            phase = rng.uniform(0, 2 * np.pi) + np.cumsum(pace) * step * 2 * np.pi / staining.bead_um
            gain[rows] *= 1 - staining.beads * (0.5 - 0.5 * np.cos(phase)) ** 0.5
    return gain


def dye(
    tree: Tree, voxel_size: tuple[float, float, float], *, rng: np.random.Generator, gain: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (m, 3) um that fill the tree's tubes evenly, and the um^3 (times gain) that each stands for.

    Each tube is cut into discs half the smallest voxel edge apart, each disc filled by a sunflower spiral
    turned at random. A soma is one ball; edges from it only name what hangs on it and hold no dye.
    """
    fine = min(voxel_size) / 2
    child = np.flatnonzero((tree.parent >= 0) & (tree.type[tree.parent] != SOMA))
    start, end = tree.xyz[tree.parent[child]], tree.xyz[child]
    length = np.linalg.norm(end - start, axis=1)
    discs = np.maximum(np.ceil(length / fine).astype(int), 1)
    edge, place = spread(discs)
    t = (place + 0.5) / discs[edge]
    centre = start[edge] + t[:, None] * (end - start)[edge]
    radius = (1 - t) * tree.radius[tree.parent[child]][edge] + t * tree.radius[child][edge]
    level = (1 - t) * gain[tree.parent[child]][edge] + t * gain[child][edge]
    volume = np.pi * radius**2 * (length / discs)[edge] * level

    count = np.clip(np.ceil(4 * (radius / min(voxel_size)) ** 2), 4, 48).astype(int)
    disc, k = spread(count)
    out = radius[disc] * np.sqrt((k + 0.5) / count[disc])
    angle = k * GOLDEN_ANGLE + rng.uniform(0, 2 * np.pi, len(centre))[disc]
    u, v = _normals(end - start)
    plane = np.stack([out * np.cos(angle), out * np.sin(angle)], axis=1)
    points = centre[disc] + plane[:, :1] * u[edge[disc]] + plane[:, 1:] * v[edge[disc]]
    weights = (volume / count)[disc]

    somata = np.flatnonzero(tree.type == SOMA)
    balls = [_ball(tree.xyz[row], np.full(3, tree.radius[row]), voxel_size, rng=rng) for row in somata]
    return (
        np.concatenate([points, *(p for p, _ in balls)]),
        np.concatenate([weights, *(w for _, w in balls)]),
    )


def smooth_field(shape_zyx: Sequence[int], *, rng: np.random.Generator, cells: int = 4) -> np.ndarray:
    """float32 (z, y, x) of about unit variance that varies over a quarter of each axis."""
    coarse = rng.standard_normal((cells, cells, cells), dtype=np.float32)
    for axis, n in enumerate(shape_zyx):
        at = np.linspace(0, cells - 1, n, dtype=np.float32)
        low = np.minimum(at.astype(int), cells - 2)
        t = at - low
        t = (t * t * (3 - 2 * t)).reshape([-1 if a == axis else 1 for a in range(3)])
        coarse = np.take(coarse, low, axis) * (1 - t) + np.take(coarse, low + 1, axis) * t
    return coarse * np.float32(1.5)


def _splat(volume: np.ndarray, points_zyx: np.ndarray, weights: np.ndarray) -> None:
    """Add weights at fractional voxel positions, shared linearly by the eight voxels around each."""
    shape = np.asarray(volume.shape)
    within = np.all((points_zyx >= 0) & (points_zyx < shape - 1), axis=1)
    points, weights = points_zyx[within], weights[within]
    low = points.astype(np.int64)
    t = points - low
    flat = np.ravel_multi_index(tuple(low.T), volume.shape)
    strides = (volume.shape[1] * volume.shape[2], volume.shape[2], 1)
    total = np.zeros(volume.size)
    for corner in np.ndindex(2, 2, 2):
        share = np.prod(np.where(corner, t, 1 - t), axis=1)
        total += np.bincount(flat + np.dot(corner, strides), weights * share, minlength=volume.size)
    volume += total.reshape(volume.shape).astype(np.float32)


def _ball(
    centre: np.ndarray,
    radii: np.ndarray,
    voxel_size: Sequence[float],
    *,
    rng: np.random.Generator,
    softness: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Points that fill an ellipsoid (axes along x, y, z) and the um^3 of each; softness 1: bright in its core."""
    volume = 4 / 3 * np.pi * np.prod(radii)
    count = int(np.clip(6 * volume / np.prod(voxel_size), 64, 500_000))
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = centre + direction * radii * rng.random((count, 1)) ** ((1 + softness) / 3)
    return points, np.full(count, volume / count)


def _blobs(
    count: int,
    blob_um: tuple[float, float],
    shape_zyx: Sequence[int],
    voxel_size: Sequence[float],
    *,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bright bodies anywhere in the volume: what `_ball` gives for each."""
    extent = (np.asarray(shape_zyx) * voxel_size)[::-1]
    for _ in range(count):
        radii = np.exp(rng.uniform(*np.log(blob_um))) * rng.uniform(0.7, 1.3, 3)
        yield _ball(rng.uniform(0, extent), radii, voxel_size, rng=rng, softness=rng.uniform(0, 1))


def _normals(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (n, 3) that are orthogonal to `direction` (n, 3) and to each other."""
    along_x = np.abs(direction[:, :1]) >= 0.5 * np.linalg.norm(direction, axis=1, keepdims=True)
    other = np.where(along_x, [0.0, 1, 0], [1.0, 0, 0])
    u = np.cross(direction, other)
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-12)
    v = np.cross(direction, u)
    return u, v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)


def _chains(tree: Tree) -> list[np.ndarray]:
    """Rows from branch point (or root) to branch point (or tip), each row in exactly one chain."""
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree))
    first = (tree.parent < 0) | (children[tree.parent] > 1)
    chain = np.arange(len(tree))
    # Parents lie before their children, so one pass names the chain of every row.
    for row in np.flatnonzero(~first):
        chain[row] = chain[tree.parent[row]]
    order = np.argsort(chain, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(chain[order])) + 1)


def _arc_length(tree: Tree, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(tree.xyz[rows], axis=0), axis=1))])


def _smooth_noise(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """(n,) stationary unit Gaussian noise, correlated over `length` samples."""
    rho = np.exp(-1 / max(length, 1e-3))
    noise = rng.normal(size=n)
    noise[1:] *= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise)


def _glow(light: np.ndarray) -> np.ndarray:
    """`light` blurred over a sixteenth of the view, on a grid of 1/4: the wide, weak light out of focus."""
    small = light[::2, ::4, ::4]
    wide = ndimage.gaussian_filter(small, [max(n / 16, 1) for n in small.shape], mode="nearest")
    return ndimage.zoom(wide, np.asarray(light.shape) / small.shape, order=1)
