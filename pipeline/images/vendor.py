"""Files of the makers of microscopes (CZI, ND2, LIF), through bioio, which is an optional extra of ours."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.images.source import ANY, Pick, Planes, Source, in_um, sizes

# Each suffix has a reader of its own beside bioio.
INSTALL = (
    "its reader installed, `uv sync --extra bioio` (or pip install bioio bioio-{}), or the image as OME-TIFF"
)


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open one channel and time point of the only image of a file, lazily; voxel sizes are in its metadata.

    InputError where bioio is not installed, with what to install; for several images in a file, with their names.
    """
    image = _open(path)
    if len(image.scenes) != 1:
        named = ", ".join(map(str, image.scenes[:8]))
        raise InputError(
            path, f"{len(image.scenes)} images ({named})", "one image in a file: save each as OME-TIFF"
        )
    times, channels, depth, height, width = (getattr(image.dims, axis) for axis in "TCZYX")
    said = f"t, c, z, y, x = {sizes((times, channels, depth, height, width))}"
    names = [str(name) for name in image.channel_names or ()]
    channel = pick.index(path, "channel", channels, names, said)
    time = pick.index(path, "time", times, axes=said)
    stack = image.get_image_dask_data("ZYX", C=channel, T=time)

    def read(first: int, last: int) -> np.ndarray:
        return np.asarray(stack[first:last].compute())

    edges = [getattr(image.physical_pixel_sizes, axis) for axis in "ZYX"]
    if depth == 1 and edges[0] is None:
        edges[0] = edges[1]
    return Source(Planes(path, (depth, height, width), np.dtype(stack.dtype), read), in_um(edges, ["um"] * 3))


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) by the metadata."""
    dims = _open(path).dims
    return dims.Z, dims.Y, dims.X


def _open(path: Path):
    kind = path.suffix.lower().lstrip(".")
    try:
        from bioio import BioImage
    except ImportError:
        raise InputError(path, f"a .{kind} file, and no reader of it", INSTALL.format(kind)) from None
    try:
        return BioImage(path)
    except Exception as error:
        if type(error).__name__ == "UnsupportedFileFormatError":
            if find_spec(f"bioio_{kind}"):
                raise InputError(path, f"not readable as .{kind} by bioio", "an undamaged file") from None
            found = f"a .{kind} file that no installed reader of bioio opens"
            raise InputError(path, found, INSTALL.format(kind)) from None
        raise
