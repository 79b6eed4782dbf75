"""Which samples does a folder hold, and is all that is wrong with it told at once?"""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from pipeline import dataset
from pipeline.dataset import Sample, discover
from pipeline.errors import InputError
from pipeline.images import count_voxels, open_image


@pytest.fixture
def folder(tmp_path) -> Path:
    """A dataset of empty files: a.tif, a.swc, sub/b.tif."""
    (tmp_path / "sub").mkdir()
    for name in ("a.tif", "a.swc", "sub/b.tif"):
        (tmp_path / name).touch()
    return tmp_path


def write_sheet(folder: Path, *rows: str, header: str = "sample image voxel_size") -> None:
    """Cells are separated by spaces here, "_" is an empty cell."""
    lines = [
        "\t".join(cell.replace("_", "", cell == "_") for cell in row.split(" ")) for row in (header, *rows)
    ]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")


def problems(folder: Path) -> list[str]:
    with pytest.raises(InputError) as error:
        discover(folder)
    return str(error.value).splitlines()


# --- without a sheet -------------------------------------------------------------------------------


def test_every_image_is_a_sample_named_by_its_path(folder):
    assert discover(folder) == [
        Sample("a", folder / "a.tif", reference=folder / "a.swc"),
        Sample("sub__b", folder / "sub/b.tif"),
    ]


@pytest.mark.parametrize("name", ["c.tif", "c.TIFF", "c.ome.tif", "c.ome.tiff"])
def test_image_files_are_known_by_their_suffix(folder, name):
    (folder / name).touch()
    (folder / "c.swc").touch()
    assert Sample("c", folder / name, reference=folder / "c.swc") in discover(folder)


@pytest.mark.parametrize("name", ["c.zarr", "c.ome.zarr"])
def test_a_zarr_folder_is_one_image_and_is_not_looked_into(folder, name):
    (folder / name / "labels").mkdir(parents=True)
    (folder / name / "labels/d.tif").touch()
    assert [sample.name for sample in discover(folder)] == ["a", "c", "sub__b"]


@pytest.mark.parametrize(
    "name", ["a.txt", "tif", ".tif", ".hidden.tif", "mip.png", "a_labels.tif", "a_mask.tif"]
)
def test_other_files_hidden_files_and_labels_are_no_images(folder, name):
    (folder / name).touch()
    assert [sample.name for sample in discover(folder)] == ["a", "sub__b"]


@pytest.mark.parametrize("image", ["c.tif", "c.tiff", "c.ome.tif", "c.ome.tiff"])
@pytest.mark.parametrize("labels", ["c_labels.tif", "c_labels.ome.tiff", "c_mask.tiff", "c_gt.ome.tif"])
@pytest.mark.parametrize("with_sheet", [False, True])
def test_labels_beside_an_image_are_its_truth_whatever_the_two_suffixes(folder, image, labels, with_sheet):
    for name in (image, labels):
        (folder / name).touch()
    if with_sheet:
        write_sheet(folder, f"c {image}", header="sample image")
    (sample,) = (each for each in discover(folder) if each.name == "c")
    assert sample.truth == folder / labels
    assert sample.tree is None


def test_a_reference_says_more_than_labels_beside_the_image(folder):
    (folder / "a_labels.tif").touch()
    assert discover(folder)[0].truth == folder / "a.swc"


def test_a_label_image_as_reference_is_truth_for_a_training_and_no_tree(folder):
    write_sheet(folder, "a a.tif sub/b.tif", header="sample image reference")
    (sample,) = discover(folder)
    assert (sample.tree, sample.truth) == (None, folder / "sub/b.tif")


def test_an_image_that_is_only_called_mask_is_an_image(folder):
    (folder / "c_mask.tif").touch()
    assert [sample.name for sample in discover(folder)] == ["a", "c_mask", "sub__b"]


def test_results_inside_the_dataset_and_hidden_folders_are_passed_over(folder):
    for place in ("results/a/image.zarr", ".cache"):
        (folder / place).mkdir(parents=True)
    (folder / ".cache/c.tif").touch()
    assert len(discover(folder, results=folder / "results")) == 2
    assert len(discover(folder)) == 3


def test_two_images_of_one_name_are_told(folder):
    for name in ("a.tiff", "sub__b.tif", "A.ome.tif"):
        (folder / name).touch()
    lines = problems(folder)
    assert len(lines) == 3
    assert all("again, first at" in line and "allowed: each name once" in line for line in lines)
    assert all(f"or name images in {folder / 'samples.tsv'}" in line for line in lines)


