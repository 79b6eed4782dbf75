"""What is read where a TIFF's metadata and its planes disagree, or where it holds more than one stack?"""

import struct
import sys

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from conftest import ROOT
from pipeline import images
from pipeline.errors import InputError

sys.path.insert(0, str(ROOT / "benchmarks"))
import formats

STACK = np.random.default_rng(0).integers(0, 250, (6, 20, 26), dtype=np.uint8)
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="{order}" Type="uint8" SizeX="26" SizeY="20" SizeZ="{z}" SizeC="{c}" '
    'SizeT="{t}"'
    "{more}>{channels}<TiffData/></Pixels></Image></OME>"
)


def ome(z, c=1, t=1, order="XYZCT", more=""):
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="dye {i}" SamplesPerPixel="1"/>' for i in range(c))
    return OME.format(z=z, c=c, t=t, order=order, more=more, channels=channels).encode()


def imagej(**lines):
    return ("ImageJ=1.53t\n" + "".join(f"{key}={value}\n" for key, value in lines.items())).encode()


def write(path, values, description=None, **options):
    options = {"photometric": "minisblack", "metadata": None, "description": description, **options}
    tifffile.imwrite(path, values, **options)
    return path


# --- metadata that disagrees with the file: never half a stack ------------------------------------


@pytest.mark.parametrize(
    "description",
    [
        imagej(images=3, slices=3),
        imagej(images=12, slices=12),
        imagej(images=6, slices=3),
        imagej(images=6, channels=2, slices=2),
        imagej(slices=4),
        imagej(frames=5, images=5),
        ome(4),
        ome(7),
        ome(2, c=2),
        ome(3, c=2, t=2),
    ],
    ids=lambda text: text.decode()[-110:].replace("\n", " "),
)
def test_metadata_of_more_or_fewer_planes_than_there_are_is_refused(tmp_path, description):
    path = write(tmp_path / "a.ome.tif" if b"OME" in description else tmp_path / "a.tif", STACK, description)
    with pytest.raises(InputError, match="planes") as error:
        images.open_image(path)
    assert "not readable" not in str(error.value)
    assert "\n" not in str(error.value)


def test_two_imagej_stacks_joined_page_by_page_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for index, plane in enumerate(np.concatenate([STACK, STACK])):
            first = imagej(images=6, slices=6, unit="micron", spacing=2.5) if index == 0 else None
            file.write(plane, metadata=None, contiguous=False, description=first)
    with pytest.raises(InputError, match="metadata of 6 planes.*12 planes"):
        images.open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("lost", [1, 40, 200])
def test_a_file_cut_inside_the_metadata_behind_its_pixels_is_refused(tmp_path, lost, big):
    xml = ome(6)
    path = write(tmp_path / "a.ome.tif", STACK, b"x" * len(xml), bigtiff=big)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags[270].offset
    content = bytearray(path.read_bytes())
    if big:
        content[at + 4 : at + 20] = struct.pack("<QQ", len(xml) + 1, len(content))
    else:
        content[at + 4 : at + 12] = struct.pack("<II", len(xml) + 1, len(content))
    content += xml + b"\0"
    path.write_bytes(content)
    assert images.open_image(path).shape == (6, 20, 26)
    path.write_bytes(content[:-lost])
    with pytest.raises(InputError, match="a truncated file"):
        images.open_image(path)


def test_ome_xml_that_ends_early_within_a_whole_file_is_refused(tmp_path):
    path = write(tmp_path / "a.ome.tif", STACK, ome(3, t=2)[:-30])
    with pytest.raises(InputError, match="OME-XML that ends before its end"):
        images.open_image(path)


def test_a_thumbnail_beside_the_planes_is_none_of_them(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK, metadata=None, photometric="minisblack")
        file.write(STACK[0, ::2, ::2], metadata=None, subfiletype=1, photometric="minisblack")
    assert_array_equal(images.open_image(tmp_path / "a.tif").array[:], STACK)


# --- planes written one by one ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"compression": "zlib"}])
def test_planes_written_one_by_one_are_one_stack(tmp_path, options):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for plane in STACK:
            file.write(plane, contiguous=False, **options)
    for plane in STACK:
        tifffile.imwrite(tmp_path / "b.tif", plane, append=True, **options)
    with tifffile.TiffWriter(tmp_path / "c.ome.tif", ome=True) as file:
        for plane in STACK:
            file.write(plane, contiguous=False, compression=options.get("compression"))
    for name in ("a.tif", "b.tif", "c.ome.tif"):
        source = images.open_image(tmp_path / name)
        assert_array_equal(source.array[:], STACK)
        assert_array_equal(source.array[2:4], STACK[2:4])


