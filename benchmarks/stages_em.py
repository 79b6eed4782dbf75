"""Seconds and peak memory of every stage of electron microscopy, from the raw volume to the trees and the picture.

python benchmarks/stages_em.py IMAGE [--voxel-size 0.008,0.008,0.008] [--precision bf16] [--weights FILE]
"""

import tempfile
from pathlib import Path

import cyclopts
from measure import print_table, run_stage


def main(
    image: str,
    *,
    voxel_size: str = "",
    precision: str = "auto",
    weights: Path = Path("pipeline/weights/em.safetensors"),
    folder: Path | None = None,
) -> None:
    """Print a table: stage, seconds, peak MB. image: what ingest reads (file.h5:/raw, too). folder: keeps the files."""
    with tempfile.TemporaryDirectory() as temporary:
        made = [(folder or Path(temporary)) / name for name in MADE]
        volume, plan, blocks, prediction, labels, trees, table, picture = made
        size = ["--voxel-size", voxel_size] if voxel_size else []
        rows = {
            "ingest": run_stage("ingest", image, volume, *size),
            "tile": run_stage("tile", volume, weights, plan),
            "infer": run_stage("infer", volume, plan, weights, blocks, "--precision", precision),
            "stack": run_stage("stack", volume, plan, blocks, prediction),
            "agglomerate": run_stage("agglomerate", prediction, labels, "--image", volume),
            "skeletonize": run_stage("skeletonize", labels, prediction, trees, table),
            "draw": run_stage("draw", volume, trees, picture, "--labels", labels),
        }
    print_table(rows)


MADE = (
    "image.zarr",
    "plan.json",
    "blocks",
    "prediction.zarr",
    "labels.zarr",
    "trees",
    "neurons.tsv",
    "overview.png",
)


if __name__ == "__main__":
    cyclopts.run(main)
