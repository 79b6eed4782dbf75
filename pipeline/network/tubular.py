"""The deformable tubular transfer of DINeuro (Cheng et al. 2024): a 2D patch kernel laid along bent tubes.

The paper has no released code; this is a reading of it. A patch kernel is flattened to a line and laid along z, y and x
through the middle of each patch's block. Each tube bends with the image, by steps that add up outward from a
fixed centre (as in Dynamic Snake Convolution, Qi et al. 2023), and what the three views see is added to the Center
embedding, with a weight that begins at zero: at first the model is the Center model, exactly.

Not taken over: batch norm in front of the offsets (a neuron's tubes would depend on its batch), borders that repeat (a
straight tube is then no zero-padded convolution).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.network.embed import PatchEmbed

POOLED = 4  # neighbouring taps of the flattened kernel that are summed into one: 64 of a patch of 16 x 16
SEGMENTS = 16  # of a tube, each with a step of its own
# Points sampled at once; a chunk of the batch holds no more. 2**22 are about 100 MB.
MOST_POINTS = 2**22
VIEWS = 3
# For each view (z, y, x) the two axes that its tubes may bend along.
ACROSS = ((1, 2), (0, 2), (0, 1))


class TubularEmbed(PatchEmbed):
    """The Center embedding plus three views of bent tubes; (B, 1, D, S, S) -> (B, N, E).

    proj: as in PatchEmbed. tubes: (3, E, K) line kernels. gamma: (3, E) share of each view. offsets: a convolution
    over the map of tokens that says how the tubes of each bend.
    """

    def __init__(self, depth: int, patch: int, width: int) -> None:
        super().__init__(depth, patch, width)
        taps = patch * patch // POOLED
        self.extent = (depth, patch, patch)
        self.segments = min(SEGMENTS, taps)
        # Without a draw from the generator: the decoder of one seed is the same in every variant.
        self.tubes = nn.Parameter(torch.zeros(VIEWS, width, taps))
        self.gamma = nn.Parameter(torch.zeros(VIEWS, width))
        self.offsets = nn.utils.skip_init(nn.Conv2d, width, VIEWS * 2 * self.segments, 3, padding=1)
        self.begin()

    @torch.no_grad()
    def begin(self) -> None:
        """Straight tubes of the kernel in `proj`, whose share is zero."""
        self.tubes.copy_(line_kernels(self.proj.weight[:, 0].sum(1), self.tubes.shape[2]))
        for parameter in (self.gamma, *self.offsets.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, window: Tensor) -> Tensor:
        tokens = super().forward(window)
        grid = window.shape[-2] // self.extent[1], window.shape[-1] // self.extent[2]
        raw = self.offsets(tokens.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)
        views = self.seen(window[:, 0], raw, grid)
        # The shares belong to the kernels: one product of matrices for all views.
        kernel = (self.gamma[:, :, None] * self.tubes).transpose(0, 1).flatten(1)
        return tokens + F.linear(views.to(tokens.dtype), kernel).to(tokens.dtype)

    def seen(self, volume: Tensor, raw: Tensor, grid: tuple[int, int]) -> Tensor:
        """Grey at the taps, (B, N, 3 K). volume: (B, D, S, S). raw: (B, N, 3 * 2 * segments), before tanh."""
        # bf16 cannot address single pixels beyond 256.
        with torch.autocast(volume.device.type, enabled=False):
            volume, raw = (x if x.dtype == torch.float64 else x.float() for x in (volume, raw))
            centre = origins(grid, self.extent, volume)
            steps = torch.tanh(raw.unflatten(2, (VIEWS, 2, self.segments)))
            each = max(1, MOST_POINTS // max(1, centre.shape[0] * VIEWS * self.tubes.shape[2]))
            parts = [
                tube_values(some, bend, centre, extent=self.extent, taps=self.tubes.shape[2])
                for some, bend in zip(volume.split(each), steps.split(each), strict=True)
            ]
            return torch.cat(parts).flatten(2)


def line_kernels(kernel: Tensor, taps: int) -> Tensor:
    """Grey kernel (E, P, P) -> line kernels (3, E, taps) of the views z, y, x.

    The index along a tube is the slow one of the flattened kernel, so that a straight tube is the kernel's projection
    on its axis. z has no index of its own and takes y's order. Neighbouring taps are summed.
    """
    rows, columns = kernel.flatten(1), kernel.transpose(1, 2).flatten(1)
    return torch.stack([rows, rows, columns]).unflatten(2, (taps, -1)).sum(3)


def origins(grid: tuple[int, int], extent: tuple[int, int, int], like: Tensor) -> Tensor:
    """(N, 3) voxels z, y, x: the centre tap of each token's tubes, the middle of its block."""
    rows, columns = (
        torch.arange(n, dtype=like.dtype, device=like.device) * size + size // 2
        for n, size in zip(grid, extent[1:])
    )
    flat = torch.cartesian_prod(rows, columns)
    return torch.cat([torch.full_like(flat[:, :1], extent[0] // 2), flat], 1)


def tube_values(
    volume: Tensor, steps: Tensor, centre: Tensor, *, extent: tuple[int, int, int], taps: int
) -> Tensor:
    """Grey (B, N, 3, taps) along bent tubes whose length and reach are those of a block.

    volume: (B, D, H, W). steps: (B, N, 3, 2, segments) in [-1, 1]: how far each tap lies beside the one before, along
    the two axes of ACROSS, in units of their pitch. centre: (N, 3). extent: z, y, x voxels of a block.
    """
    z, y, x = (size / taps for size in extent)
    bend = displaced(steps.repeat_interleave(taps // steps.shape[-1], -1))
    return sample(volume, tube_points(centre, bend, (z, y, x)))


def displaced(steps: Tensor) -> Tensor:
    """(..., K) steps -> (..., K) sums outward from the centre tap K // 2, which stays; its own step is not used."""
    middle = steps.shape[-1] // 2
    before = steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
    after = steps[..., middle + 1 :].cumsum(-1)
    return torch.cat([before, torch.zeros_like(steps[..., :1]), after], -1)


# Sizes stay numbers in what follows: a tensor made of them on a GPU would keep the step out of a CUDA graph.
def tube_points(centre: Tensor, bend: Tensor, pitch: tuple[float, float, float]) -> Tensor:
    """(B, N, 3, K, 3) voxels z, y, x of the taps of each view.

    centre: (N, 3). bend: (B, N, 3, 2, K) displacements across, in units of the pitch. pitch: voxels between taps
    along z, y, x.
    """
    taps = bend.shape[-1]
    along = torch.arange(taps, dtype=bend.dtype, device=bend.device) - taps // 2
    points = []
    for view, across in enumerate(ACROSS):
        moved = {axis: bend[:, :, view, place] * pitch[axis] for place, axis in enumerate(across)}
        moved[view] = (along * pitch[view]).expand_as(moved[across[0]])
        points.append(torch.stack([moved[axis] for axis in range(3)], -1))
    return torch.stack(points, 2) + centre[:, None, None]


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear values (B, ...) of volume (B, D, H, W) at points (B, ..., 3) z, y, x; voxels outside count as zero."""
    z, y, x = points.flatten(1, -2).unbind(-1)
    if volume.shape[1] == 1:
        # A single plane has no coordinate: grid_sample would take any for its middle. A plane of zeros on both sides.
        volume, z = F.pad(volume[:, None], (0, 0, 0, 0, 1, 1))[:, 0], z + 1
    unit = [2 * at / max(size - 1, 1) - 1 for at, size in zip((x, y, z), reversed(volume.shape[1:]))]
    grid = torch.stack(unit, -1)[:, :, None, None]
    values = F.grid_sample(volume[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return values[:, 0, :, 0, 0].unflatten(1, points.shape[1:-1])
