"""What any reader of images returns: a lazy zyx stack with its voxel size; units; damage told as one line."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import InputError

# Names and signs of units of length, as programs spell them, singular; in lower case. "\\u00b5m" is ImageJ's escape.
_UM_PER = {
    ("um", "µm", "μm", "micron", "micrometer", "micrometre", "\\u00b5m"): 1.0,
    ("nm", "nanometer", "nanometre"): 1e-3,
    ("pm", "picometer", "picometre"): 1e-6,
    ("å", "\u212b", "angstrom", "ångström", "angström", "ångstrom"): 1e-4,
    ("mm", "millimeter", "millimetre"): 1e3,
    ("cm", "centimeter", "centimetre"): 1e4,
    ("m", "meter", "metre"): 1e6,
    ("inch", "in", "inches"): 25400.0,
}
# Words have a plural, signs have none: "ms" are no metres.
UM_PER = {
    form: um
    for names, um in _UM_PER.items()
    for name in names
    for form in ((name, f"{name}s") if len(name) > 3 else (name,))
}
VoxelSize = tuple[float, float, float]
# What programs write where nobody has measured a pixel.
NO_UNIT = ("", "pixel", "pixels", "voxel", "voxels")


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Tell whatever a reader raises over a file as that file's damage.

    tifffile, zarr and a dozen codecs share no error class.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(".: ")[:300]
        raise InputError(
            path, f"not readable ({reason})", "an undamaged file of a format in docs/formats.md"
        ) from error


class Planes:
    """The stack in the file `path`, read on demand: `planes[first:last]` is a (z, y, x) array.

    read: (first, last) -> the planes first..last-1. Ranges of y and x are applied after reading.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        read: Callable[[int, int], np.ndarray],
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._path, self._read = path, read

    def __getitem__(self, key: slice | tuple[slice, ...]) -> np.ndarray:
        z, *yx = key if isinstance(key, tuple) else (key,)
        first, last, step = z.indices(self.shape[0])
        with damage(self._path):
            return self._read(first, max(first, last))[(slice(None, None, step), *yx)]


class Measured(NamedTuple):
    """What a file says of its voxels.

    voxel_size: z, y, x in um, None where it says none that can be used. unread: why not, where it says something; of
    one that is used, how it was read. across: y and x in um where only z is missing. broken: what it says is wrong,
    not only without a unit or z.
    """

    voxel_size: VoxelSize | None = None
    unread: str = ""
    across: tuple[float, float] | None = None
    broken: bool = False

    def turned(self) -> "Measured":
        """The same with y and x exchanged."""
        z, y, x = self.voxel_size or (0, 0, 0)
        across = self.across and self.across[::-1]
        return self._replace(voxel_size=(z, x, y) if self.voxel_size else None, across=across)


UNMEASURED = Measured()


@dataclass(frozen=True)
class Source:
    """An image as it was found.

    array: lazy (z, y, x). notes: what a user should know of how the file was read, a line each.
    """

    array: Planes
    measured: Measured = UNMEASURED
    notes: tuple[str, ...] = ()

    @property
    def voxel_size(self) -> VoxelSize | None:
        """z, y, x in um, None where the file says none that can be used."""
        return self.measured.voxel_size

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype


@dataclass(frozen=True)
class Pick:
    """Which channel (a number from 0 or a name) and which time point (a number from 0); "" where nothing is said.

    usual_channel, usual_time: for files that hold several, where nothing is said of this one.
    """

    channel: str = ""
    time: str = ""
    usual_channel: str = ""
    usual_time: str = ""

    def index(self, path: Path, what: str, count: int, names: Sequence[str] = (), axes: str = "") -> int:
        """The one of `count` that is meant. what: "channel" or "time". InputError lists those there."""
        asked = str(getattr(self, what) or (count > 1 and getattr(self, f"usual_{what}")) or "").strip()
        if not asked and count == 1:
            return 0
        if asked.isascii() and asked.isdecimal() and int(asked) < count:
            return int(asked)
        if asked and list(names).count(asked) == 1:
            return list(names).index(asked)
        things = {"channel": "channel", "time": "time point"}[what] + ("s" if count != 1 else "")
        found = f"{count} {things}{axes and f' ({axes})'}{asked and f' and none is {asked!r}'}"
        raise InputError(
            path, found, f"one of them as {what} in samples.tsv or the config: {_listed(count, names)}"
        )


# Nothing is said: the only channel and time point, or a line that lists them.
ANY = Pick()


def _listed(count: int, names: Sequence[str]) -> str:
    """(3, ["DAPI", "", "GFP"]) -> "0 (DAPI), 1, 2 (GFP)"; long lists are shortened."""
    said = [f"{i} ({names[i]})" if i < len(names) and names[i] else f"{i}" for i in range(min(count, 12))]
    return ", ".join(said) + (f", ... {count - 1}" if count > 12 else "")


def number(text: Any) -> float:
    """A number as files write it, 2,5 too; ValueError for what is none."""
    written = str(text).strip()
    return float(written.replace(",", ".") if written.count(",") == 1 and "." not in written else written)


