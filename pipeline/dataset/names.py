"""Names and paths of samples: which can be those of folders, and which leave the dataset."""

import os
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pipeline.dataset.sample import Entry
from pipeline.errors import InputError

# A name becomes part of several nested file names (255 bytes each, base64 of the whole path in .snakemake).
NAME_BYTES = 100
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


def name_problems(name: str) -> Iterator[str]:
    """What keeps a sample's name from being a folder, a Snakemake wildcard and an argument."""
    if not name:
        yield "no sample name"
        return
    if name[0] in "-.":
        yield f"sample name {name!r} begins with {name[0]!r}"
    bad = sorted({character for character in name if is_bad(character)})
    if bad:
        yield f"sample name {name!r} holds {' '.join(map(repr, bad))}"
    if len(os.fsencode(name)) > NAME_BYTES:
        yield f"sample name {name[:20]!r}... of {len(os.fsencode(name))} bytes, more than {NAME_BYTES}"
    if name in RESERVED:
        yield f"sample name {name!r} is a file or folder of the results"


def is_bad(character: str) -> bool:
    """Whether no name of a sample may hold a character."""
    return character in "{}/\\" or not character.isprintable()


def safe_name(name: str, taken: set[str]) -> str:
    """A name like `name` that can be a folder's and is not taken."""
    name = "".join("_" if is_bad(character) else character for character in name)
    name = f"_{name[1:]}" if name[:1] in ("-", ".", "") else name
    if len(os.fsencode(name)) > NAME_BYTES:
        name = name[: NAME_BYTES // 8]
    safe, number = name, 1
    while safe in taken or any(name_problems(safe)):
        number += 1
        safe = f"{name}_{number}"
    return safe


def outside_problems(
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


def duplicates(entries: list[Entry], *, allowed: str) -> Iterator[InputError]:
    """Names that some file system takes for one: equal, or equal but for case or composed accents."""
    first: dict[str, Entry] = {}
    for entry in entries:
        earlier = first.setdefault(unicodedata.normalize("NFC", entry.name).casefold(), entry)
        if earlier is not entry and entry.name:
            same = "" if entry.name == earlier.name else f" as {earlier.name!r}: one folder on some systems"
            found = f"sample name {entry.name!r} again, first at {earlier.where}{same}"
            yield InputError(entry.where, found, allowed)
