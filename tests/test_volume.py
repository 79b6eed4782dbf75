"""Which voxels does a file hold, how large are they, and what is said about files that are no stack?"""

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.testing import assert_allclose, assert_array_equal

from pipeline import images, volume
from pipeline.errors import InputError


@pytest.fixture
def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60_000, (9, 40, 52), dtype=np.uint16)


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files)
    return hashlib.sha256(content).hexdigest()


# --- which voxels? ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"])
def test_voxels_of_every_type_come_back_unchanged(tmp_path, stack, dtype):
    values = (stack % 120).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, metadata=None)
    source = images.open_image(tmp_path / "a.tif")
    assert source.dtype == np.dtype(dtype)
    assert source.shape == stack.shape
    assert_array_equal(source.array[:], values)


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": None, "compression": "zlib", "predictor": True},
        {"metadata": None, "compression": "lzw"},
        {"metadata": None, "compression": "zstd", "bigtiff": True},
        {"metadata": None, "rowsperstrip": 7},
        {"metadata": None, "byteorder": ">"},
        {"metadata": None, "byteorder": ">", "compression": "zlib"},
        {"tile": (16, 32), "compression": "zlib"},
        {"tile": (4, 16, 32), "volumetric": True},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}, "tile": (16, 16), "compression": "zlib"},
        {},
    ],
    ids=str,
)
def test_every_layout_gives_the_same_planes(tmp_path, stack, options):
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    array = images.open_image(tmp_path / "a.tif").array
    assert_array_equal(array[:], stack)
    assert_array_equal(array[3:5], stack[3:5])
    assert_array_equal(array[1::3, 5:9, ::2], stack[1::3, 5:9, ::2])


def test_a_stack_of_one_page_as_imagej_writes_over_4_gb(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    assert_array_equal(images.open_image(path).array[2:7], stack[2:7])


# What is stored for an image whose meaning is `stack`, by Orientation.
STORED = {
    1: lambda stack: stack,
    2: lambda stack: stack[:, :, ::-1],
    3: lambda stack: stack[:, ::-1, ::-1],
    4: lambda stack: stack[:, ::-1],
    5: lambda stack: stack.swapaxes(1, 2),
    6: lambda stack: np.rot90(stack, 1, (1, 2)),  # row 0 is the right side, column 0 the top
    7: lambda stack: stack[:, ::-1, ::-1].swapaxes(1, 2),
    8: lambda stack: np.rot90(stack, -1, (1, 2)),  # row 0 is the left side, column 0 the bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_orientation_tag_is_honoured(tmp_path, stack, orientation, compression):
    path = tmp_path / "a.tif"
    stored = np.ascontiguousarray(STORED[orientation](stack))
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, stored, metadata=None, compression=compression, extratags=tag)
    source = images.open_image(path)
    assert source.shape == stack.shape
    assert_array_equal(source.array[:], stack)
    assert_array_equal(source.array[4:6], stack[4:6])


def test_a_wrong_orientation_is_refused(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata=None, extratags=[(274, "H", 1, 9, True)])
    with pytest.raises(InputError, match="Orientation 9"):
        images.open_image(tmp_path / "a.tif")


def test_only_the_planes_asked_for_are_in_memory(tmp_path):
    stack = np.random.default_rng(0).integers(0, 9, (64, 256, 256), dtype=np.uint8)  # 4 MB
    for name, compression in (("plain.tif", None), ("packed.tif", "zlib")):
        tifffile.imwrite(tmp_path / name, stack, metadata=None, compression=compression)
        tracemalloc.start()
        source = images.open_image(tmp_path / name)
        for first in range(0, 64, 4):
            source.array[first : first + 4]
        assert tracemalloc.get_traced_memory()[1] < 2e6, name
        tracemalloc.stop()


# --- how large are they? ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("um", 1),
        ("micron", 1),
        ("\\u00B5m", 1),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("inch", 25400),
        ("micrometers", 1),
        ("nanometers", 1e-3),
        ("millimeters", 1e3),
        ("angstrom", 1e-4),
    ],
)
def test_imagej_voxel_size(tmp_path, stack, unit, um):
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(4, 2), metadata=metadata)
    assert_allclose(images.open_image(tmp_path / "a.tif").voxel_size, np.multiply((2.5, 0.5, 0.25), um))


@pytest.mark.parametrize("metadata", [{}, {"spacing": 2.5}, {"spacing": 2.5, "unit": "pixel"}])
def test_imagej_without_a_unit_says_nothing(tmp_path, stack, metadata):
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX", **metadata}
    )
    assert images.open_image(tmp_path / "a.tif").voxel_size is None