def in_um(edges: Sequence[Any], units: Sequence[str]) -> Measured:
    """Edges z, y, x (numbers or text, None where absent) in their units -> um, or what keeps them from being used."""
    if all(edge is None for edge in edges):
        return Measured()
    said = (
        "its metadata says "
        + ", ".join("nothing" if edge is None else str(edge) for edge in edges)
        + " for z, y, x"
    )
    try:
        numbers = [math.nan if edge is None else number(edge) for edge in edges]
    except ValueError:
        return Measured(unread=f"{said}, not all of them numbers", broken=True)
    known = [edge for edge in numbers if not math.isnan(edge)]
    if not all(0 < edge < math.inf for edge in known):
        return Measured(unread=said, broken=True)
    factors = [UM_PER.get(unit.strip().lower()) for unit in units]
    unknown = [unit for unit, factor in zip(units, factors, strict=True) if factor is None]
    if unknown:
        nothing = all(unit.strip().lower() in NO_UNIT for unit in unknown)
        unit = "without a unit of length" if nothing else f"in {unknown[0]!r}, no known unit of length"
        return Measured(unread=f"{said} {unit}", broken=not nothing)
    z, y, x = (edge * factor for edge, factor in zip(numbers, factors, strict=True) if factor)
    if len(known) < 3:
        return Measured(unread=said, across=(y, x) if len(known) == 2 and math.isnan(z) else None)
    return Measured((z, y, x))


# Between these (um) lie the voxels of every microscope that shows neurites, from electron microscopy to whole brains in
# light sheets; the second number is for y and x.
LEAST, MOST = 0.0001, {"lm": (50.0, 25.0), "em": (10.0, 10.0)}


def check_plausible(where: object, voxel_size: VoxelSize, modality: str) -> None:
    """Refuse voxels no microscope has: millimetres or inches taken for um cost hours and end in no tree."""
    deep, across = MOST[modality]
    if min(voxel_size) < LEAST or voxel_size[0] > deep or max(voxel_size[1:]) > across:
        edges = " x ".join(f"{edge:g}" for edge in voxel_size)
        allowed = f"{LEAST:g} to {across:g} um, z to {deep:g}; voxel_size in samples.tsv wins over what the file says"
        raise InputError(where, f"voxels of {edges} um (z,y,x): is the unit right?", allowed)


def choose_voxel_size(
    where: object, source: Source, *, given: VoxelSize | None, fallback: VoxelSize | None
) -> tuple[VoxelSize, list[str]]:
    """The voxel size of the sheet (given), else the file's own, else the config's (fallback); and remarks on it.

    InputError at `where` if none says a size that can be used.
    """
    own = source.measured
    if given:
        odd = contradiction(given, own.voxel_size)
        return given, [odd] if odd else []
    if own.voxel_size:
        return own.voxel_size, [own.unread] if own.unread else []
    if fallback and not own.broken:
        if own.across:  # the config speaks for what the file leaves out, not for the rest
            remark = f"{own.unread}: z = {fallback[0]:g} um is taken from the config"
            return (fallback[0], *own.across), [remark]
        return fallback, [f"{own.unread}: the config's voxel size is taken"] if own.unread else []
    allowed = "z,y,x in um: in the file, as voxel_size in samples.tsv"
    if own.broken:
        raise InputError(where, f"no voxel size in its metadata that can be used: {own.unread}", allowed)
    why = own.unread and f" that can be used: {own.unread}"
    raise InputError(
        where, f"no voxel size in its metadata{why}", f"{allowed}, or as voxel_size in the config"
    )


def contradiction(given: VoxelSize, own: VoxelSize | None) -> str:
    """A remark where a voxel size that was given is not that of the file; "" where they agree within 5 %."""
    if own is None or np.allclose(given, own, rtol=0.05, atol=0):
        return ""
    swapped = np.allclose(given[::-1], own, rtol=0.05, atol=0)
    said, found = (",".join(f"{edge:g}" for edge in size) for size in (given, own))
    hint = ": were x,y,z given?" if swapped else ""
    return f"voxel size {said} um is given, the file says {found} (z,y,x){hint}"


def doubt(voxel_size: VoxelSize, modality: str = "em") -> str:
    """What is odd about a voxel size (um) of a modality, as a line of the log; "" where nothing is."""
    edges = " x ".join(f"{edge:g}" for edge in voxel_size)
    if modality == "em" and max(voxel_size) > 1:
        return f"warning: voxels of {edges} um (z,y,x) in electron microscopy: were nm given as um?"
    if modality == "lm" and min(voxel_size) < 0.005:
        return f"warning: voxels of {edges} um (z,y,x) in light microscopy: is the unit right?"
    return ""


def sizes(shape: Sequence[int]) -> str:
    """(9, 40, 52) -> "9 x 40 x 52"."""
    return " x ".join(map(str, shape))


# The most that a codec makes of a byte: deflate reaches 1,000, zstd of a constant plane some 20,000.
EXPANSION = 100_000


def check_declared(path: Path, shape: Sequence[int], dtype: np.dtype | str, *, file_bytes: int) -> None:
    """Refuse a file whose headers declare more than its bytes can hold, before anyone asks for the memory."""
    declared = math.prod(shape) * np.dtype(dtype).itemsize
    if declared > EXPANSION * max(file_bytes, 1):
        found = f"{sizes(shape)} voxels declared ({declared:,} bytes) in a file of {file_bytes:,} bytes"
        raise InputError(path, found, "an undamaged file")
