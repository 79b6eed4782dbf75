"""The sheet of a training: which images, and what is true of each; and digests of what it names."""

import csv
import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from pipeline import images
from pipeline.errors import InputError

Chosen = TypeVar("Chosen", bound=BaseModel)
COLUMNS = ("sample", "image", "reference", "reference_unit")


@dataclass(frozen=True)
class Row:
    """A line of a training sheet.

    image: OME-Zarr made by ingest. reference: SWC, or an image of voxel labels; Path() where there is none.
    """

    sample: str
    image: Path
    reference: Path
    reference_unit: str

    @property
    def has_reference(self) -> bool:
        return self.reference != Path()

    def is_one_of(self, patterns: str) -> bool:
        """Whether the sample's name fits one of the patterns (with *, separated by spaces)."""
        return any(fnmatch(self.sample, pattern) for pattern in patterns.split())


def read_sheet(path: Path) -> list[Row]:
    """The rows of a training sheet; InputError where it is none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"not readable ({error})", "a training sheet (TSV)") from error
    if lines and (lacking := [name for name in COLUMNS if name not in lines[0]]):
        raise InputError(path, f"no column {lacking[0]}", f"columns {', '.join(COLUMNS)}")
    return [
        Row(line["sample"], Path(line["image"]), Path(line["reference"]), line["reference_unit"] or "um")
        for line in lines
    ]


def file_digest(path: Path) -> str:
    """Of the bytes of a file, and of what is meant within it (file.h5:/labels); a folder's is its name."""
    file, within = images.split(path)
    if not file.is_file():
        return str(path)
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() + within


def names_only(settings: Chosen, *paths: str) -> Chosen:
    """Settings with names of files instead of paths: a model card travels, this machine's folders do not."""
    names = {key: " ".join(Path(path).name for path in getattr(settings, key).split()) for key in paths}
    return settings.model_copy(update=names)
