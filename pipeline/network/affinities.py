"""The affinity network of electron microscopy: a lattice of 2D and 3D streams with two decoders.

Zhang et al. 2024, *SegNeuron*, on the MNet of Dong et al. 2022. Node (a, b) of a triangular lattice lies a 2D
steps and b 3D steps below the image; every step halves the plane, a 3D step may halve the depth too. Where a 2D
and a 3D path meet they are merged by their difference, so one network serves isotropic and anisotropic volumes.
We depart from the release in two places: whether a 3D step halves the depth is fixed by the architecture (a
function of the voxel size or of the window's depth, see `z_pooling`), and its unused heads are left out.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.network.convolution import Conv3d

DEEPEST = 4  # levels 0 to 4
THINNEST_POOLED = 8  # a stack of fewer sections is not pooled in z
SHORT = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))  # affinity z, y, x: with the voxel before
LONG = ((-3, 0, 0), (0, -6, 0), (0, 0, -6))  # the same further away, of a new network
MERGES = ("sub", "sum", "cat")
PRESETS = {  # widths of the levels; the size of the file that holds them in half precision
    "paper": (32, 64, 96, 128, 256),  # 81 MB
    "gpu": (16, 24, 32, 48, 64),  # 8.5 MB
    "cpu": (8, 12, 16, 24, 32),  # 2.1 MB
}
Node = tuple[int, int]


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network.

    widths: channels of levels 0 to 4. depth, height, width: the window in voxels; height and width are multiples
    of 16. offsets: one affinity channel each, zyx to the other voxel; the first three are SHORT. z_pooled: whether
    3D step b -> b + 1 halves the depth. merge: how 2D and 3D features meet, one of MERGES.
    """

    name: ClassVar = "affinities"
    # Electron microscopy: what is dark is membrane, what is bright the inside of a cell.
    dark_is_empty: ClassVar = False

    widths: tuple[int, ...] = PRESETS["cpu"]
    depth: int = 20
    height: int = 128
    width: int = 128
    offsets: tuple[tuple[int, int, int], ...] = SHORT
    z_pooled: tuple[bool, ...] = (True, True, False, False)
    merge: str = "sub"

    def __post_init__(self) -> None:
        # A header gives lists.
        for name in ("widths", "z_pooled"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "offsets", tuple(map(tuple, self.offsets)))

    @property
    def window(self) -> tuple[int, int, int]:
        """z, y, x voxels that the network reads."""
        return self.depth, self.height, self.width

    @property
    def core(self) -> tuple[int, int, int]:
        """z, y, x voxels that it answers for: all it reads; what it says of the rim hardly counts when blended."""
        return self.window

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the output channels: affinity_z, affinity_y, affinity_x, long-range ones, foreground."""
        names = []
        for offset in self.offsets:
            (axis,) = [axis for axis in range(3) if offset[axis]]
            names.append(f"affinity_{'zyx'[axis]}" + ("" if offset in SHORT else f"_{abs(offset[axis])}"))
        return (*names, "foreground")


def z_pooling(depth: int, voxel_size: tuple[float, float, float] | None = None) -> tuple[bool, ...]:
    """Whether each 3D step halves the depth of a window of `depth` sections; it depends on the step b alone.

    Without a voxel size (z, y, x) this is the release's rule: as long as there are 8 sections. With one, sections
    are also not pooled while they are much thicker than the pixels of that level.
    """
    pooled: list[bool] = []
    for step in range(DEEPEST):
        thick = voxel_size is not None and (
            voxel_size[0] * 2 ** sum(pooled) >= 2 * max(voxel_size[1:]) * 2**step
        )
        pooled.append(depth >> sum(pooled) >= THINNEST_POOLED and not thick)
    return tuple(pooled)


class InstanceNorm(nn.Module):
    """Mean 0 and variance 1 over each window and channel, then a learnt scale and shift.

    A batch norm of one window is that, and on a CPU it is the only norm that is fast with channels last.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return torch.cat([self(part) for part in x.split(1)])
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


class Block(nn.Sequential):
    """Two convolutions with instance norm and leaky ReLU; kernel (1, 3, 3) or (3, 3, 3)."""

    def __init__(self, before: int, after: int, depth: int) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [
                Conv3d(channels, after, (depth, 3, 3)),
                InstanceNorm(after),
                nn.LeakyReLU(0.01, inplace=True),
            ]
        super().__init__(*layers)


class TwoStreams(nn.Module):
    """A node: a 2D block and a 3D block on one input, either may be missing."""

    def __init__(self, before: int, after: int, *, flat: bool = True, deep: bool = True) -> None:
        super().__init__()
        self.flat = Block(before, after, 1) if flat else None
        self.deep = Block(before, after, 3) if deep else None

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return (
            None if self.flat is None else self.flat(x),
            None if self.deep is None else self.deep(x),
        )


