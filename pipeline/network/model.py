"""A network as the stages see it: windows of grey in, probabilities out. How it computes is its own affair."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.blocks import Block, Grid
from pipeline.errors import InputError
from pipeline.network import contract, weights
from pipeline.network.contract import Contract
from pipeline.network.predict import predict_block

# Windows of WINDOW_VOXELS at once: a GPU waits for launches where there are few.
BATCHES = {"cpu": 16, "cuda": 256}
WINDOW_VOXELS = 5 * 128 * 128


@dataclass(frozen=True)
class Network:
    """A module on its device, with what it says of itself.

    precision: fp32 or bf16, the arithmetic that is really used. sha256: of the weights file. views: of a window (see
    predict_block).
    """

    contract: Contract
    module: nn.Module
    device: str
    precision: str
    sha256: str
    views: int = 1

    def run(self, windows: Tensor) -> Tensor:
        """(B, z, y, x) float32 grey on the device -> (B, c, z, y, x) float32 probabilities of the cores."""
        with (
            torch.inference_mode(),
            torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            logits = self.module(windows[:, None])
        if not self.contract.volumetric:
            logits = logits[:, :, None]  # of one slice
        return torch.sigmoid(logits.float())

    def predict(
        self,
        grey: np.ndarray,
        block: Block,
        grid: Grid,
        *,
        batch: int = 0,
        told: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Probabilities, float32 (c, z, y, x) of a block (see predict_block).

        batch: windows at once; 0: BATCHES of the device, fewer where they are larger than the slice segmenter's.
        """
        most = batch or BATCHES[self.device]
        most = max(1, most * WINDOW_VOXELS // max(WINDOW_VOXELS, math.prod(grid.window)))
        channels = len(self.contract.channels)
        return predict_block(
            self.run,
            grey,
            block,
            grid,
            channels=channels,
            directions=self.contract.directions,
            views=self.views,
            batch=most,
            device=self.device,
            told=told,
        )

    def provenance(self) -> dict[str, str]:
        """What a result needs to be made again, besides the code: for metrics.json."""
        return {
            "weights_sha256": self.sha256,
            "torch": torch.__version__,
            "device": self.device,
            "arithmetic": self.precision,  # precision is a score
            "views": str(self.views),
        }


def load(path: Path, *, device: str = "auto", precision: str = "auto", views: int = 1) -> Network:
    """The network of a weights file, ready to run.

    device: auto (a GPU where there is one), cpu or cuda. precision: see `choose_precision`. views: of a
    window, whose answers are averaged; one for a volumetric network, whose windows overlap more and are views already.
    Raises InputError for a file that is no such weights, and for a GPU that is not there.
    """
    about = contract.read(path)
    device = choose_device(device)
    chosen = choose_precision(precision, device)
    if chosen == "fp32":
        # cuDNN's convolutions run in TF32 by default: 100 times the error that fp32 promises.
        torch.backends.cudnn.allow_tf32 = False
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    views = 1 if about.volumetric else views
    return Network(about, weights.load(path).to(device), device, chosen, sha256, views)


def choose_device(device: str) -> str:
    """auto -> cuda where there is a GPU, else cpu; InputError for a GPU that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise InputError("device", device, "auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "cuda, but torch sees no GPU", "auto or cpu")
    return device


def choose_precision(precision: str, device: str) -> str:
    """auto -> bf16 where the hardware multiplies it (a GPU, a CPU with AMX or AVX512-BF16), else fp32."""
    if precision != "auto":
        return precision
    found = torch.cpu.get_capabilities()
    fast = device == "cuda" or found.get("amx_bf16", False) or found.get("avx512_bf16", False)
    return "bf16" if fast else "fp32"
