"""Do our own readers end well, whatever a file holds? Random, truncated and bit-flipped inputs, one after the other.

python benchmarks/fuzz.py [READER ...] [--count 100000] [--seed 0]

READER: swc, validate, sheet, v3draw, v3dpbd, nrrd, tiff_header. Each input is read whole. Allowed ends: an answer, or
InputError in one line. Not allowed: anything else, more than SECONDS for one input, more than GB of memory for all, an
answer to a truncated image. What ended badly is kept in fuzz_READER_NUMBER beside the caller. Prints a line a reader.
"""

import bz2
import gzip
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cyclopts
import numpy as np
import tifffile

from pipeline import dataset, images, swc, swc_check
from pipeline.errors import InputError
from pipeline.images import tiff_header, vaa3d

SECONDS, GB = 5.0, 1.0
TREES = [
    b"1 1 0 0 0 2 -1\n2 3 10 0 0 1 1\n3 3 20 5 0 1 2\n4 3 20 -5 0 1 2\n",
    b"# OFFSET 10 20 30\n# SCALE 1 1 1\n# UNIT um\r\n1,1,0,0,0,2,-1\r\n2,3,1e1,0,0,nan,1\r\n",
    b"\xef\xbb\xbf1 1 0,0 0,0 0,0 2,0 -1\r2 3 10,5 0,0 0,0 1,0 1\r",
]
SHEETS = [
    b"sample\timage\tvoxel_size\treference\treference_unit\troot\tmodality\n"
    b"one\ta.tif\t1.0,0.33,0.33\ta.swc\tvoxel\t1,2,3\tlm\ntwo\tb.tif\n",
    b"# a comment\nimage\tsample\tskeletons\r\na.h5:/raw\tz\tlines\r\n",
]
WORDS = [
    *(b"nan", b"inf", b"-1.#IND", b"1e300", b"-", b"..", b"/", b"\0", b"\xff", b"#", b",", b";", b"\t"),
    *(b"\n", b"\r", b"\xe2\x80\xa8"),
]
NUMBERS = [0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]


@dataclass(frozen=True)
class Reader:
    """What reads a file of the name `file`, and its sound inputs. read: False where it finds nothing of its kind."""

    file: str
    read: Callable[[Path], bool]
    sound: Callable[[Path], list[bytes]]
    spoil: Callable[[list[bytes], np.random.Generator], tuple[bytes, bool]]


@dataclass
class Told:
    """What came of a reader: counts, the slowest input in s, and what ended badly: (input, what is wrong)."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    bad: list[tuple[bytes, str]] = field(default_factory=list)


def _read_swc(path: Path) -> bool:
    swc.read(path, empty=True)
    return True


def _check_swc(path: Path) -> bool:
    swc_check.findings(path.read_bytes())
    return True


def _read_sheet(path: Path) -> bool:
    dataset.discover(path.parent, keep_wrong=True)
    return True


def _read_image(path: Path) -> bool:
    source = images.open_image(path, usual=("0", "0"))
    return source.array[:].shape == source.shape


def _read_header(path: Path) -> bool:
    page = tiff_header.first_page(path)
    if page:
        str((page.files, page.master, page.is_single_plane))
    return page is not None


def _stacks() -> list[np.ndarray]:
    """Empty, smooth, and of three channels, each of one and of two bytes."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-2, 4, (4, 9, 11)).cumsum(axis=2)
    stacks = [np.zeros((4, 9, 11)), steps + 90, rng.integers(0, 250, (2, 3, 9, 11))]
    return [stack.astype(f"u{width}") for stack in stacks for width in (1, 2)]


def _vaa3d(kind: str, folder: Path) -> Iterator[bytes]:
    """Little and big endian."""
    for values in _stacks():
        vaa3d.write(folder / f"a.{kind}", values)
        content = (folder / f"a.{kind}").read_bytes()
        yield content
        yield content[:24] + b"B" + struct.pack(">H4I", *struct.unpack("<H4I", content[25:43])) + content[43:]


def _packed() -> Iterator[bytes]:
    """All codes: random bytes behind a header. Any beginning of such a file may be a whole one."""
    rng = np.random.default_rng(1)
    for width in (1, 2):
        head = vaa3d.PACKED + b"L" + struct.pack("<H4I", width, 40, 25, 3, 1)
        yield head + rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()


def _nrrd() -> Iterator[bytes]:
    for values in _stacks():
        sizes = " ".join(map(str, values.shape[::-1]))
        more = 'spacings: 1 1 2\nunits: "um" "um" "um"\n' if values.ndim == 3 else ""
        for encoding, pack in (("raw", bytes), ("gzip", gzip.compress), ("bzip2", bz2.compress)):
            head = (
                f"NRRD0004\ntype: uint{8 * values.itemsize}\ndimension: {values.ndim}\nsizes: {sizes}\n{more}"
                f"endian: little\nencoding: {encoding}\n\n"
            )
            yield head.encode() + pack(values.tobytes())


def _tiffs(folder: Path) -> Iterator[bytes]:
    for options in ({}, {"bigtiff": True}, {"byteorder": ">"}, {"imagej": True}, {"ome": True}):
        path = folder / ("a.ome.tif" if "ome" in options else "a.tif")
        tifffile.imwrite(path, _stacks()[2], photometric="minisblack", **options)
        yield path.read_bytes()


