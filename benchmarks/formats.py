"""What is read of which format, tried: the table of docs/formats.md.

python benchmarks/formats.py [--write]

Each format is written by another program's library (or by the bare facts of the format, where there is none), then
read by ours; round trip: written by `convert` (OME-Zarr: by ingest) and read again. --write: into docs/formats.md.
"""

import contextlib
import gzip
import io
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import cyclopts
import h5py
import numpy as np
import tifffile
import zarr

from pipeline import images
from pipeline.commands import convert
from pipeline.errors import InputError
from pipeline.images import vaa3d
from pipeline.stages import ingest

DOCS = Path(__file__).resolve().parents[1] / "docs/formats.md"
BEGIN, END = "<!-- made by benchmarks/formats.py --write -->\n", "<!-- end -->"
TYPES, SIZE = ("uint8", "uint16", "float32"), (2.5, 0.5, 0.25)
OME = {
    "axes": "ZYX",
    **{f"PhysicalSize{axis}": edge for axis, edge in zip("ZYX", SIZE, strict=True)},
    **{f"PhysicalSize{axis}Unit": "µm" for axis in "ZYX"},
}
NAMES = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}


def plain(path: Path, stack: np.ndarray) -> None:
    """Pages without a word about what they are."""
    tifffile.imwrite(path, stack, photometric="minisblack", metadata=None, compression="zlib")


def imagej(path: Path, stack: np.ndarray) -> None:
    """As ImageJ saves it."""
    tifffile.imwrite(
        path, stack, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    )


def ome(path: Path, stack: np.ndarray) -> None:
    """One OME-TIFF."""
    tifffile.imwrite(path, stack, ome=True, metadata=OME)


def ome_in_files(path: Path, stack: np.ndarray) -> None:
    """One plane a file; `path` is the first."""
    paths = [path.with_name(path.name.replace("_0", f"_{z}")) for z in range(len(stack))]
    ids = [f"urn:uuid:{z:08}-0000-0000-0000-000000000000" for z in range(len(stack))]
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{part.name}">{ids[z]}</UUID></TiffData>'
        for z, part in enumerate(paths)
    )
    depth, height, width = stack.shape
    for z, part in enumerate(paths):
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[z]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            f'Type="{NAMES[str(stack.dtype)]}" SizeX="{width}" SizeY="{height}" SizeZ="{depth}" '
            'SizeC="1" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.5" '
            f'PhysicalSizeZ="2.5"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(part, stack[z], photometric="minisblack", metadata=None, description=xml.encode())


def slices(path: Path, stack: np.ndarray) -> None:
    """A folder of one plane a file."""
    path.mkdir()
    for z, plane in enumerate(stack):
        metadata = {"axes": "YX", "spacing": 2.5, "unit": "um"}
        tifffile.imwrite(path / f"z{z:03}.tif", plane, imagej=True, resolution=(4, 2), metadata=metadata)


def lsm(path: Path, values: np.ndarray) -> None:
    """(z, y, x) or (z, c, y, x) as ZEN writes it: channels in each page, a thumbnail after each plane, sizes in m."""
    values = values[:, None] if values.ndim == 3 else values
    depth, channels, height, width = values.shape
    info = struct.pack("<IiiiiiiiII", 0x00400494C, 512, width, height, depth, channels, 1, 1, 0, 0)
    info += struct.pack("<dddddd", 2.5e-7, 5e-7, 2.5e-6, 0, 0, 0) + struct.pack("<HH", 0, 0)
    info += bytes(512 - len(info))
    with tifffile.TiffWriter(path) as file:
        for index, plane in enumerate(values):
            tags = [(34412, "B", len(info), info, True)] if index == 0 else []
            more = {"planarconfig": "separate"} if channels > 1 else {}
            options = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            file.write(plane if channels > 1 else plane[0], extratags=tags, **options, **more)
            file.write(np.zeros((8, 8), np.uint8), subfiletype=1, **options)
    if channels == 2:  # ZEN stores the bits of two samples elsewhere, though they would fit into the tag
        content = bytearray(path.read_bytes())
        (at,) = struct.unpack_from("<I", content, 4)
        while at:
            (count,) = struct.unpack_from("<H", content, at)
            for entry in range(at + 2, at + 2 + 12 * count, 12):
                if struct.unpack_from("<HHI", content, entry) == (258, 3, 2):
                    struct.pack_into("<I", content, entry + 8, len(content))
            (at,) = struct.unpack_from("<I", content, at + 2 + 12 * count)
        path.write_bytes(content + struct.pack("<HH", 8, 8))


def ome_zarr(version: str, inner: str = "") -> Callable[[Path, np.ndarray], None]:
    """A writer of an OME-Zarr version; inner: the group that holds it, as bioformats2raw writes."""

    def write(path: Path, stack: np.ndarray) -> None:
        style = 2 if version == "0.4" else 3
        if inner:
            layout = {"bioformats2raw.layout": 3}
            zarr.create_group(path, zarr_format=style, attributes=layout if style == 2 else {"ome": layout})
        group = zarr.create_group(path / inner, zarr_format=style)
        group.create_array("0", data=stack, chunks=(1, *stack.shape[1:]))
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
        scales = [{"type": "scale", "scale": list(SIZE)}]
        multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scales}]}
        known = {"version": version, "multiscales": [multiscale]}
        group.attrs.update({"multiscales": [multiscale]} if style == 2 else {"ome": known})

    return write


