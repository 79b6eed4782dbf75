"""Seconds and peak memory of every stage, from the raw image to the SWC and its picture.

python benchmarks/stages.py IMAGE [--voxel-size 1.0,0.33,0.33] [--root x,y,z] [--weights FILE]
"""

import tempfile
from pathlib import Path

import cyclopts
from measure import print_table, run_stage


def main(
    image: Path,
    *,
    voxel_size: str = "",
    root: str = "",
    weights: Path = Path("pipeline/weights/lm.safetensors"),
) -> None:
    """Print a table: stage, seconds, peak MB. image: a file that ingest reads; the other options as there."""
    with tempfile.TemporaryDirectory() as folder:
        made = {name: Path(folder) / name for name in MADE}
        volume, plan, blocks, prediction, labels, tree, table, picture = made.values()
        size = ["--voxel-size", voxel_size] if voxel_size else []
        start = ["--root", root] if root else []
        rows = {
            "ingest": run_stage("ingest", image, volume, *size),
            "tile": run_stage("tile", volume, weights, plan),
            "infer": run_stage("infer", volume, plan, weights, blocks),
            "stack": run_stage("stack", volume, plan, blocks, prediction),
            "segment": run_stage("segment", prediction, labels),
            "trace": run_stage("trace", labels, prediction, tree, table, "--image", volume, *start),
            "draw": run_stage("draw", volume, tree, picture),
        }
    print_table(rows)


MADE = (
    "image.zarr",
    "plan.json",
    "blocks",
    "prediction.zarr",
    "labels.zarr",
    "neuron.swc",
    "neurons.tsv",
    "overview.png",
)


if __name__ == "__main__":
    cyclopts.run(main)
