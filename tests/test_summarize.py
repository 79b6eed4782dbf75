"""Does the table hold every sample, the failed ones with the reason, and does a failed run stay unfinished?"""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.stages import summarize


@pytest.fixture
def results(tmp_path) -> Path:
    """The results of three finished samples, made a minute ago in the order of the stages."""
    for name in ("a", "b", "c"):
        folder = tmp_path / name
        (folder / "log").mkdir(parents=True)
        (folder / "metrics.json").write_text(
            json.dumps({"f1": 0.95123456, "esa": 0.8, "dsa": None, "dsa_reason": "no"})
        )
        for file in (f"{name}.swc", "overview.png", "log/ingest.txt", "log/trace.txt", "log/draw.txt"):
            (folder / file).write_text("done\n")
        for age, file in enumerate(
            ("log/draw.txt", "overview.png", "metrics.json", f"{name}.swc", "log/trace.txt")
        ):
            touch(folder / file, age=60 + age)
        touch(folder / "log/ingest.txt", age=90)
    return tmp_path


def touch(path: Path, *, age: float) -> None:
    time = path.parent.stat().st_mtime - age
    os.utime(path, (time, time))


def fail(folder: Path, stage: str, text: str, *lost: str) -> None:
    """What a failed stage leaves: its log, and its outputs deleted."""
    (folder / "log" / f"{stage}.txt").write_text(text)
    for name in lost:
        (folder / name).unlink()


def table(results: Path) -> pd.DataFrame:
    names = results / "samples.json"
    names.write_text('{"c": "c", "a": "a", "b": "b"}')
    summarize.run(results, names, results / "metrics.tsv", results / "run.json")
    return pd.read_csv(results / "metrics.tsv", sep="\t", keep_default_na=False).set_index("sample")


def test_each_sample_has_a_row_and_each_metric_a_column_in_the_order_given(results):
    found = table(results)
    assert list(found.index) == ["c", "a", "b"]
    assert list(found.columns) == ["status", "reason", "f1", "esa", "dsa"]
    assert found.loc["a"].tolist() == ["ok", "", 0.951235, 0.8, ""]
    assert json.loads((results / "run.json").read_text()) == {
        "version": __version__,
        "samples": 3,
        "failed": [],
        "warned": [],
        "empty": [],
    }


def test_a_warning_reaches_the_table_and_is_no_ok(results):
    (results / "a/metrics.json").write_text('{"nodes": 9, "warnings": "half of the image holds data"}')
    found = table(results)
    assert found.loc["a", ["status", "warnings"]].tolist() == ["warning", "half of the image holds data"]
    assert found.loc["b", "status"] == "ok"
    told = json.loads((results / "run.json").read_text())
    assert (told["warned"], told["failed"]) == (["a"], [])


def test_a_sample_without_a_neurite_is_a_warning_and_says_so(results):
    (results / "a/metrics.json").write_text('{"nodes": 0, "f1": 0}')
    found = table(results)
    assert found.loc["a", ["status", "reason"]].tolist() == ["warning", "empty: no neurite found"]
    assert found.loc["b", "reason"] == ""
    assert json.loads((results / "run.json").read_text())["empty"] == ["a"]


def test_same_results_same_bytes(results):
    table(results)
    first = (results / "metrics.tsv").read_bytes(), (results / "run.json").read_bytes()
    table(results)
    assert first == ((results / "metrics.tsv").read_bytes(), (results / "run.json").read_bytes())


def test_a_failed_sample_has_the_last_line_of_its_newest_log(results):
    fail(
        results / "b",
        "ingest",
        "reading\nb.tif: a truncated file; allowed: all of it\n\n",
        "metrics.json",
        "b.swc",
    )
    (results / "b/log/stack.txt").touch()
    found = table(results)
    assert found.loc["b", "reason"] == "ingest: b.tif: a truncated file; allowed: all of it"
    assert found["status"].tolist() == ["ok", "ok", "failed"]
    assert found.loc["b", "f1"] == ""
    assert json.loads((results / "run.json").read_text())["failed"] == ["b"]


def test_metrics_of_an_earlier_run_are_not_taken_for_those_of_a_failed_one(results):
    fail(results / "b", "trace", "Killed", "b.swc")
    fail(
        results / "c", "infer", "torch.OutOfMemoryError: no\tmemory"
    )  # metrics and tree of the last run remain
    found = table(results)
    assert found.loc["b", ["status", "reason", "f1"]].tolist() == ["failed", "trace: Killed", ""]
    assert found.loc["c", ["status", "reason", "f1"]].tolist() == [
        "failed",
        "infer: torch.OutOfMemoryError: no memory",
        "",
    ]


def test_metrics_stay_in_the_table_when_only_the_picture_failed(results):
    fail(results / "b", "draw", "MemoryError", "overview.png")
    found = table(results)
    assert found.loc["b", ["status", "reason"]].tolist() == ["failed", "draw: MemoryError"]
    assert float(found.loc["b", "f1"]) == 0.951235


