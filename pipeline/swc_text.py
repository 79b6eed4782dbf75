"""The text of an SWC file, as the world's programs write it -> rows of numbers, and what to say about it.

Nothing here knows of trees or files: `pipeline.swc.read` uses it to read, `pipeline.swc_check` to explain.
"""

import io
import re
import warnings
from dataclasses import dataclass, field

import numpy as np

COLUMNS = "id type x y z radius parent"
# Words for a number that is not there; the last are those of Microsoft's C library.
_NOTHING = {"na", "n/a", "null", "none", "-nan", "nan(ind)", "-nan(ind)"}
_MICROSOFT = re.compile(r"[-+]?\d\.#(?:QNAN|SNAN|IND|INF)\d*", re.IGNORECASE)
_WITH_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class LineError(ValueError):
    """A line that is no row. number: of the line, from 1. found, allowed: as in InputError."""

    def __init__(self, number: int, found: str, allowed: str) -> None:
        super().__init__(found)
        self.number, self.found, self.allowed = number, found, allowed


@dataclass(frozen=True, eq=False)
class Rows:
    """values: (n, 7) float64, COLUMNS as written. lines: (n,) number of each row's line, None where not looked up.

    comma: decimal commas were read. header: OFFSET and SCALE (three numbers each) and UNIT, as far as they are there.
    """

    values: np.ndarray
    comma: bool = False
    header: dict[str, object] = field(default_factory=dict)


def decode(data: bytes) -> str:
    """Text with line ends of one kind; UTF-8 or, by their mark, UTF-16 (what some editors save)."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
    else:
        text = data.decode("utf-8-sig", errors="replace")
    # CR alone ends the lines of old Macintosh programs.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _MICROSOFT.sub("nan", text) if ".#" in text else text


def parse(text: str) -> Rows:
    """The rows of a decoded file, in file order; LineError at the first line that is none."""
    head = read_header(text)
    values = _fast(text)
    if values is not None:
        return Rows(values, header=head)
    lines = data_lines(text)
    comma = decimal_commas(lines)
    rows = [read_row(number, line, comma=comma) for number, line in lines]
    return Rows(np.array(rows, float).reshape(-1, 7), comma, head)


def read_row(number: int, line: str, *, comma: bool) -> list[float]:
    """Seven numbers of a line without its comment. comma: it has decimal commas."""
    fields = split(line, comma=comma)
    try:
        row = [_number(word, comma=comma) for word in fields[:7]]
    except ValueError:
        raise LineError(number, repr(line[:200]), f"numbers: {COLUMNS}") from None
    if len(row) < 7:
        raise LineError(number, f"{len(fields)} fields, {line[:200]!r}", f"seven: {COLUMNS}")
    return row


def split(line: str, *, comma: bool) -> list[str]:
    """The fields of a line; where commas are decimal, white space and semicolons alone are between them."""
    return re.split(r"[\s;]+" if comma else r"[\s,;]+", line)


def decimal_commas(lines: list[tuple[int, str]]) -> bool:
    """Whether the commas of a file stand within numbers (a French, German or Spanish locale) rather than between them.

    They do where white space or semicolons alone make seven fields of a line and one of them is a number with a
    comma. LineError where points stand within numbers too: then one of both parts thousands.
    """
    found = None
    for number, line in lines:
        if "," in line:
            fields = split(line, comma=True)
            if len(fields) >= 7 and any(_WITH_COMMA.fullmatch(word) or _both(word) for word in fields[:7]):
                found = found or (number, line)
    if found is None:
        return False
    for number, line in lines:
        if any(
            _both(word) or ("." in word and _NUMBER.fullmatch(word)) for word in split(line, comma=True)[:7]
        ):
            raise LineError(number, f"{line[:200]!r}, commas and points within numbers", "points alone")
    return True


def data_lines(text: str) -> list[tuple[int, str]]:
    """(line number, content without comment) of the lines that hold a row."""
    lines = (
        (number, line.split("#")[0].strip(" \t\v\f,;\0")) for number, line in enumerate(text.split("\n"), 1)
    )
    return [(number, line) for number, line in lines if line]


def read_header(text: str) -> dict[str, object]:
    """{"OFFSET": (x, y, z), "SCALE": (x, y, z), "UNIT": "um"} of the comment lines, as far as they are there."""
    found: dict[str, object] = {}
    if "#" not in text:
        return found
    for word, rest in re.findall(
        r"^[ \t]*#+[ \t]*(OFFSET|SCALE|UNITS?)\b[ \t:=]*(.*)$", text, re.MULTILINE | re.IGNORECASE
    ):
        word = word.upper().rstrip("S")
        if word == "UNIT":
            if rest.split():
                found.setdefault(word, rest.split()[0].lower())
            continue
        numbers = re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", rest)
        values = tuple(map(float, numbers * 3 if len(numbers) == 1 and word == "SCALE" else numbers))
        if len(values) == 3 and np.isfinite(values).all():
            found.setdefault(word, values)
    return found


def _number(word: str, *, comma: bool) -> float:
    if word.lower() in _NOTHING:
        return float("nan")
    if "_" in word:  # Python's own spelling of numbers
        raise ValueError(word)
    return float(word.replace(",", ".") if comma else word)


def _both(word: str) -> bool:
    """1.234,5 and 1,234.5"""
    return "," in word and "." in word and bool(re.fullmatch(r"[-+]?\d[\d.,]*\d", word))


def _fast(text: str) -> np.ndarray | None:
    """(n, 7) float64 of a file as most tools write it; None where it takes a closer look."""
    if "," in text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy's remark on an empty file
        try:
            return np.loadtxt(io.StringIO(text), usecols=range(7), ndmin=2)
        except ValueError:
            return None