@pytest.mark.parametrize(("unit", "um"), [(None, 1), ("µm", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_ome_voxel_size(tmp_path, stack, unit, um):
    metadata = {"axes": "ZYX"}
    for axis, edge in zip("ZYX", (2.5, 0.5, 0.25), strict=True):
        metadata[f"PhysicalSize{axis}"] = edge
        if unit:
            metadata[f"PhysicalSize{axis}Unit"] = unit
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, ome=True, metadata=metadata)
    assert_allclose(images.open_image(tmp_path / "a.ome.tif").voxel_size, np.multiply((2.5, 0.5, 0.25), um))


def test_a_plain_tiff_in_dots_per_inch_says_nothing_about_z(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata=None, resolution=(72, 72), resolutionunit="inch")
    assert images.open_image(tmp_path / "a.tif").voxel_size is None


def test_turning_a_plane_turns_its_voxels(tmp_path, stack):
    metadata = {"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    tag = [(274, "H", 1, 6, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", stack, imagej=True, resolution=(4, 2), metadata=metadata, extratags=tag
    )
    assert_allclose(images.open_image(tmp_path / "a.tif").voxel_size, (2.5, 0.25, 0.5))


# --- what is no stack? -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "found"),
    [
        ((5, 40, 52, 3), "u1", {"photometric": "rgb"}, "colour"),
        ((3, 5, 40, 52), "u1", {"ome": True, "metadata": {"axes": "CZYX"}}, "3 channels"),
        ((5, 3, 40, 52), "u1", {"imagej": True, "metadata": {"axes": "ZCYX"}}, "3 channels"),
        ((2, 40, 52), "u1", {"imagej": True, "metadata": {"axes": "CYX"}}, "2 channels"),
        ((7, 40, 52), "u1", {"imagej": True, "metadata": {"axes": "TYX"}}, "7 time points"),
        ((7, 4, 40, 52), "u1", {"ome": True, "metadata": {"axes": "TZYX"}}, "7 time points"),
        ((5, 40, 52), "c8", {"photometric": "minisblack", "metadata": None}, "complex64"),
        ((5, 40, 52), "?", {"photometric": "minisblack", "metadata": None}, "bool"),
    ],
)
def test_what_is_not_a_grey_stack_is_refused_in_one_line(tmp_path, shape, dtype, options, found):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros(shape, dtype), **options)
    with pytest.raises(InputError, match=found) as error:
        images.open_image(path)
    assert str(error.value).startswith(str(path))
    assert "allowed:" in str(error.value)
    assert "\n" not in str(error.value)


def test_two_images_in_a_file_are_refused(tmp_path, stack):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stack)
        file.write(stack[0, :20])
    with pytest.raises(InputError, match=r"2 images \(9 x 40 x 52, 20 x 52\)"):
        images.open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "content", [b"", b"II", b"# id type x y z r parent\n1 0 0 0 0 1 -1\n", b"II*\0" + bytes(90)]
)
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif"):
        images.open_image(tmp_path / "a.tif")


def test_a_missing_file_and_a_plain_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        images.open_image(tmp_path / "a.tif")
    with pytest.raises(InputError, match="without zarr metadata"):
        images.open_image(tmp_path)


def test_a_doctype_in_ome_xml_is_refused(tmp_path, stack):
    """Entities declared in one may expand without bound."""
    xml = (
        '<?xml version="1.0"?>{}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="52" SizeY="40" SizeZ="9" SizeC="1"'
        ' SizeT="1" PhysicalSizeX="{}" PhysicalSizeY="1" PhysicalSizeZ="1"><TiffData/></Pixels></Image></OME>'
    )
    for doctype, size in (
        ("", "0.5"),
        ('<!DOCTYPE OME [<!ENTITY a "0.5">]>', "&a;"),
        ("<!doctype OME>", "1"),
    ):
        description = xml.format(doctype, size)
        tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=None, description=description)
        if doctype:
            with pytest.raises(InputError, match="a DOCTYPE in its OME-XML"):
                images.open_image(tmp_path / "a.ome.tif")
        else:
            assert images.open_image(tmp_path / "a.ome.tif").voxel_size == (1, 1, 0.5)