def test_samples_that_never_began_and_broken_metrics_are_failed_too(results):
    fail(results / "a", "ingest", "", "metrics.json")
    (results / "b/metrics.json").write_text("{")
    for file in (results / "a/log").iterdir():
        file.unlink()
    found = table(results)
    assert found.loc["a", "reason"] == "not finished, and no log says why"
    assert found.loc["b", "reason"].startswith("metrics.json: ")


def test_progress_on_one_line_counts_by_its_end(results):
    fail(results / "b", "infer", "block 1\rblock 2\rblock 3: out of memory", "metrics.json")
    assert table(results).loc["b", "reason"] == "infer: block 3: out of memory"


def test_after_a_failed_run_the_table_is_there_and_the_run_is_not_called_done(results):
    table(results)
    fail(results / "b", "ingest", "b.tif: no such file", "metrics.json")
    arguments = (results, {"a": "a", "b": "b", "c": "c"}, results / "metrics.tsv", results / "run.json")
    assert summarize.report_failure(*arguments) == ["b: ingest: b.tif: no such file"]
    assert "b\tfailed\tingest: b.tif: no such file" in (results / "metrics.tsv").read_text()
    assert not (results / "run.json").exists()
    summarize.report_failure(*arguments)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"a": 1}', None])
def test_a_wrong_list_of_samples_is_told(results, content):
    names = results / "samples.json"
    if content is not None:
        names.write_text(content)
    with pytest.raises(
        InputError, match=r"samples\.json.*allowed: (JSON, sample: sample of its volumes|at least one sample)"
    ):
        summarize.run(results, names, results / "metrics.tsv", results / "run.json")


def test_of_the_sample_whose_image_is_shared_only_the_stages_of_the_image_count(results):
    fail(results / "b", "evaluate", "b.swc: no rows", "metrics.json")
    for stage in ("trace", "draw", "evaluate"):
        (results / "a/log" / f"{stage}.txt").write_text("of a alone, and later")
    (results / "samples.json").write_text('{"a": "a", "b": "a", "c": "a"}')
    summarize.run(results, results / "samples.json", results / "metrics.tsv", results / "run.json")
    found = pd.read_csv(results / "metrics.tsv", sep="\t", keep_default_na=False).set_index("sample")
    assert found.loc["b", "reason"] == "evaluate: b.swc: no rows"
    assert found.loc["c", "status"] == "ok"
    fail(results / "a", "infer", "no memory")
    summarize.run(results, results / "samples.json", results / "metrics.tsv", results / "run.json")
    found = pd.read_csv(results / "metrics.tsv", sep="\t", keep_default_na=False).set_index("sample")
    assert found.loc["c", ["status", "reason"]].tolist() == ["failed", "infer: no memory"]


ENGINE_LOG = """\
Error in rule ingest:
    message: None
    jobid: 4
    input: data/a.tif
    output: {results}/a/image.zarr
    log: {results}/a/log/ingest.txt (check log file(s) for error details)
    shell:
        python -m pipeline ingest
Terminating processes on user request, this might take some time.
Error in rule infer:
    log: {results}/b/log/infer.txt (check log file(s) for error details)
"""


def test_a_stopped_run_tells_what_it_interrupted_from_what_had_failed(results):
    fail(results / "a", "ingest", "a.tif: not readable", "a.swc")
    fail(results / "b", "infer", "37 of 37 windows hold signal", "b.swc")
    volumes = {name: name for name in "abc"}
    log = results / "engine.log"
    places = results / "metrics.tsv", results / "run.json"
    log.write_text(ENGINE_LOG.format(results=results))
    told = summarize.report_failure(results, volumes, *places, engine_logs=[str(log)])
    rows = pd.read_csv(places[0], sep="\t", keep_default_na=False).set_index("sample")
    assert rows["status"].to_dict() == {"a": "failed", "b": "interrupted", "c": "ok"}
    assert "the same command goes on" in rows.loc["b", "reason"]
    assert told == ["a: ingest: a.tif: not readable"]
    log.write_text("Error in rule infer:\n    log: none\n")
    summarize.report_failure(results, volumes, *places, engine_logs=[str(log)])
    assert "interrupted" not in places[0].read_text()


def test_both_modalities_stand_in_one_table(tmp_path):
    (tmp_path / "em").mkdir()
    (tmp_path / "em/metrics.json").write_text(
        json.dumps({"vi_split": 0.5, "f1": 0.8, "reference_split": True})
    )
    (tmp_path / "em/overview.png").touch()
    (tmp_path / "em/trees").mkdir()
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm/metrics.json").write_text(json.dumps({"f1": 0.9, "esa": 1.5}))
    for name in ("overview.png", "lm.swc"):
        (tmp_path / "lm" / name).touch()
    (tmp_path / "samples.json").write_text('{"lm": "lm", "em": "em"}')
    summarize.run(tmp_path, tmp_path / "samples.json", tmp_path / "metrics.tsv", tmp_path / "run.json")
    assert (tmp_path / "metrics.tsv").read_text().splitlines() == [
        "sample\tstatus\treason\tf1\tesa\tvi_split\treference_split",
        "lm\tok\t\t0.9\t1.5\t\t",
        "em\tok\t\t0.8\t\t0.5\tTrue",
    ]
