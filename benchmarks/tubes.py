"""What the tubular embedding costs: processor time of the whole model with it, as a ratio to the model without.

    python benchmarks/tubes.py [--device cuda] [--batch 4]

The smallest of several runs in turn, one thread; forward alone (inference) and forward with backward (training).
"""

import argparse
import contextlib
import time
from dataclasses import replace

import torch

from pipeline.network.slices import Architecture, SliceSegmenter


def seconds(work, device: str) -> float:
    """Of one call; of the thread on a CPU, which others' load does not stretch."""
    clock = time.perf_counter if device == "cuda" else time.thread_time
    if device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def main() -> None:
    """Print the ratios of time of each transfer to center."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("patch\twork\tplain_ms\ttubular_ms\tratio")
    for patch in (16, 8):
        sizes = Architecture(patch=patch)
        models = {
            kind: SliceSegmenter(replace(sizes, embedding=kind)).to(given.device)
            for kind in ("plain", "tubular")
        }
        window = torch.rand(given.batch, 1, *sizes.window, device=given.device)
        half = given.device == "cuda"
        for work in ("inference", "training"):

            def run(model, work=work, window=window, half=half):
                grad = torch.inference_mode() if work == "inference" else contextlib.nullcontext()
                with grad, torch.autocast(given.device, torch.bfloat16, enabled=half):
                    logits = model(window)
                if work == "training":
                    logits.float().square().mean().backward()

            best = dict.fromkeys(models, float("inf"))
            for turn in range(given.runs + 2):
                for kind, model in models.items():
                    took = seconds(lambda model=model, run=run: run(model), given.device)
                    if turn >= 2:
                        best[kind] = min(best[kind], took)
            plain, tubular = (1000 * best[kind] / given.batch for kind in models)
            print(f"{patch}\t{work}\t{plain:.2f}\t{tubular:.2f}\t{tubular / plain:.3f}", flush=True)


if __name__ == "__main__":
    main()
