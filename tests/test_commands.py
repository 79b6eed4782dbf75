"""check, info, init: does a new user learn all that is wrong before the work, in one table?"""

import inspect
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest import ROOT
from pipeline import dataset, swc
from pipeline.__main__ import COMMANDS, main

TREE = "1 1 1 1 1 1 -1\n2 3 5 5 2 1 1\n"


def write_stack(path: Path, *, size=(1.0, 0.5, 0.5), shape=(4, 40, 48), **more) -> Path:
    image = np.random.default_rng(0).normal(100, 5, shape)
    image[1:3, 10:14] += 90
    metadata = {"axes": "ZYX", "spacing": size[0], "unit": "um"}
    options = {"imagej": True, "resolution": (1 / size[2], 1 / size[1]), "metadata": metadata} | more
    tifffile.imwrite(path, image.astype(np.uint8), **options)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    write_stack(tmp_path / "good.tif")
    (tmp_path / "good.swc").write_text(TREE)
    return tmp_path


def check(folder: Path, capsys, *options: str) -> tuple[int, str]:
    status = main(["check", str(folder), *options])
    return status, capsys.readouterr().out


def test_every_command_has_the_first_sentence_of_its_docstring():
    modules = {path.stem for path in (ROOT / "pipeline/commands").glob("[a-z]*.py")}
    assert modules == set(COMMANDS)
    for command, sentence in COMMANDS.items():
        assert inspect.getdoc(import_module(f"pipeline.commands.{command}").run).startswith(sentence)


def test_a_sound_folder_has_a_row_an_image_and_status_0(folder, capsys):
    status, said = check(folder, capsys)
    assert status == 0
    assert "4 x 40 x 48" in said and "uint8" in said and "1 0.5 0.5" in said
    assert "1 samples, 0 would fail, 0 with a warning" in said


def test_a_folder_of_slices_is_told_as_slices(folder, capsys):
    (folder / "deep").mkdir()
    for number in range(4):
        tifffile.imwrite(folder / f"deep/{number}.tif", tifffile.imread(folder / "good.tif")[number])
    _, said = check(folder, capsys, "--voxel-size=1,1,1")
    assert next(line for line in said.splitlines() if line.startswith("deep")).split()[1] == "slices"


def test_what_python_says_of_files_is_no_warning_about_an_image(folder, capsys, monkeypatch):
    read = swc.read

    def leave_open(*arguments, **options):
        warnings.warn("unclosed file", ResourceWarning, stacklevel=1)
        return read(*arguments, **options)

    monkeypatch.setattr(swc, "read", leave_open)
    _, said = check(folder, capsys)
    assert "1 samples, 0 would fail, 0 with a warning" in said


def test_every_planted_mistake_of_twenty_mixed_files_is_found_at_once(folder, capsys):
    for number in range(8):
        write_stack(folder / f"fine_{number}.tif")
    write_stack(
        folder / "flat_size.tif", imagej=False, metadata=None, resolution=None, photometric="minisblack"
    )
    (folder / "empty.tif").touch()
    (folder / "cut.tif").write_bytes((folder / "good.tif").read_bytes()[:900])
    (folder / "text.tif").write_text("no image")
    write_stack(folder / "{b}.tif")
    write_stack(folder / "-lead.tif")
    tifffile.imwrite(
        folder / "black.tif", np.zeros((3, 40, 40), np.uint8), imagej=True, metadata={"axes": "ZYX"}
    )
    tifffile.imwrite(folder / "nan.tif", np.full((3, 40, 40), np.nan, np.float32), photometric="minisblack")
    (folder / "elsewhere.tif").symlink_to("/dev/null")
    (folder / "fine_0.swc").write_text("1 1 0 0 0 1 9\n")
    (folder / "fine_1.swc").write_text(
        TREE.replace("5 5 2", "5000 5000 2000").replace("1 1 1 1", "1 900 900 900")
    )
    (folder / "fine_3.swc").write_text("# SCALE 2 2 2\n" + TREE)
    write_stack(folder / "fine_2_labels.tif", shape=(3, 40, 48))
    status, said = check(folder, capsys)
    assert status == 1
    wanted = {
        "flat_size": "no voxel size",
        "empty": "empty.tif",
        "cut": "cut.tif",
        "text": "text.tif",
        "_b_": "sample name '{b}'",
        "_lead": "sample name '-lead'",
        "black": "all are 0",
        "nan": "NaN",
        "elsewhere": "leaves the dataset",
        "fine_0": "parent 9",
        "fine_1": "of its nodes lie in the image",
        "fine_2": "3 x 40 x 48 labels",
        "fine_3": "SCALE 2 2 2 of its header was not applied",
    }
    name, lines = "", dict[str, str]()
    for line in said.splitlines():
        name = line.split()[0] if line[0] != " " else name
        lines[name] = lines.get(name, "") + line
    assert [name for name, word in wanted.items() if word not in lines.get(name, "")] == []
    assert "18 samples, 12 would fail" in said


def test_every_mistake_of_the_sheet_is_found_with_the_images(folder, capsys):
    rows = [
        "sample\timage\tvoxel_size\treference\troot",
        "turned\tgood.tif\t0.5,0.5,1.0\t\t",
        "zero\tgood.tif\t0,1,1\t\t",
        "gone\tgnoe.tif\t\t\t",
        "out\tgood.tif\t\t\t999,1,1",
        "out\tgood.tif\t\tgood.swc\t",
        "a/b\tgood.tif\t\t\t",
    ]
    (folder / "samples.tsv").write_text("\n".join(rows))
    status, said = check(folder, capsys)
    assert status == 1
    for word in (
        "were x,y,z given?",
        "line 3, voxel_size",
        "line 4, image",
        "root 999,1,1",
        "'out' again",
        "'a/b' holds",
    ):
        assert word in said


def test_a_header_that_cannot_be_read_does_not_hide_the_images(folder, capsys):
    (folder / "samples.tsv").write_text("sample\tpicture\ngood\tgood.tif\n")
    (folder / "text.tif").write_text("no image")
    status, said = check(folder, capsys)
    assert status == 1 and "'picture' is no column" in said and "text.tif" in said


def test_check_as_a_job_writes_its_table_and_fails_nothing(folder, capsys):
    (folder / "text.tif").write_text("no image")
    status, _ = check(folder, capsys, "--output", str(folder / "check.tsv"))
    assert status == 0
    lines = (folder / "check.tsv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].split("\t")[0] == "sample"


def test_info_of_an_image_a_tree_and_weights(folder, tiny_weights, capsys):
    assert main(["info", str(folder / "good.tif")]) == 0
    assert "4 x 40 x 48, uint8" in capsys.readouterr().out
    assert main(["info", str(folder / "good.swc")]) == 0
    said = capsys.readouterr().out
    assert "nodes" in said and "5.7 um, read as um" in said
    assert main(["info", str(tiny_weights)]) == 0
    assert "neurite" in capsys.readouterr().out
    assert main(["info", str(folder / "none.tif")]) == 2


def test_init_writes_a_sheet_that_reads_as_the_folder_did_and_replaces_none(folder, capsys):
    (folder / "deep").mkdir()
    write_stack(folder / "deep/second.tif")
    before = dataset.discover(folder)
    assert main(["init", str(folder)]) == 0
    assert dataset.discover(folder) == before
    sheet = (folder / "samples.tsv").read_text()
    assert all(
        f"# {column}: " in sheet
        for column in ("sample", "image", "voxel_size", "reference", "root", "modality")
    )
    assert main(["init", str(folder)]) == 2
    assert "a sheet is there" in capsys.readouterr().err
