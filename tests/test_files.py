"""Outputs are whole or absent, and what killed processes leave beside them goes."""

import os
import socket
import subprocess
import sys

import pytest

from pipeline.files import whole, write_text

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that lives no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_process_left_is_removed(tmp_path, dead):
    (tmp_path / f".out.json.tmp.{HERE}.{dead}.abcd").write_text("half of it")
    (tmp_path / f".out.zarr.tmp.{HERE}.{dead}.abcd/0").mkdir(parents=True)
    write_text(tmp_path / "out.json", "all of it")
    with whole(tmp_path / "out.zarr") as private:
        private.mkdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.zarr"]


def test_what_may_still_grow_is_kept(tmp_path, dead):
    kept = {
        f".out.json.tmp.{HERE}.{os.getpid()}.abcd",  # this process lives
        f".out.json.tmp.{HERE}.1.abcd",  # so does this one, of somebody else
        f".out.json.tmp.another.{dead}.abcd",  # nobody here knows
        f".other.json.tmp.{HERE}.{dead}.abcd",  # of another output
        ".out.json.tmp.mine",  # not ours at all
    }
    for name in kept:
        (tmp_path / name).touch()
    write_text(tmp_path / "out.json", "all of it")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"out.json"}


def test_a_failure_leaves_the_old_output_and_nothing_else(tmp_path):
    write_text(tmp_path / "out.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "out.json", "half of it \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert (tmp_path / "out.json").read_text() == "old"
