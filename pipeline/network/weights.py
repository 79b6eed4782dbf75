"""Weights on disk: safetensors whose header is the network's contract; every tensor accounted for."""

from dataclasses import asdict, replace
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
from pipeline.network.source import read as read_2d

# Tensors of the encoder that only the tubular embedding has.
TUBES = ("patch_embed.tubes", "patch_embed.gamma", "patch_embed.offsets.")

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
    start: Path | None, architecture: slices.Architecture, *, transfer: str, seed: int
) -> SliceSegmenter:
    """A slice segmenter to train, from a 2D checkpoint, from a file of ours, or from nothing (None).

    transfer: center, average or tubular; scratch takes the sizes of the file and nothing else of it. Sizes of the
    encoder are those of the file, those of the window are the architecture's, or the file's where it is ours. What a 2D
    checkpoint does not have starts alike for one seed, whatever the transfer is.
    """
    tubular = transfer == "tubular"
    if start is not None and contract.is_ours(start):
        model = load(start)
        if not isinstance(model, SliceSegmenter):
            raise InputError(start, f"architecture {type(model).__name__}", "weights of a slice segmenter")
        if transfer == "scratch":
            return _begin(model.architecture, seed)
        return (with_tubes(model) if tubular else model).train()
    source = None if start is None else read_2d(start)
    sizes = architecture if source is None else source.sizes(architecture)
    sizes = replace(sizes, embedding="tubular" if tubular else "plain")
    model = _begin(sizes, seed)
    if source is not None and transfer != "scratch":
        state = encoder_from_2d(source, sizes, "average" if transfer == "average" else "center")
        own = model.encoder.state_dict()
        # Tubes are made of what is loaded here.
        tubes = {name: value for name, value in own.items() if name.startswith(TUBES)}
        fill(model.encoder, {**tubes, **state}, Path(source.name))
        if tubular:
            model.encoder.patch_embed.begin()
    return model


def with_tubes(model: SliceSegmenter) -> SliceSegmenter:
    """The same function with tubes beside its patch embedding, whose share is zero; unchanged where it has them."""
    if model.architecture.embedding == "tubular":
        return model
    tubular = SliceSegmenter(replace(model.architecture, embedding="tubular"))
    tubular.load_state_dict({**tubular.state_dict(), **model.state_dict()})
    tubular.encoder.patch_embed.begin()
    return tubular


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


def _begin(architecture: slices.Architecture, seed: int) -> SliceSegmenter:
    """The usual start of a ViT (truncated normal, std .02, no bias); convolutions of the decoder keep He's."""
    torch.manual_seed(seed)
    model = SliceSegmenter(architecture)
    for name, parameter in model.encoder.named_parameters():
        if name.startswith(TUBES):
            continue  # a draw here would give the layers behind another start than in the other variants
        if parameter.dim() > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    # Neurite is rare: begin near its share (2 %) instead of a half, which would take the first 100 steps.
    nn.init.constant_(model.decoder.head.bias, -4.0)
    if architecture.embedding == "tubular":
        model.encoder.patch_embed.begin()
    return model


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(path, f"not a safetensors file ({error})", "a weights file made by train") from error
