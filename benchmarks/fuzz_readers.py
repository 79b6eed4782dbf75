"""Do our own readers end well, whatever a file holds? Random, truncated and bit-flipped inputs, one after the other.

python benchmarks/fuzz_readers.py [KIND ...] [--count 100000] [--seed 0]

KIND: v3draw, v3dpbd, nrrd, tiff_header. Each input is opened and read whole. Allowed ends: voxels, or InputError. Not
allowed: another exception, more than SECONDS for one input, more than GB of memory for all. A truncated file must be
refused. What fails is kept in fuzz_KIND_NUMBER beside the caller. Prints a line a kind: inputs, read, refused, the
slowest, peak memory.
"""

import bz2
import gzip
import resource
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cyclopts
import numpy as np
import tifffile

from pipeline import images
from pipeline.errors import InputError
from pipeline.images import tiff_header, vaa3d

SECONDS, GB = 5.0, 1.0


@dataclass
class Told:
    """What came of one kind: counts, the slowest input in s, and what ended badly."""

    kind: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    bad: list[str] = field(default_factory=list)


def originals(kind: str, folder: Path) -> Iterator[bytes]:
    """Whole small files of a kind, all their features together."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-2, 4, (4, 9, 11)).cumsum(axis=2)
    stacks = [np.zeros((4, 9, 11)), steps + 90, rng.integers(0, 250, (2, 3, 9, 11))]
    if kind == "tiff_header":
        for options in ({}, {"bigtiff": True}, {"byteorder": ">"}, {"imagej": True}, {"ome": True}):
            path = folder / ("a.ome.tif" if "ome" in options else "a.tif")
            tifffile.imwrite(path, stacks[1].astype("u1"), photometric="minisblack", **options)
            yield path.read_bytes()
        return
    for stack in stacks:
        for width in (1, 2):
            values = stack.astype(f"u{width}")
            if kind == "nrrd":
                sizes = " ".join(map(str, values.shape[::-1]))
                more = 'spacings: 1 1 2\nunits: "um" "um" "um"\n' if values.ndim == 3 else ""
                for encoding, pack in (("raw", bytes), ("gzip", gzip.compress), ("bzip2", bz2.compress)):
                    head = (
                        f"NRRD0004\ntype: uint{8 * width}\ndimension: {values.ndim}\nsizes: {sizes}\n{more}"
                        f"endian: little\nencoding: {encoding}\n\n"
                    )
                    yield head.encode() + pack(values.tobytes())
            else:
                vaa3d.write(folder / f"a.{kind}", values)
                content = (folder / f"a.{kind}").read_bytes()
                yield content
                yield (
                    content[:24]
                    + b"B"
                    + struct.pack(">H4I", *struct.unpack("<H4I", content[25:43]))
                    + content[43:]
                )
    if kind == "v3dpbd":  # all codes: random bytes behind a header
        for width in (1, 2):
            head = vaa3d.PACKED + b"L" + struct.pack("<H4I", width, 40, 25, 3, 1)
            yield head + rng.integers(0, 256, 3000, dtype=np.uint8).tobytes()


def spoil(content: bytes, rng: np.random.Generator) -> tuple[bytes, bool]:
    """A damaged copy, and whether it is a truncated one that must be refused."""
    way = rng.integers(6)
    if way == 0:
        return content[: rng.integers(len(content))], True
    if way == 1:
        return rng.integers(0, 256, rng.integers(200), dtype=np.uint8).tobytes(), False
    spoilt = bytearray(content)
    if way == 2:  # one byte of the header
        spoilt[rng.integers(min(120, len(spoilt)))] = rng.integers(256)
    elif way == 3:  # a number of the header
        at = rng.integers(min(120, len(spoilt)))
        number = rng.choice([0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1])
        spoilt[at : at + 4] = struct.pack(rng.choice(["<I", ">I"]), number)
    elif way == 4:  # some bits anywhere
        for at in rng.integers(0, len(spoilt), rng.integers(1, 9)):
            spoilt[at] ^= 1 << rng.integers(8)
    else:  # a piece lost, doubled or moved
        first, last = sorted(rng.integers(0, len(spoilt), 2))
        spoilt = spoilt[:first] + spoilt[last:] if rng.integers(2) else spoilt[:last] + spoilt[first:]
    return bytes(spoilt), False


def fuzz(kind: str, count: int, *, seed: int = 0, keep: Path | None = None) -> Told:
    """`count` damaged inputs of a kind."""
    told, rng = Told(kind), np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = list(originals(kind, folder))
        path = folder / f"spoilt.{kind if kind != 'tiff_header' else 'tif'}"
        for number in range(count):
            content, cut = spoil(whole[number % len(whole)], rng)
            path.write_bytes(content)
            cut = (
                cut
                and kind in ("v3draw", "v3dpbd", "nrrd")
                and number % len(whole) < len(whole) - 2 * (kind == "v3dpbd")
            )
            began, problem = time.perf_counter(), _read(kind, path, told, cut)
            took = time.perf_counter() - began
            told.slowest = max(told.slowest, took)
            if took > SECONDS:
                problem = f"{took:.1f} s"
            if problem:
                told.bad.append(f"input {number}: {problem}")
                if keep:
                    (keep / f"fuzz_{kind}_{number}").write_bytes(content)
    return told


def _read(kind: str, path: Path, told: Told, cut: bool) -> str:
    """What is wrong with the way an input was taken, "" where nothing is."""
    try:
        if kind == "tiff_header":
            page = tiff_header.first_page(path)
            whole = page is not None
            if page:
                str((page.files, page.master, page.is_single_plane))
        else:
            source = images.open_image(path, usual=("0", "0"))
            whole = source.array[:].shape == source.shape
    except InputError:
        told.refused += 1
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    told.read, told.refused = told.read + whole, told.refused + (not whole)
    return "a truncated file was read" if cut else ""


def main(*kinds: str, count: int = 100_000, seed: int = 0) -> None:
    """Print for each kind of file how many inputs were read, refused, and ended badly."""
    for kind in kinds or ("v3draw", "v3dpbd", "nrrd", "tiff_header"):
        began, told = time.perf_counter(), fuzz(kind, count, seed=seed, keep=Path())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        if peak > GB:
            told.bad.append(f"{peak:.2f} GB")
        print(
            f"{kind}: {count} inputs, {told.read} read, {told.refused} refused, {len(told.bad)} ended badly; slowest "
            f"{told.slowest:.2f} s, peak {peak:.2f} GB, {time.perf_counter() - began:.0f} s in all",
            flush=True,
        )
        print("".join(f"  {line}\n" for line in told.bad[:20]), end="")


if __name__ == "__main__":
    cyclopts.run(main)
