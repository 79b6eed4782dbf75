"""stack: the blocks of a volume put together into one probability volume."""

from pathlib import Path

import numpy as np

from pipeline import volume
from pipeline.blocks import Plan, read_plan
from pipeline.files import whole


def run(image: Path, plan: Path, blocks: Path, output: Path) -> None:
    """Put the blocks that infer wrote together.

    Args:
        image: OME-Zarr made by ingest: gives the voxel size and the source.
        plan: made by tile.
        blocks: folder made by infer.
        output: OME-Zarr, uint8 (z, y, x), 0..255 = probability 0..1.
    """
    source, cut = volume.open_volume(image), read_plan(plan)
    with whole(output) as private:
        array = volume.create(
            private,
            shape=cut.shape,
            dtype="uint8",
            voxel_size=source.voxel_size,
            attributes=source.attributes,
        )
        parts = [np.load(blocks / f"{index:06d}.npy", mmap_mode="r") for index in range(len(cut.blocks))]
        depth = array.chunks[0]
        for first in range(0, cut.shape[0], depth):
            array[first : first + depth] = slab(cut, parts, first, min(first + depth, cut.shape[0]))


def slab(plan: Plan, parts: list[np.ndarray], first: int, stop: int) -> np.ndarray:
    """Planes first .. stop - 1 of the volume, from the cores of the blocks (`parts`, in the plan's order)."""
    planes = np.zeros((stop - first, *plan.shape[1:]), np.uint8)
    for block, part in zip(plan.blocks, parts, strict=True):
        low, high = max(first, block.start[0]), min(stop, block.stop[0])
        if low < high:
            rows, columns = (slice(block.start[axis], block.stop[axis]) for axis in (1, 2))
            planes[low - first : high - first, rows, columns] = part[
                low - block.start[0] : high - block.start[0]
            ]
    return planes
