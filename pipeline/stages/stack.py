"""stack: the blocks of a volume put together into one prediction."""

import json
from pathlib import Path

import numpy as np

from pipeline import intensity, volume
from pipeline.blocks import UNBINNED, Plan, Zyx, overlap_of, read_plan
from pipeline.files import whole


def run(image: Path, plan: Path, blocks: Path, output: Path) -> None:
    """Put the blocks that infer wrote together.

    Where the network read several voxels of the image as one (`tile`), its answers are put back on the image's voxels
    by linear interpolation; affinities stay on the network's, where cells are found.

    Args:
        image: OME-Zarr made by ingest: gives the voxel size and the source.
        plan: made by tile.
        blocks: folder made by infer.
        output: OME-Zarr, uint8 (c, z, y, x), channels named by the network, 0..255 = probability 0..1.
    """
    source, cut = volume.open_volume(image), read_plan(plan)
    cut.check(plan, source.shape)
    made = json.loads((blocks / "made.json").read_text(encoding="utf-8"))
    channels = tuple(made.pop("channels"))
    dense = any(name.startswith("affinity_") for name in channels)
    binning = cut.binning if dense else UNBINNED
    depth, height, width = (size * step for size, step in zip(source.voxel_size, binning))
    with whole(output) as private:
        array = volume.create(
            private,
            shape=cut.shape if dense else source.shape,
            dtype="uint8",
            voxel_size=(depth, height, width),
            channels=channels,
            attributes={**source.attributes, "network": {**made, "binning": list(binning)}},
        )
        # One row of chunks at a time: memory does not grow with the volume, and no chunk has two writers.
        _, chunk_z, chunk_y, _ = array.chunks
        _, depth, height, width = array.shape
        put_together = assemble if dense else enlarged
        for z in range(0, depth, chunk_z):
            for y in range(0, height, chunk_y):
                stop = (min(z + chunk_z, depth), min(y + chunk_y, height), width)
                box = put_together(cut, blocks, start=(z, y, 0), stop=stop, channels=len(channels))
                array[:, z : stop[0], y : stop[1]] = box


def enlarged(plan: Plan, folder: Path, *, start: Zyx, stop: Zyx, channels: int) -> np.ndarray:
    """uint8 (c, z, y, x): the box start .. stop - 1 of the image, of whose voxels the plan's are means (`binning`).

    Linear between the middles of these. The result of a voxel does not depend on the box.
    """
    if plan.binning == UNBINNED:
        return assemble(plan, folder, start=start, stop=stop, channels=channels)
    axes = zip(start, stop, plan.binning, plan.shape, strict=True)
    between = [intensity.between(np.arange(a, b), size, side=side) for a, b, side, size in axes]
    low, high = np.array([(first[0], first[-1] + 2) for first, _ in between]).T
    box = _zyx(low), _zyx(np.minimum(high, plan.shape))
    values = assemble(plan, folder, start=box[0], stop=box[1], channels=channels).astype(np.float32)
    for axis, ((first, part), begin, size) in enumerate(zip(between, low, plan.shape), 1):
        part = part.reshape([-1 if each == axis else 1 for each in range(4)])
        after = np.minimum(first + 1, size - 1)
        values = values.take(first - begin, axis) * (1 - part) + values.take(after - begin, axis) * part
    return np.rint(values).astype(np.uint8)


def _zyx(place: np.ndarray) -> Zyx:
    z, y, x = place.tolist()
    return z, y, x


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