@pytest.mark.parametrize("kept", [0.001, 0.05, 0.3, 0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": None, "compression": "zlib"},
        {"compression": "lzw"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "ZYX"}, "compression": "zlib"},
        {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"tile": (4, 16, 32), "volumetric": True, "compression": "zlib"},
    ],
    ids=str,
)
def test_a_truncated_file_is_never_read_as_a_smaller_one(tmp_path, stack, options, kept):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    message = ""
    try:
        found = images.open_image(path).array[:]
    except InputError as error:
        message = str(error)
    if message:
        assert message.startswith(str(path))
        assert "\n" not in message
    else:  # nothing but a tag behind the last plane was lost
        assert_array_equal(found, stack)


def test_damage_inside_a_compressed_plane_is_told(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, metadata=None, compression="zlib")
    with tifffile.TiffFile(path) as file:
        place = file.pages[4].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[place : place + 64] = bytes(64)
    path.write_bytes(content)
    source = images.open_image(path)
    assert_array_equal(source.array[:4], stack[:4])
    with pytest.raises(InputError, match="not readable"):
        source.array[4:5]


# --- volumes of ours -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 40, 52), (33, 300, 257)])
def test_a_volume_comes_back_with_its_voxel_size_and_attributes(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 2**32, shape, dtype=np.uint32)
    attributes = {"source": "a.tif", "low": 0.5}
    size = (1.0, 0.33, 0.33)
    array = volume.create(tmp_path / "a", shape=shape, dtype="u4", voxel_size=size, attributes=attributes)
    for z in volume.slabs(array):
        array[z] = values[z]
    found = volume.open_volume(tmp_path / "a")
    assert_array_equal(found.array[:], values)
    assert found.voxel_size == size
    assert found.attributes == attributes


def test_volumes_are_ome_zarr_0_5(tmp_path):
    volume.create(tmp_path / "a", shape=(4, 5, 6), dtype="u1", voxel_size=(3, 2, 1))
    group = zarr.open_group(tmp_path / "a", mode="r")
    ome = group.attrs["ome"]
    level = ome["multiscales"][0]["datasets"][0]
    assert group.metadata.zarr_format == 3
    assert ome["version"] == "0.5"
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [3.0, 2.0, 1.0]}]
    assert [axis["name"] for axis in ome["multiscales"][0]["axes"]] == ["z", "y", "x"]
    assert group[level["path"]].metadata.dimension_names == ("z", "y", "x")


def test_same_voxels_same_bytes(tmp_path, stack):
    for name in "ab":
        array = volume.create(tmp_path / name, shape=stack.shape, dtype=stack.dtype, voxel_size=(1, 1, 1))
        array[:] = stack
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize("shape", [(7, 3, 5), (1000, 512, 512), (40, 30_000, 30_000)])
def test_slabs_are_whole_chunks_cover_all_planes_and_are_bounded(shape):
    chunks = volume.chunk_shape(shape, "u2")
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=shape, chunks=chunks, dtype="u2")
    found = list(volume.slabs(array))
    assert [z.start for z in found] == list(range(0, shape[0], chunks[0]))
    assert found[-1].stop == shape[0]
    assert chunks[0] == 1 or chunks[0] * shape[1] * shape[2] * 2 <= volume.SLAB_BYTES


def test_opening_what_is_no_volume_names_it(tmp_path):
    with pytest.raises(InputError, match="no OME-Zarr volume"):
        volume.open_volume(tmp_path / "image.zarr")


# --- OME-Zarr as input -----------------------------------------------------------------------------


def write_ome(path: Path, values: np.ndarray, *, version: str, unit: str = "micrometer", axes: str = "tczyx"):
    axes = axes[-values.ndim :]
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=values, chunks=values.shape)
    described = [
        {"name": name, **({"type": "space", "unit": unit} if name in "zyx" else {})} for name in axes
    ]
    scale = {"type": "scale", "scale": [*[1.0] * (values.ndim - 3), 2.0, 0.5, 0.25]}
    multiscales = [{"axes": described, "datasets": [{"path": "s0", "coordinateTransformations": [scale]}]}]
    group.attrs.update(
        {"multiscales": multiscales}
        if version == "0.4"
        else {"ome": {"version": "0.5", "multiscales": multiscales}}
    )


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("lead", [(), (1,), (1, 1)])
def test_ome_zarr_is_read_with_its_voxel_size(tmp_path, stack, version, lead):
    write_ome(tmp_path / "a.zarr", stack.reshape(*lead, *stack.shape), version=version, unit="nanometer")
    source = images.open_image(tmp_path / "a.zarr")
    assert_array_equal(source.array[2:5], stack[2:5])
    assert_allclose(source.voxel_size, (2e-3, 5e-4, 2.5e-4))


