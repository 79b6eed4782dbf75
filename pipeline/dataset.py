"""A dataset directory or its sample sheet -> samples; everything wrong with it is told at once.

Called whenever the Snakefile is parsed, in each job's process too: standard library only, no image is opened.
"""

import csv
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pipeline.errors import InputError

SHEET = "samples.tsv"
COLUMNS = ("sample", "image", "voxel_size", "reference", "reference_unit", "root", "modality")
UNITS = ("voxel", "um", "nm")
MODALITIES = ("lm",)
IMAGE_SUFFIXES = (".ome.zarr", ".zarr", ".ome.tiff", ".ome.tif", ".tiff", ".tif", ".lsm")
# Files of these endings belong to an image and are none themselves: annotations kept beside it.
LABEL_ENDINGS = ("_labels", "_label", "_mask", "_masks", "_seg", "_gt", "_reference", "_annotation")
# File systems allow 255 bytes; Snakemake and our own private names add to the name.
NAME_BYTES = 120

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """One image to reconstruct.

    name: folder and file name of its results. voxel_size: z, y, x in um, None = from the image's metadata.
    reference: SWC of the same neuron in reference_unit (voxel, um, nm). root: x, y, z in voxels of the point
    where the wanted tree starts.
    """

    name: str
    image: Path
    voxel_size: Triple | None = None
    reference: Path | None = None
    reference_unit: str = "voxel"
    root: Triple | None = None
    modality: str = "lm"


def voxel_size_from(value: str | Iterable[float], *, where: object) -> Triple:
    """Three positive numbers z, y, x in um, from "1.0,0.33,0.33" or from numbers. InputError otherwise."""
    size = _three_numbers(
        value, where=where, allowed="three positive numbers z,y,x in um, e.g. 1.0,0.33,0.33"
    )
    if min(size) <= 0:
        raise InputError(where, _text(value), "three positive numbers z,y,x in um, e.g. 1.0,0.33,0.33")
    return size


def root_from(value: str, *, where: object) -> Triple:
    """Three numbers x, y, z in voxels, from "47,388,0". InputError otherwise."""
    allowed = "three numbers x,y,z in voxels, none negative, e.g. 47,388,0"
    root = _three_numbers(value, where=where, allowed=allowed)
    if min(root) < 0:
        raise InputError(where, _text(value), allowed)
    return root


def _three_numbers(value: str | Iterable[float], *, where: object, allowed: str) -> Triple:
    parts = value.split(",") if isinstance(value, str) else list(value)
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(where, _text(value), allowed)
    return numbers


def _text(value: object) -> str:
    return value if isinstance(value, str) else ",".join(f"{number:g}" for number in value)
