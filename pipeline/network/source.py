"""2D vision transformers on disk: DINO's own files, timm's, and those of our own DINO, under one set of names."""

import argparse
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import InputError
from pipeline.network.slices import Architecture

# Normalisation that DINO's, DeiT's and most of timm's 2D models expect of RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Entry of a safetensors header in which our own 2D files describe themselves: mean, std, heads, how they were made.
ENTRY = "vit2d"
# The first one found is unpacked: DINO's teacher before its student.
CONTAINERS = ("teacher", "student", "model", "state_dict")
PREFIXES = ("module.", "backbone.", "encoder.")
# What only a classifier or the projection of a pre-training needs.
DROPPED = ("head.", "fc_norm.", "head_dist.", "mask_token")
# Width of one attention head in every ViT of DINO, DeiT and timm: files do not tell their number.
HEAD_WIDTH = 64
ALLOWED = "a 2D ViT under timm's or DINO's names (.safetensors, .pth)"
# Training checkpoints of DINO hold their arguments and learning rates as these; nothing else is unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    type(np.dtype(np.float64)),
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
]


@dataclass(frozen=True, eq=False)
class Source:
    """A 2D vision transformer.

    name: of its file. state: float32 tensors under timm's names, no heads. mean, std: of RGB in [0, 1], that it
    expects its pictures to be normalised by. heads: of attention; 0 where the file does not tell.
    """

    name: str
    state: dict[str, Tensor]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    heads: int = 0

    def sizes(self, wanted: Architecture) -> Architecture:
        """`wanted` with the patch, width, heads and blocks of this encoder; InputError where they cannot be."""
        kernel = take(self.state, "patch_embed.proj.weight", self.name)
        if kernel.dim() != 4 or kernel.shape[1] != 3 or kernel.shape[2] != kernel.shape[3]:
            raise InputError(
                self.name, f"a patch kernel of shape {tuple(kernel.shape)}", "width, 3, patch, patch"
            )
        width, patch = kernel.shape[0], kernel.shape[-1]
        heads = self.heads or width // HEAD_WIDTH
        if heads == 0 or width % heads:
            raise InputError(
                self.name, f"width {width}, unknown heads", f"a multiple of {HEAD_WIDTH}, or heads told"
            )
        if wanted.tile % patch:
            raise InputError(
                self.name, f"patches of {patch} pixels", f"a divisor of the window ({wanted.tile} pixels)"
            )
        counts = {int(name.split(".")[1]) for name in self.state if name.startswith("blocks.")}
        return replace(wanted, width=width, patch=patch, heads=heads, blocks=max(counts, default=-1) + 1)


def read(path: Path) -> Source:
    """The 2D encoder of a local file; nothing in it is run. InputError where it is none.

    Its normalisation is read from the header of our own files or, as Hugging Face stores timm's models, from the
    `config.json` beside `model.safetensors`; without either it is ImageNet's, as DINO's and DeiT's files expect.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", ALLOWED)
    told: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        checkpoint, told = _read_safetensors(path)
    else:
        checkpoint = _read_pickle(path)
    beside = path.with_name("config.json")
    if not told and path.stem in ("model", "pytorch_model") and beside.is_file():
        told = json.loads(beside.read_text(encoding="utf-8")).get("pretrained_cfg", {})
    constants = {name: tuple(map(float, told[name])) for name in ("mean", "std") if name in told}
    state = plain_names(checkpoint)
    if not state:
        raise InputError(path, "no tensors", ALLOWED)
    return Source(str(path), state, heads=int(told.get("heads", 0)), **constants)  # type: ignore[arg-type]


def plain_names(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Unpack DINO's containers, strip prefixes, drop heads, fold LayerScale into what it scales; float32."""
    for container in CONTAINERS:
        if isinstance(checkpoint.get(container), Mapping):
            checkpoint = checkpoint[container]
            break
    state = {}
    for name, value in checkpoint.items():
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        if not name.startswith(DROPPED):
            state[name] = value.float() if isinstance(value, Tensor) else value
    return _without_layer_scale(state)


def take(state: dict[str, Tensor], name: str, source: str) -> Tensor:
    """A tensor by its name; InputError where it is missing."""
    if name not in state:
        raise InputError(source, f"no tensor {name}", ALLOWED)
    return state[name]


def _without_layer_scale(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """x + gamma * (W x + b) is x + (gamma W) x + gamma b: the same function without the extra tensor."""
    state = dict(state)
    for scale, scaled in (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2")):
        for name in [name for name in state if name.startswith("blocks.") and name.endswith(f".{scale}")]:
            layer = name.removesuffix(scale) + scaled
            gamma = state.pop(name)
            state[f"{layer}.weight"] = state[f"{layer}.weight"] * gamma[:, None]
            state[f"{layer}.bias"] = state[f"{layer}.bias"] * gamma
    return state


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, told  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(path, f"not a safetensors file ({error})", ALLOWED) from error


def _read_pickle(path: Path) -> Mapping[str, Any]:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, struct.error) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(path, f"no plain tensors ({told})", f"{ALLOWED}: a state dict") from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(path, f"a {type(checkpoint).__name__}", f"{ALLOWED}: a state dict")
    return checkpoint
