"""A 3D convolution that is right in bf16 on a CPU.

On a CPU with AMX the weight gradients that oneDNN (torch 2.13) makes for 3D convolutions in bf16 are wrong for wide
and shallow inputs: some channels are never written (80 to 32 channels, 4 x 48 x 48 voxels: NaN), or memory beside
the gradient is (8 to 12 channels, 8 x 96 x 96: "double free or corruption"). Those of 2D convolutions are right, and
as fast: the gradient of each plane of the kernel is that of a 2D convolution with the sections for a batch. The
output is wrong, too, where a kernel three sections deep meets a single section.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_backward = torch.ops.aten.convolution_backward


class Conv3d(nn.Conv3d):
    """(B, C, D, H, W) -> (B, C', D, H, W); kernel 1 or 3 sections deep, stride 1, zeros beside the window."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int, int], *, bias: bool = True) -> None:
        super().__init__(before, after, kernel, padding=tuple(size // 2 for size in kernel), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if x.shape[2] == 1:  # the other planes of the kernel meet zeros alone
            middle = weight.shape[2] // 2
            weight = weight[:, :, middle : middle + 1]
        if x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            bias = None if bias is None else bias.to(dtype)
            return _Convolution.apply(x.to(dtype), weight.to(dtype), bias)
        return F.conv3d(x, weight, bias, padding=_padding(weight))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, bias, padding=_padding(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        of_x = None
        if wants_x:
            (of_x, _, _) = _gradients(gradient, x, weight, (True, False, False))
        of_weight = _weight_gradient(gradient, x, weight) if wants_weight else None
        of_bias = gradient.sum((0, 2, 3, 4)) if wants_bias else None
        return of_x, of_weight, of_bias


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a loss by `weight` (C', C, K, k, k), given that by the output (B, C', D, H, W) of input x."""
    depth = x.shape[2]
    planes = []
    for place in range(weight.shape[2]):
        shift = place - weight.shape[2] // 2  # this plane of the kernel reads the section `shift` further
        read = slice(max(0, shift), depth + min(0, shift))
        made = slice(max(0, -shift), depth - max(0, shift))
        (_, plane, _) = _gradients(
            _sections(gradient, made),
            _sections(x, read),
            weight[:, :, place].contiguous(memory_format=torch.channels_last),
            (False, True, False),
        )
        planes.append(plane)
    return torch.stack(planes, 2)


def _sections(volume: Tensor, which: slice) -> Tensor:
    """(B * D', C, H, W); a view where channels are last and B is 1."""
    return volume[:, :, which].transpose(1, 2).flatten(0, 1)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a convolution by its input, its weight and its bias."""
    padding = _padding(weight)
    one, zero = [1] * len(padding), [0] * len(padding)
    return _backward(gradient, x, weight, None, one, padding, one, False, zero, 1, wanted)


def _padding(weight: Tensor) -> list[int]:
    """Zeros on each side that keep the size."""
    return [size // 2 for size in weight.shape[2:]]
