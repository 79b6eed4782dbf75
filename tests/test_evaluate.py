"""evaluate: does the command write what its documentation says, and refuse what it must?"""

import json
import subprocess
import sys
import warnings

import pytest

from pipeline import swc
from pipeline.__main__ import main
from pipeline.errors import FileWarning
from pipeline.stages.evaluate import _read

LINE = "1 1 0 0 0 1 -1\n2 3 100 0 0 1 1\n"
SHORT = "1 1 0 0 0 1 -1\n2 3 60 0 0 1 1\n"


@pytest.fixture
def files(tmp_path):
    def make(**texts):
        paths = []
        for name, text in texts.items():
            paths.append(tmp_path / f"{name}.swc")
            paths[-1].write_text(text)
        return paths

    return make


def evaluate(tmp_path, *arguments):
    status = main(["evaluate", *map(str, arguments), "--output", str(tmp_path / "m.json")])
    return json.loads((tmp_path / "m.json").read_text()) if status == 0 else status


def test_flat_json_with_the_names_of_the_contract(tmp_path, files, capsys):
    prediction, reference = files(a=SHORT, b=LINE)
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference)
    assert found["recall"] == pytest.approx(0.615)
    assert found["precision"] == 1
    assert found["length_um"] == 60
    assert found["length_um_reference"] == 100
    assert (found["branches"], found["tips"], found["nodes"], found["trees"]) == (0, 2, 2, 1)
    assert found["esa_unit"] == "um"
    assert found["tolerance_um"] == 1.5
    for name in (
        "esa",
        "esa_12",
        "esa_21",
        "dsa",
        "pds",
        "f1",
        "hausdorff",
        "tip_f1",
        "path_error",
        "sholl",
        "radius_bias",
    ):
        assert isinstance(found[name], float), name
    assert not any(isinstance(value, dict | list) for value in found.values())
    assert "recall                  0.615" in capsys.readouterr().out


def test_undefined_is_null_with_the_reason_beside_it(tmp_path, files):
    prediction, reference = files(a="# empty\n", b=LINE)
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference)
    assert (found["recall"], found["f1"], found["length_um"]) == (0, 0, 0)
    assert found["precision"] is None
    assert found["esa"] is None
    assert found["esa_reason"] == "the prediction has no cable"


def test_without_reference_the_tree_is_described_and_scores_say_why_not(tmp_path, files):
    (prediction,) = files(a=LINE)
    found = evaluate(tmp_path, "--prediction", prediction)
    assert found["length_um"] == 100
    assert found["f1"] is None
    assert found["f1_reason"] == "no reference"


def test_the_same_names_with_and_without_reference(tmp_path, files):
    prediction, reference = files(a=SHORT, b=LINE)
    alone = evaluate(tmp_path, "--prediction", prediction)
    compared = evaluate(tmp_path, "--prediction", prediction, "--reference", reference)
    bare = lambda found: {  # noqa: E731
        name for name in found if not name.endswith(("_reason", "_reference"))
    }
    assert bare(alone) == bare(compared)


def test_units_of_both_files_may_differ(tmp_path, files):
    prediction, reference = files(a=LINE, b="1 1 0 0 0 1 -1\n2 3 200 0 0 1 1\n")
    options = ["--prediction-unit", "um", "--unit", "voxel", "--voxel-size", "2,0.5,0.5"]
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference, *options)
    assert found["f1"] == 1
    assert found["esa_unit"] == "um"


def test_voxels_of_size_1_keep_their_unit(tmp_path, files):
    prediction, reference = files(a=SHORT, b=LINE)
    options = ["--unit", "voxel", "--voxel-size", "1,1,1"]
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference, *options)
    assert found["esa_unit"] == "voxel"


def test_several_references_give_mean_and_range(tmp_path, files):
    prediction, one, two = files(a=SHORT, b=LINE, c=SHORT)
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", one, two)
    assert found["references"] == 2
    assert found["recall_min"] == pytest.approx(0.615)
    assert found["recall_max"] == 1
    assert found["recall"] == pytest.approx(0.8075)


def test_a_folder_against_a_folder_is_a_table_where_failures_count(tmp_path):
    for name, text in {"p/x/1.swc": LINE, "p/x/2.swc": "1 2\n", "r/x/1.swc": LINE, "r/x/2.swc": LINE}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "r/x/3.swc").write_text(LINE)
    arguments = [
        "--prediction",
        tmp_path / "p",
        "--reference",
        tmp_path / "r",
        "--output",
        tmp_path / "t.tsv",
    ]
    assert main(["evaluate", *map(str, arguments)]) == 0
    lines = (tmp_path / "t.tsv").read_text().splitlines()
    rows = [dict(zip(lines[0].split("\t"), entry.split("\t"))) for entry in lines[1:]]
    assert [row["tree"] for row in rows] == ["x/1.swc", "x/2.swc", "x/3.swc"]
    assert [row["f1"] for row in rows] == ["1", "0", "0"]
    assert float(rows[0]["esa"]) == pytest.approx(0, abs=1e-9)
    assert [row["esa"] for row in rows[1:]] == ["", ""]
    assert "2 fields" in rows[1]["reason"]
    assert "cannot be read" in rows[2]["reason"]


