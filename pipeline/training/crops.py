"""Many crops of many pictures at once, on any device: what DINO's student and teacher look at.

Caron et al. 2021: two global crops and several local ones, each flipped, coloured, blurred by chance. All arithmetic
is on whole batches, so that a GPU makes the crops that it learns from.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# Share of a picture's area that a crop shows.
GLOBAL_AREA, LOCAL_AREA = (0.4, 1.0), (0.05, 0.4)
# Chance of a blur: first global crop, second, local ones. Chance that the second global crop is solarised.
BLURRED, SOLARISED = (1.0, 0.1, 0.5), 0.2
# Luma of RGB, and the two colour axes across which hues turn (YIQ).
_LUMA = (0.299, 0.587, 0.114)
_YIQ = torch.tensor([_LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_RGB = torch.linalg.inv(_YIQ)


@dataclass(frozen=True, eq=False)
class Pictures:
    """rgb: (n, 3, H, W) uint8, each picture in the upper left corner. size: (n, 2) its rows and columns."""

    rgb: Tensor
    size: Tensor

    def to(self, device: str) -> "Pictures":
        return Pictures(self.rgb.to(device), self.size.to(device))

    def __len__(self) -> int:
        return len(self.rgb)


def views(
    pictures: Pictures,
    which: Tensor,
    draw: Generator,
    *,
    local: int,
    sizes: tuple[int, int],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> list[Tensor]:
    """Normalised crops of the pictures `which` (B,): two global ones (B, 3, S, S), then `local` of (B, 3, s, s).

    sizes: S, s pixels. draw: on the device of the pictures.
    """
    made = []
    for number in range(2 + local):
        area, size = (GLOBAL_AREA, sizes[0]) if number < 2 else (LOCAL_AREA, sizes[1])
        crop = random_crop(pictures, which, draw, area=area, size=size)
        crop = recoloured(crop, draw)
        crop = blurred(crop, draw, chance=BLURRED[min(number, 2)])
        if number == 1:
            crop = torch.where(_chance(crop, draw, SOLARISED) & (crop > 0.5), 1 - crop, crop)
        made.append(normalised(crop, mean, std))
    return made


def normalised(rgb: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] as a 2D model expects it."""
    low, unit = (torch.tensor(each, device=rgb.device)[:, None, None] for each in (mean, std))
    return (rgb - low) / unit


def centre(pictures: Pictures, which: Tensor, size: int) -> Tensor:
    """(B, 3, size, size) in [0, 1]: the largest square in the middle of each picture."""
    extent = pictures.size[which].float()
    side = extent.min(1).values
    low = (extent - side[:, None]) / 2
    return _cut(pictures, which, low, side[:, None].expand(-1, 2), size)


def random_crop(
    pictures: Pictures, which: Tensor, draw: Generator, *, area: tuple[float, float], size: int
) -> Tensor:
    """(B, 3, size, size) in [0, 1]: a box of an area within `area`, 3:4 to 4:3, mirrored or not."""
    extent = pictures.size[which].float()
    share = _uniform(extent[:, 0], draw, *area)
    ratio = torch.exp(_uniform(share, draw, math.log(3 / 4), math.log(4 / 3)))
    whole = extent.prod(1) * share
    box = torch.stack([(whole / ratio).sqrt(), (whole * ratio).sqrt()], 1)
    # What does not fit is made smaller in its own shape.
    box = box * (extent / box).min(1, keepdim=True).values.clamp(max=1)
    low = (extent - box) * torch.rand(box.shape, generator=draw, device=box.device)
    cut = _cut(pictures, which, low, box, size)
    return torch.where(_chance(cut, draw, 0.5), cut.flip(3), cut)


def recoloured(rgb: Tensor, draw: Generator) -> Tensor:
    """Brightness, contrast (.4), saturation (.2), hue (.1) of four crops in five; no colour in one of five."""
    changed = rgb * _each(rgb, draw, 0.6, 1.4)
    level = _luma(changed).mean((2, 3), keepdim=True)
    changed = (changed.clamp(0, 1) - level) * _each(rgb, draw, 0.6, 1.4) + level
    # Saturation and hue at once: the colour plane of YIQ is scaled and turned.
    scale, turn = _uniform(rgb[:, 0, 0, 0], draw, 0.8, 1.2), _uniform(rgb[:, 0, 0, 0], draw, -0.1, 0.1)
    real, imaginary = scale * torch.cos(2 * math.pi * turn), scale * torch.sin(2 * math.pi * turn)
    zero, one = torch.zeros_like(real), torch.ones_like(real)
    plane = [one, zero, zero, zero, real, -imaginary, zero, imaginary, real]
    yiq, back = _YIQ.to(rgb.device), _RGB.to(rgb.device)
    matrix = back @ torch.stack(plane, 1).unflatten(1, (3, 3)) @ yiq
    changed = torch.einsum("bij,bjyx->biyx", matrix, changed).clamp(0, 1)
    rgb = torch.where(_chance(rgb, draw, 0.8), changed, rgb)
    return torch.where(_chance(rgb, draw, 0.2), _luma(rgb).expand_as(rgb), rgb)


def blurred(rgb: Tensor, draw: Generator, *, chance: float) -> Tensor:
    """Gaussian blur of some of the crops; sigma .1 to 2 pixels of a picture of 224."""
    size = rgb.shape[-1]
    sigma = _each(rgb, draw, 0.1, 2.0)[:, :, 0, 0] * size / 224
    reach = max(1, math.ceil(3 * 2.0 * size / 224))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=rgb.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = F.pad(rgb.flatten(0, 1)[None], (reach,) * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    return torch.where(_chance(rgb, draw, chance), flat[0].unflatten(0, (-1, 3)), rgb)


def _cut(pictures: Pictures, which: Tensor, low: Tensor, box: Tensor, size: int) -> Tensor:
    """Boxes of pictures at size x size, linear. low, box: (B, 2) rows and columns, in pixels."""
    at = (torch.arange(size, device=low.device) + 0.5) / size
    # Edges repeat: what lies beside a picture in its array is nothing.
    places = [
        torch.minimum(
            (low[:, axis, None] + at * box[:, axis, None]).clamp(min=0.5),
            pictures.size[which][:, axis, None] - 0.5,
        )
        for axis in (0, 1)
    ]
    unit = [2 * place / edge - 1 for place, edge in zip(places, pictures.rgb.shape[2:])]
    rows, columns = unit[0][:, :, None].expand(-1, -1, size), unit[1][:, None].expand(-1, size, -1)
    chosen = pictures.rgb[which].float() / 255
    return F.grid_sample(chosen, torch.stack([columns, rows], -1), align_corners=False).clamp(0, 1)


def _luma(rgb: Tensor) -> Tensor:
    red, green, blue = rgb.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]


def _uniform(like: Tensor, draw: Generator, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(like.shape, generator=draw, device=like.device)


def _each(rgb: Tensor, draw: Generator, low: float, high: float) -> Tensor:
    return _uniform(rgb[:, :1, :1, :1], draw, low, high)


def _chance(rgb: Tensor, draw: Generator, chance: float) -> Tensor:
    """(B, 1, 1, 1) bool."""
    return torch.rand((len(rgb), 1, 1, 1), generator=draw, device=rgb.device) < chance