@pytest.mark.parametrize("name", ["-c", "c{x}", "c\nd", "c" * 120, "é" * 60])
def test_names_that_cannot_be_folders_wildcards_and_arguments_are_refused(folder, name):
    (folder / f"{name}.tif").touch()
    (line,) = problems(folder)
    assert "sample name" in line
    assert "samples.tsv" in line


@pytest.mark.parametrize("name", ["b c", "ü", "x;y", "a'b", "50%", "a.b", "$HOME", "*"])
def test_names_that_only_look_odd_are_kept(folder, name):
    (folder / f"{name}.tif").touch()
    assert name in [sample.name for sample in discover(folder)]


def test_links_inside_are_followed_and_links_that_leave_are_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.tif"
    outside.touch()
    (folder / "inside.tif").symlink_to(folder / "a.tif")
    assert "inside" in [sample.name for sample in discover(folder)]
    (folder / "x.tif").symlink_to(outside)
    (line,) = problems(folder)
    assert "leaves the dataset" in line


def test_the_dataset_itself_may_be_a_link(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "dataset"
    link.symlink_to(folder)
    assert [sample.image for sample in discover(link)] == [link / "a.tif", link / "sub/b.tif"]


def test_a_folder_without_images_and_a_missing_folder_are_told(tmp_path):
    assert "no image file below it" in problems(tmp_path)[0]
    assert "no such folder" in problems(tmp_path / "missing")[0]


# --- with a sheet ----------------------------------------------------------------------------------


def test_a_full_row_is_read(folder):
    header = "sample image voxel_size reference reference_unit root modality"
    write_sheet(folder, "one sub/b.tif 1.0,0.33,0.33 a.swc voxel 47,388.5,0 lm", header=header)
    assert discover(folder) == [
        Sample(
            name="one",
            image=folder / "sub/b.tif",
            voxel_size=(1.0, 0.33, 0.33),
            reference=folder / "a.swc",
            reference_unit="voxel",
            root=(47.0, 388.5, 0.0),
            modality="lm",
        )
    ]


def test_a_wrong_value_can_be_kept_as_a_problem_of_its_sample_but_a_wrong_name_never(folder):
    write_sheet(folder, "a a.tif 0,1,1", "b a.tif 1,1,1")
    first, second = discover(folder, keep_wrong=True)
    assert "line 2, voxel_size: found '0,1,1'" in first.problem
    assert first.voxel_size is None and second.problem == ""
    write_sheet(folder, "a a.tif 0,1,1", "../b a.tif 1,1,1")
    with pytest.raises(InputError, match="sample name '../b'"):
        discover(folder, keep_wrong=True)


def test_a_reference_is_a_tree_or_an_image(folder):
    (folder / "gold.txt").touch()
    write_sheet(folder, "a a.tif gold.txt", header="sample image reference")
    with pytest.raises(InputError, match=r"reference: found gold.txt; allowed: a .swc file"):
        discover(folder)


@pytest.mark.parametrize(
    "header", ["sample image", "image modality sample", "sample image voxel_size reference"]
)
def test_all_columns_but_two_may_be_absent_or_empty(folder, header):
    cells = {"sample": "a", "image": "a.tif"}
    write_sheet(folder, " ".join(cells.get(column, "_") for column in header.split()), header=header)
    assert discover(folder) == [Sample("a", folder / "a.tif")]


def test_short_rows_blank_lines_and_windows_line_ends_are_read(folder):
    content = "\ufeffsample\timage\troot\r\na\ta.tif\r\n\r\n b \t sub/b.tif \t\r\n"
    (folder / "samples.tsv").write_bytes(content.encode())
    assert [sample.name for sample in discover(folder)] == ["a", "b"]


def test_the_sheet_decides_which_images_are_samples_and_two_may_share_one(folder):
    write_sheet(folder, "left a.tif 1,1,1", "right a.tif 1,1,1")
    assert [sample.name for sample in discover(folder)] == ["left", "right"]


def test_all_mistakes_are_told_at_once_each_with_its_line(folder):
    write_sheet(
        folder,
        "a a.tif 1,1 _ _ _ _",
        "a sub/b.tif 1,0,1 a.swc pixels _ xm",
        "../c a.tif _ _ _ 1,2 _",
        "d missing.tif _ missing.swc _ _ _",
        "_ _ _ _ _ _ _",
        "f ../f.tif _ /g.swc _ _ _",
        header="sample image voxel_size reference reference_unit root modality",
    )
    found = [line.removeprefix(f"{folder}/samples.tsv line ") for line in problems(folder)]
    expected = [
        "2, voxel_size: found '1,1'",
        "3, voxel_size: found '1,0,1'",
        "3, reference_unit: found 'pixels'; allowed: um | voxel | nm",
        "3, modality: found 'xm'; allowed: lm | em",
        "4, sample: sample name '../c'",
        "4, root: found '1,2'",
        "5, image: no such file",
        "5, reference: no such file",
        "7, image: ../f.tif leaves the dataset",
        "7, reference: /g.swc leaves the dataset",
        "3: sample name 'a' again",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in found), start
    assert all("; allowed: " in line for line in found)


def test_a_row_of_empty_cells_is_a_blank_line(folder):
    (folder / "samples.tsv").write_text("sample\timage\na\ta.tif\n\t\n")
    assert len(discover(folder)) == 1


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("sample image voxelsize", "'voxelsize' is no column (did you mean voxel_size?)"),
        ("sample image Root", "'Root' is no column (did you mean root?)"),
        ("sample image colour", "'colour' is no column; allowed: sample, image"),
        ("sample root", "no column image"),
        ("sample image image", "column image twice"),
        ("sample,image,root", "a header without tabs"),
    ],
)
def test_wrong_headers_are_told_with_the_nearest_right_one(folder, header, found):
    write_sheet(folder, "a a.tif _", header=header)
    assert found in problems(folder)[0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty sheet"),
        (b"sample\timage\n", "no sample"),
        (b"sample\timage\n\xff\xfe\ta.tif\n", "not UTF-8"),
        (b"sample\timage\na\ta.tif\tb.tif\n", "3 cells under 2 columns"),
    ],
)
def test_broken_sheets_are_told(folder, content, found):
    (folder / "samples.tsv").write_bytes(content)
    assert found in problems(folder)[0]


