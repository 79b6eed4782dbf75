"""A folder of one-slice TIFFs as one stack, in the order of their numbers."""

import re
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.images import tiff, tiff_header
from pipeline.images.folders import SLICES, groups
from pipeline.images.source import ANY, Pick, Planes, Source, sizes


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open the slices of a folder as one lazy stack; the voxel size is that of the first (its z too, where it has one).

    Raises InputError where they are not the numbered slices of one stack: a number missing, another size or type.
    """
    names = _names(path)
    first = tiff.open_image(path / names[0], pick, slices=len(names))
    for name in names:
        page = tiff_header.first_page(path / name)
        if page is None or not page.is_single_plane:
            raise InputError(path / name, "not one plane", f"one plane in each of the {len(names)} slices")
        if page.shape != first.shape[1:] and page.shape != first.shape[:0:-1]:  # turned by its Orientation
            found = f"a slice of {sizes(page.shape)} pixels, the first is {sizes(first.shape[1:])}"
            raise InputError(path / name, found, "slices of one size")

    def read(start: int, end: int) -> np.ndarray:
        stack = np.empty((end - start, *first.shape[1:]), first.dtype)
        for plane, name in zip(stack, names[start:end], strict=True):
            source = tiff.open_image(path / name, pick)
            if source.shape != first.shape or source.dtype != first.dtype:
                found = f"{sizes(source.shape[1:])} {source.dtype}, the first is {sizes(first.shape[1:])} {first.dtype}"
                raise InputError(path / name, found, "slices of one size and type")
            plane[:] = source.array[0:1][0]
        return stack

    note = f"{len(names)} slices, {names[0]} to {names[-1]}, are one stack (name each in samples.tsv if they are not)"
    shape = len(names), *first.shape[1:]
    return Source(Planes(path, shape, first.dtype, read), first.measured, (note, *first.notes))


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the first slice."""
    names = _names(path)
    return len(names), *tiff.shape(path / names[0])[1:]


def _names(path: Path) -> list[str]:
    """The slices of a folder in order; InputError where they are not those of one stack."""
    files = sorted(item.name for item in path.iterdir() if not item.name.startswith("."))
    tiffs = [name for name in files if name.lower().endswith(SLICES)]
    found, allowed = groups(tiffs), "one stack in a folder: numbered TIFF files of one plane each"
    if not tiffs:
        raise InputError(
            path, "a folder without zarr metadata and without TIFF slices", f"an OME-Zarr, or {allowed}"
        )
    if len(found) != 1 or len(found[0]) != len(tiffs):
        stacks = (
            ", ".join(f"{group[0]} to {group[-1]}" for group in found[:4])
            or "none that differ in a number alone"
        )
        raise InputError(path, f"{len(tiffs)} TIFF files, slices of {len(found)} stacks ({stacks})", allowed)
    (names,) = found
    numbers = [int(re.findall(r"\d+", name)[-1]) for name in names]
    steps = np.diff(numbers)
    if steps.min() != steps.max():
        at = int(np.argmax(steps != np.bincount(steps).argmax()))
        found_there = f"no slice between {names[at]} and {names[at + 1]}"
        if steps[at] == 0:
            found_there = f"{names[at]} and {names[at + 1]} have the same number"
        raise InputError(path, found_there, "numbers with one step between them")
    return names
