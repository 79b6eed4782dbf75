"""What any network says of itself, in the header of its weights file and nowhere else. Read without torch."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import blocks
from pipeline.blocks import Grid, Zyx
from pipeline.errors import InputError

KIND = "stack2swc network 1"
# One entry of the header holds all: safetensors writes several in an order of chance, and bytes would differ.
ENTRY = "stack2swc"
ALLOWED = 'a weights file made by train, or an empty name ("") to train one on the dataset first'
# Longer than any header of ours; a length beyond it is that of another kind of file.
HEADER_BYTES = 100_000_000

# Voxels so many times as small or large as those that a network was trained on are unlike them.
UNLIKE = 1.5
# So many times as fine as these no microscope's are: more likely the unit is wrong.
FINEST = 10

# Volumetric networks halve the plane four times (affinities.DEEPEST; that module needs torch).
PIXELS = 16


@dataclass(frozen=True)
class Contract:
    """Windows in, probabilities out.

    window: z, y, x voxels that it reads. core: z, y, x voxels that it answers for, in the middle of the window.
    channels: names of what it answers. levels: the rule that makes its grey of an image (intensity.LEVELS).
    voxel_um: smallest and largest voxel (z, y, x um) that it was trained on. dark_is_empty: where nothing is bright it
    answers 0, so that such windows need not be run. architecture: name and sizes. card: who made it of what.
    """

    window: Zyx
    core: Zyx
    channels: tuple[str, ...]
    levels: str
    voxel_um: tuple[tuple[float, float, float], tuple[float, float, float]]
    dark_is_empty: bool
    architecture: dict[str, Any]
    card: dict[str, Any]

    @property
    def volumetric(self) -> bool:
        """Whether it answers for several slices: its windows overlap in depth, too."""
        return self.core[0] > 1

    def grid(self, shape: Zyx, *, overlap: float) -> Grid:
        """The windows over a volume; overlap: see `blocks.make_grid`.

        A volumetric network that answers for all it reads has norms that see the whole window: it reads none wider
        than the volume, and as little as even steps allow beyond its end (docs/em.md).
        """
        window, core = self.window, self.core
        if self.volumetric and core == window:
            depth, *edges = window
            height, width = (
                min(edge, max(PIXELS, size - size % PIXELS)) for edge, size in zip(edges, shape[1:])
            )
            window = core = depth, height, width
        return blocks.make_grid(shape, window=window, core=core, overlap=overlap, least=self.volumetric)

    def binning(self, voxel_size: tuple[float, float, float]) -> Zyx:
        """How many voxels (z, y, x) of an image of that voxel size (um) it reads as one, their mean.

        Of finer voxels than it was trained on it sees too little at once. As many as are no larger together than the
        smallest of these, or the least that are no longer unlike it.
        """
        z, y, x = (
            max(1, math.floor(least / size + 1e-6), math.ceil(least / UNLIKE / size - 1e-6))
            for least, size in zip(self.voxel_um[0], voxel_size, strict=True)
        )
        return z, y, x

    def knows(self, voxel_size: tuple[float, float, float]) -> bool:
        """Whether what it reads of an image of that voxel size (um) is like what it was trained on.

        Not where more than FINEST voxels along an axis would be one.
        """
        read = [size * step for size, step in zip(voxel_size, self.binning(voxel_size), strict=True)]
        if max(self.binning(voxel_size)) > FINEST:
            return False
        return all(
            a / UNLIKE - 1e-6 <= size <= UNLIKE * b + 1e-6
            for a, size, b in zip(self.voxel_um[0], read, self.voxel_um[1])
        )

    @property
    def directions(self) -> dict[int, tuple[int, int]]:
        """{channel: (axis, voxels)} of the affinities: with the voxel so many before it, along -3, -2, -1 (zyx)."""
        found = {}
        for at, name in enumerate(self.channels):
            if name.startswith("affinity_"):
                _, axis, *steps = name.split("_")
                found[at] = "zyx".index(axis) - 3, int(steps[0]) if steps else 1
        return found

    def header(self) -> str:
        """The entry of the file; the inverse of `read`."""
        return json.dumps({"kind": KIND, **asdict(self)})


def read(path: Path) -> Contract:
    """The contract in the header of a weights file; InputError where it is missing or another kind of file."""
    header = _header(path)
    if header.get("kind") != KIND:
        raise InputError(
            path, f"weights of kind {header.get('kind', 'unknown')!r}", f"{KIND!r}, made by train"
        )
    try:
        low, high = (tuple(map(float, edge)) for edge in header["voxel_um"])
        return Contract(
            window=tuple(header["window"]),
            core=tuple(header["core"]),
            channels=tuple(header["channels"]),
            levels=header["levels"],
            voxel_um=(low, high),
            dark_is_empty=header["dark_is_empty"],
            architecture=header["architecture"],
            card=header["card"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"a header without its contract ({error})", "a file made by train") from error


def is_ours(path: Path) -> bool:
    """Whether a file is weights that `train` made, rather than a 2D checkpoint."""
    return Path(path).suffix == ".safetensors" and _header(path).get("kind") == KIND


def _header(path: Path) -> dict[str, Any]:
    """What is stored under ENTRY; empty for a safetensors file of another maker."""
    if not Path(path).is_file():
        raise InputError(f"weights: {path}", "no such file", ALLOWED)
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            tensors = json.loads(file.read(size)) if size < HEADER_BYTES else None
            if not isinstance(tensors, dict):
                raise ValueError
            return json.loads(tensors.get("__metadata__", {}).get(ENTRY, "{}"))
        except ValueError:
            raise InputError(f"weights: {path}", "not a safetensors file", ALLOWED) from None
