"""How fast `infer` runs, and which share of the machine's matrix-product rate its arithmetic reaches.

python benchmarks/infer_speed.py [--threads N] [--batch N] [--runs N]

Prints voxels a second and arithmetic for the network alone (encoder, decoder, both) and for whole blocks with
blending, each as a ratio to a 1536 x 1536 float32 `a @ b` timed in turn with it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline import blocks
from pipeline.network import model
from pipeline.network.slices import Architecture

SIDE = 1536
WEIGHTS = Path(__file__).parents[1] / "pipeline/weights/lm.safetensors"


def best_seconds(works: list, runs: int) -> list[float]:
    """Smallest wall time of each of `works`, called in turn: other programs only add, and to all alike."""
    times = [[] for _ in works]
    for run in range(runs + 1):
        for work, seconds in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            if run:  # the first round warms up
                seconds.append(time.perf_counter() - began)
    return [min(seconds) for seconds in times]


def attention_flops(architecture: Architecture, windows: int) -> int:
    """What torch's counter does not see on CPUs: q k^T and its product with v, 4 N^2 E in each block."""
    tokens = (architecture.tile // architecture.patch) ** 2 + 1
    return windows * architecture.blocks * 4 * tokens**2 * architecture.width


def counted_flops(work) -> int:
    """Floating-point operations of a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network, batch = model.load(WEIGHTS, device="cpu", precision="fp32"), arguments.batch
    module, architecture = network.module, network.module.architecture
    window = torch.rand(batch, 1, *network.contract.window)
    left, right = torch.rand(2, SIDE, SIDE)
    volume = np.random.default_rng(0).random((8, 512, 512), np.float32)
    grid = network.contract.grid(volume.shape, overlap=0.25)
    whole = blocks.whole(grid)
    grey = blocks.read_clamped(volume, grid.reach(whole))
    with torch.inference_mode():
        taps = module.encoder(window, after=module.after)
        attention = attention_flops(architecture, batch)
        encoder = counted_flops(lambda: module.encoder(window, after=module.after)) + attention
        decoder = counted_flops(lambda: module.decoder(window, taps))
        block = (encoder + decoder) * len(whole.windows) / batch
        rows = [
            ("encoder", lambda: module.encoder(window, after=module.after), encoder, None),
            ("decoder", lambda: module.decoder(window, taps), decoder, None),
            ("network", lambda: module(window), encoder + decoder, batch * architecture.tile**2),
            (
                "block with blending",
                lambda: network.predict(grey, whole, grid, batch=batch),
                block,
                volume.size,
            ),
        ]
        print(f"{torch.get_num_threads()} threads, batch {batch}, torch {torch.__version__}")
        print(f"{'':20} {'ms/window':>10} {'kvoxel/s':>9} {'GFLOP/s':>8} {'of a @ b':>8}")
        for name, work, flops, voxels in rows:
            product, seconds = best_seconds([lambda: left @ right, work], arguments.runs)
            reference = 2 * SIDE**3 / product
            windows = len(whole.windows) if name.startswith("block") else batch
            rate = f"{voxels / seconds / 1e3:9.0f}" if voxels else " " * 9
            print(
                f"{name:20} {seconds / windows * 1e3:10.2f} {rate} {flops / seconds / 1e9:8.0f} "
                f"{flops / seconds / reference:8.2f}   (a @ b: {reference / 1e9:.0f} GFLOP/s)"
            )


if __name__ == "__main__":
    main()
