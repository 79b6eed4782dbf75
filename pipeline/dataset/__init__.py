"""A dataset directory or its sample sheet -> samples; everything wrong with it is told at once.

Called whenever the Snakefile is parsed, in each job's process too: nothing is imported that takes time and no
image is opened, but for the first bytes of TIFFs that may be slices or parts of one stack. What the files contain is
found by ingest, one sample at a time.
"""

from pathlib import Path

from pipeline import images
from pipeline.dataset.folder import find_images, passed_over
from pipeline.dataset.names import duplicates
from pipeline.dataset.sample import SHEET, Entry, Sample, is_tree
from pipeline.dataset.sheet import read_sheet
from pipeline.errors import CombinedInputError, InputError

__all__ = ["SHEET", "Sample", "discover", "is_tree", "look", "passed_over"]


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
    if problems := _problems(Path(folder), found, keep_wrong=keep_wrong):
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
        found = list(find_images(folder, results, outside=outside)) if (folder / SHEET).exists() else []
    problems += _problems(folder, found, keep_wrong=False)
    return [entry.sample for entry in found if entry.sample], [str(problem) for problem in problems]


def _entries(folder: Path, results: Path | None, *, may_be_empty: bool, outside: bool) -> list[Entry]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of image files, with or without samples.tsv")
    sheet = folder / SHEET
    if sheet.exists():
        return list(read_sheet(sheet, outside=outside))
    found = list(find_images(folder, results, outside=outside))
    if not found and not may_be_empty:
        suffixes = ", ".join(images.FORMATS)
        raise InputError(folder, "no image file below it", f"files ending in {suffixes}, or a {SHEET}")
    return found


def _problems(folder: Path, found: list[Entry], *, keep_wrong: bool) -> list[InputError]:
    problems = [
        problem for entry in found for problem in entry.problems + ([] if keep_wrong else entry.wrong)
    ]
    sheet = folder / SHEET
    # Two files of a stem are often one image in two formats: which one is wanted nobody can tell but the user.
    allowed = (
        "each name once" if sheet.exists() else f"each name once: rename a file, or name images in {sheet}"
    )
    return [*problems, *duplicates(found, allowed=allowed)]
