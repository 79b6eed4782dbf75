"""convert: an image of any format that is read, as a file for Vaa3D or Fiji."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline import images
from pipeline.config import parse_triple
from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.images.source import Source, VoxelSize, sizes


def run(image: Path, output: Path, *, voxel_size: str = "", channel: str = "", time: str = "") -> None:
    """Write one image as a file that other programs open.

    The voxels stay as they are, plane by plane. Vaa3D's files hold no voxel size.

    Args:
        image: file of any format in docs/formats.md, OME-Zarr folder (image.zarr of results too), folder of slices.
        output: file to write: .v3draw, .v3dpbd, .ome.tif or .tif (ImageJ).
        voxel_size: z,y,x in um; wins over what the file says.
        channel: number (from 0) or name of the channel to read, of several.
        time: number (from 0) of the time point to read, of several.
    """
    source = images.open_image(image, channel=channel, time=time)
    size = parse_triple(f"{image}: voxel size given", voxel_size) or source.voxel_size
    name = output.name.lower()
    if name.endswith((".v3draw", ".v3dpbd")):
        from pipeline.images import vaa3d

        vaa3d.write(output, source.array)
    elif name.endswith((".tif", ".tiff")):
        _write_tiff(output, source, size, ome=".ome." in name)
    else:
        raise InputError(output, f"suffix {output.suffix!r}", ".v3draw, .v3dpbd, .ome.tif or .tif")
    edges = " x ".join(f"{edge:g}" for edge in size) if size else "unknown"
    print(f"{output}: {sizes(source.shape)} voxels (z,y,x), {source.dtype}, size {edges} um")


def _write_tiff(output: Path, source: Source, size: VoxelSize | None, *, ome: bool) -> None:
    import tifffile

    imagej = not ome
    if imagej and source.dtype.str[1:] not in ("u1", "u2", "f4"):
        raise InputError(
            output, f"{source.dtype} voxels", "uint8, uint16 or float32 in ImageJ's TIFF; .ome.tif takes all"
        )
    options: dict = {"metadata": {"axes": "ZYX"}}
    if ome and size:
        named = {f"PhysicalSize{axis}": edge for axis, edge in zip("ZYX", size, strict=True)}
        options["metadata"] |= named | {f"{key}Unit": "µm" for key in named}
    elif size:
        options["metadata"] |= {"spacing": size[0], "unit": "um"}
        options["resolution"] = (1 / size[2], 1 / size[1])
    bytes_ = np.dtype(source.dtype).itemsize * float(np.prod(source.shape))
    if imagej and bytes_ > 3.9e9:
        raise InputError(output, f"{bytes_:,.0f} bytes", "at most 4 GB in ImageJ's TIFF; .ome.tif takes more")
    with (
        whole(output) as private,
        tifffile.TiffWriter(private, imagej=imagej, ome=ome, bigtiff=bytes_ > 3.9e9) as file,
    ):
        file.write(
            _planes(source), shape=source.shape, dtype=source.dtype, photometric="minisblack", **options
        )


def _planes(source: Source) -> Iterator[np.ndarray]:
    for z in range(source.shape[0]):
        yield source.array[z : z + 1][0]
