"""Which files of a folder are one image, by their names and the headers of a few: slices, OME-TIFF in several files.

Asked whenever the Snakefile is parsed: nothing is imported that takes time.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pipeline.images import tiff_header

SLICES = (".tif", ".tiff")
OME = (".ome.tif", ".ome.tiff")
# Two numbered planes are two pictures, three are a stack.
FEWEST = 3


def groups(names: Iterable[str]) -> list[list[str]]:
    """Names of TIFF files that differ in their last number alone, each group in the order of those numbers."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", name)
        if match and name.lower().endswith(SLICES):
            found.setdefault(f"{match[1]}*{match[3]}", []).append((int(match[2]), name))
    return [[name for _, name in sorted(group)] for group in found.values() if len(group) >= FEWEST]


def slices(folder: Path, names: Iterable[str]) -> list[list[str]]:
    """The groups of `names` that hold one plane a file, by the headers of the first and last file of each."""
    return [
        group
        for group in groups(names)
        if all(_page(folder / name).is_single_plane for name in (group[0], group[-1]))
    ]


def parts(folder: Path, names: set[str]) -> set[str]:
    """Those of `names` whose planes belong to an OME-TIFF that begins in another of them."""
    found = set()
    ome = sorted(name for name in names if name.lower().endswith(OME))
    for name in ome if len(ome) > 1 else ():
        files = _page(folder / name).files
        earlier = files[: files.index(name)] if name in files else files
        if any(other in names for other in earlier):
            found.add(name)
    return found


def _page(path: Path) -> tiff_header.FirstPage:
    return _looked_up(path, path.stat().st_mtime_ns if path.exists() else 0)


@cache
def _looked_up(path: Path, changed: int) -> tiff_header.FirstPage:
    return tiff_header.first_page(path) or tiff_header.FirstPage("", False, (0, 0), 1, 0)
