"""Label volumes of any format: whole in memory, whole numbers, none negative."""

from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.images import open_image
from pipeline.images.source import Source, VoxelSize

ALLOWED = "uint8, uint16, uint32 or uint64; signed ones where none is negative"


def read(path: Path) -> tuple[np.ndarray, VoxelSize | None]:
    """Unsigned labels (z, y, x), and the voxel size (z, y, x um) where the file says one.

    Raises InputError for what images.open_image refuses, and for voxels that are no labels: floats, negatives.
    """
    source = open_image(path)
    check(path, source)
    labels = np.ascontiguousarray(source.array[:])
    if labels.dtype.kind == "i":
        if (lowest := labels.min()) < 0:
            raise InputError(path, f"a label {lowest}", ALLOWED)
        labels = labels.view(labels.dtype.str.replace("i", "u"))
    return labels, source.voxel_size


def check(path: Path, source: Source) -> None:
    """InputError unless the voxels are whole numbers."""
    if source.dtype.kind not in "ui":
        raise InputError(path, f"labels of type {source.dtype}", ALLOWED)
