"""Weights on disk: safetensors whose header holds the architecture; every tensor accounted for."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.network.inflate import encoder_from_2d
from pipeline.network.vit3d import Architecture, SliceSegmenter

KIND = "stack2swc slice segmenter 1"
# One entry of the header holds all: safetensors writes several in an order of chance, and bytes would differ.
ENTRY = "stack2swc"


def save(path: Path, model: SliceSegmenter, *, card: dict[str, object]) -> None:
    """Write the model in half precision (computing stays float32) with its architecture and card."""
    header = {"kind": KIND, "architecture": asdict(model.architecture), **card}
    tensors = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    with whole(path) as private:
        save_file(tensors, private, {ENTRY: json.dumps(header)})
        private.chmod(0o644)  # safetensors keeps its files to their owner


def load(path: Path) -> SliceSegmenter:
    """Read a model that `save` wrote, in float32 and evaluation mode.

    Raises InputError when the file is missing, is not such a file, or a tensor is missing, unknown or misshapen.
    """
    header = _header(path)
    if header.get("kind") != KIND:
        raise InputError(
            path, f"weights of kind {header.get('kind', 'unknown')!r}", f"{KIND!r} (made by train)"
        )
    model = SliceSegmenter(Architecture(**header["architecture"]))
    _fill(model, {name: value.float() for name, value in load_file(path).items()}, path)
    return model.eval()


def start_model(start: Path | None, architecture: Architecture, *, how: str, seed: int) -> SliceSegmenter:
    """A model to train: from scratch (None), from a 2D checkpoint (inflated by `how`), or from our own weights.

    The parts that a 2D checkpoint does not have start alike for one seed, whatever `start` is.
    """
    if start is not None and _is_ours(start):
        return load(start).train()
    torch.manual_seed(seed)
    model = SliceSegmenter(architecture)
    _initialise(model)
    if start is not None:
        _fill(model.encoder, encoder_from_2d(_read_2d(start), architecture, how, source=str(start)), start)
    return model


def _initialise(model: SliceSegmenter) -> None:
    """The usual start of a ViT (truncated normal, std .02, no bias); convolutions of the decoder keep He's."""
    for name, parameter in model.encoder.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    # Neurite is rare: begin near its share (2 %) instead of a half, which would take the first 100 steps.
    nn.init.constant_(model.decoder.head.bias, -4.0)


def _fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if missing or unknown or shapes:
        told = "; ".join(
            f"{len(names)} tensors {what} ({', '.join(sorted(names)[:3])})"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
            if names
        )
        raise InputError(path, told, f"the {len(own)} tensors of {type(module).__name__}")
    module.load_state_dict(state)


def _header(path: Path) -> dict[str, Any]:
    """What `save` wrote about the model; empty for a safetensors file of another maker."""
    if not path.is_file():
        raise InputError(path, "no such file", "a weights file made by train")
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get(ENTRY, "{}"))
    except SafetensorError as error:
        raise InputError(path, f"not a safetensors file ({error})", "a weights file made by train") from error


def _is_ours(path: Path) -> bool:
    return path.suffix == ".safetensors" and _header(path).get("kind") == KIND


def _read_2d(path: Path) -> dict:
    if path.suffix == ".safetensors":
        return load_file(path)
    if not path.is_file():
        raise InputError(path, "no such file", "a 2D ViT checkpoint (.safetensors, .pth)")
    return torch.load(path, map_location="cpu", weights_only=True)
