"""Which images of a folder are samples, and is all that is wrong with it told at once?"""

from pathlib import Path

import pytest
from sheets import problems, write_sheet

from pipeline import dataset
from pipeline.dataset import Sample, discover


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
