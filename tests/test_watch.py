"""The display of a run: does it say from the files alone how far each sample is?"""

import logging
import os
import time

import pytest

from pipeline import watch
from pipeline.network.predict import Progress


@pytest.fixture
def results(tmp_path):
    """a: done. b: in infer. c: in trace, with the picture of an earlier run. d: not begun."""
    for name, stages in {"a": ("ingest", "draw"), "b": ("ingest", "infer"), "c": ("ingest", "trace")}.items():
        (tmp_path / name / "log").mkdir(parents=True)
        for age, stage in enumerate(reversed(stages)):
            log = tmp_path / name / "log" / f"{stage}.txt"
            log.write_text(
                "tile: 3 of 9 windows hold signal\n"
                if stage != "infer"
                else "  45%  12,345 voxels/s  67 s left\n"
            )
            os.utime(log, (1000 - age, 1000 - age))
    for name, made in {"a": 999.5, "c": 500}.items():
        (tmp_path / name / "overview.png").touch()
        os.utime(tmp_path / name / "overview.png", (made, made))
    return tmp_path


def test_a_sample_is_done_when_its_picture_is_newer_than_what_it_is_made_of(results):
    done, at_work = watch.state(results, "abcd")
    assert done == 1
    assert at_work == {
        "b": ("infer", "45%  12,345 voxels/s  67 s left"),
        "c": ("trace", "tile: 3 of 9 windows hold signal"),
    }


def test_one_sentence_says_how_far_the_run_is(results):
    done, at_work = watch.state(results, "abcd")
    said = watch.sentence(done, 4, at_work, seconds=60, before=0)
    assert said == "1 of 4 samples, about 3 min left · infer b 45% 12,345 voxels/s 67 s left · 1 trace"
    assert watch.sentence(1, 4, {}, seconds=60, before=1, failed=1) == "1 of 4 samples, 1 failed"


def test_a_stage_that_has_ended_is_not_called_at_work(results):
    (results / "b/log/infer.tsv").touch()
    assert watch.state(results, "b")[1]["b"][0] == ""


def test_a_sample_whose_job_has_failed_is_not_called_at_work(results, monkeypatch, capfd):
    monkeypatch.setattr(watch, "EVERY_S", 0.05)
    monkeypatch.setattr(watch, "EVERY_PLAIN_S", 0.1)
    stop = watch.start(results, "abcd")
    log = [f"{results}/b/log/infer.txt (check log file(s) for error details)"]
    logging.getLogger(watch.ENGINE).error("Error in rule infer, jobid: 4", extra={"log": log})
    time.sleep(0.6)
    stop()
    assert "1 of 4 samples, 1 failed · 1 trace" in capfd.readouterr().err.splitlines()


def test_plain_lines_come_now_and_then_and_what_check_has_found_at_once(results, monkeypatch, capfd):
    monkeypatch.setattr(watch, "EVERY_S", 0.05)
    monkeypatch.setattr(watch, "EVERY_PLAIN_S", 0.1)
    stop = watch.start(results, "abcd")
    (results / "check.tsv").write_text("sample\tsaid\na\t\nb\tno voxel size\n")
    time.sleep(0.6)
    stop()
    lines = capfd.readouterr().err.splitlines()
    assert lines.count("check: b: no voxel size") == 1
    assert sum(line.startswith("1 of 4 samples") for line in lines) == 1


def test_infer_tells_of_windows_within_a_block(capfd, monkeypatch):
    from pipeline.blocks import Block

    clock = iter(range(0, 1000, 11))
    monkeypatch.setattr("pipeline.network.predict.time.monotonic", lambda: next(clock))
    block = Block((0, 0, 0), (4, 10, 10), [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)])
    progress = Progress(800)
    told = progress.windows_of(block)
    told(2)
    told(2)
    progress.add(400)
    assert [line.split()[0] for line in capfd.readouterr().err.splitlines()] == ["25%", "50%", "100%"]