def test_a_mistyped_file_name_is_told_with_the_nearest_one(folder):
    write_sheet(folder, "a sub/B.tif 1,1,1")
    assert problems(folder)[0].count("did you mean sub/b.tif?") == 1


def test_a_link_in_the_sheet_that_leaves_is_refused(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.tif"
    outside.touch()
    (folder / "x.tif").symlink_to(outside)
    write_sheet(folder, "a x.tif 1,1,1")
    assert "leaves the dataset" in problems(folder)[0]


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "-a", "{sample}", "metrics.tsv", "a" * 101, "a\\b"])
def test_names_in_the_sheet_must_be_safe(folder, name):
    (folder / "samples.tsv").write_text(f"sample\timage\n{name}\ta.tif\n")
    assert "line 2, sample: " in problems(folder)[0]


# --- speed and sizes -------------------------------------------------------------------------------


def test_nothing_slow_is_imported():
    code = "import sys, pipeline.dataset; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"numpy", "tifffile", "zarr", "pandas", "torch"} & set(loaded.split())


def test_the_number_of_voxels_comes_from_the_headers(tmp_path):
    values = np.zeros((6, 30, 40), np.uint8)
    for name, options in (
        ("plain", {"metadata": None}),
        ("packed", {"metadata": None, "compression": "zlib"}),
        ("one_page", {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True}),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", values, **options)
        assert count_voxels(tmp_path / f"{name}.tif") == values.size
    from pipeline import volume

    volume.create(tmp_path / "a.zarr", shape=values.shape, dtype="u1", voxel_size=(1, 1, 1))
    assert count_voxels(tmp_path / "a.zarr") == values.size


def test_the_number_of_voxels_of_a_damaged_file_is_its_size(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"x" * 123)
    assert count_voxels(tmp_path / "a.tif") == 123
    assert count_voxels(tmp_path / "missing.tif") == 0


def declaring(path: Path, *, edge: int, planes: int) -> None:
    """A TIFF of `planes` pages of edge x edge voxels of 16 bits, all in one compressed strip of some bytes."""
    strip, pages, start = zlib.compress(bytes(64)), b"", 8
    for page in range(planes):
        tags = {256: edge, 257: edge, 258: 16, 259: 8, 262: 1, 273: 8 + planes * 114, 277: 1, 278: edge}
        tags[279] = len(strip)
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        start += 114
        pages += struct.pack("<H", len(tags)) + entries + struct.pack("<I", start if page < planes - 1 else 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + pages + strip)


def test_a_small_file_that_declares_terabytes_asks_for_no_memory_and_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    declaring(path, edge=1_414_214, planes=2)
    size = path.stat().st_size
    assert size < 270
    assert count_voxels(path) == size
    with pytest.raises(InputError, match=r"8,000,0\d\d,\d{3},\d{3} bytes\) in a file of \d+ bytes"):
        open_image(path)
    declaring(path, edge=16, planes=2)  # the same file, but for what it declares
    assert count_voxels(path) == 2 * 16 * 16
    assert open_image(path).shape == (2, 16, 16)


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_a_data_set_that_is_declared_and_not_there_asks_for_no_memory_either(tmp_path, name):
    from pipeline import volume

    path, shape = tmp_path / name, (20_000, 20_000, 20_000)
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("raw", shape, np.uint8, chunks=(64, 64, 64))
    else:
        volume.create(path, shape=shape, dtype="u1", voxel_size=(1, 1, 1))
    assert count_voxels(path) < 10_000
    with pytest.raises(InputError, match=r"8,000,000,000,000 bytes\) in a file of [\d,]+ bytes"):
        open_image(path)


def test_ten_thousand_rows_cost_no_more_than_some_looks_at_their_paths(folder):
    rows = "".join(f"s{index}\ta.tif\t1,1,1\ta.swc\n" for index in range(10_000))
    (folder / "samples.tsv").write_text(f"sample\timage\tvoxel_size\treference\n{rows}")
    paths = [folder / "a.tif", folder / "a.swc"] * 10_000
    before = os.times()
    assert len([path.resolve() for path in paths]) == 20_000
    between = os.times()
    assert len(discover(folder)) == 10_000
    after = os.times()
    # Both in this process, so that a slow or busy machine slows both; anything quadratic is far beyond.
    look, work = (b.user + b.system - a.user - a.system for a, b in ((before, between), (between, after)))
    assert work < 10 * look


def test_labels_are_looked_for_in_one_list_of_the_folder(folder, monkeypatch):
    (folder / "a_labels.tif").touch()
    write_sheet(folder, *(f"s{index} a.tif" for index in range(100)), header="sample image")
    samples, listed, original = discover(folder), [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or original(path))
    dataset.sample._listed.cache_clear()
    assert {sample.truth for sample in samples} == {folder / "a_labels.tif"}
    assert listed == [folder]


def test_the_real_datasets(shared):
    samples = discover(shared / "data/diadem_op")
    assert [sample.name for sample in samples] == ["OP_1", "OP_2", "OP_4", "OP_5", "OP_7", "OP_8"]
    assert samples[4].root == (47, 388, 0)
    assert samples[4].reference == shared / "data/diadem_op/OP_7.full.swc"
    assert count_voxels(samples[4].image) == 71 * 512 * 512
    names = [sample.name for sample in discover(shared / "data/trailmap")]
    assert names == ["train", "unlabelled", *(f"validation__crop_{index}" for index in range(10))]


# --- several files that are one image, and files that are none --------------------------------------


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


# --- what a lab's folder holds -------------------------------------------------------------------------------------


def make_run(results: Path, *names: str) -> None:
    """What a run leaves in its results folder."""
    for name in names:
        for made in ("image.zarr", "prediction.zarr", "labels.zarr", "log"):
            (results / name / made).mkdir(parents=True)
        (results / name / "log/ingest.txt").touch()
        (results / name / f"{name}.swc").touch()
    (results / "samples.json").touch()


def test_what_any_run_has_made_is_no_sample_even_where_results_are_the_dataset(folder):
    make_run(folder, "a", "sub__b")
    make_run(folder / "out1", "a")
    make_run(folder / "out2", "a")
    (folder / "out2/demo_dataset").mkdir()
    (folder / "out2/demo_dataset/neuron_1.tif").touch()
    assert [sample.name for sample in discover(folder, results=folder)] == ["a", "sub__b"]
    # A volume of the user's own that is only called so stays one.
    (folder / "mine/image.zarr").mkdir(parents=True)
    assert [sample.name for sample in discover(folder)] == ["a", "mine__image", "sub__b"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("{a}", "_a_"),
        ("-lead", "_lead"),
        ("c\nd", "c_d"),
        ("é" * 60, "é" * 12),
        ("metrics.tsv", "metrics.tsv_2"),
    ],
)
def test_one_bad_file_name_fails_alone_under_a_safe_name(folder, name, safe):
    (folder / f"{name}.tif").touch()
    found = {sample.name: sample.problem for sample in discover(folder, keep_wrong=True)}
    assert set(found) == {"a", "sub__b", safe}
    assert "sample name" in found[safe] and found["a"] == ""


