"""stack: the blocks of a volume put together into one prediction."""

import json
from pathlib import Path

import numpy as np

from pipeline import volume
from pipeline.blocks import Plan, Zyx, overlap_of, read_plan
from pipeline.files import whole


def run(image: Path, plan: Path, blocks: Path, output: Path) -> None:
    """Put the blocks that infer wrote together.

    Args:
        image: OME-Zarr made by ingest: gives the voxel size and the source.
        plan: made by tile.
        blocks: folder made by infer.
        output: OME-Zarr, uint8 (c, z, y, x), channels named by the network, 0..255 = probability 0..1.
    """
    source, cut = volume.open_volume(image), read_plan(plan)
    made = json.loads((blocks / "made.json").read_text(encoding="utf-8"))
    with whole(output) as private:
        array = volume.create(
            private,
            shape=cut.shape,
            dtype="uint8",
            voxel_size=source.voxel_size,
            channels=tuple(made.pop("channels")),
            attributes={**source.attributes, "network": made},
        )
        # One row of chunks at a time: memory does not grow with the volume, and no chunk has two writers.
        _, chunk_z, chunk_y, _ = array.chunks
        for z in range(0, cut.shape[0], chunk_z):
            for y in range(0, cut.shape[1], chunk_y):
                stop = (min(z + chunk_z, cut.shape[0]), min(y + chunk_y, cut.shape[1]), cut.shape[2])
                box = assemble(cut, blocks, start=(z, y, 0), stop=stop, channels=array.shape[0])
                array[:, z : stop[0], y : stop[1]] = box


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
