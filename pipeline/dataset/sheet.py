"""A sample sheet: its rows as samples, with everything that is wrong with each."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from pipeline import images
from pipeline.config import MODALITIES, parse_triple
from pipeline.dataset.names import name_problems, outside_problems
from pipeline.dataset.sample import TREES, Entry, Sample, Triple, names_in
from pipeline.errors import CombinedInputError, InputError

COLUMNS = (
    "sample",
    "image",
    "voxel_size",
    "channel",
    "time",
    "reference",
    "reference_unit",
    "root",
    "modality",
    "skeletons",
)
UNITS = ("um", "voxel", "nm")


def read_sheet(sheet: Path, *, outside: bool) -> Iterator[Entry]:
    """The rows of a sheet; InputError where it is none, CombinedInputError for its header."""
    try:
        lines = sheet.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(sheet, "not UTF-8 text", "a tab-separated table in UTF-8") from error
    rows = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(lines, 1)
        if line.strip() and line.split()[0] != "#"  # "# a comment"; "#1" may be a sample's name
    ]
    if not rows:
        raise InputError(sheet, "an empty sheet", "a header line and one line a sample")
    (_, header), *rows = rows
    problems = list(_header_problems(sheet, header))
    if problems:
        raise CombinedInputError(problems)
    if not rows:
        raise InputError(sheet, "a header and no sample", "one line a sample below the header")
    for number, row in rows:
        where = f"{sheet} line {number}"
        cells = dict.fromkeys(COLUMNS, "") | dict(zip(header, row, strict=False))
        if len(row) > len(header):
            found = f"{len(row)} cells under {len(header)} columns"
            problem = InputError(where, found, "one cell a column, separated by tabs")
            yield Entry(where, cells["sample"], None, [problem])
        else:
            yield _read_row(sheet, where, cells, outside=outside)


def _header_problems(sheet: Path, header: list[str]) -> Iterator[InputError]:
    known = ", ".join(COLUMNS)
    if len(header) == 1 and re.search("[,; ]", header[0]):
        yield InputError(sheet, f"a header without tabs: {header[0]}", f"columns separated by tabs: {known}")
        return
    for name in header:
        if name not in COLUMNS:
            near = get_close_matches(name.lower(), COLUMNS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield InputError(sheet, f"{name!r} is no column{hint}", known)
    for name in sorted({name for name in header if name in COLUMNS and header.count(name) > 1}):
        yield InputError(sheet, f"column {name} twice", "each column once")
    for name in COLUMNS[:2]:
        if name not in header:
            yield InputError(sheet, f"no column {name}", f"at least sample and image, of: {known}")


def _read_row(sheet: Path, where: str, cells: dict[str, str], *, outside: bool) -> Entry:
    """cells: all columns, those absent or empty as ""."""
    problems = [
        InputError(f"{where}, sample", problem, "a name that can be a folder's")
        for problem in name_problems(cells["sample"])
    ]
    if not cells["image"]:
        problems.append(InputError(f"{where}, image", "empty", "the path of an image file below the sheet"))
    wrong = []
    for column in ("image", "reference", "skeletons"):
        if cells[column]:
            path, here = Path(cells[column]), f"{where}, {column}"
            file, _ = images.split(path)
            out, leaves = outside_problems(sheet.parent, file, where=here, allowed=outside)
            problems += out
            wrong += leaves
            wrong += [] if problems or leaves else _missing(sheet.parent, file, where=here)
    reference = cells["reference"]
    named = images.split(Path(reference))[0].name.lower()
    if reference and not named.endswith((*TREES, *images.FORMATS)):
        found, allowed = f"found {reference}", "a .swc file or a label image"
        wrong.append(InputError(f"{where}, reference", found, allowed))
    triples: dict[str, Triple | None] = {}
    for column in ("voxel_size", "root"):
        try:
            positive = column == "voxel_size"
            triples[column] = parse_triple(f"{where}, {column}", cells[column], positive=positive)
        except InputError as error:
            wrong.append(error)
    for column, choices in (("reference_unit", UNITS), ("modality", MODALITIES)):
        if cells[column] and cells[column] not in choices:
            wrong.append(InputError(f"{where}, {column}", f"found {cells[column]!r}", " | ".join(choices)))
    if cells["time"] and not cells["time"].isdecimal():
        wrong.append(InputError(f"{where}, time", f"found {cells['time']!r}", "a number from 0"))
    sample = (
        None
        if problems
        else Sample(
            name=cells["sample"],
            image=sheet.parent / cells["image"],
            voxel_size=triples.get("voxel_size"),
            reference=sheet.parent / reference if reference else None,
            reference_unit=cells["reference_unit"] or UNITS[0],
            root=triples.get("root"),
            modality=cells["modality"],
            problem="; ".join(map(str, wrong)),
            skeletons=sheet.parent / cells["skeletons"] if cells["skeletons"] else None,
            channel=cells["channel"],
            time=cells["time"],
        )
    )
    return Entry(where, cells["sample"], sample, problems, wrong)


def _missing(folder: Path, relative: Path, *, where: str) -> list[InputError]:
    path = folder / relative
    if path.exists():
        return []
    near = get_close_matches(path.name, sorted(names_in(path.parent)), n=1)
    hint = f" (did you mean {relative.with_name(near[0])}?)" if near else ""
    return [InputError(where, f"no such file: {path}{hint}", "an existing file below the sheet")]