def test_a_safe_name_that_is_taken_is_not_taken_again(folder):
    for name in ("{a}", "}a{", "_a_"):
        (folder / f"{name}.tif").touch()
    found = {sample.name: sample.problem for sample in discover(folder, keep_wrong=True)}
    assert set(found) == {"a", "sub__b", "_a_", "_a__2", "_a__3"}
    assert found["_a_"] == "" and found["_a__2"] and found["_a__3"]


@pytest.mark.parametrize("sheet", [False, True])
def test_a_link_that_leaves_fails_alone_and_is_read_where_the_setting_allows_it(
    folder, tmp_path_factory, sheet
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.tif"
    elsewhere.touch()
    (folder / "x.tif").symlink_to(elsewhere)
    if sheet:
        (folder / "samples.tsv").write_text("sample\timage\na\ta.tif\nx\tx.tif\n")
    found = {sample.name: sample.problem for sample in discover(folder, keep_wrong=True)}
    assert "leaves the dataset" in found["x"] and "outside=true" in found["x"] and found["a"] == ""
    assert not any(sample.problem for sample in discover(folder, outside=True))


def test_a_sheet_may_name_images_elsewhere_where_the_setting_allows_it(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "x.tif"
    elsewhere.touch()
    (folder / "samples.tsv").write_text(f"sample\timage\nx\t{elsewhere}\n")
    assert "leaves the dataset" in problems(folder)[0]
    assert discover(folder, outside=True)[0].image == elsewhere


def test_lines_of_comment_are_passed_over_and_counted(folder):
    (folder / "samples.tsv").write_text(
        "# one image a line\nsample\timage\n# the next\n#1\ta.tif\n#\nb\tb.tif\n"
    )
    (line,) = problems(folder)
    assert "line 6, image: no such file" in line


@pytest.mark.parametrize("name", ["a.SWC", "a.Swc", "a.eswc", "a.ESWC"])
def test_a_tree_beside_an_image_is_its_reference_whatever_the_case_of_its_suffix(folder, name):
    (folder / "a.swc").rename(folder / name)
    assert discover(folder)[0].reference == folder / name
    assert discover(folder)[0].tree


def test_a_plain_swc_beside_an_image_comes_before_others(folder):
    for name in ("a.eswc", "a.SWC", "a.b.swc"):
        (folder / name).touch()
    assert discover(folder)[0].reference == folder / "a.swc"


def test_look_tells_everything_and_keeps_what_it_can(folder):
    write_sheet(folder, "a a.tif 0,1,1", "b none.tif _", "b sub/b.tif _", "c /x.tif _")
    samples, said = dataset.look(folder)
    assert [sample.name for sample in samples] == ["a", "b", "b"]
    assert [word for word in ("line 2, voxel_size", "line 3, image", "line 5, image", "'b' again") if not
            any(word in line for line in said)] == []  # fmt: skip
    write_sheet(folder, "a a.tif 0,1,1", header="sample image voxelsize")
    samples, said = dataset.look(folder)
    assert [sample.name for sample in samples] == ["a", "sub__b"]
    assert "did you mean voxel_size" in said[0]
    assert dataset.look(folder / "none") == ([], [f"{folder}/none: no such folder; allowed: a folder of image files, "
                                                  "with or without samples.tsv"])  # fmt: skip


def test_dino_looks_at_files_and_once_at_each_volume_of_the_dataset(folder):
    from pipeline.project import open_project

    write_sheet(folder, "a a.tif", "again a.tif", "b sub/b.tif", header="sample image")
    project = open_project({"dataset": str(folder), "results": "out", "dino": {"pictures": "x.tar stacks"}})
    own = [f"{project.settings.results}/{name}/image.zarr" for name in ("a", "b")]
    assert project.pictures() == ["x.tar", *own]