def test_planes_of_two_sizes_or_types_are_refused_in_a_short_line(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for index in range(200):
            file.write(STACK[0, : 10 + index % 2], contiguous=False)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for index in range(200):
            file.write(STACK[0].astype("u2" if index % 2 else "u1"), contiguous=False)
    for name in "ab":
        with pytest.raises(InputError, match="images") as error:
            images.open_image(tmp_path / f"{name}.tif")
        assert len(str(error.value)) < 300


# --- voxel size ------------------------------------------------------------------------------------


def test_a_z_step_that_imagej_leaves_out_is_one_and_that_is_told(tmp_path):
    path = write(
        tmp_path / "a.tif",
        STACK,
        imagej(images=6, slices=6, unit="micron"),
        resolution=(1 / 0.33, 1 / 0.33),
        resolutionunit=1,
    )
    source = images.open_image(path)
    assert_allclose(source.voxel_size, (1, 0.33, 0.33))
    assert "no z step" in source.measured.unread


@pytest.mark.parametrize(
    ("spacing", "size"),
    [("2,5", (2.5, 0.5, 0.25)), ("2.5", (2.5, 0.5, 0.25)), ("two", None), ("1,2,3", None)],
)
def test_a_decimal_comma_is_read_and_what_is_no_number_keeps_nobody_from_the_planes(tmp_path, spacing, size):
    description = imagej(images=6, slices=6, unit="micron", spacing=spacing)
    source = images.open_image(write(tmp_path / "a.tif", STACK, description, resolution=(4, 2)))
    assert_array_equal(source.array[:], STACK)
    assert source.voxel_size == size
    assert source.measured.broken == (size is None)
    assert bool(source.measured.unread) == (spacing != "2.5")


@pytest.mark.parametrize("edge", ["0,25", "0.25", "a"])
def test_the_same_of_ome(tmp_path, edge):
    more = f' PhysicalSizeX="{edge}" PhysicalSizeY="0.5" PhysicalSizeZ="2.5"'
    source = images.open_image(write(tmp_path / "a.ome.tif", STACK, ome(6, more=more)))
    assert source.voxel_size == (None if edge == "a" else (2.5, 0.5, 0.25))


def test_ome_without_a_step_in_z_gives_y_and_x(tmp_path):
    more = ' PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.5"'
    measured = images.open_image(write(tmp_path / "a.ome.tif", STACK, ome(6, more=more))).measured
    assert measured.voxel_size is None
    assert measured.across == (0.5, 0.25)


def test_an_unknown_unit_is_named(tmp_path):
    more = "".join(f' PhysicalSize{axis}="1" PhysicalSize{axis}Unit="furlong"' for axis in "XYZ")
    measured = images.open_image(write(tmp_path / "a.ome.tif", STACK, ome(6, more=more))).measured
    assert "'furlong'" in measured.unread
    assert measured.broken


# --- channels, time points, single planes ----------------------------------------------------------

FIVE = np.random.default_rng(1).integers(0, 250, (2, 4, 3, 20, 26), dtype=np.uint8)  # t z c y x


@pytest.mark.parametrize("kind", ["imagej", "imagej packed", "imagej one page", "ome", "ome zct", "shaped"])
def test_the_channel_and_time_point_that_are_asked_for(tmp_path, kind):
    path, packed = tmp_path / "a.tif", {"compression": "zlib"} if "packed" in kind else {}
    axes = {"axes": "TZCYX"}
    if kind.startswith("imagej"):
        tifffile.imwrite(path, FIVE, imagej=True, metadata=axes, truncate="one page" in kind, **packed)
    elif kind == "ome":
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(
            path, FIVE, ome=True, metadata=axes | {"Channel": {"Name": ["DAPI", "GFP", "TRITC"]}}
        )
    elif kind == "ome zct":
        path = write(tmp_path / "a.ome.tif", FIVE.reshape(24, 20, 26), ome(4, 3, 2, order="XYCZT"))
    else:
        tifffile.imwrite(path, FIVE, photometric="minisblack", metadata=axes)
    for time in range(2):
        for channel in range(3):
            array = images.open_image(path, channel=channel, time=time).array
            assert_array_equal(array[:], FIVE[time, :, channel])
            assert_array_equal(array[1:3], FIVE[time, 1:3, channel])
    with pytest.raises(InputError, match=r"3 channels.*allowed: one of them as channel.*: 0.*, 1.*, 2"):
        images.open_image(path, time=0)
    with pytest.raises(InputError, match=r"2 time points.*allowed: one of them as time.*: 0, 1$"):
        images.open_image(path, channel=0)
    with pytest.raises(InputError, match="3 channels.*none is '3'"):
        images.open_image(path, channel=3, time=0)
    assert_array_equal(images.open_image(path, usual=("1", "1")).array[:], FIVE[1, :, 1])


def test_channels_have_names_where_the_file_says_them(tmp_path):
    path = write(tmp_path / "a.ome.tif", STACK, ome(3, c=2))
    assert_array_equal(images.open_image(path, channel="dye 1").array[:], STACK[3:])
    with pytest.raises(InputError, match=r"0 \(dye 0\), 1 \(dye 1\)"):
        images.open_image(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_colour_is_a_channel(tmp_path, planar):
    values = np.random.default_rng(2).integers(0, 250, (5, 20, 26, 3), dtype=np.uint8)
    stored = values if planar == "contig" else values.transpose(0, 3, 1, 2)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    for channel, name in enumerate(("red", "green", "blue")):
        for asked in (channel, name):
            assert_array_equal(
                images.open_image(tmp_path / "a.tif", channel=asked).array[1:], values[1:, ..., channel]
            )
    with pytest.raises(InputError, match=r"3 channels \(colour planes"):
        images.open_image(tmp_path / "a.tif")


def test_an_image_of_one_channel_has_no_other_but_the_configs_choice_is_for_those_of_several(tmp_path):
    path = write(tmp_path / "a.tif", STACK)
    assert images.open_image(path, channel=0, time=0, usual=("2", "3")).shape == STACK.shape
    for wrong in ({"channel": 1}, {"channel": "GFP"}, {"time": 1}):
        with pytest.raises(InputError, match="1 (channel|time point) and none is"):
            images.open_image(path, **wrong)


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}, {"metadata": None}])
def test_a_plane_is_a_stack_of_one(tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], **options)
    assert_array_equal(images.open_image(tmp_path / "a.tif").array[:], STACK[:1])


