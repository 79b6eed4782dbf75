"""Positions in a volume: the global window grid, the blocks that jobs work on, and blending weights.

Windows are a function of the volume's shape alone, anchored at voxel (0, 0, 0). A block is a core box that it
alone writes, with every window that touches the box; a window that reaches over the border of a core is
computed again by the neighbour. So no job waits for another and no voxel depends on how the volume was cut.
Windows overlap in plane only (each slice is the centre of its own windows): cutting in z costs nothing twice,
so blocks are slabs of whole planes until a plane is too large.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Block:
    """A core box in voxels (z, y, x; start inclusive, stop exclusive) and its windows (z, row, column) with signal."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    windows: list[tuple[int, int, int]]


@dataclass(frozen=True)
class Plan:
    """shape: volume (z, y, x). depth: slices in a window. window: its edge in pixels. stride: of the grid."""

    shape: tuple[int, int, int]
    depth: int
    window: int
    stride: int
    blocks: list[Block]


def grid_starts(size: int, window: int, stride: int) -> np.ndarray:
    """First pixels of the windows along one axis: 0, stride, ... until the last one covers the end.

    The last window is never shifted inwards (the grid would depend on the size): it reaches over the edge.
    """
    count = 1 + max(0, math.ceil((size - window) / stride))
    return np.arange(count) * stride


def blending_profile(window: int) -> np.ndarray:
    """(window,) float32 raised cosine at pixel centres, at least 1e-3: the weight of a window along one axis."""
    cosine = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    return np.maximum(cosine, 1e-3).astype(np.float32)


def blending_sum(size: int, window: int, stride: int) -> np.ndarray:
    """(size,) float32: the profiles of all windows over each pixel of an axis, summed; in plane it is the product."""
    starts = grid_starts(size, window, stride)
    total = np.zeros(starts[-1] + window, np.float32)
    for start in starts:
        total[start : start + window] += blending_profile(window)
    return total[:size]


def core_boxes(
    shape: tuple[int, int, int], *, plane: int, voxels: int, halo: int = 0
) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Cut a volume into (start, stop) boxes, in z first; edges in plane at most `plane`.

    voxels: what a box may hold together with the `halo` slices that are read beside it (one slice at least).
    """
    rows, columns = (_even_cut(size, plane) for size in shape[1:])
    area = max(b - a for a, b in rows) * max(b - a for a, b in columns)
    slabs = _even_cut(shape[0], max(1, voxels // area - halo))
    return [((z0, y0, x0), (z1, y1, x1)) for z0, z1 in slabs for y0, y1 in rows for x0, x1 in columns]


def windows_over(start: int, stop: int, size: int, window: int, stride: int) -> np.ndarray:
    """Grid indices of the windows that touch pixels start .. stop - 1 of an axis."""
    starts = grid_starts(size, window, stride)
    return np.flatnonzero((starts < stop) & (starts + window > start))


def make_plan(
    signal: np.ndarray,
    shape: tuple[int, int, int],
    *,
    depth: int,
    window: int,
    stride: int,
    plane: int,
    voxels: int,
) -> Plan:
    """Cut a volume into blocks. signal: bool (z, rows, columns), which windows of the grid need the network."""
    blocks = []
    for start, stop in core_boxes(shape, plane=plane, voxels=voxels, halo=depth - 1):
        rows = windows_over(start[1], stop[1], shape[1], window, stride)
        columns = windows_over(start[2], stop[2], shape[2], window, stride)
        found = np.argwhere(signal[start[0] : stop[0]][:, rows][:, :, columns])
        windows = [(int(z) + start[0], int(rows[r]), int(columns[c])) for z, r, c in found]
        blocks.append(Block(start, stop, windows))
    return Plan((shape[0], shape[1], shape[2]), depth, window, stride, blocks)


def plan_text(plan: Plan) -> str:
    """JSON, one block a line; the inverse of `read_plan`."""
    head = {name: value for name, value in asdict(plan).items() if name != "blocks"}
    lines = ",\n".join(json.dumps(asdict(block), separators=(",", ":")) for block in plan.blocks)
    return json.dumps(head)[:-1] + f', "blocks": [\n{lines}\n]}}\n'


def read_plan(path: Path) -> Plan:
    """Read what `plan_text` gave."""
    content = json.loads(path.read_text(encoding="utf-8"))
    blocks = [
        Block(tuple(block["start"]), tuple(block["stop"]), [tuple(w) for w in block["windows"]])
        for block in content.pop("blocks")
    ]
    return Plan(**{**content, "shape": tuple(content["shape"]), "blocks": blocks})


def read_clamped(array, ranges: list[tuple[int, int]]) -> np.ndarray:
    """Read a box, (first, stop) in z, y, x, of an array (numpy or zarr); what lies outside repeats the edge."""
    inside = [
        (max(first, 0), min(stop, size)) for (first, stop), size in zip(ranges, array.shape, strict=True)
    ]
    box = array[tuple(slice(*each) for each in inside)]
    pad = [(low - first, stop - high) for (first, stop), (low, high) in zip(ranges, inside, strict=True)]
    return np.pad(box, pad, mode="edge")


def _even_cut(size: int, longest: int) -> list[tuple[int, int]]:
    """Pieces of nearly equal length, none longer than `longest`."""
    count = math.ceil(size / longest)
    borders = [round(size * part / count) for part in range(count + 1)]
    return list(zip(borders[:-1], borders[1:], strict=True))
