"""The block-to-slice network: a ViT over D slices and a decoder that returns the detail of the centre slice.

Encoder: Cheng et al. 2024, *Boosting 3D Neuron Segmentation with 2D Vision Transformer Pre-trained on Natural
Images*: patch embedding over the full depth, otherwise a 2D ViT under timm's names, so that a 2D checkpoint
loads key by key. Decoder: ours. A token covers 16 x 16 pixels and a neurite 2-4, so the decoder reads the
slices themselves as well; all its arithmetic is at half size or below (pixel-unshuffle in, pixel-shuffle out),
where a CPU keeps up with it.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.network.embed import PatchEmbed
from pipeline.network.tubular import TubularEmbed
from pipeline.network.vit import import_timm_block

Block = import_timm_block()
_LayerNorm = partial(nn.LayerNorm, eps=1e-6)  # timm's epsilon for vision transformers


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network. depth: slices in a window (odd). tile: window edge in pixels, a multiple of patch.

    norm: what stands behind the decoder's convolutions. "group" looks at the whole window, so that a window of
    noise is stretched until it looks like one of neurite; "none" keeps the absolute scale. embedding: "plain", or
    "tubular" (bent tubes beside it).
    """

    name: ClassVar = "slices"
    channels: ClassVar = ("neurite",)
    # Light microscopy: neurites are bright, so nothing bright is nothing.
    dark_is_empty: ClassVar = True

    depth: int = 5
    tile: int = 128
    patch: int = 16
    width: int = 192
    blocks: int = 12
    heads: int = 3
    norm: str = "group"
    embedding: str = "plain"

    @property
    def window(self) -> tuple[int, int, int]:
        """z, y, x voxels that the network reads."""
        return self.depth, self.tile, self.tile

    @property
    def core(self) -> tuple[int, int, int]:
        """z, y, x voxels that it answers for: the middle slice."""
        return 1, self.tile, self.tile


class Encoder(nn.Module):
    """A ViT over a window of D slices, with the parameter names of timm's 2D ViT (150 tensors at 12 blocks)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, grid = architecture.width, architecture.tile // architecture.patch
        embed = {"plain": PatchEmbed, "tubular": TubularEmbed}[architecture.embedding]
        self.patch_embed = embed(architecture.depth, architecture.patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.blocks = nn.ModuleList(
            Block(width, architecture.heads, qkv_bias=True, norm_layer=_LayerNorm)
            for _ in range(architecture.blocks)
        )
        self.norm = _LayerNorm(width)

    def forward(self, window: Tensor, after: tuple[int, ...] | None = None) -> Tensor | list[Tensor]:
        """window: (B, 1, D, S, S) in [0, 1]. Return the normed tokens (B, 1 + N, E), the class token first.

        after: block counts; then the list of un-normed tokens (B, 1 + N, E) behind each of these blocks.
        """
        tokens = self.patch_embed(window)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + self.pos_embed
        taps = []
        for count, block in enumerate(self.blocks, 1):
            tokens = block(tokens)
            if after is not None and count in after:
                taps.append(tokens)
        return self.norm(tokens) if after is None else taps


class Decoder(nn.Module):
    """Tokens of four depths and the slices themselves -> logits (B, 1, S, S) of the centre slice."""

    def __init__(self, architecture: Architecture, taps: int) -> None:
        super().__init__()
        self.patch = architecture.patch
        self.tap_norm = nn.ModuleList(_LayerNorm(architecture.width) for _ in range(taps))
        self.tap_proj = nn.ModuleList(nn.Linear(architecture.width, 96) for _ in range(taps))
        convs = partial(_convs, norm=architecture.norm)
        self.stem2 = convs(4 * architecture.depth, 32, 32)
        self.stem4 = convs(32, 48, stride=2)
        self.stem8 = convs(48, 64, stride=2)
        self.merge8 = convs(96 + 64, 64)
        self.merge4 = convs(64 + 48, 48)
        self.merge2 = convs(48 + 32, 40, 40)
        self.head = nn.Conv2d(40, 4, 1)

    def forward(self, window: Tensor, taps: list[Tensor]) -> Tensor:
        fine2 = self.stem2(F.pixel_unshuffle(window[:, 0], 2).contiguous(memory_format=torch.channels_last))
        fine4 = self.stem4(fine2)
        fine8 = self.stem8(fine4)
        tokens = sum(
            project(norm(tap[:, 1:]))
            for tap, norm, project in zip(taps, self.tap_norm, self.tap_proj, strict=True)
        )
        grid = window.shape[-2] // self.patch
        coarse = tokens.transpose(1, 2).unflatten(2, (grid, -1)).contiguous(memory_format=torch.channels_last)
        x = self.merge8(torch.cat([_resize(coarse, fine8), fine8], 1))
        x = self.merge4(torch.cat([_resize(x, fine4), fine4], 1))
        x = self.merge2(torch.cat([_resize(x, fine2), fine2], 1))
        return F.pixel_shuffle(self.head(x), 2)


class SliceSegmenter(nn.Module):
    """(B, 1, D, S, S) grey in [0, 1] -> (B, 1, S, S) logits: is this voxel of the centre slice neurite?"""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        quarter = architecture.blocks // 4
        self.after = tuple(quarter * part for part in (1, 2, 3, 4))
        self.decoder = Decoder(architecture, taps=len(self.after)).to(memory_format=torch.channels_last)

    def forward(self, window: Tensor) -> Tensor:
        return self.decoder(window, self.encoder(window, after=self.after))


def _convs(*widths: int, norm: str, stride: int = 1) -> nn.Sequential:
    """3x3 convolutions from width to width, each with its norm and ReLU; the first one has the stride."""
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers += [nn.Conv2d(before, after, 3, stride=stride if index == 0 else 1, padding=1)]
        # Identity keeps the places of the layers, and so their names.
        layers += [nn.GroupNorm(8, after) if norm == "group" else nn.Identity(), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    # On a GPU GroupNorm gives another layout back, for which the interpolation is slow.
    x = x.contiguous(memory_format=torch.channels_last)
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
