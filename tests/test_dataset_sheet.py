"""What does samples.tsv say, and is all that is wrong with it told at once?"""

import pytest
from sheets import problems, write_sheet

from pipeline import project
from pipeline.dataset import Sample, discover
from pipeline.errors import InputError


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


def test_the_sheet_of_a_dense_sample_names_labels_within_a_file_and_a_folder_of_skeletons(tmp_path):
    (tmp_path / "known").mkdir()
    for name in ("a.h5", "b.tif", "b_labels.tif", "c.tif", "c.swc"):
        (tmp_path / name).touch()
    rows = [
        "sample\timage\treference\tskeletons\tmodality\treference_unit",
        "a\ta.h5:/raw\ta.h5:/labels\tknown\tem\tnm",
        "b\tb.tif\t\t\tem\t",
        "c\tc.tif\tc.swc\t\tem\t",
        "d\tb.tif\tb_labels.tif\t\tlm\t",
    ]
    (tmp_path / "samples.tsv").write_text("\n".join(rows))
    found = project.open_project({"dataset": str(tmp_path), "results": str(tmp_path / "results")})
    assert found.reference("a") == [tmp_path / "a.h5", tmp_path / "known"]
    assert found.reference_options("a") == (
        f"--reference={tmp_path}/a.h5:/labels --skeletons={tmp_path}/known --unit=nm"
    )
    assert found.reference("b") == [tmp_path / "b_labels.tif"]  # beside the image
    assert found.reference_options("c") == f"--skeletons={tmp_path}/c.swc --unit=um"
    assert found.reference("d") == [] and found.reference_options("d") == ""
