"""Weights on disk: safetensors whose header is the network's contract; every tensor accounted for."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.network import affinities, contract, slices
from pipeline.network.affinities import AffinityNet
from pipeline.network.contract import Contract
from pipeline.network.inflate import encoder_from_2d
from pipeline.network.slices import SliceSegmenter

# name in the header -> (sizes, module)
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    slices.Architecture.name: (slices.Architecture, SliceSegmenter),
    affinities.Architecture.name: (affinities.Architecture, AffinityNet),
}


def save(path: Path, module: nn.Module, *, levels: str, voxel_um: tuple, card: dict[str, object]) -> None:
    """Write a module in half precision (computing stays float32) with its contract.

    levels, voxel_um, card: see contract.Contract; what the architecture does not know of itself.
    """
    sizes: Any = module.architecture
    about = Contract(
        window=sizes.window,
        core=sizes.core,
        channels=sizes.channels,
        levels=levels,
        voxel_um=voxel_um,
        dark_is_empty=sizes.dark_is_empty,
        architecture={"name": sizes.name, **asdict(sizes)},
        card=card,
    )
    tensors = {name: value.detach().half().contiguous() for name, value in module.state_dict().items()}
    with whole(path) as private:
        save_file(tensors, private, {contract.ENTRY: about.header()})
        private.chmod(0o644)  # safetensors keeps its files to their owner


def load(path: Path) -> nn.Module:
    """The module that `save` wrote, in float32 and evaluation mode.

    Raises InputError when the file is missing, is not such a file, or a tensor is missing, unknown or misshapen.
    """
    sizes = dict(contract.read(path).architecture)
    name = sizes.pop("name", None)
    if name not in ARCHITECTURES:
        raise InputError(path, f"architecture {name!r}", " | ".join(ARCHITECTURES))
    architecture, module = ARCHITECTURES[name]
    try:
        model = module(architecture(**sizes))
    except TypeError as error:
        raise InputError(path, f"sizes of {name} ({error})", "a file made by train") from error
    fill(model, {name: value.float() for name, value in _tensors(path).items()}, path)
    return model.eval()


def start_slices(
    start: Path | None, architecture: slices.Architecture, *, how: str, seed: int
) -> SliceSegmenter:
    """A slice segmenter to train: from scratch (None), from a 2D checkpoint (inflated by `how`), or from our own.

    Our own keep their sizes. The parts that a 2D checkpoint does not have start alike for one seed, whatever it is.
    """
    if start is not None and contract.is_ours(start):
        model = load(start)
        if not isinstance(model, SliceSegmenter):
            raise InputError(start, f"architecture {type(model).__name__}", "weights of a slice segmenter")
        return model.train()
    torch.manual_seed(seed)
    model = SliceSegmenter(architecture)
    _initialise(model)
    if start is not None:
        fill(model.encoder, encoder_from_2d(_read_2d(start), architecture, how, source=str(start)), start)
    return model


def start_affinities(start: Path | None, architecture: affinities.Architecture, *, seed: int) -> AffinityNet:
    """An affinity network to train: from scratch (None), or from a file of ours, which keeps its sizes."""
    if start is None:
        torch.manual_seed(seed)
        return AffinityNet(architecture)
    model = load(start)
    if not isinstance(model, AffinityNet):
        raise InputError(start, f"architecture {type(model).__name__}", "weights of an affinity network")
    return model.train()


def fill(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load exactly the tensors of a module; InputError names those that are missing, unknown or of another shape."""
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


def _initialise(model: SliceSegmenter) -> None:
    """The usual start of a ViT (truncated normal, std .02, no bias); convolutions of the decoder keep He's."""
    for name, parameter in model.encoder.named_parameters():
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    # Neurite is rare: begin near its share (2 %) instead of a half, which would take the first 100 steps.
    nn.init.constant_(model.decoder.head.bias, -4.0)


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(path, f"not a safetensors file ({error})", "a weights file made by train") from error


def _read_2d(path: Path) -> dict:
    if not path.is_file():
        raise InputError(path, "no such file", "a 2D ViT checkpoint (.safetensors, .pth)")
    if path.suffix == ".safetensors":
        return _tensors(path)
    return torch.load(path, map_location="cpu", weights_only=True)
