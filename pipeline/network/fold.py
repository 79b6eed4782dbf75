"""GroupNorm out of a trained decoder: its statistics over many windows become weights of the convolutions.

The network then keeps the absolute scale of its input: a window of noise is not stretched to the contrast of
one that holds a neurite.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.network.slices import SliceSegmenter


class _Fixed(nn.Module):
    """x * scale + shift for each channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


@torch.no_grad()
def without_norm(model: SliceSegmenter, windows: Tensor) -> SliceSegmenter:
    """`model` with norm "none" and the mean statistics of `windows` (B, 1, D, S, S) in its convolutions.

    Layer by layer from the input on: each sees what the folded layers before it give.
    """
    model = model.eval()
    folded = SliceSegmenter(replace(model.architecture, norm="none"))
    sequences = [part for part in model.decoder.children() if isinstance(part, nn.Sequential)]
    for sequence in sequences:
        for index, layer in enumerate(sequence):
            if isinstance(layer, nn.GroupNorm):
                sequence[index] = _fix(model, layer, windows)
    state = model.state_dict()
    for name, sequence in model.decoder.named_children():
        if isinstance(sequence, nn.Sequential):
            for index, layer in enumerate(sequence):
                if isinstance(layer, _Fixed):
                    weight = f"decoder.{name}.{index - 1}"
                    state[f"{weight}.weight"] = state[f"{weight}.weight"] * layer.scale[:, None, None, None]
                    state[f"{weight}.bias"] = state[f"{weight}.bias"] * layer.scale + layer.shift
    folded.load_state_dict({name: state[name] for name in folded.state_dict()})
    return folded


def _fix(model: SliceSegmenter, layer: nn.GroupNorm, windows: Tensor) -> _Fixed:
    seen: list[tuple[Tensor, Tensor]] = []

    def look(_, inputs: tuple[Tensor]) -> None:
        groups = inputs[0].float().unflatten(1, (layer.num_groups, -1))
        seen.append((groups.mean((2, 3, 4)), groups.square().mean((2, 3, 4))))

    hook = layer.register_forward_pre_hook(look)
    for some in windows.split(16):
        model(some)
    hook.remove()
    mean, square = (torch.cat(part).mean(0) for part in zip(*seen, strict=True))
    scale = torch.rsqrt((square - mean.square()).clamp(min=0) + layer.eps)
    each = layer.num_channels // layer.num_groups
    mean, scale = mean.repeat_interleave(each), scale.repeat_interleave(each) * layer.weight
    return _Fixed(scale, layer.bias - mean * scale)
