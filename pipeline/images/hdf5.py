"""Data sets in HDF5 files, named as `file.h5:/path/in/file`: images and labels of electron microscopy."""

from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.images import split
from pipeline.images.source import ANY, Measured, Pick, Planes, Source, check_declared, damage, in_um, sizes

# Attributes that hold z, y, x edges of a voxel: ours, that of CREMI and of many others, that of Fiji's plug-in.
VOXEL_SIZES = {"voxel_size_nm": "nm", "resolution": "nm", "element_size_um": "um"}


def open_image(path: Path, pick: Pick = ANY) -> Source:
    """Open `file.h5:/dataset` as a lazy stack; without a name, the file's only data set of three axes or more.

    A fourth axis, before z, is that of channels.

    The voxel size is that of the first of VOXEL_SIZES on the data set, else on the file. Planes are read on demand,
    the file is open only meanwhile. Raises InputError for a missing or damaged file, a data set that is not there
    (with the names of those there), one that is no stack or declares more than the file can hold.
    """
    import h5py

    file, name = split(path)
    if not file.exists():
        raise InputError(file, "no such file", "an HDF5 file")
    if not h5py.is_hdf5(file):
        raise InputError(file, "not an HDF5 file", "an HDF5 file")
    with damage(file), h5py.File(file) as stored:
        name = _named(file, stored, name)
        dataset = stored[name]
        shape, dtype = dataset.shape, dataset.dtype.newbyteorder("=")
        own = _voxel_size(dataset)
        measured = _voxel_size(stored) if own == Measured() else own
    *lead, depth, height, width = shape
    if sum(length != 1 for length in lead) > 1:
        raise InputError(
            f"{file}:/{name}", f"an array of {sizes(shape)}", "one stack (z, y, x), or (c, z, y, x)"
        )
    check_declared(Path(path), shape, dtype, file_bytes=file.stat().st_size)
    wanted = pick.index(Path(path), "channel", max([1, *lead]), axes=f"an array of {sizes(shape)}")
    pick.index(Path(path), "time", 1)
    front = tuple(wanted if length != 1 else 0 for length in lead)

    def read(first: int, last: int) -> np.ndarray:
        with h5py.File(file) as stored:
            return stored[name][(*front, slice(first, last))].astype(dtype, copy=False)

    return Source(Planes(Path(path), (depth, height, width), dtype, read), measured)


def shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) of a data set."""
    return open_image(path).shape


def _named(file: Path, stored, name: str) -> str:
    """The data set that is meant; InputError that lists those there."""
    import h5py

    found: dict[str, tuple[int, ...]] = {}

    def note(place, item) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.dtype.kind in "uifb":
            found[place] = item.shape

    stored.visititems(note)
    stacks = [place for place, shape in found.items() if len(shape) >= 3]
    listed = ", ".join(f"{place} ({sizes(found[place])})" for place in stacks) or "none: it holds no stack"
    if not name:
        if len(stacks) != 1:
            raise InputError(file, f"{len(stacks)} data sets and no name", f"{file}:/NAME, one of {listed}")
        return stacks[0]
    if name not in stacks:
        what = f"an array of {sizes(found[name])}" if name in found else "no such data set"
        raise InputError(f"{file}:/{name}", what, listed)
    return name


def _voxel_size(item) -> Measured:
    for attribute, unit in VOXEL_SIZES.items():
        if attribute in item.attrs:
            edges = np.atleast_1d(item.attrs[attribute])
            if edges.shape != (3,) or edges.dtype.kind not in "uif" or not (edges > 0).all():
                said = f"attribute {attribute} = {edges.tolist()}"
                return Measured(unread=f"{said} is not three edges above 0", broken=True)
            return in_um(edges.tolist(), [unit] * 3)
    return Measured()
