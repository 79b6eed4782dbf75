"""Positions in a volume: the global window grid, the blocks that jobs work on, and blending weights.

A network reads a window and answers for its core, the box in its middle. Windows are a function of the volume's shape
and the network alone: the core of window (0, 0, 0) begins at voxel (0, 0, 0), the next one a stride further. A block is
a core box that it alone writes, with every window whose core touches the box; a window that reaches over the border of
a block is computed again by the neighbour. So no job waits for another and no voxel depends on how the volume was cut.
Cores of the slice segmenter are one slice high and do not overlap in z: cutting there costs nothing twice, so blocks
are slabs of whole planes until a plane is too large. Cores of a volumetric network overlap along all three axes.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError

Zyx = tuple[int, int, int]
# Each voxel of an image is one that the network reads.
UNBINNED: Zyx = (1, 1, 1)


@dataclass(frozen=True)
class Block:
    """A box in voxels (z, y, x; start inclusive, stop exclusive) and its windows that need the network.

    windows: their indices (z, y, x) in the grid.
    """

    start: Zyx
    stop: Zyx
    windows: list[Zyx]

    @property
    def shape(self) -> Zyx:
        z, y, x = (stop - start for start, stop in zip(self.start, self.stop))
        return z, y, x

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Grid:
    """The windows of a network over a volume. shape: of the volume; window, core, stride in voxels; all z, y, x."""

    shape: Zyx
    window: Zyx
    core: Zyx
    stride: Zyx

    @property
    def counts(self) -> Zyx:
        """Windows along each axis."""
        z, y, x = (len(grid_starts(*axis)) for axis in zip(self.shape, self.core, self.stride))
        return z, y, x

    @property
    def margin(self) -> Zyx:
        """Voxels of a window before its core."""
        z, y, x = ((window - core) // 2 for window, core in zip(self.window, self.core))
        return z, y, x

    def over(self, block_start: Zyx, block_stop: Zyx) -> list[np.ndarray]:
        """Axis by axis, the grid indices of the windows whose core touches a box."""
        return [
            windows_over(*ends, *axis)
            for ends, axis in zip(zip(block_start, block_stop), zip(self.shape, self.core, self.stride))
        ]

    def reach(self, block: Block) -> list[tuple[int, int]]:
        """(first, stop) of the voxels that the windows over a block read, axis by axis; may lie outside the volume."""
        ranges = []
        for axis, touching in enumerate(self.over(block.start, block.stop)):
            first = int(touching[0]) * self.stride[axis] - self.margin[axis]
            last = int(touching[-1]) * self.stride[axis] - self.margin[axis] + self.window[axis]
            ranges.append((first, last))
        return ranges


@dataclass(frozen=True)
class Plan:
    """The grid of a volume, and the blocks that it is cut into.

    binning: voxels of the image (z, y, x) that are one of the grid's (see `Contract.binning`). noise: what is left of
    the image's noise in their mean, a share. fill: what the network sees where the image is blank; None: the image.
    """

    grid: Grid
    blocks: list[Block]
    binning: Zyx = UNBINNED
    noise: float = 1.0
    fill: float | None = None

    @property
    def shape(self) -> Zyx:
        return self.grid.shape

    def check(self, path: Path, image: Zyx) -> None:
        """InputError unless the plan, of this file, is of an image of that shape."""
        if binned_shape(image, self.binning) != self.shape:
            raise InputError(path, f"a plan of {self.shape} voxels (z,y,x)", f"one of the image's {image}")


def binned_shape(shape: tuple[int, ...], binning: Zyx) -> Zyx:
    """The shape of an image (z, y, x) of which `binning` voxels are one; the last may not be full."""
    z, y, x = (-(-length // step) for length, step in zip(shape, binning, strict=True))
    return z, y, x


def make_grid(shape: Zyx, *, window: Zyx, core: Zyx, overlap: float, least: bool = False) -> Grid:
    """The grid of a volume. overlap: of neighbouring cores, a fraction of a side.

    least: as many cores in the least even steps that cover the volume, so that they overlap more and the last window
    hardly looks beyond its end, where the last voxels repeat.
    """
    z, y, x = (max(1, round(edge * (1 - overlap))) for edge in core)
    if least:
        z, y, x = (_least_step(*axis) for axis in zip(shape, core, (z, y, x), strict=True))
    return Grid(shape, window, core, stride=(z, y, x))


def _least_step(size: int, core: int, longest: int) -> int:
    """The least step at which cores cover an axis that are as few as with the longest one; that for a single core."""
    gaps = len(grid_starts(size, core, longest)) - 1
    return math.ceil((size - core) / gaps) if gaps else longest


def grid_starts(size: int, core: int, stride: int) -> np.ndarray:
    """First voxels of the cores along one axis: 0, stride, ... until the last one covers the end.

    The last core is never shifted inwards (the steps would not be even): it may reach over the edge (see `make_grid`).
    """
    count = 1 + max(0, math.ceil((size - core) / stride))
    return np.arange(count) * stride


def blending_profile(core: int) -> np.ndarray:
    """(core,) float32 raised cosine at voxel centres, at least 1e-3: the weight of a core along one axis."""
    cosine = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(core) + 0.5) / core)
    return np.maximum(cosine, 1e-3).astype(np.float32)


def blending_weight(core: Zyx) -> np.ndarray:
    """float32 (z, y, x): the weight of each voxel of a core, the product of its profiles."""
    z, y, x = (blending_profile(edge) for edge in core)
    return z[:, None, None] * (y[:, None] * x)


def blending_sum(size: int, core: int, stride: int) -> np.ndarray:
    """(size,) float32: the profiles of all cores over each voxel of an axis, summed; in a volume it is the product."""
    starts = grid_starts(size, core, stride)
    total = np.zeros(starts[-1] + core, np.float32)
    for start in starts:
        total[start : start + core] += blending_profile(core)
    return total[:size]


def windows_over(start: int, stop: int, size: int, core: int, stride: int) -> np.ndarray:
    """Grid indices of the windows whose core touches voxels start .. stop - 1 of an axis."""
    starts = grid_starts(size, core, stride)
    return np.flatnonzero((starts < stop) & (starts + core > start))


def core_boxes(
    shape: Zyx, *, plane: int, voxels: int, halo: int = 0, least: int = 1
) -> list[tuple[Zyx, Zyx]]:
    """Cut a volume into (start, stop) boxes, in z first; edges in plane at most `plane`.

    voxels: what a box may hold together with the `halo` slices that are read beside it; `least` slices all the same.
    """
    rows, columns = (_even_cut(size, plane) for size in shape[1:])
    area = max(b - a for a, b in rows) * max(b - a for a, b in columns)
    slabs = _even_cut(shape[0], max(least, voxels // area - halo))
    return [((z0, y0, x0), (z1, y1, x1)) for z0, z1 in slabs for y0, y1 in rows for x0, x1 in columns]


def make_plan(
    signal: np.ndarray,
    grid: Grid,
    *,
    plane: int,
    voxels: int,
    binning: Zyx = UNBINNED,
    noise: float = 1.0,
    fill: float | None = None,
) -> Plan:
    """Cut a volume into blocks. signal: bool (z, y, x) over the grid, which windows need the network.

    binning, noise, fill: see `Plan`.
    """
    # Slices that the windows over a block read beside it: the margin, and where cores overlap most of a core each way.
    depth, *edges = grid.core
    halo = grid.window[0] - depth + 2 * (depth - 1)
    if depth > 1:  # a thin or wide block would run most windows for their rims, or hold too much
        plane = min(plane, 4 * max(edges))
    blocks = []
    for start, stop in core_boxes(grid.shape, plane=plane, voxels=voxels, halo=halo, least=depth):
        touching = grid.over(start, stop)
        found = np.argwhere(signal[np.ix_(*touching)])
        z, y, x = (indices[column] for indices, column in zip(touching, found.T))
        blocks.append(Block(start, stop, list(zip(z.tolist(), y.tolist(), x.tolist()))))
    return Plan(grid, blocks, binning, noise, fill)


def whole(grid: Grid) -> Block:
    """All of a volume as one block, with every window."""
    return Block((0, 0, 0), grid.shape, list(np.ndindex(*grid.counts)))


def read_clamped(array, ranges: list[tuple[int, int]]) -> np.ndarray:
    """Read a box, (first, stop) in z, y, x, of an array (numpy or zarr); what lies outside repeats the edge."""
    inside = [
        (min(max(first, 0), size - 1), max(min(stop, size), 1))
        for (first, stop), size in zip(ranges, array.shape, strict=True)
    ]
    box = array[tuple(slice(*each) for each in inside)]
    for axis, ((first, stop), (low, high)) in enumerate(zip(ranges, inside, strict=True)):
        if (first, stop) != (low, high):
            box = box.take(np.clip(np.arange(first, stop), low, high - 1) - low, axis)
    return box


def overlap_of(start: Zyx, stop: Zyx, block: Block) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """What a box and a block share, as slices of the box and of the block; None where they share nothing."""
    low, high = np.maximum(start, block.start), np.minimum(stop, block.stop)
    if (low >= high).any():
        return None
    return _slices(low - start, high - start), _slices(low - block.start, high - block.start)


def plan_text(plan: Plan) -> str:
    """JSON, one block a line; the inverse of `read_plan`."""
    lines = ",\n".join(json.dumps(asdict(block), separators=(",", ":")) for block in plan.blocks)
    head = {"grid": asdict(plan.grid), "binning": plan.binning, "noise": plan.noise, "fill": plan.fill}
    return json.dumps(head)[:-1] + f', "blocks": [\n{lines}\n]}}\n'


def read_plan(path: Path) -> Plan:
    """Read what `plan_text` gave."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if "binning" not in content:
        raise InputError(path, "a plan of an older version", "one that tile made")
    blocks = [
        Block(tuple(block["start"]), tuple(block["stop"]), [tuple(w) for w in block["windows"]])
        for block in content["blocks"]
    ]
    grid = Grid(**{name: tuple(value) for name, value in content["grid"].items()})
    return Plan(grid, blocks, tuple(content["binning"]), content["noise"], content["fill"])


def _even_cut(size: int, longest: int) -> list[tuple[int, int]]:
    """Pieces of nearly equal length, none longer than `longest`."""
    count = math.ceil(size / longest)
    borders = [round(size * part / count) for part in range(count + 1)]
    return list(zip(borders[:-1], borders[1:], strict=True))


def _slices(start: np.ndarray, stop: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(first), int(last)) for first, last in zip(start, stop, strict=True))
