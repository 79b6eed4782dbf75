"""Peak memory of the stages up to infer while the volume grows eight times, and eight times again.

python benchmarks/infer_memory.py [--volumes 3] [--weights FILE] [--folder DIR]

Volumes of 2, 17 and 134 million voxels: a simulated neuron, repeated. At most 2 x 2 x 2 neurons, then dark
background with the same noise, which infer skips: the network's work stops growing, what is read and written does
not. The smallest volume is less than one block (tile.block_voxels): the ratio that counts is that of the last two.
"""

import tempfile
from pathlib import Path

import cyclopts
import numpy as np
import tifffile
from measure import run_stage

from pipeline.simulation.demo import VOXEL_SIZE, demo_neuron

CELL_SLICES = 32
FILLED = 2  # cells along each axis that hold a neuron


def main(
    *, volumes: int = 3, weights: Path = Path("pipeline/weights/lm.safetensors"), folder: Path | None = None
):
    """Print voxels, and seconds and peak MB of ingest, tile, infer and stack, for each volume.

    volumes: how many, each eight times the one before. folder: where the volumes go; empty: a temporary one.
    """
    print("voxels\tstage\tseconds\tMvoxel/s\tpeak MB\tratio")
    neuron = demo_neuron(0, 3, seed=0).image[:CELL_SLICES]
    before: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=folder) as work:
        for index in range(volumes):
            image = Path(work) / f"{index}.tif"
            voxels = write_repeated(image, neuron, 2**index)
            zarr, plan, blocks = (image.with_suffix(end) for end in (".zarr", ".json", ".blocks"))
            size = ",".join(map(str, VOXEL_SIZE))
            for stage, arguments in {
                "ingest": (image, zarr, "--voxel-size", size),
                "tile": (zarr, weights, plan),
                "infer": (zarr, plan, weights, blocks),
                "stack": (zarr, plan, blocks, image.with_suffix(".prediction.zarr")),
            }.items():
                usage = run_stage(stage, *arguments)
                ratio = f"{usage.peak_mb / before[stage]:.3f}" if stage in before else ""
                rate = voxels / usage.seconds / 1e6
                row = [voxels, stage, f"{usage.seconds:.1f}", f"{rate:.2f}", f"{usage.peak_mb:.0f}", ratio]
                print(*row, sep="\t", flush=True)
                before[stage] = usage.peak_mb


def write_repeated(path: Path, cell: np.ndarray, times: int) -> int:
    """Write `times` cells (z, y, x) along each axis as a TIFF, slice by slice; its number of voxels.

    Cells beyond the first FILLED of an axis hold noise: voxels drawn from the dark half of `cell`.
    """
    shape = tuple(times * n for n in cell.shape)
    dark = np.random.default_rng(0).permuted(cell[cell <= 2 * np.median(cell)])[: cell[0].size]
    empty = np.tile(dark.reshape(cell[0].shape), (times, times))
    filled = min(FILLED, times)

    def planes():
        for z in range(shape[0]):
            plane = empty.copy()
            if z < filled * len(cell):
                held = np.tile(cell[z % len(cell)], (filled, filled))
                plane[: held.shape[0], : held.shape[1]] = held
            yield plane

    tifffile.imwrite(path, planes(), shape=shape, dtype=cell.dtype, metadata={"axes": "ZYX"})
    return int(np.prod(shape))


if __name__ == "__main__":
    cyclopts.run(main)
