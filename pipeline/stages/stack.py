"""stack: the blocks of a volume put together into one prediction."""

import json
from pathlib import Path

import numpy as np

from pipeline import volume
from pipeline.blocks import Plan, Zyx, overlap_of, read_plan
from pipeline.files import whole
from pipeline.intensity import UNBINNED


def run(image: Path, plan: Path, blocks: Path, output: Path) -> None:
    """Put the blocks that infer wrote together.

    Args:
        image: OME-Zarr made by ingest: gives the voxel size and the source.
        plan: made by tile.
        blocks: folder made by infer.
        output: OME-Zarr, uint8 (c, z, y, x), channels named by the network, 0..255 = probability 0..1.
    """
    from pipeline.instances import affinities

    source, cut = volume.open_volume(image), read_plan(plan)
    made = json.loads((blocks / "made.json").read_text(encoding="utf-8"))
    channels = made.pop("channels")
    faces = [affinities.axis_of(name) for name in channels]
    with whole(output) as private:
        array = volume.create(
            private,
            shape=source.shape,
            dtype="uint8",
            voxel_size=source.voxel_size,
            channels=tuple(affinities.farther(name, cut.binning) for name in channels),
            attributes={**source.attributes, "network": made},
        )
        # One row of chunks at a time: memory does not grow with the volume, and no chunk has two writers.
        _, chunk_z, chunk_y, _ = array.chunks
        depth, height, width = source.shape
        for z in range(0, depth, chunk_z):
            for y in range(0, height, chunk_y):
                stop = (min(z + chunk_z, depth), min(y + chunk_y, height), width)
                box = enlarged(cut, blocks, start=(z, y, 0), stop=stop, faces=faces)
                array[:, z : stop[0], y : stop[1]] = box


def enlarged(plan: Plan, folder: Path, *, start: Zyx, stop: Zyx, faces: list[int | None]) -> np.ndarray:
    """uint8 (c, z, y, x): the box start .. stop - 1 of the image, of whose voxels the plan's are means (`binning`).

    Linear between the middles of these. faces: for each channel the axis along which it tells of the faces before
    voxels (an affinity): along it, linear between these. The result of a voxel does not depend on the box.
    """
    if plan.binning == UNBINNED:
        return assemble(plan, folder, start=start, stop=stop, channels=len(faces))
    axes = list(zip(start, stop, plan.binning, plan.shape, strict=True))
    low = [_between(*axis, face=True)[0][0] for axis in axes]  # a face lies before the middle
    low = [min(first, _between(*axis, face=False)[0][0]) for first, axis in zip(low, axes)]
    high = [min(_between(*axis, face=True)[0][-1] + 2, axis[3]) for axis in axes]
    box = assemble(plan, folder, start=tuple(low), stop=tuple(high), channels=len(faces))
    made = np.empty((len(faces), *np.subtract(stop, start)), np.uint8)
    for along, coarse, fine in zip(faces, box, made, strict=True):
        values = coarse.astype(np.float32)
        for at, (axis, begin) in enumerate(zip(axes, low)):
            first, part = _between(*axis, face=along == at)
            part = part.reshape([-1 if each == at else 1 for each in range(3)])
            after = np.minimum(first + 1, axis[3] - 1)
            values = values.take(first - begin, at) * (1 - part) + values.take(after - begin, at) * part
        fine[:] = np.rint(values)
    return made


def _between(start: int, stop: int, step: int, count: int, *, face: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of voxels start .. stop - 1 of an axis, the mean of `step` voxels that lies before each, and how far (0..1) it is
    to the next one. count: of means. face: of the faces before voxels."""
    at = np.arange(start, stop)
    place = np.clip(at / step if face else (at + 0.5) / step - 0.5, 0, count - 1)
    first = place.astype(int)
    return first, (place - first).astype(np.float32)


def assemble(plan: Plan, folder: Path, *, start: Zyx, stop: Zyx, channels: int) -> np.ndarray:
    """uint8 (c, z, y, x): the box start .. stop - 1 of the volume, from the blocks of the plan that touch it.

    One file is open at a time: a large volume has more blocks than a process may open.
    """
    box = np.zeros((channels, *np.subtract(stop, start)), np.uint8)
    for index, block in enumerate(plan.blocks):
        if shared := overlap_of(start, stop, block):
            here, there = shared
            part = np.load(folder / f"{index:06d}.npy", mmap_mode="r")
            box[(slice(None), *here)] = part[(slice(None), *there)]
    return box