def hdf5(path: Path, stack: np.ndarray) -> None:
    """A data set raw with its voxel size."""
    with h5py.File(path, "w") as file:
        file["raw"] = stack
        file["raw"].attrs["element_size_um"] = SIZE


def nrrd(pack: Callable[[bytes], bytes], encoding: str) -> Callable[[Path, np.ndarray], None]:
    """A writer of NRRD with its samples packed."""

    def write(path: Path, stack: np.ndarray) -> None:
        head = (
            f"NRRD0004\ntype: {NAMES[str(stack.dtype)]}\ndimension: 3\nsizes: {' '.join(map(str, stack.shape[::-1]))}\n"
            f'spacings: 0.25 0.5 2.5\nunits: "um" "um" "um"\nendian: little\nencoding: {encoding}\n\n'
        )
        path.write_bytes(head.encode() + pack(stack.tobytes()))

    return write


def v3draw(path: Path, stack: np.ndarray) -> None:
    """Vaa3D's plain stack."""
    head = struct.pack("<H4I", stack.dtype.itemsize, *stack.shape[::-1], 1)
    path.write_bytes(vaa3d.RAW + b"L" + head + stack.tobytes())


def v3dpbd(path: Path, stack: np.ndarray) -> None:
    """Literals alone: as long as the samples themselves and one code for 32 of them."""
    head = struct.pack("<H4I", stack.dtype.itemsize, *stack.shape[::-1], 1)
    parts = [stack.ravel()[first : first + 32] for first in range(0, stack.size, 32)]
    body = b"".join(bytes([len(part) - 1]) + part.tobytes() for part in parts)
    path.write_bytes(vaa3d.PACKED + b"L" + head + body)


# Name, file, writer, types that the format has, whether `convert` or ingest write it, where the voxel size stands.
FORMATS = [
    ("TIFF, BigTIFF", "a.tif", plain, TYPES, False, "nowhere (dots per inch are none)"),
    ("TIFF of ImageJ, Fiji", "a.tif", imagej, TYPES, True, "`spacing`, `unit`, resolution tags"),
    ("OME-TIFF", "a.ome.tif", ome, TYPES, True, "`PhysicalSizeX/Y/Z` and their units"),
    ("OME-TIFF in several files", "a_0.ome.tif", ome_in_files, TYPES, False, "the same"),
    ("TIFF slices in a folder", "a", slices, TYPES, False, "the first slice"),
    ("LSM (Zeiss)", "a.lsm", lsm, TYPES, False, "its own header"),
    ("OME-Zarr 0.4", "a.zarr", ome_zarr("0.4"), TYPES, False, "scales of level and image, units of the axes"),
    ("OME-Zarr 0.5", "a.ome.zarr", ome_zarr("0.5"), TYPES, True, "the same"),
    ("bioformats2raw", "a.zarr", ome_zarr("0.4", "0"), TYPES, False, "the same"),
    ("HDF5", "a.h5", hdf5, TYPES, False, "`voxel_size_nm`, `resolution` (nm), `element_size_um`"),
    ("NRRD, raw", "a.nrrd", nrrd(bytes, "raw"), TYPES, False, "`spacings` or `space directions`, with units"),
    ("NRRD, gzip or bzip2", "a.nrrd", nrrd(gzip.compress, "gzip"), TYPES, False, "the same"),
    ("Vaa3D raw", "a.v3draw", v3draw, TYPES, True, "nowhere"),
    ("Vaa3D packed", "a.v3dpbd", v3dpbd, TYPES[:2], True, "nowhere"),
]


def try_one(folder: Path, file: str, write: Callable, dtype: str, written: bool) -> str:
    """ "yes / yes / -": read voxel by voxel, voxel size found, round trip; "-" where the format has no such thing."""
    stack = np.random.default_rng(0).integers(0, 250, (7, 20, 26)).astype(dtype)
    path = folder / file
    write(path, stack)
    try:
        source = images.open_image(path)
        read = source.dtype == dtype and np.array_equal(source.array[:], stack)
        size = source.voxel_size is not None and np.allclose(source.voxel_size, SIZE)
    except InputError:
        return "no / no / no"
    again = "-"
    if written:
        copy = folder / f"copy{file[1:]}"
        with contextlib.redirect_stdout(io.StringIO()):
            if copy.suffix == ".zarr":
                ingest.run(path, copy)
            else:
                convert.run(path, copy)
        back = images.open_image(copy)
        again = "yes" if back.dtype == dtype and np.array_equal(back.array[:], stack) else "no"
    return f"{'yes' if read else 'no'} / {'yes' if size else 'no'} / {again}"


def table() -> str:
    """The table of docs/formats.md."""
    rows = [
        "| format | file | " + " | ".join(TYPES) + " | voxel size from |",
        "|---|---|" + "---|" * (len(TYPES) + 1),
    ]
    for name, file, write, types, written, where in FORMATS:
        cells = []
        for dtype in TYPES:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(try_one(Path(folder), file, write, dtype, written) if dtype in types else "-")
        suffix = "a folder" if file == "a" else f"`{file.lstrip('a').removeprefix('_0')}`"
        rows.append(f"| {name} | {suffix} | {' | '.join(cells)} | {where} |")
    return "\n".join(rows) + "\n"


def main(*, write: bool = False) -> None:
    """Print the table; write: put it into docs/formats.md too."""
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    made = table()
    print(made, end="")
    if write:
        DOCS.write_text(f"{before}{BEGIN}{made}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
