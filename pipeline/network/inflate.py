"""From a 2D vision transformer to a 3D one: the Average and Center inflations of Cheng et al. 2024.

Only the patch embedding changes its shape, [E, 3, P, P] -> [E, 1, D, P, P]; everything else is copied.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import InputError
from pipeline.network.slices import Architecture

# Normalisation that DINO's, DeiT's and most of timm's 2D models expect of RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CONTAINERS = (
    "teacher",
    "student",
    "model",
    "state_dict",
)  # first one found; DINO's teacher before its student
PREFIXES = ("module.", "backbone.", "encoder.")
DROPPED = ("head.", "fc_norm.", "head_dist.")


def fold_grey(
    kernel: Tensor,
    bias: Tensor,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> tuple[Tensor, Tensor]:
    """RGB patch kernel [E, 3, P, P], bias [E] -> grey kernel [E, P, P], bias [E] that take plain [0, 1] grey.

    Exactly the embedding of the grey picture repeated three times and normalised; colours are summed, not
    averaged, which would shrink the embedding against its bias and position table.
    """
    mean_c, std_c = (torch.tensor(values, dtype=kernel.dtype)[:, None, None] for values in (mean, std))
    return (kernel / std_c).sum(1), bias - (kernel * mean_c / std_c).sum((1, 2, 3))


def inflate(kernel: Tensor, depth: int, how: str) -> Tensor:
    """Grey kernel [E, P, P] -> [E, 1, D, P, P]: all in the middle slice ("center") or spread evenly ("average")."""
    if how == "average":
        return (kernel / depth)[:, None, None].repeat(1, 1, depth, 1, 1)
    if how != "center":
        raise ValueError(f"inflation {how!r}: center or average")
    inflated = torch.zeros(len(kernel), 1, depth, *kernel.shape[1:], dtype=kernel.dtype)
    inflated[:, 0, depth // 2] = kernel
    return inflated


def resize_positions(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Position table [1, 1 + h0 w0, E] of a square grid -> [1, 1 + h w, E]; class row first and untouched.

    Bicubic by size (DINO's scale_factor of (n + 0.1) / n0 gives other values); the same grid comes back as it is.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    if (side, side) == tuple(size):
        return table
    grid = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=size, mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def encoder_from_2d(
    checkpoint: dict,
    architecture: Architecture,
    how: str = "center",
    *,
    source: str = "2D checkpoint",
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> dict[str, Tensor]:
    """State dict of `slices.Encoder` from a 2D ViT's (timm's or DINO's names, prefixes and heads dropped).

    Every key is loaded, converted or dropped by a named rule. Raises InputError, naming `source` and the keys,
    when one is missing, unknown or of another size.
    """
    state = plain_names(checkpoint)
    kernel, bias = fold_grey(
        _take(state, "patch_embed.proj.weight", source),
        _take(state, "patch_embed.proj.bias", source),
        mean,
        std,
    )
    grid = architecture.tile // architecture.patch
    state["patch_embed.proj.weight"] = inflate(kernel, architecture.depth, how)
    state["patch_embed.proj.bias"] = bias
    state["pos_embed"] = resize_positions(_take(state, "pos_embed", source), (grid, grid))
    return state


def plain_names(checkpoint: dict) -> dict[str, Tensor]:
    """Unpack DINO's containers, strip prefixes, drop classifier heads; values become float32."""
    for container in CONTAINERS:
        if isinstance(checkpoint.get(container), dict):
            checkpoint = checkpoint[container]
            break
    state = {}
    for name, value in checkpoint.items():
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        if not name.startswith(DROPPED):
            state[name] = value.float()
    return state


def _take(state: dict[str, Tensor], name: str, source: str) -> Tensor:
    if name not in state:
        raise InputError(source, f"no tensor {name}", "a 2D ViT under timm's or DINO's names")
    return state[name]
