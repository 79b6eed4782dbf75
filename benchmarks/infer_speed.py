"""How fast `infer` runs, and which share of the machine's matrix-product rate its arithmetic reaches.

    uv run python benchmarks/infer_speed.py [--threads N] [--batch N]

Prints voxels a second and arithmetic for the network alone (encoder, decoder, both) and for whole blocks with
blending, each as a ratio to a 1536 x 1536 float32 `a @ b` timed in turn with it.
"""

import argparse
import time

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline import blocks
from pipeline.network.predict import predict_block, reach
from pipeline.network.slices import Architecture, SliceSegmenter

SIDE = 1536


def best_seconds(works: list, runs: int = 8) -> list[float]:
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
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    architecture, batch = Architecture(), arguments.batch
    model = SliceSegmenter(architecture).eval()
    model.decoder.to(memory_format=torch.channels_last)
    window = torch.rand(batch, 1, architecture.depth, architecture.tile, architecture.tile)
    left, right = torch.rand(2, SIDE, SIDE)
    volume = np.random.default_rng(0).random((8, 512, 512), np.float32)
    starts = blocks.grid_starts(512, architecture.tile, 96)
    signal = np.ones((8, len(starts), len(starts)), bool)
    plan = blocks.make_plan(
        signal, volume.shape, depth=5, window=128, stride=96, plane=2048, voxels=4_000_000
    )
    grey = blocks.read_clamped(volume, reach(plan.blocks[0], plan))
    with torch.inference_mode():
        taps = model.encoder(window, after=model.after)
        attention = attention_flops(architecture, batch)
        encoder = counted_flops(lambda: model.encoder(window, after=model.after)) + attention
        decoder = counted_flops(lambda: model.decoder(window, taps))
        block = (encoder + decoder) * signal.sum() / batch
        rows = [
            ("encoder", lambda: model.encoder(window, after=model.after), encoder, None),
            ("decoder", lambda: model.decoder(window, taps), decoder, None),
            ("network", lambda: model(window), encoder + decoder, batch * architecture.tile**2),
            (
                "block with blending",
                lambda: predict_block(model, grey, plan.blocks[0], plan, batch=batch),
                block,
                volume.size,
            ),
        ]
        print(f"{torch.get_num_threads()} threads, batch {batch}, torch {torch.__version__}")
        print(f"{'':20} {'ms/window':>10} {'kvoxel/s':>9} {'GFLOP/s':>8} {'of a @ b':>8}")
        for name, work, flops, voxels in rows:
            product, seconds = best_seconds([lambda: left @ right, work])
            reference = 2 * SIDE**3 / product
            windows = signal.sum() if name.startswith("block") else batch
            rate = f"{voxels / seconds / 1e3:9.0f}" if voxels else " " * 9
            print(
                f"{name:20} {seconds / windows * 1e3:10.2f} {rate} {flops / seconds / 1e9:8.0f} "
                f"{flops / seconds / reference:8.2f}   (a @ b: {reference / 1e9:.0f} GFLOP/s)"
            )


if __name__ == "__main__":
    main()