class Encoder(nn.Module):
    """(B, 1, D, H, W) -> the 2D and 3D features of the 15 nodes; level l has size H / 2^l and width k_l."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.z_pooled, self.merge = architecture.z_pooled, architecture.merge
        widths, doubled = architecture.widths, 2 if architecture.merge == "cat" else 1
        self.nodes = nn.ModuleDict()
        for a, b in lattice(DEEPEST):
            level = a + b
            before = 1 if level == 0 else widths[level - 1] * (doubled if a and b else 1)
            inner = level < DEEPEST
            self.nodes[_name(a, b)] = TwoStreams(
                before, widths[level], flat=inner or a > 0, deep=inner or b > 0
            )

    def forward(self, window: Tensor) -> dict[Node, tuple[Tensor | None, Tensor | None]]:
        features: dict[Node, tuple[Tensor | None, Tensor | None]] = {}
        for a, b in lattice(DEEPEST):
            parents = [] if a or b else [window]
            if a:
                parents.append(F.max_pool3d(features[a - 1, b][0], (1, 2, 2)))
            if b:
                step = 2 if self.z_pooled[b - 1] else 1
                parents.append(F.max_pool3d(features[a, b - 1][1], (step, 2, 2)))
            x = parents[0] if len(parents) == 1 else merge(parents[0], parents[1], self.merge)
            features[a, b] = self.nodes[_name(a, b)](x)
        return features


class Decoder(nn.Module):
    """Features of the 15 nodes -> logits (B, C, D, H, W). skips=False (pre-training): only level 4 is read."""

    def __init__(self, architecture: Architecture, channels: int, *, skips: bool = True) -> None:
        super().__init__()
        self.merge, self.skips = architecture.merge, skips
        widths, doubled = architecture.widths, 2 if architecture.merge == "cat" else 1
        self.up = nn.ModuleDict()
        for a, b in lattice(DEEPEST - 1):
            level = a + b
            before = doubled * (widths[level + 1] + (widths[level] if skips else 0))
            top = level == 0
            self.up[_name(a, b)] = TwoStreams(before, widths[level], flat=top or a > 0, deep=top or b > 0)
        self.outputs = Conv3d(widths[0], channels, (1, 1, 1), bias=False)

    def forward(self, features: dict[Node, tuple[Tensor | None, Tensor | None]]) -> Tensor:
        decoded = {node: pair for node, pair in features.items() if sum(node) == DEEPEST}
        for a, b in reversed(lattice(DEEPEST - 1)):
            skip = features[a, b]
            x = merge_up(decoded[a + 1, b][0], decoded[a, b + 1][1], skip[0].shape[2:], self.merge)
            if self.skips:
                x = torch.cat([merge(*skip, self.merge), x], 1)
            decoded[a, b] = self.up[_name(a, b)](x)
        flat, deep = decoded[0, 0]
        return self.outputs(flat + deep)


class AffinityNet(nn.Module):
    """(B, 1, D, H, W) grey in [0, 1] -> (B, C, D, H, W) logits in the order of `Architecture.channels`.

    H and W are multiples of 16; any depth of two or more. Instance norm sees the window, so only windows of one
    grid give the same result wherever a volume is cut.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.affinities = Decoder(architecture, len(architecture.offsets))
        self.foreground = Decoder(architecture, 1)
        # A third faster on a CPU: convolution, pooling and enlarging need no reordering then.
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, window: Tensor) -> Tensor:
        check_window(window)
        features = self.encoder(window.contiguous(memory_format=torch.channels_last_3d))
        return torch.cat([self.affinities(features), self.foreground(features)], 1)


def merge(flat: Tensor, deep: Tensor, how: str) -> Tensor:
    """2D and 3D features of one size made one: |flat - deep| (sub), their sum, or both side by side (cat)."""
    return _end_merge(_begin_merge(flat, deep, how), how)


def merge_up(flat: Tensor, deep: Tensor, size: torch.Size, how: str) -> Tensor:
    """`merge` of both made larger to `size` (D, H, W), trilinear, corners not aligned.

    Enlarging is linear and works axis by axis, so the difference is enlarged in place of its two parts, depth
    first: the same numbers for a third of the time (upsampling was 31 % of a training step).
    """
    depth = size[0]
    if deep.shape[2] != depth:
        deep = F.interpolate(deep, size=(depth, *deep.shape[3:]), mode="trilinear", align_corners=False)
    joined = _begin_merge(flat, deep, how)
    sections = joined.transpose(1, 2).flatten(0, 1)  # (B * D, C, H, W), a view where channels are last
    large = F.interpolate(sections, size=size[1:], mode="bilinear", align_corners=False)
    return _end_merge(large.unflatten(0, (-1, depth)).transpose(1, 2), how)


def _begin_merge(flat: Tensor, deep: Tensor, how: str) -> Tensor:
    """The linear part of a merge."""
    if how == "cat":
        return torch.cat([flat, deep], 1)
    return flat - deep if how == "sub" else flat + deep


def _end_merge(joined: Tensor, how: str) -> Tensor:
    return joined.abs() if how == "sub" else joined


def lattice(deepest: int) -> list[Node]:
    """Nodes (a, b) with a + b <= deepest, level by level."""
    return [(level - b, b) for level in range(deepest + 1) for b in range(level + 1)]


def check_window(window: Tensor) -> None:
    """Raise ValueError unless the window is (B, 1, D, H, W) with H and W multiples of 16 and D >= 2."""
    if window.dim() != 5 or window.shape[1] != 1:
        raise ValueError(f"window of shape {tuple(window.shape)}; allowed: (B, 1, D, H, W)")
    depth, *plane = window.shape[2:]
    if depth < 2 or any(side % 2**DEEPEST for side in plane):
        raise ValueError(
            f"window of {depth} x {plane[0]} x {plane[1]} voxels; "
            f"allowed: 2 or more sections, height and width multiples of {2**DEEPEST}"
        )


def _name(a: int, b: int) -> str:
    return f"{a}_{b}"