def spoil_text(sound: list[bytes], rng: np.random.Generator) -> tuple[bytes, bool]:
    """A sound text cut, with bits flipped, with words or pieces of others set in; or random bytes."""
    data = bytearray(sound[rng.integers(len(sound))])
    kind = rng.integers(6)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 200))), False
    if kind == 1:
        return bytes(data[: rng.integers(0, len(data))]), False
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, len(data) + 1))
        if kind in (2, 3) and data:
            data[min(place, len(data) - 1)] ^= 1 << int(rng.integers(8))
        elif kind == 4:
            data[place:place] = WORDS[rng.integers(len(WORDS))]
        else:
            other = sound[rng.integers(len(sound))]
            first = int(rng.integers(0, len(other)))
            data[place : place + int(rng.integers(0, 9))] = other[first : first + int(rng.integers(0, 40))]
    return bytes(data), False


def spoil(sound: list[bytes], rng: np.random.Generator) -> tuple[bytes, bool]:
    """A damaged copy of a sound image, and whether it is a truncated one, which must be refused."""
    content = sound[rng.integers(len(sound))]
    way = rng.integers(6)
    if way == 0:
        return content[: rng.integers(len(content))], True
    if way == 1:
        return rng.bytes(int(rng.integers(200))), False
    spoilt = bytearray(content)
    if way == 2:  # one byte of the header
        spoilt[rng.integers(min(120, len(spoilt)))] = rng.integers(256)
    elif way == 3:  # a number of the header
        at = rng.integers(min(120, len(spoilt)))
        spoilt[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), rng.choice(NUMBERS))
    elif way == 4:  # some bits anywhere
        for at in rng.integers(0, len(spoilt), rng.integers(1, 9)):
            spoilt[at] ^= 1 << rng.integers(8)
    else:  # a piece lost, doubled or moved
        first, last = sorted(rng.integers(0, len(spoilt), 2))
        spoilt = spoilt[:first] + spoilt[last:] if rng.integers(2) else spoilt[:last] + spoilt[first:]
    return bytes(spoilt), False


def _spoil_header(sound: list[bytes], rng: np.random.Generator) -> tuple[bytes, bool]:
    """The header alone is read: of what is cut behind it nothing is seen."""
    return spoil(sound, rng)[0], False


def _spoil_packed(sound: list[bytes], rng: np.random.Generator) -> tuple[bytes, bool]:
    """v3dpbd files of the writer, or every seventh time of all codes."""
    if rng.integers(7):
        return spoil(sound, rng)
    return spoil(list(_packed()), rng)[0], False


READERS = {
    "swc": Reader("a.swc", _read_swc, lambda folder: TREES, spoil_text),
    "validate": Reader("a.swc", _check_swc, lambda folder: TREES, spoil_text),
    "sheet": Reader(dataset.SHEET, _read_sheet, lambda folder: SHEETS, spoil_text),
    "v3draw": Reader("a.v3draw", _read_image, lambda folder: list(_vaa3d("v3draw", folder)), spoil),
    "v3dpbd": Reader("a.v3dpbd", _read_image, lambda folder: list(_vaa3d("v3dpbd", folder)), _spoil_packed),
    "nrrd": Reader("a.nrrd", _read_image, lambda folder: list(_nrrd()), spoil),
    "tiff_header": Reader("a.tif", _read_header, lambda folder: list(_tiffs(folder)), _spoil_header),
}


def attempt(reader: Reader, path: Path, told: Told, *, cut: bool = False) -> str:
    """What is wrong with the way a file was taken, "" where nothing is."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", UserWarning)
            whole = reader.read(path)
    except InputError as error:
        whole, cut = False, False
        if any("\n" in str(one) for one in getattr(error, "problems", [error])):
            return f"more than a line: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    told.read, told.refused = told.read + whole, told.refused + (not whole)
    took = time.perf_counter() - began
    told.slowest = max(told.slowest, took)
    return "a truncated file was read" if cut else f"{took:.1f} s" if took > SECONDS else ""


def fuzz(name: str, count: int, *, seed: int = 0) -> Told:
    """`count` damaged inputs of a reader."""
    reader, told, rng = READERS[name], Told(), np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as sounds, tempfile.TemporaryDirectory() as folder:
        sound = reader.sound(Path(sounds))
        if name == "sheet":
            for beside in ("a.tif", "b.tif", "a.h5"):
                (Path(folder) / beside).touch()
        for _ in range(count):
            content, cut = reader.spoil(sound, rng)
            path = Path(folder) / reader.file
            path.write_bytes(content)
            problem = attempt(reader, path, told, cut=cut)
            if problem:
                told.bad.append((content, problem))
    return told


def main(*readers: str, count: int = 100_000, seed: int = 0) -> None:
    """Print for each reader how many inputs were read, refused, and ended badly."""
    failed = False
    for name in readers or READERS:
        began, told = time.perf_counter(), fuzz(name, count, seed=seed)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{name}: {count} inputs, {told.read} read, {told.refused} refused, {len(told.bad)} ended badly; slowest "
            f"{told.slowest:.2f} s, peak {peak:.2f} GB, {time.perf_counter() - began:.0f} s in all",
            flush=True,
        )
        for number, (content, problem) in enumerate(told.bad[:20]):
            Path(f"fuzz_{name}_{number}").write_bytes(content)
            print(f"  fuzz_{name}_{number}: {problem}")
        failed |= bool(told.bad) or peak > GB
    sys.exit(failed)


if __name__ == "__main__":
    cyclopts.run(main)
