"""Random, truncated and bit-flipped files: a reader answers or refuses in one line, and never hangs.

`python benchmarks/fuzz.py` does the same with 100,000 inputs a reader; what it found stays here as a case.
"""

import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import fuzz


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_damaged_input_is_read_or_refused_in_one_line(reader):
    told = fuzz.fuzz(reader, 400, seed=1)
    assert told.bad == []
    assert told.read + told.refused == 400
    assert min(told.read, told.refused) > 20 or reader == "validate", "which refuses nothing"


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        ("swc", b"1e300 1 0 0 0 1 -1\n"),
        ("swc", b"1 1 0 0 0 -1.#IND 1"),
        ("swc", b"\xff\xfe"),
        ("swc", b"\xff\xfe1"),
        ("swc", b"# OFFSET 1e999 0 0\n1 1 0 0 0 1 -1\n"),
        ("swc", b"# OFFSET 1e308 0 0\n1 1 0 0 0 1 -1\n"),
        ("swc", b"," * 100_000),
        ("swc", b"1 1 " + b"1," * 50_000),
        ("swc", b"#" * 100_000),
        ("swc", b" " * 100_000 + b"x"),
        ("swc", b"1 1 0 0 0 1 " + b"9" * 5_000),
        ("sheet", b"sample\timage\n\x00\ta.tif\n"),
        ("sheet", b"sample\timage\na\t\x00.tif\n"),
        ("sheet", b"sample\timage\na\t" + b"a" * 5_000 + b"\n"),
        ("sheet", b"sample\timage\treference\na\ta.tif\t" + b"b/" * 3_000 + b"\n"),
        ("sheet", b"\t" * 10_000),
        ("sheet", b"\xff\xfes\x00"),
        ("sheet", b"sample\timage\nS\ta.tif:\n"),
    ],
)
def test_what_was_found_or_feared_stays_refused_or_read(reader, data, tmp_path):
    path = tmp_path / fuzz.READERS[reader].file
    path.write_bytes(data)
    assert fuzz.attempt(fuzz.READERS[reader], path, fuzz.Told()) == ""
