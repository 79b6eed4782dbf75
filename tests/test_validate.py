"""validate: is every mistake of an SWC file found, at its line, and does it agree with the reader?"""

import warnings

import numpy as np
import pytest

from pipeline import swc, swc_check
from pipeline.__main__ import main
from pipeline.errors import InputError

GOOD = "1 1 0 0 0 2 -1\n2 3 10 0 0 1 1\n3 3 20 5 0 1 2\n"


def findings(text, **options):
    return swc_check.findings(text.encode(), **options)


def test_nothing_is_said_of_a_sound_file():
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("text", "level", "line", "word"),
    [
        ("# nothing\n", "error", 0, "no rows"),
        (GOOD + "x y z\n", "error", 4, "numbers"),
        (GOOD + "4 3 1 1\n", "error", 4, "4 fields"),
        (GOOD + "3 3 0 0 1 1 1\n", "error", 4, "earlier row"),
        (GOOD + "4 3 0 0 1 1 9\n", "error", 4, "no row has"),
        (GOOD + "4 3 0 0 1 1 4\n", "error", 4, "its own ancestor"),
        (GOOD + "4 3 nan 0 1 1 3\n", "error", 4, "no finite number"),
        (GOOD + "4.5 3 0 0 1 1 3\n", "error", 4, "no whole number"),
        (GOOD + "4 3 0 0 1 1e99 3\n", "error", 4, "beyond all measure"),
        (GOOD.replace("10 0", "1.234,5 0"), "error", 2, "commas and points"),
        (GOOD.replace("10 0", "10,5 0"), "warning", 0, "decimal commas"),
        ("# OFFSET 1 2 3\n" + GOOD, "warning", 0, "OFFSET"),
        ("# SCALE 2 2 2\n" + GOOD, "warning", 0, "SCALE"),
        ("# UNIT nm\n" + GOOD, "warning", 0, "UNIT nm"),
        (GOOD + "4 3 0 0 1 nan 3\n", "warning", 4, "neighbours"),
        (GOOD + "4 3 0 0 1 -1 3\n", "warning", 4, "negative radius"),
        (GOOD.replace("2 -1", "2 0"), "warning", 1, "parent 0"),
        ("1 1 0 0 0 1 -1\n2 1 9 9 9 1 -1\n", "warning", 0, "no edge"),
        (GOOD + "4 3 0 0 1 0 3\n", "note", 4, "radius of 0"),
        (GOOD + "4 3 0 0 1 1 -1\n", "note", 4, "2 trees"),
        (GOOD + "4 3 20 5 0 1 3\n", "note", 4, "place of its parent"),
        ("5 3 1 0 0 1 1\n" + GOOD, "note", 1, "before its parent"),
    ],
)
def test_each_mistake_is_found_at_its_line(text, level, line, word):
    (found,) = findings(text)
    assert (found.level, found.line) == (level, line)
    assert word in found.said


def test_a_jump_among_many_short_edges_is_doubtful():
    rows = [f"{i} 3 {i + (5000 if i > 150 else 0)} 0 0 1 {i - 1 or -1}" for i in range(1, 301)]
    (found,) = findings("\n".join(rows))
    assert (found.level, found.line, found.count) == ("warning", 151, 1)


@pytest.mark.parametrize("seed", range(300))
def test_validate_finds_an_error_exactly_where_the_reader_refuses(tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(GOOD.encode() * 1)
    for place in rng.integers(0, len(data), 2):
        data[place] = rng.choice(list(b"0123456789 .,-#\n\r\tnaeE;"))
    path = tmp_path / "a.swc"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            swc.read(path)
            refused = False
        except InputError:
            refused = True
    assert any(one.level == "error" for one in swc_check.findings(bytes(data))) == refused, bytes(data)


def test_the_table_names_every_file_and_the_status_tells_of_errors(tmp_path, capsys):
    (tmp_path / "good.SWC").write_text(GOOD)
    (tmp_path / "bad.eswc").write_text(GOOD + "4 3 0 0 1 1 9\n4 3 0 0 1 nan 9\n")
    assert main(["validate", str(tmp_path / "good.SWC")]) == 0
    assert " ok" in capsys.readouterr().out
    assert main(["validate", str(tmp_path), str(tmp_path / "none.swc")]) == 1
    said = capsys.readouterr().out
    assert "bad.eswc" in said and "good.SWC" in said and "cannot be opened" in said
    assert "3 files, 2 that cannot be read" in said
    assert main(["validate", str(tmp_path), "--unit", "mm"]) == 2


def test_what_the_reader_mended_is_one_line_on_stderr(tmp_path, capsys):
    (tmp_path / "a.swc").write_text("# OFFSET 1 2 3\n" + GOOD)
    tree = str(tmp_path / "a.swc")
    assert main(["evaluate", "--prediction", tree, "--output", str(tmp_path / "m.json")]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tree}: OFFSET 1 2 3") and said.count("\n") == 1
