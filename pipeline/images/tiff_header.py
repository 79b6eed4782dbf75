"""The first page of a TIFF by its header alone, in some reads: which planes make one stack, is a tag cut off?

Called for files of a folder whenever the Snakefile is parsed, so without tifffile (0.1 s to import).
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
WIDTH, LENGTH, DESCRIPTION, DEPTH = 256, 257, 270, 32997


@dataclass(frozen=True)
class FirstPage:
    """description: of the image, "" where there is none. alone: no other page follows. end: of the last tag's value."""

    description: str
    alone: bool
    shape: tuple[int, int]
    depth: int
    end: int

    @property
    def is_single_plane(self) -> bool:
        """One page, and no metadata that speaks of more planes behind it (ImageJ over 4 GB) or in other files."""
        more = re.search(r"^images=(?!1$)\d+$", self.description, re.MULTILINE)
        return self.alone and self.depth == 1 and not more and not self.files

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that an OME-TIFF says its planes are in, in order; none where it names one alone."""
        names = (*self.named, self.master) if self.master else self.named
        return names if len(names) > 1 or self.master else ()

    @property
    def named(self) -> tuple[str, ...]:
        """The names of all files that an OME-TIFF says its planes are in, its own too (which may be an old one)."""
        names = re.findall(r'<(?:\w+:)?UUID\s[^>]*FileName="([^"]+)"', self.description)
        return tuple(dict.fromkeys(names))

    @property
    def master(self) -> str:
        """The file that holds the metadata of this one, "" where it holds its own."""
        found = re.search(r'<(?:\w+:)?BinaryOnly\s[^>]*MetadataFile="([^"]+)"', self.description)
        return found[1] if found else ""


def first_page(path: Path) -> FirstPage | None:
    """None for what is no TIFF, or one that is cut before its first page's tags."""
    try:
        with open(path, "rb") as file:
            return _read(file)
    except (OSError, struct.error, KeyError, OverflowError, ValueError):
        return None


def _read(file) -> FirstPage | None:
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = struct.unpack(f"{order}H", file.read(2))
    if version not in (42, 43):
        return None
    big = version == 43
    if big:
        file.read(4)
    word, count_code, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (start,) = struct.unpack(f"{order}{word}", file.read(8 if big else 4))
    file.seek(start)
    (count,) = struct.unpack(f"{order}{count_code}", file.read(8 if big else 2))
    if not 0 < count < 4096:
        return None
    table, after = file.read(count * entry), file.read(8 if big else 4)
    (following,) = struct.unpack(f"{order}{word}", after)
    values, end = {}, start + count * entry
    for at in range(0, count * entry, entry):
        code, kind, items = struct.unpack_from(f"{order}HH{word}", table, at)
        inside = table[at + entry - (8 if big else 4) : at + entry]
        size = TYPE_BYTES.get(kind, 1) * items
        place = struct.unpack(f"{order}{word}", inside)[0] if size > len(inside) else None
        end = max(end, (place or 0) + size)
        values[code] = kind, size, inside, place

    def whole(code: int, default: int) -> int:
        if code not in values or values[code][0] not in (3, 4, 16) or values[code][3] is not None:
            return default
        kind, size, inside, _ = values[code]
        return struct.unpack(f"{order}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }", inside[:size])[0]

    description = b""
    if DESCRIPTION in values:
        _, size, inside, place = values[DESCRIPTION]
        if place is None:
            description = inside[:size]
        else:
            file.seek(place)
            description = file.read(min(size, 2**26))
    text = description.rstrip(b"\0").decode("utf-8", "replace")
    return FirstPage(text, following == 0, (whole(LENGTH, 0), whole(WIDTH, 0)), whole(DEPTH, 1), end)
