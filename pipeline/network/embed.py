"""The patch embedding: from a window of slices to one token for each patch."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """(B, 1, D, S, S) -> (B, N, E): one token for each patch column over all D slices."""

    def __init__(self, depth: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, width, (depth, patch, patch), stride=(depth, patch, patch))

    def forward(self, window: Tensor) -> Tensor:
        # The kernel covers the whole depth, so slices are channels of a 2D convolution (oneDNN's fast path).
        tokens = F.conv2d(window[:, 0], self.proj.weight[:, 0], self.proj.bias, stride=self.proj.stride[1:])
        return tokens.flatten(2).transpose(1, 2)
