"""Which files are one image together, and which are none?"""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from sheets import write_sheet

from pipeline import dataset
from pipeline.dataset import discover
from pipeline.errors import InputError
from pipeline.images import count_voxels, open_image


def write_slices(folder: Path, count: int, name: str = "z{:03}.tif") -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    planes = list(np.random.default_rng(0).integers(0, 250, (count, 8, 9), dtype=np.uint8))
    for number, plane in enumerate(planes):
        tifffile.imwrite(folder / name.format(number), plane)
    return planes


@pytest.mark.parametrize("name", ["z{:03}.tif", "a_{}.tiff", "{}.tif", "c2_z{}_gfp.tif"])
def test_a_folder_of_slices_is_one_stack_in_the_order_of_their_numbers(tmp_path, name):
    planes = write_slices(tmp_path / "data/cell", 12, name)
    (tmp_path / "data/cell.swc").touch()
    (sample,) = discover(tmp_path / "data")
    assert (sample.name, sample.image) == ("cell", tmp_path / "data/cell")
    assert sample.reference == tmp_path / "data/cell.swc"
    source = open_image(sample.image)
    assert_array_equal(source.array[:], planes)
    assert_array_equal(source.array[9:11], planes[9:11])
    assert count_voxels(sample.image) == 12 * 8 * 9
    assert "12 slices" in source.notes[0]


def test_slices_without_a_step_in_z_have_no_cubes_for_voxels(tmp_path):
    write_slices(tmp_path / "cell", 4)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="0.25" '
        'PhysicalSizeY="0.5"><TiffData/></Pixels></Image></OME>'
    )
    plane = np.zeros((8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "cell/z000.tif", plane, metadata=None, description=xml)
    measured = open_image(tmp_path / "cell").measured
    assert (measured.voxel_size, measured.across) == (None, (0.5, 0.25))
    tifffile.imwrite(
        tmp_path / "cell/z000.tif", plane, imagej=True, resolution=(4, 2), metadata={"unit": "um"}
    )
    measured = open_image(tmp_path / "cell").measured
    assert measured.voxel_size == (1, 0.5, 0.25)
    assert "no z step" in measured.unread


def test_slices_in_the_dataset_itself_are_named_by_it(tmp_path):
    write_slices(tmp_path / "cell", 4)
    (sample,) = discover(tmp_path / "cell")
    assert (sample.name, sample.image) == ("cell", tmp_path / "cell")


def test_slices_of_labels_beside_slices_are_no_sample(tmp_path):
    write_slices(tmp_path / "cell", 4)
    write_slices(tmp_path / "cell_labels", 4)
    (sample,) = discover(tmp_path)
    assert sample.truth == tmp_path / "cell_labels"


def test_numbered_stacks_and_two_planes_are_images_of_their_own(tmp_path):
    for number in range(4):
        tifffile.imwrite(
            tmp_path / f"OP_{number}.tif", np.zeros((4, 8, 9), np.uint8), photometric="minisblack"
        )
    write_slices(tmp_path / "pair", 2)
    # ImageJ's stacks over 4 GB have one page.
    for number in range(4):
        path = tmp_path / "large" / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.zeros((3, 8, 9), np.uint8), imagej=True, truncate=True)
    assert len(discover(tmp_path)) == 4 + 2 + 4


def test_slices_beside_other_images_are_told_and_a_sheet_may_name_them(tmp_path):
    write_slices(tmp_path, 4)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 8, 9), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"slices \(z000.tif to z003.tif\) beside other images.*samples.tsv"):
        discover(tmp_path)
    write_sheet(tmp_path, "a stack.tif", "b z001.tif", header="sample image")
    assert [sample.image.name for sample in discover(tmp_path)] == ["stack.tif", "z001.tif"]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda folder: (folder / "z004.tif").unlink(), "no slice between z003.tif and z005.tif"),
        (
            lambda folder: tifffile.imwrite(folder / "z004.tif", np.zeros((8, 7), np.uint8)),
            r"z004.tif: a slice of 8 x 7",
        ),
        (
            lambda folder: tifffile.imwrite(
                folder / "z004.tif", np.zeros((4, 8, 9), np.uint8), photometric="minisblack"
            ),
            "z004.tif: not one",
        ),
        (lambda folder: (folder / "z004.tif").write_bytes(b"II*\0"), "z004.tif: not one"),
        (lambda folder: write_slices(folder, 5, "b{}.tif"), "slices of 2 stacks"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "without TIFF slices"),
    ],
)
def test_slices_that_are_not_one_stack_are_refused(tmp_path, spoil, found):
    write_slices(tmp_path / "cell", 9)
    spoil(tmp_path / "cell")
    with pytest.raises(InputError, match=found):
        open_image(tmp_path / "cell")