def test_ome_zarr_of_several_channels_or_other_axes_is_refused(tmp_path, stack):
    write_ome(tmp_path / "a.zarr", stack.reshape(3, 3, 40, 52), version="0.5")
    with pytest.raises(
        InputError, match=r"3 channels \(czyx = 3 x 3 x 40 x 52\).*channel in samples.tsv.*: 0, 1, 2"
    ):
        images.open_image(tmp_path / "a.zarr")
    write_ome(tmp_path / "b.zarr", stack, version="0.5", axes="xyz")
    with pytest.raises(InputError, match="xyz"):
        images.open_image(tmp_path / "b.zarr")
    zarr.create_group(tmp_path / "c.zarr")
    with pytest.raises(InputError, match="multiscales"):
        images.open_image(tmp_path / "c.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_scale_of_the_whole_image_and_that_of_the_level_multiply(tmp_path, stack, version):
    write_ome(tmp_path / "a.zarr", stack, version=version)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    attributes = group.attrs.asdict()
    (multiscale,) = attributes.get("ome", attributes)["multiscales"]
    multiscale["coordinateTransformations"] = [
        {"type": "scale", "scale": [1.5, 1, 2]},
        {"type": "translation", "translation": [9, 9, 9]},
    ]
    group.attrs.update(attributes)
    assert images.open_image(tmp_path / "a.zarr").voxel_size == (3, 0.5, 0.5)
    del multiscale["datasets"][0]["coordinateTransformations"]
    group.attrs.update(attributes)
    assert images.open_image(tmp_path / "a.zarr").voxel_size == (1.5, 1, 2)
    del multiscale["coordinateTransformations"]
    group.attrs.update(attributes)
    assert images.open_image(tmp_path / "a.zarr").voxel_size is None


@pytest.mark.parametrize("unit", ["", "ell"])
def test_axes_of_no_known_unit_are_told(tmp_path, stack, unit):
    write_ome(tmp_path / "a.zarr", stack, version="0.5", unit=unit)
    measured = images.open_image(tmp_path / "a.zarr").measured
    assert measured.voxel_size is None
    assert ("'ell'" if unit else "without a unit of length") in measured.unread


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_channels_and_time_points_of_ome_zarr(tmp_path, version):
    values = np.random.default_rng(1).integers(0, 250, (2, 3, 4, 20, 26), dtype=np.uint8)
    write_ome(tmp_path / "a.zarr", values, version=version)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    attributes = group.attrs.asdict()
    attributes.get("ome", attributes)["omero"] = {
        "channels": [{"label": name} for name in ("DAPI", "GFP", "Cy5")]
    }
    group.attrs.update(attributes)
    for channel, name in enumerate(("DAPI", "GFP", "Cy5")):
        for asked in (channel, name):
            array = images.open_image(tmp_path / "a.zarr", channel=asked, time=1).array
            assert_array_equal(array[1:3], values[1, channel, 1:3])
    with pytest.raises(InputError, match=r"2 time points \(tczyx"):
        images.open_image(tmp_path / "a.zarr", channel=0)
    with pytest.raises(InputError, match=r"0 \(DAPI\), 1 \(GFP\), 2 \(Cy5\)"):
        images.open_image(tmp_path / "a.zarr", time=0)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_layout_of_bioformats2raw(tmp_path, stack, version):
    path, layout = tmp_path / "a.zarr", {"bioformats2raw.layout": 3}
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(layout if version == "0.4" else {"ome": {"version": "0.5", **layout}})
    group.create_group("OME")
    write_ome(path / "0", stack[None, None], version=version)
    source = images.open_image(path)
    assert_array_equal(source.array[:], stack)
    assert source.voxel_size == (2, 0.5, 0.25)
    assert images.count_voxels(path) == stack.size
    write_ome(path / "1", stack[None, None], version=version)
    with pytest.raises(InputError, match=r"2 images in one folder.*a\.zarr/0, a\.zarr/1"):
        images.open_image(path)
    assert_array_equal(images.open_image(path / "1").array[:], stack)


def test_a_plate_is_told_as_one(tmp_path):
    zarr.create_group(tmp_path / "a.zarr").attrs["ome"] = {"plate": {}}
    with pytest.raises(InputError, match="a plate of images"):
        images.open_image(tmp_path / "a.zarr")
