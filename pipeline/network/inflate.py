"""From a 2D vision transformer to a 3D one: the Average and Center inflations of Cheng et al. 2024.

Only the patch embedding changes its shape, [E, 3, P, P] -> [E, 1, D, P, P]; everything else is copied.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import InputError
from pipeline.network.slices import Architecture
from pipeline.network.source import IMAGENET_MEAN, IMAGENET_STD, Source, take


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


def encoder_from_2d(source: Source, architecture: Architecture, how: str = "center") -> dict[str, Tensor]:
    """State dict of `slices.Encoder` (its plain part) from a 2D ViT of the same sizes.

    Every tensor is copied or converted. Raises InputError, naming the file, when one of the first layer is missing.
    """
    state = dict(source.state)
    kernel, bias = fold_grey(
        take(state, "patch_embed.proj.weight", source.name),
        take(state, "patch_embed.proj.bias", source.name),
        source.mean,
        source.std,
    )
    grid = architecture.tile // architecture.patch
    state["patch_embed.proj.weight"] = inflate(kernel, architecture.depth, how)
    state["patch_embed.proj.bias"] = bias
    table = take(state, "pos_embed", source.name)
    if table.dim() != 3 or round((table.shape[1] - 1) ** 0.5) ** 2 != table.shape[1] - 1:
        raise InputError(source.name, f"positions of shape {tuple(table.shape)}", "1, 1 + n x n, width")
    state["pos_embed"] = resize_positions(table, (grid, grid))
    return state
