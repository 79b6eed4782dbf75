"""info: what a file holds."""

from pathlib import Path

import numpy as np

from pipeline import images
from pipeline.commands import aligned
from pipeline.errors import InputError


def run(file: Path, /, *, unit: str = "um") -> None:
    """Say what a file holds: an image, a tree or weights.

    Args:
        file: image of any format, SWC or ESWC, or weights (.safetensors).
        unit: of an SWC file: voxel | um | nm.
    """
    from pipeline.dataset import is_tree

    if not images.split(file)[0].exists():
        raise InputError(file, "no such file", "an image, an SWC file or weights")
    if is_tree(file):
        rows = _tree(file, unit)
    elif file.suffix == ".safetensors":
        rows = _weights(file)
    else:
        rows = _image(file)
    print(aligned([("file", file), *rows]), end="")


def _tree(file: Path, unit: str) -> list[tuple[str, object]]:
    from pipeline import swc

    tree = swc.read(file, unit=unit, empty=True)
    if not len(tree):
        return [("nodes", 0)]
    degree = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree))
    low, high = (" ".join(f"{value:g}" for value in np.round(f(0), 2)) for f in (tree.xyz.min, tree.xyz.max))
    return [
        ("nodes", len(tree)),
        ("trees", int((tree.parent < 0).sum())),
        ("branch points, tips", f"{(degree > 1).sum()}, {(degree == 0).sum()}"),
        ("cable", f"{swc.cable_length(tree):.1f} um, read as {unit}"),
        ("extent (x,y,z um)", f"{low} to {high}"),
        ("radius", f"{tree.radius.min():.3g} to {tree.radius.max():.3g} um"),
        (
            "nodes of each type",
            ", ".join(f"{kind}: {n}" for kind, n in zip(*np.unique(tree.type, return_counts=True))),
        ),
        ("more", f"python -m pipeline validate {file}"),
    ]


def _weights(file: Path) -> list[tuple[str, object]]:
    from dataclasses import asdict

    from pipeline.network import contract

    return [(name.replace("_", " "), value) for name, value in asdict(contract.read(file)).items()]


def _image(file: Path) -> list[tuple[str, object]]:
    from pipeline.commands.check import levels
    from pipeline.images.source import sizes

    source = images.open_image(file)
    size = source.voxel_size
    rows: list[tuple[str, object]] = [
        ("voxels (z,y,x)", f"{sizes(source.shape)}, {source.dtype}"),
        ("voxel size (z,y,x um)", " ".join(f"{edge:g}" for edge in size) if size else "not said by the file"),
    ]
    if size:
        extent = " x ".join(f"{n * edge:.4g}" for n, edge in zip(source.shape, size))
        rows.append(("extent (z,y,x um)", extent))
    level, said = levels(source)
    rows += [
        (name, f"{level[name]:.4g}")
        for name in ("background", "noise", "darkest", "brightest")
        if name in level
    ]
    return rows + [("warning", one) for one in said]
