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
        # One row of chunks at a time: memory does not grow with the volume, and no chunk has two writers.
        for z in range(0, cut.shape[0], array.chunks[0]):
            for y in range(0, cut.shape[1], array.chunks[1]):
                start, stop = (z, y, 0), (z + array.chunks[0], y + array.chunks[1], cut.shape[2])
                box = assemble(cut, parts, start, tuple(np.minimum(stop, cut.shape)))
                array[z : stop[0], y : stop[1]] = box


def assemble(
    plan: Plan, parts: list[np.ndarray], start: tuple[int, int, int], stop: tuple[int, int, int]
) -> np.ndarray:
    """uint8 box start .. stop - 1 of the volume, from the cores of the blocks (`parts`, in the plan's order)."""
    box = np.zeros(np.subtract(stop, start), np.uint8)
    for block, part in zip(plan.blocks, parts, strict=True):
        low, high = np.maximum(start, block.start), np.minimum(stop, block.stop)
        if (low < high).all():
            box[_slices(low - start, high - start)] = part[_slices(low - block.start, high - block.start)]
    return box


def _slices(start: np.ndarray, stop: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))