def test_a_plane_needs_no_step_in_z(tmp_path):
    more = ' PhysicalSizeX="0.25" PhysicalSizeY="0.5"'
    source = images.open_image(write(tmp_path / "a.ome.tif", STACK[0], ome(1, more=more)))
    assert source.voxel_size == (0.5, 0.5, 0.25)


# --- one image in several files --------------------------------------------------------------------


def test_an_ome_tiff_over_several_files_is_one_stack_from_any_of_them(tmp_path):
    paths = [tmp_path / f"a_Z{z}.ome.tif" for z in range(6)]
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{path.name}">urn:uuid:{z:08}-0000-0000-0000-'
        "000000000000</UUID></TiffData>"
        for z, path in enumerate(paths)
    )
    for z, path in enumerate(paths):
        uuid = f'UUID="urn:uuid:{z:08}-0000-0000-0000-000000000000"'
        xml = ome(6).decode().replace("<TiffData/>", data).replace("<OME ", f"<OME {uuid} ")
        write(path, STACK[z], xml.encode())
    for path in (paths[0], paths[3]):
        assert_array_equal(images.open_image(path).array[:], STACK)
    paths[4].unlink()
    with pytest.raises(InputError, match=r"planes lie in a_Z4\.ome\.tif; allowed: these files beside it"):
        images.open_image(paths[0])


def test_a_renamed_ome_tiff_is_known_by_its_uuid_or_refused_with_its_old_name(tmp_path):
    uuid = "urn:uuid:00000001-0000-0000-0000-000000000000"
    data = f'<TiffData PlaneCount="6"><UUID FileName="old.ome.tif">{uuid}</UUID></TiffData>'
    xml = ome(6).decode().replace("<TiffData/>", data)
    path = write(tmp_path / "new.ome.tif", STACK, xml.replace("<OME ", f'<OME UUID="{uuid}" ').encode())
    assert_array_equal(images.open_image(path).array[:], STACK)
    write(path, STACK, xml.encode())
    with pytest.raises(InputError, match=r"planes lie in old\.ome\.tif"):
        images.open_image(path)
    assert_array_equal(images.open_image(path.rename(tmp_path / "old.ome.tif")).array[:], STACK)


def test_the_file_that_holds_the_metadata_of_another_is_named(tmp_path):
    xml = b'<?xml version="1.0"?><OME xmlns="x"><BinaryOnly MetadataFile="master.ome.tif" UUID="urn:uuid:1"/></OME>'
    with pytest.raises(InputError, match=r"metadata lie in master\.ome\.tif"):
        images.open_image(write(tmp_path / "a.ome.tif", STACK, xml))


# --- LSM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_lsm_is_read_with_its_voxel_size(tmp_path, channels):
    values = np.random.default_rng(3).integers(0, 250, (5, channels, 20, 26), dtype=np.uint8)
    formats.lsm(tmp_path / "a.lsm", values)
    for channel in range(channels):
        source = images.open_image(tmp_path / "a.lsm", channel=channel)
        assert_array_equal(source.array[:], values[:, channel])
        assert_allclose(source.voxel_size, (2.5, 0.5, 0.25))
