"""A dataset directory or its sample sheet -> samples; everything wrong with it is told at once.

Called whenever the Snakefile is parsed, in each job's process too: nothing is imported that takes time and no
image is opened, but for the first bytes of TIFFs that may be slices or parts of one stack. What the files contain is
found by ingest, one sample at a time.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pipeline import images
from pipeline.config import MODALITIES, parse_triple
from pipeline.errors import CombinedInputError, InputError
from pipeline.images.folders import parts, slices

SHEET = "samples.tsv"
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
TREES = (".swc", ".eswc")  # suffixes of trees, in any case; eswc is Vaa3D's
# "a_labels.tif" beside "a.tif" is an annotation of it, not an image.
LABEL_ENDINGS = ("labels", "label", "mask", "masks", "seg", "gt")
# A name becomes part of several nested file names (255 bytes each, base64 of the whole path in .snakemake).
NAME_BYTES = 100
# Volumes in the folder of a sample of a run.
MADE = ("image.zarr", "prediction.zarr", "labels.zarr")
# Files that the workflow itself makes beside the samples' folders.
RESERVED = (
    "check.tsv",
    "metrics.tsv",
    "run.json",
    "samples.json",
    "batches",
    "demo_dataset",
    "log",
    "trained",
    "ablation",
    "benchmark",
)

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """One image to reconstruct.

    name: of its folder and files in the results. voxel_size: z, y, x in um; None: what the image's metadata or
    the config say. reference: SWC of the same neuron in reference_unit, or (for training and em) a label volume.
    modality: lm or em, "" where nothing is said. skeletons: folder of SWC files of several neurons (electron
    microscopy), in reference_unit.
    channel, time: which of several, as text ("" where nothing is said).
    root: x, y, z in voxels, where the wanted tree starts. problem: what its row of the sheet has wrong, "" if nothing.
    """

    name: str
    image: Path
    voxel_size: Triple | None = None
    reference: Path | None = None
    reference_unit: str = "um"
    root: Triple | None = None
    modality: str = ""
    problem: str = ""
    skeletons: Path | None = None
    channel: str = ""
    time: str = ""

    @property
    def tree(self) -> Path | None:
        """The reference, where it is a tree."""
        return self.reference if self.reference and is_tree(self.reference) else None

    @property
    def labels(self) -> Path | None:
        """The reference, where it is a label volume; else the labels beside the image."""
        return self.reference if self.reference and not self.tree else _labels_beside(self.image)

    @property
    def lines(self) -> Path | None:
        """Reference skeletons of a dense volume: a folder of them, or one."""
        return self.skeletons or self.tree

    @property
    def truth(self) -> Path | None:
        """What a training learns of this image: the reference of either kind, else the labels beside the image."""
        return self.reference or _labels_beside(self.image)


@dataclass(frozen=True)
class _Entry:
    """A row of the sheet or a file: where it is, its name, the sample it makes and what is wrong with it.

    problems: with its name or place, so that no folder can be made for it. wrong: with what is said of it.
    """

    where: str
    name: str
    sample: Sample | None
    problems: list[InputError]
    wrong: list[InputError] = field(default_factory=list)


def discover(
    folder: Path,
    *,
    results: Path | None = None,
    may_be_empty: bool = False,
    keep_wrong: bool = False,
    outside: bool = False,
) -> list[Sample]:
    """The samples of `folder`: the rows of its samples.tsv, else every image file below it, sorted by path.

    Without a sheet an image is named by its path below `folder`, without suffix, "/" written as "__"; the .swc
    of the same stem beside it is its reference, in um. A folder of three or more numbered one-slice TIFFs is one image,
    named by the folder. Hidden files, labels beside their image, what lies in `results` and what any run of ours has
    made are passed over. A folder without images is an error unless it may be empty. keep_wrong: a row with a wrong
    value (a voxel size of 0, a missing file), an image whose name cannot be a folder's and slices beside other images
    give a sample with a `problem` instead of an error. outside: images may lie outside the folder.

    Raises CombinedInputError with one line for each mistake in the sheet, the names and the paths.
    """
    found = _entries(Path(folder), results, may_be_empty=may_be_empty, outside=outside)
    if problems := _problems(found, keep_wrong=keep_wrong):
        raise CombinedInputError(problems)
    return [entry.sample for entry in found if entry.sample]


def look(
    folder: Path, *, results: Path | None = None, outside: bool = False
) -> tuple[list[Sample], list[str]]:
    """The samples of a folder as far as they can be made out, and everything wrong with it, a line each.

    Where the sheet cannot be read, the images below the folder are looked at without it.
    """
    folder = Path(folder)
    problems: list[InputError] = []
    try:
        found = _entries(folder, results, may_be_empty=False, outside=outside)
    except InputError as error:
        problems = getattr(error, "problems", [error])
        found = list(_find_images(folder, results, outside=outside)) if (folder / SHEET).exists() else []
    problems += _problems(found, keep_wrong=False)
    return [entry.sample for entry in found if entry.sample], [str(problem) for problem in problems]


def _entries(folder: Path, results: Path | None, *, may_be_empty: bool, outside: bool) -> list[_Entry]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of image files, with or without samples.tsv")
    sheet = folder / SHEET
    if sheet.exists():
        return list(_read_sheet(sheet, outside=outside))
    found = list(_find_images(folder, results, outside=outside))
    if not found and not may_be_empty:
        suffixes = ", ".join(images.FORMATS)
        raise InputError(folder, "no image file below it", f"files ending in {suffixes}, or a {SHEET}")
    return found


def _problems(found: list[_Entry], *, keep_wrong: bool) -> list[InputError]:
    problems = [
        problem for entry in found for problem in entry.problems + ([] if keep_wrong else entry.wrong)
    ]
    return [*problems, *_duplicates(found)]


# --- without a sheet ------------------------------------------------------------------------------


def passed_over(folder: Path, results: Path | None = None) -> list[str]:
    """Paths below `folder` of images of formats that are not read, to be told; none where a sheet names the images."""
    if (folder / SHEET).exists() or not folder.is_dir():
        return []
    found = []
    for here, _, files in _walk(folder, results and results.resolve()):
        if not (here / "metrics.json").exists():  # pictures that another run has made
            found += [
                str((here / name).relative_to(folder)) for name in sorted(files) if images.is_unread(name)
            ]
    return found


def _find_images(folder: Path, results: Path | None, *, outside: bool) -> Iterator[_Entry]:
    found = list(_image_paths(folder, results and results.resolve()))
    plain = ["__".join((*path.relative_to(folder).parts[:-1], _stem(path))) for path, _ in found]
    taken = {name for name in plain if not any(_name_problems(name))}
    for (image, misplaced), name in zip(found, plain):
        allowed = f"rename the file, or give it a name in {folder / SHEET}"
        wrong = [InputError(image, problem, allowed) for problem in _name_problems(name)]
        if wrong:  # the image fails alone, in a folder and a row of the table of this name
            name = _safe_name(name, taken)
            taken.add(name)
        else:
            problems, leaves = _outside(folder, image.relative_to(folder), where=str(image), allowed=outside)
            wrong = problems + leaves + ([misplaced] if misplaced else [])
        said = "; ".join(map(str, wrong))
        # Slices in the dataset itself: their tree lies there too.
        reference = _tree_beside(image / _stem(image) if image == folder else image)
        sample = Sample(name, image, reference=reference, problem=said)
        yield _Entry(str(image), name, sample, [], wrong)


def _stem(image: Path) -> str:
    """The name of an image without its suffix; of a folder of slices, of the folder."""
    return images.stem(image.name) or image.resolve().name


def _safe_name(name: str, taken: set[str]) -> str:
    """A name like `name` that can be a folder's and is not taken."""
    name = "".join("_" if _is_bad(character) else character for character in name)
    name = f"_{name[1:]}" if name[:1] in ("-", ".", "") else name
    if len(os.fsencode(name)) > NAME_BYTES:
        name = name[: NAME_BYTES // 8]
    safe, number = name, 1
    while safe in taken or any(_name_problems(safe)):
        number += 1
        safe = f"{name}_{number}"
    return safe


def _walk(folder: Path, results: Path | None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """(folder, image folders in it, files) below `folder`, sorted, but for what is hidden, results or an image."""
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        made = {name for name in folders if _is_made(here, name)}
        volumes = [name for name in folders if images.stem(name) and name[0] != "." and name not in made]
        folders[:] = sorted(
            name
            for name in folders
            if name not in volumes
            and name not in made
            and name[0] != "."
            and (here / name).resolve() != results
            and not (name == "demo_dataset" and (here / "samples.json").exists())
        )
        yield here, volumes, [name for name in files if name[0] != "."]


def _image_paths(folder: Path, results: Path | None) -> Iterator[tuple[Path, InputError | None]]:
    """Images, and what is wrong with where they lie; slices are one image, an OME-TIFF in several files too."""
    for here, volumes, files in _walk(folder, results):
        names = {name for name in (*files, *volumes) if images.stem(name)}
        names -= parts(here, names)
        stems = {images.stem(name) for name in names}
        found = [name for name in sorted(names) if not _is_label(images.stem(name), stems)]
        stacks = slices(here, found)
        if not stacks:
            yield from ((here / name, None) for name in found)
        elif len(stacks[0]) == len(found):
            base, _, ending = here.name.rpartition("_")
            if here == folder or ending.lower() not in LABEL_ENDINGS or not (here.parent / base).is_dir():
                yield here, None
        else:
            said = ", ".join(f"{stack[0]} to {stack[-1]}" for stack in stacks[:4])
            allowed = f"each stack of slices in a folder of its own, or {SHEET} with a row for each image"
            yield here, InputError(here, f"slices ({said}) beside other images", allowed)


def _is_made(folder: Path, name: str) -> bool:
    """Whether a run of ours has made this volume: results may lie in the dataset, or be the same folder."""
    return name in MADE and any(
        (folder / "log" / f"{stage}.txt").exists() for stage in ("ingest", "tile", "stack")
    )


def _labels_beside(image: Path) -> Path | None:
    """The annotation of an image: a.ome.tif and a_labels.tif, or any other ending and format."""
    stem, here = images.stem(image.name), _names_in(image.parent)
    suffixes = images.FORMATS if stem else (*images.FORMATS, "")  # slices of labels beside slices
    stem = stem or image.name
    names = (f"{stem}_{ending}{suffix}" for ending in LABEL_ENDINGS for suffix in suffixes)
    return next((image.with_name(name) for name in names if name in here), None)


def is_tree(path: Path) -> bool:
    """Whether a path is that of an SWC file, by its name in any case."""
    return path.suffix.lower() in TREES


def _tree_beside(image: Path) -> Path | None:
    """The SWC file of an image's stem, a.swc rather than a.SWC or a.eswc."""
    stem = images.stem(image.name) or image.name
    found = [name for name in _names_in(image.parent) if name.startswith(f"{stem}.") and is_tree(Path(name))]
    found = [name for name in found if Path(name).stem == stem]
    return (
        image.with_name(
            min(found, key=lambda name: (TREES.index(Path(name).suffix.lower()), name != name.lower(), name))
        )
        if found
        else None
    )


def _is_label(stem: str, stems: set[str]) -> bool:
    base, _, ending = stem.rpartition("_")
    return ending.lower() in LABEL_ENDINGS and base in stems


# --- with a sheet ---------------------------------------------------------------------------------


def _read_sheet(sheet: Path, *, outside: bool) -> Iterator[_Entry]:
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
            yield _Entry(where, cells["sample"], None, [problem])
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


def _read_row(sheet: Path, where: str, cells: dict[str, str], *, outside: bool) -> _Entry:
    """cells: all columns, those absent or empty as ""."""
    problems = [
        InputError(f"{where}, sample", problem, "a name that can be a folder's")
        for problem in _name_problems(cells["sample"])
    ]
    if not cells["image"]:
        problems.append(InputError(f"{where}, image", "empty", "the path of an image file below the sheet"))
    wrong = []
    for column in ("image", "reference", "skeletons"):
        if cells[column]:
            path, here = Path(cells[column]), f"{where}, {column}"
            file, _ = images.split(path)
            out, leaves = _outside(sheet.parent, file, where=here, allowed=outside)
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
    return _Entry(where, cells["sample"], sample, problems, wrong)


def _missing(folder: Path, relative: Path, *, where: str) -> list[InputError]:
    path = folder / relative
    if path.exists():
        return []
    near = get_close_matches(path.name, sorted(_names_in(path.parent)), n=1)
    hint = f" (did you mean {relative.with_name(near[0])}?)" if near else ""
    return [InputError(where, f"no such file: {path}{hint}", "an existing file below the sheet")]


def _names_in(folder: Path) -> frozenset[str]:
    return _listed(folder, folder.stat().st_mtime_ns) if folder.is_dir() else frozenset()


@cache
def _listed(folder: Path, changed: int) -> frozenset[str]:
    """The names in a folder, looked up once for each change of it."""
    return frozenset(os.listdir(folder))


# --- both -----------------------------------------------------------------------------------------


def _name_problems(name: str) -> Iterator[str]:
    """What keeps a sample's name from being a folder, a Snakemake wildcard and an argument."""
    if not name:
        yield "no sample name"
        return
    if name[0] in "-.":
        yield f"sample name {name!r} begins with {name[0]!r}"
    bad = sorted({character for character in name if _is_bad(character)})
    if bad:
        yield f"sample name {name!r} holds {' '.join(map(repr, bad))}"
    if len(os.fsencode(name)) > NAME_BYTES:
        yield f"sample name {name[:20]!r}... of {len(os.fsencode(name))} bytes, more than {NAME_BYTES}"
    if name in RESERVED:
        yield f"sample name {name!r} is a file or folder of the results"


def _is_bad(character: str) -> bool:
    return character in "{}/\\" or not character.isprintable()


def _outside(
    folder: Path, relative: Path, *, where: str, allowed: bool
) -> tuple[list[InputError], list[InputError]]:
    """What keeps a path from being one below its dataset, and whether it is a link that leaves.

    allowed: the setting `outside`, which lets both lie elsewhere.
    """
    if any(not character.isprintable() for character in str(relative)):
        return [InputError(where, f"found {str(relative)!r}", "a path without control characters")], []
    if any(len(os.fsencode(part)) > 255 for part in relative.parts) or len(os.fsencode(relative)) > 3000:
        return [InputError(where, f"found {str(relative)[:40]!r}...", "a path that a file can have")], []
    if allowed:
        return [], []
    below = f"a path below {folder}, relative to it; elsewhere with the setting outside=true"
    if relative.is_absolute() or ".." in relative.parts:
        return [InputError(where, f"{relative} leaves the dataset", below)], []
    target = (folder / relative).resolve()
    if not target.is_relative_to(_resolved(folder)):
        said = f"{relative} is a link that leaves the dataset, to {target}"
        return [], [InputError(where, said, below)]
    return [], []


@cache
def _resolved(folder: Path) -> Path:
    return folder.resolve()


def _duplicates(entries: list[_Entry]) -> Iterator[InputError]:
    """Names that some file system takes for one: equal, or equal but for case or composed accents."""
    first: dict[str, _Entry] = {}
    for entry in entries:
        earlier = first.setdefault(unicodedata.normalize("NFC", entry.name).casefold(), entry)
        if earlier is not entry and entry.name:
            same = "" if entry.name == earlier.name else f" as {earlier.name!r}: one folder on some systems"
            found = f"sample name {entry.name!r} again, first at {earlier.where}{same}"
            yield InputError(entry.where, found, "each name once")
