"""ingest: an image file becomes a volume with all that later stages need to know about it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline import __version__, images, intensity, volume
from pipeline.config import Modality, parse_triple
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.images.source import check_plausible, choose_voxel_size, doubt, sizes

TOLD = 5  # of lost planes so many are named
# Fewer hits than this share of the voxels change nothing. Dim ones show when brighter ones are out: so many rounds.
FEW_HITS, ROUNDS = 1e-4, 4


def run(
    image: Path,
    output: Path,
    *,
    voxel_size: str = "",
    fallback_voxel_size: str = "",
    channel: str = "",
    fallback_channel: str = "",
    time: str = "",
    fallback_time: str = "",
    problem: str = "",
    modality: Modality = "lm",
) -> None:
    """Read one image file into OME-Zarr.

    The voxels stay as they are, but for lost planes: one or two in a row that hold a single value, between planes that
    show the same things, take their nearer neighbour's voxels, and a warning says so; in light microscopy a single one
    takes the mean of both. There, where more than one voxel of 10,000 is bright and alone (hits of the detector, salt),
    these take the median of what is around them, and a warning says so. Levels and the checksum of the file's voxels
    are stored beside them. Memory does not grow with the volume: planes are read, checked and written one slab after
    the other.

    Args:
        image: file of any format in docs/formats.md, OME-Zarr folder, or folder of numbered one-slice TIFFs.
        output: OME-Zarr folder to write, (z, y, x).
        voxel_size: z,y,x in um, e.g. 1.0,0.33,0.33; wins over what the file says.
        fallback_voxel_size: z,y,x in um for a file that says nothing.
        channel: number (from 0) or name of the channel to read, of several.
        fallback_channel: the same, for a file of several channels where `channel` says nothing.
        time: number (from 0) of the time point to read, of several.
        fallback_time: the same, for a file of several time points where `time` says nothing.
        problem: what a sample sheet has wrong about this image: told instead of reading it, so that one row fails.
        modality: lm | em: em voxels above 1 um are remarked on.
    """
    if problem:
        raise SystemExit(problem)
    source = images.open_image(image, channel=channel, time=time, usual=(fallback_channel, fallback_time))
    given = parse_triple(f"{image}: voxel size given", voxel_size)
    fallback = parse_triple(f"{image}: voxel size from the config", fallback_voxel_size)
    size, remarks = choose_voxel_size(image, source, given=given, fallback=fallback)
    remarks = [*source.notes, *remarks]
    check_plausible(image, size, modality)
    print(f"{image}: {sizes(source.shape)} voxels (z,y,x) of {size} um, {source.dtype}", flush=True)
    if odd := doubt(size, modality):
        print(odd, flush=True)
    if source.shape[0] == 1:
        remarks.append("one plane: it is reconstructed in plane, without depth")
    with whole(output) as private:
        array = volume.create(private, shape=source.shape, dtype=source.dtype, voxel_size=size)
        checksum, level, mended = copy(source.array, array, where=image, light=modality == "lm")
        remarks += mended.remarks()
        volume.write_levels(private, level)
        told = {"sha256": checksum, **level.summary, "hits": mended.hits}
        doubts = remarks + (intensity.doubts(level.summary) if modality == "lm" else [])
        volume.describe(private, {"source": image.name, **told, "warnings": doubts, "version": __version__})
    print(
        f"{output}: background {told['background']:g} +- {told['noise']:.3g}, {told['data']:.0%} holds data"
    )
    for doubt_of_image in doubts:
        print(f"warning: {doubt_of_image}")


@dataclass(frozen=True)
class Mended:
    """What was not left as the file has it. instead: the plane taken for each lost one. hits: how many voxels."""

    instead: dict[int, int]
    hits: int

    def remarks(self) -> list[str]:
        """What to tell of it, a line each."""
        told = []
        if lost := sorted(self.instead):
            numbers = ", ".join(map(str, lost[:TOLD])) + (", ..." if len(lost) > TOLD else "")
            told.append(f"lost planes ({len(lost)}: {numbers}): their neighbours stand for them")
        if self.hits:
            told.append(f"hits: {self.hits} bright voxels without bright neighbours were taken out")
        return told


def copy(source, array, *, where: Path, light: bool) -> tuple[str, intensity.Levels, Mended]:
    """Copy a volume slab by slab; return the SHA-256 of its voxels, its intensity.levels, and what was mended.

    source, array: (z, y, x), read and written by ranges of z. light: a single lost plane takes the mean of the planes
    before and behind it, a neurite's way from one to the other (membranes would be doubled), and hits are taken out
    (an image of membranes is bright all over). The checksum is that of the voxels in C order, little-endian: it does
    not depend on the file's format. Raises InputError at `where` for NaN, infinity and constant volumes.
    """
    digest = hashlib.sha256()
    cells, sample, rows, lowest, highest = [], [], [], np.inf, -np.inf
    step = intensity.sample_step(array.shape)
    for z in volume.slabs(array):
        slab = np.ascontiguousarray(source[z])
        if slab.dtype.kind == "f" and not np.isfinite(slab).all():
            count = np.count_nonzero(~np.isfinite(slab))
            found = f"{count} voxels of planes {z.start} to {z.stop - 1} are NaN or infinite"
            raise InputError(where, found, "finite numbers")
        array[z] = slab
        digest.update(slab.astype(slab.dtype.newbyteorder("<"), copy=False).data)
        lowest, highest = min(lowest, float(slab.min())), max(highest, float(slab.max()))
        cells.append(intensity.look(slab))
        some = _lines(slab, z, step)
        sample.append(some[:, ::step].ravel())
        rows.append(some)
    if lowest == highest:
        raise InputError(where, f"all {sizes(array.shape)} voxels are {lowest:g}", "an image with contrast")
    hole = intensity.find_hole(np.concatenate(rows))
    rows.clear()  # of a large volume these and the cells of its slabs are most of the memory
    if hole is not None:
        cells = [intensity.look(array[z], hole) for z in volume.slabs(array)]
    seen = intensity.join(cells)
    cells.clear()
    seen, instead = _without_lost_planes(array, seen, hole, blend=light)
    if instead:
        sample = _sample(array, step)
    integers, hits = array.dtype.kind in "ui", 0
    level = intensity.levels(seen, np.concatenate(sample), integers=integers, hole=hole)
    for _ in range(ROUNDS if light else 0):
        taken_out = _without_hits(array, level)
        if not taken_out:
            break
        hits += taken_out
        sample = _sample(array, step)
        level = intensity.levels(_look(array, hole), np.concatenate(sample), integers=integers, hole=hole)
    return digest.hexdigest(), level, Mended(instead, hits)


def _look(array, hole: intensity.Hole | None) -> intensity.Cells:
    """The cells of a volume, slab by slab."""
    return intensity.join([intensity.look(array[z], hole) for z in volume.slabs(array)])


def _sample(array, step: int) -> list[np.ndarray]:
    """Every step-th voxel along each axis, slab by slab."""
    return [_lines(array[z], z, step)[:, ::step].ravel() for z in volume.slabs(array)]


def _lines(slab: np.ndarray, z: slice, step: int) -> np.ndarray:
    """(n, x): every step-th line of every step-th plane of the volume that lies in a slab of its planes z."""
    return slab[-z.start % step :: step, ::step].reshape(-1, slab.shape[2])


def _without_lost_planes(
    array, seen: intensity.Cells, hole: intensity.Hole | None, *, blend: bool
) -> tuple[intensity.Cells, dict[int, int]]:
    """Lost planes of `array` take their neighbours' voxels; its cells then, and which plane was taken for each."""
    instead = intensity.lost_planes(seen)
    anew = {}
    for plane, other in instead.items():
        alone = not {plane - 1, plane + 1} & instead.keys()
        if blend and alone:
            array[plane] = _between(array[plane - 1], array[plane + 1])
            anew[plane] = intensity.look(array[plane : plane + 1], hole)
        else:
            array[plane] = array[other]
    return seen.of_planes([instead.get(plane, plane) for plane in range(array.shape[0])], anew), instead