def test_a_slice_of_another_type_is_refused_when_it_is_read(tmp_path):
    write_slices(tmp_path / "cell", 5)
    tifffile.imwrite(tmp_path / "cell/z003.tif", np.zeros((8, 9), np.uint16))
    with pytest.raises(InputError, match=r"z003.tif: 8 x 9 uint16, the first is 8 x 9 uint8"):
        open_image(tmp_path / "cell").array[:]


def test_an_ome_tiff_over_several_files_is_one_sample(tmp_path):
    names = [f"a_C{channel}.ome.tif" for channel in range(2)]
    data = "".join(f'<TiffData><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>' for name in names)
    for name in (*names, "other.ome.tif"):
        xml = f"<OME><Pixels>{data if name in names else ''}</Pixels></OME>"
        tifffile.imwrite(tmp_path / name, np.zeros((3, 8, 9), np.uint8), metadata=None, description=xml)
    xml = '<OME><BinaryOnly MetadataFile="other.ome.tif"/></OME>'
    tifffile.imwrite(tmp_path / "part.ome.tif", np.zeros((3, 8, 9), np.uint8), metadata=None, description=xml)
    assert [sample.image.name for sample in discover(tmp_path)] == ["a_C0.ome.tif", "other.ome.tif"]


def test_images_of_formats_that_are_not_read_are_told(folder):
    for name in ("x.oib", "b.nii.gz", ".hidden.oib", "notes.txt"):
        (folder / name).touch()
    assert dataset.passed_over(folder) == ["b.nii.gz", "x.oib"]
    write_sheet(folder, "s a.tif", header="sample image")
    assert dataset.passed_over(folder) == []


def test_a_format_that_needs_an_extra_is_a_sample_that_says_what_to_install(tmp_path):
    for suffix in ("czi", "nd2", "lif"):
        (tmp_path / f"{suffix}.{suffix}").touch()
    for sample in discover(tmp_path):
        with pytest.raises(InputError, match=rf"\.{sample.name}.*uv sync --extra bioio.*bioio-{sample.name}"):
            open_image(sample.image)


def test_channel_and_time_stand_in_the_sheet(folder):
    write_sheet(folder, "s a.tif GFP 0", "t a.tif 1 2", header="sample image channel time")
    assert [(sample.channel, sample.time) for sample in discover(folder)] == [("GFP", "0"), ("1", "2")]
    write_sheet(folder, "s a.tif first", header="sample image time")
    with pytest.raises(InputError, match=r"line 2, time: found 'first'; allowed: a number from 0"):
        discover(folder)


def test_channel_and_time_reach_ingest_and_keep_volumes_apart(folder):
    from pipeline.project import open_project

    rows = ("a a.tif GFP 0", "b a.tif GFP 0", "c a.tif 1 _", "d a.tif _ _")
    write_sheet(folder, *rows, header="sample image channel time")
    project = open_project({"dataset": str(folder), "channel": 2, "time": 1})
    assert project.volumes == {"a": "a", "b": "a", "c": "c", "d": "d"}
    options = {name: project.ingest_options(name) for name in project.samples}
    assert options["a"].split() == ["--channel=GFP", "--time=0"]
    assert options["c"].split() == ["--channel=1", "--fallback-time=1"]
    assert options["d"].split() == ["--fallback-channel=2", "--fallback-time=1"]
    assert open_project({"dataset": str(folder)}).ingest_options("d") == ""


def test_what_is_passed_over_is_one_line(folder):
    from pipeline.project import open_project

    assert open_project({"dataset": str(folder)}).passed_over() == ""
    for number in range(9):
        (folder / f"{number}.oib").touch()
    said = open_project({"dataset": str(folder)}).passed_over()
    assert said == "passed over, 9 images of formats that are not read: " + ", ".join(
        [*(f"{n}.oib" for n in range(6)), "..."]
    )
