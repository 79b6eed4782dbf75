"""Damaged input against our own readers: `python benchmarks/fuzz.py [swc|sheet] [--count 100000] [--seed 0]`.

Each input is a sound file cut, with bits flipped, with pieces of it or of other files set in, or random bytes.
A reader may answer or raise InputError in one line. Anything else, and an input that takes more than SECONDS, is
printed with its bytes; the exit status tells whether there was one.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline import dataset, swc, swc_check
from pipeline.errors import InputError

SECONDS = 2.0
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
    b"nan",
    b"inf",
    b"-1.#IND",
    b"1e300",
    b"-",
    b"..",
    b"/",
    b"\0",
    b"\xff",
    b"#",
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"\xe2\x80\xa8",
]


def _read_swc(path: Path) -> None:
    swc.read(path, empty=True)


def _check_swc(path: Path) -> None:
    swc_check.findings(path.read_bytes())


def _read_sheet(path: Path) -> None:
    dataset.discover(path.parent, keep_wrong=True)


# name: (what reads, sound files, the name that the file must have)
READERS: dict[str, tuple[Callable[[Path], None], list[bytes], str]] = {
    "swc": (_read_swc, TREES, "a.swc"),
    "validate": (_check_swc, TREES, "a.swc"),
    "sheet": (_read_sheet, SHEETS, dataset.SHEET),
}


def damaged(rng: np.random.Generator, sound: list[bytes]) -> bytes:
    """One input."""
    data = bytearray(sound[rng.integers(len(sound))])
    kind = rng.integers(6)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 200)))
    if kind == 1:
        return bytes(data[: rng.integers(0, len(data))])
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
    return bytes(data)


def attempt(reader: str, data: bytes, *, folder: Path) -> str | None:
    """What is wrong with the answer to an input, None where nothing is."""
    read, _, name = READERS[reader]
    path = folder / name
    path.write_bytes(data)
    began = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("ignore", UserWarning)
            read(path)
    except InputError as error:
        lines = [str(one) for one in getattr(error, "problems", [error])]
        if any("\n" in line for line in lines):
            return f"more than a line: {error}"
    except Exception:
        return traceback.format_exc()
    spent = time.process_time() - began
    return f"{spent:.1f} s" if spent > SECONDS else None


def trial(reader: str, count: int, *, seed: int, folder: Path) -> list[tuple[bytes, str]]:
    """The inputs, of `count`, whose answer is wrong, and what is wrong."""
    rng = np.random.default_rng(seed)
    for name in ("a.tif", "b.tif", "a.h5"):
        (folder / name).touch()
    inputs = (damaged(rng, READERS[reader][1]) for _ in range(count))
    return [(data, wrong) for data in inputs if (wrong := attempt(reader, data, folder=folder))]


def main() -> int:
    """Run the trials asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=" | ".join(READERS))
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failed = 0
    for reader in asked.readers or READERS:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            wrong = trial(reader, asked.count, seed=asked.seed, folder=Path(folder))
        for data, what in wrong[:10]:
            print(f"{reader}: {data!r}\n{what}\n")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{reader}: {asked.count} inputs, {len(wrong)} wrong, {time.monotonic() - began:.0f} s, {peak:.0f} MB"
        )
        failed += len(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