def test_an_empty_reference_does_not_take_the_rest_of_its_folder_with_it(tmp_path):
    for name, text in {"p/1.swc": LINE, "p/2.swc": LINE, "r/1.swc": "# nothing\n", "r/2.swc": LINE}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    folders = ["--prediction", tmp_path / "p", "--reference", tmp_path / "r", "--output", tmp_path / "t.tsv"]
    options = ["--shape", "50,50,200", "--voxel-size", "1,1,1"]
    assert main(["evaluate", *map(str, folders), *options]) == 0
    header, *lines = (line.split("\t") for line in (tmp_path / "t.tsv").read_text().splitlines())
    empty, whole = (dict(zip(header, line)) for line in lines)
    assert [empty[name] for name in ("precision", "recall", "f1", "esa")] == ["0", "", "0", ""]
    assert (empty["length_um_reference"], whole["f1"]) == ("0", "1")
    only = [
        "--prediction",
        tmp_path / "p",
        "--reference",
        tmp_path / "r/1.swc",
        "--output",
        tmp_path / "u.tsv",
    ]
    assert main(["evaluate", *map(str, only)]) == 2


def test_every_tree_of_a_folder_against_one_reference(tmp_path, files):
    (tmp_path / "auto").mkdir()
    for name, text in {"whole": LINE, "part": SHORT, "broken": "1 2\n"}.items():
        (tmp_path / "auto" / f"{name}.swc").write_text(text)
    [gold] = files(gold=LINE)
    table = tmp_path / "t.tsv"
    arguments = ["--prediction", tmp_path / "auto", "--reference", gold, "--output", table]
    assert main(["evaluate", *map(str, arguments)]) == 0
    header, *lines = (line.split("\t") for line in table.read_text().splitlines())
    found = {line[0]: dict(zip(header, line))["f1"] for line in lines}
    assert found == {"broken.swc": "0", "part.swc": "0.76161", "whole.swc": "1"}


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ({"a": LINE, "b": "# nothing\n"}, [], "b.swc: no rows"),
        ({"a": LINE, "b": "1 1 0 0 0 1 1\n"}, [], "its own ancestor"),
        ({"a": LINE, "b": LINE}, ["--unit", "voxel"], "--voxel-size: not given"),
        ({"a": LINE, "b": LINE}, ["--unit", "mm"], "unit 'mm'"),
        ({"a": LINE, "b": LINE}, ["--tolerance-um", "0"], "tolerance_um"),
        (
            {"a": LINE, "b": "1 1 500 0 0 1 -1\n2 3 600 0 0 1 1\n"},
            ["--shape", "5,50,50", "--voxel-size", "1,1,1"],
            "0% of its nodes lie in the image: it spans voxels 0 0 500 to 0 0 600",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, files, capsys, texts, options, message):
    prediction, reference = files(**texts)
    assert evaluate(tmp_path, "--prediction", prediction, "--reference", reference, *options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "m.json").exists()


def test_scoring_needs_no_torch(tmp_path, files):
    prediction, reference = files(a=SHORT, b=LINE)
    code = (
        "import sys; from pipeline.__main__ import main; "
        f"main(['evaluate', '--prediction', {str(prediction)!r}, '--reference', {str(reference)!r},"
        f" '--output', {str(tmp_path / 'm.json')!r}]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


Y = "1 1 0 0 0 1 -1\n2 3 100 0 0 1 1\n3 3 200 50 0 1 2\n4 3 200 -50 0 1 2\n"


def test_diadem_is_in_the_table_whatever_the_root_of_the_prediction(tmp_path, files):
    turned = "1 3 200 50 0 1 -1\n2 3 100 0 0 1 1\n3 3 0 0 0 1 2\n4 3 200 -50 0 1 2\n"
    prediction, reference, nothing = files(a=turned, b=Y, c="# empty\n")
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference)
    assert (found["diadem"], found["diadem_rerooted"]) == (1, 1)
    empty = evaluate(tmp_path, "--prediction", nothing, "--reference", reference)
    assert empty["diadem"] == 0
    assert "diadem_reason" not in empty


def test_families_can_be_left_out(tmp_path, files):
    prediction, reference = files(a=Y, b=Y)
    found = evaluate(tmp_path, "--prediction", prediction, "--reference", reference, "--no-topology")
    assert "path_error" not in found
    assert "diadem" not in found
    assert found["f1"] == 1


def test_what_the_reader_says_of_a_reference_is_among_the_warnings(tmp_path, files, capsys):
    from pipeline import volume

    volume.create(tmp_path / "image.zarr", shape=(4, 4, 4), dtype="u1", voxel_size=(60.0, 60.0, 60.0))
    prediction, reference = files(a=LINE, b="# SCALE 2 2 2\n" + LINE)
    options = ("--prediction", prediction, "--reference", reference, "--image", tmp_path / "image.zarr")
    assert "SCALE 2 2 2" in evaluate(tmp_path, *options)["warnings"]
    assert capsys.readouterr().err.count("SCALE 2 2 2") == 1


def test_what_python_says_of_open_files_is_no_doubt(monkeypatch, files):
    (path,) = files(a="# SCALE 2 2 2\n" + LINE)
    read = swc.read

    def leave_open(*arguments, **options):
        warnings.warn("unclosed file", ResourceWarning, stacklevel=1)
        return read(*arguments, **options)

    monkeypatch.setattr(swc, "read", leave_open)
    doubts: list[str] = []
    with pytest.warns(FileWarning):
        _read(path, doubts)
    assert len(doubts) == 1 and "SCALE" in doubts[0]


@pytest.mark.parametrize("names", [("a.SWC", "a.swc"), ("a.eswc", "a.swc"), ("a.swc", "a.ESWC")])
def test_trees_of_two_folders_belong_together_whatever_their_suffixes(tmp_path, names):
    for folder, name in zip(("tracings", "gold"), names):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(LINE)
    options = ["--prediction", str(tmp_path / "tracings"), "--reference", str(tmp_path / "gold")]
    assert main(["evaluate", *options, "--output", str(tmp_path / "m.tsv")]) == 0
    header, row = (line.split("\t") for line in (tmp_path / "m.tsv").read_text().splitlines())
    assert dict(zip(header, row))["f1"] == "1"
