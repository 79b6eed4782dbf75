"""ingest: an image file becomes a volume with all that later stages need to know about it."""

import hashlib
from pathlib import Path

import numpy as np

from pipeline import __version__, images, intensity, volume
from pipeline.config import Modality, parse_triple
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.images.source import check_plausible, choose_voxel_size, doubt, sizes

TOLD = 5  # of lost planes so many are named


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
    takes the mean of both. Levels and the checksum of the file's voxels are stored beside them. Memory does not grow
    with the volume: planes are read, checked and written one slab after the other.

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
        checksum, level, lost = copy(source.array, array, where=image, blend=modality == "lm")
        if lost:
            numbers = ", ".join(map(str, sorted(lost)[:TOLD])) + (", ..." if len(lost) > TOLD else "")
            remarks.append(f"lost planes ({len(lost)}: {numbers}): their neighbours stand for them")
        volume.write_levels(private, level)
        told = {"sha256": checksum, **level.summary}
        doubts = remarks + (intensity.doubts(level.summary) if modality == "lm" else [])
        volume.describe(private, {"source": image.name, **told, "warnings": doubts, "version": __version__})
    print(
        f"{output}: background {told['background']:g} +- {told['noise']:.3g}, {told['data']:.0%} holds data"
    )
    for doubt_of_image in doubts:
        print(f"warning: {doubt_of_image}")


def copy(source, array, *, where: Path, blend: bool) -> tuple[str, intensity.Levels, dict[int, int]]:
    """Copy a volume slab by slab; return the SHA-256 of its voxels, its intensity.levels, and which plane was taken for
    each lost one.

    source, array: (z, y, x), read and written by ranges of z. blend: a single lost plane takes the mean of the planes
    before and behind it, a neurite's way from one to the other (membranes would be doubled). The checksum is that of
    the voxels in C order, little-endian: it does not depend on the file's format. Raises InputError at `where` for
    NaN, infinity and constant volumes.
    """
    digest = hashlib.sha256()
    step = intensity.sample_step(array.shape)
    cells, sample, rows, lowest, highest = [], [], [], np.inf, -np.inf
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
        some = slab[-z.start % step :: step, ::step]
        sample.append(some[:, :, ::step].ravel())
        rows.append(some.reshape(-1, slab.shape[2]))
    if lowest == highest:
        raise InputError(where, f"all {sizes(array.shape)} voxels are {lowest:g}", "an image with contrast")
    hole = intensity.find_hole(np.concatenate(rows))
    rows.clear()  # of a large volume these and the cells of its slabs are most of the memory
    if hole is not None:
        cells = [intensity.look(array[z], hole) for z in volume.slabs(array)]
    seen = intensity.join(cells)
    cells.clear()
    instead = intensity.lost_planes(seen)
    anew = {}
    for plane, other in instead.items():
        alone = not {plane - 1, plane + 1} & instead.keys()
        if blend and alone:
            array[plane] = _between(array[plane - 1], array[plane + 1])
            anew[plane] = intensity.look(array[plane : plane + 1], hole)
        else:
            array[plane] = array[other]
    seen = seen.of_planes([instead.get(plane, plane) for plane in range(array.shape[0])], anew)
    level = intensity.levels(seen, np.concatenate(sample), integers=array.dtype.kind in "ui", hole=hole)
    return digest.hexdigest(), level, instead


def _between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean of two planes in their own type."""
    mean = (before.astype(np.float64) + after) / 2
    return (np.rint(mean) if before.dtype.kind in "ui" else mean).astype(before.dtype)
