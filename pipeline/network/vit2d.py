"""The 2D vision transformer that DINO trains: RGB pictures of any size that patches divide, under timm's names."""

from functools import partial

import torch
from torch import Tensor, nn

from pipeline.network.inflate import resize_positions
from pipeline.network.slices import Architecture
from pipeline.network.vit import import_timm_block

Block = import_timm_block()


class Vit2d(nn.Module):
    """(B, 3, H, W) normalised RGB -> (B, E), the normed class token.

    sizes: patch, width, heads and blocks are taken; tile is the edge of the pictures whose grid the position table
    has. drop_path: share of the residual branches that a training drops, rising to this at the last block.
    """

    def __init__(self, sizes: Architecture, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.sizes = sizes
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        grid = sizes.tile // sizes.patch
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, sizes.width))
        drops = torch.linspace(0, drop_path, sizes.blocks).tolist()
        self.blocks = nn.ModuleList(
            Block(sizes.width, sizes.heads, qkv_bias=True, norm_layer=norm, drop_path=drop) for drop in drops
        )
        self.norm = norm(sizes.width)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.norm(self._through(pictures, self.blocks))[:, 0]

    def attention(self, pictures: Tensor) -> Tensor:
        """(B, heads, h, w): how much the class token of the last block looks at each patch."""
        tokens = self._through(pictures, self.blocks[:-1])
        last = self.blocks[-1]
        qkv = last.attn.qkv(last.norm1(tokens)).unflatten(2, (3, self.sizes.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = qkv[0][:, :, :1], qkv[1]
        looks = (query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5).softmax(-1)[:, :, 0, 1:]
        return looks.unflatten(2, (pictures.shape[-2] // self.sizes.patch, -1))

    def _through(self, pictures: Tensor, blocks) -> Tensor:
        grid = self.patch_embed.proj(pictures)
        tokens = grid.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], 1)
        tokens = tokens + resize_positions(self.pos_embed, (grid.shape[2], grid.shape[3]))
        for block in blocks:
            tokens = block(tokens)
        return tokens
