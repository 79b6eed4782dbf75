"""How fast `infer` runs on electron microscopy, and which share of the machine's matrix-product rate it reaches.

python benchmarks/infer_speed_em.py [--threads N] [--runs N]

Prints voxels a second and arithmetic for the affinity network alone and for whole blocks with blending, in fp32 and in
bf16, each as a ratio to a 1536 x 1536 `a @ b` of the same type timed in turn with it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from infer_speed import SIDE, best_seconds, counted_flops

from pipeline import blocks
from pipeline.network import model
from pipeline.network.predict import predict_block

WEIGHTS = Path(__file__).parents[1] / "pipeline/weights/em.safetensors"
VOLUME = (32, 224, 224)  # two by two windows at an overlap of a quarter
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(f"{arguments.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'':26} {'ms/window':>10} {'kvoxel/s':>9} {'GFLOP/s':>8} {'of a @ b':>8}")
    for precision in TYPES:
        measure(precision, arguments.device, runs=arguments.runs)


def measure(precision: str, device: str, *, runs: int) -> None:
    """Print the rows of one arithmetic."""
    network = model.load(WEIGHTS, device=device, precision=precision)
    window = torch.rand(1, *network.contract.window, generator=torch.Generator().manual_seed(0)).to(device)
    volume = np.random.default_rng(1).random(VOLUME, np.float32)
    about = network.contract
    grid = about.grid(volume.shape, overlap=0.25)
    whole = blocks.whole(grid)
    grey = blocks.read_clamped(volume, grid.reach(whole))
    left, right = torch.rand(2, SIDE, SIDE, device=device).to(TYPES[precision])
    once = torch.rand(1, 1, *about.window, device=device)
    with torch.inference_mode():
        flops = counted_flops(lambda: network.module(once))

        def block() -> None:
            predict_block(
                network.run, grey, whole, grid, channels=len(about.channels), batch=1, device=device
            )

        def product() -> None:
            # .item waits for a GPU.
            (left @ right)[0, 0].item()

        for name, work, windows, voxels in (
            ("network", lambda: network.run(window), 1, window.numel()),
            ("block with blending", block, len(whole.windows), volume.size),
        ):
            reference, seconds = best_seconds([product, work], runs)
            rate, best = flops * windows / seconds, 2 * SIDE**3 / reference
            print(
                f"{precision + ' ' + name:26} {seconds / windows * 1e3:10.1f} {voxels / seconds / 1e3:9.0f} "
                f"{rate / 1e9:8.0f} {rate / best:8.3f}   (a @ b: {best / 1e9:.0f} GFLOP/s)"
            )


if __name__ == "__main__":
    main()