def _without_hits(array, level: intensity.Levels) -> int:
    """Hits of `array` take the median of what is around them in plane; how many there were.

    None are taken out where they are few, nor where the background was cut away: single voxels may be what was left of
    a neurite there.
    """
    if level.cleaned:
        return 0
    found = sum(len(places) for _, _, planes in _hits(array, level) for places in planes)
    if found < max(1, FEW_HITS * array.size * level.summary["data"]):
        return 0
    for z, voxels, planes in _hits(array, level):
        for number, places in enumerate(planes):
            voxels[number] = intensity.without_hits(voxels[number], places)
        array[z] = voxels
    return found


def _hits(array, level: intensity.Levels) -> Iterator[tuple[slice, np.ndarray, list[np.ndarray]]]:
    """Slab by slab: its planes, a copy of its voxels, and the places (y, x) of the hits in each of its planes.

    Two slabs are held, so that a slab may be written once it was yielded.
    """
    slabs = list(volume.slabs(array))
    sides = [(0, size) for size in array.shape[1:]]
    before, here = array[:0], array[slabs[0]]
    for z, following in zip(slabs, [*slabs[1:], slice(0, 0)], strict=True):
        after = array[following]
        lights = (
            intensity.above(plane[None], level, [(at, at + 1), *sides])[0]
            for at, plane in enumerate(chain(before, here, after[:1]), z.start - len(before))
        )
        places = list(intensity.find_hits(lights, level.brightest))[len(before) :][: len(here)]
        before = here[-1:].copy()
        yield z, here, places
        here = after


def _between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean of two planes in their own type."""
    mean = (before.astype(np.float64) + after) / 2
    return (np.rint(mean) if before.dtype.kind in "ui" else mean).astype(before.dtype)
