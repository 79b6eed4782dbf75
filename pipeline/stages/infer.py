"""infer: the probability of neurite in each block of an image."""

import hashlib
import shutil
from pathlib import Path

import numpy as np

from pipeline import blocks, intensity, volume
from pipeline.blocks import Block, Plan
from pipeline.config import Infer
from pipeline.errors import InputError
from pipeline.files import rename_directory, whole


def run(
    image: Path,
    plan: Path,
    weights: Path,
    output: Path,
    *,
    device: str = "auto",
    batch: int = 16,
    settings: Infer = Infer(),
) -> None:
    """Run the network over the blocks of a plan. Killed, it goes on behind the last whole block.

    Args:
        image: OME-Zarr made by ingest.
        plan: made by tile.
        weights: safetensors made by train.
        output: folder of one uint8 .npy a block (z, y, x; 0..255 = probability 0..1).
        device: auto (a GPU where there is one), cpu or cuda.
        batch: windows that go through the network at once.
    """
    import torch

    from pipeline.network import weights as weights_file
    from pipeline.network.predict import Progress, predict_block

    source, cut = volume.open_volume(image), blocks.read_plan(plan)
    model = weights_file.load(weights)
    sizes = (model.architecture.depth, model.architecture.tile)
    if sizes != (cut.depth, cut.window):
        raise InputError(
            weights,
            f"made for {sizes[0]} slices of {sizes[1]} pixels",
            f"tile.depth {sizes[0]}, tile.window {sizes[1]}",
        )
    network = _network(model, device, settings.precision)
    # Finished blocks of a killed run are found again under the digest of everything that decides their bytes.
    work = output.with_name(f".{output.name}.{_digest(source, plan, weights, settings)}")
    work.mkdir(parents=True, exist_ok=True)
    progress = Progress(int(np.prod(cut.shape)))
    with torch.inference_mode():
        for index, block in enumerate(cut.blocks):
            path = work / f"{index:06d}.npy"
            if not path.exists():
                probability = _predict(network, source, block, cut, batch, predict_block)
                with whole(path) as private, open(private, "wb") as file:
                    np.save(file, np.rint(probability * 255).astype(np.uint8))
            progress.add(int(np.prod(np.subtract(block.stop, block.start))))
    rename_directory(work, output)
    for left_over in output.parent.glob(f".{output.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a killed run with other settings


def _predict(
    network, source: volume.Volume, block: Block, plan: Plan, batch: int, predict_block
) -> np.ndarray:
    from pipeline.network.predict import reach

    if not block.windows:
        return np.zeros(np.subtract(block.stop, block.start), np.float32)
    voxels = blocks.read_clamped(source.array, reach(block, plan))
    grey = intensity.grey(voxels, source.attributes["low"], source.attributes["high"])
    return predict_block(network, grey, block, plan, batch=batch)


def _network(model, device: str, precision: str):
    """The model on its device: bf16 autocast on GPUs, float32 with channels last on CPUs, unless told otherwise."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device", "cuda, but torch sees no GPU", "auto or cpu")
    bf16 = precision == "bf16" or (precision == "auto" and device == "cuda")
    model = model.to(device)
    model.decoder.to(memory_format=torch.channels_last)

    def network(window):
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return model(window.to(device))

    return network


def _digest(source: volume.Volume, plan: Path, weights: Path, settings: Infer) -> str:
    text = "\n".join(
        [
            source.attributes["sha256"],
            hashlib.sha256(plan.read_bytes()).hexdigest(),
            hashlib.sha256(weights.read_bytes()).hexdigest(),
            settings.model_dump_json(),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
