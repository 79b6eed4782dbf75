"""What is wrong with the text of an SWC file, all of it at once, each mistake with its line and how often it occurs."""

from dataclasses import dataclass

import numpy as np

from pipeline import swc, swc_text
from pipeline.swc_text import LineError

ERROR, WARNING, NOTE = (
    "error",
    "warning",
    "note",
)  # cannot be read; read, with a doubt; read, not as the standard has it
JUMP = 20.0  # an edge this many times longer than 99 of 100 others is a jump
TYPES = 1_000  # beyond it no program knows a type


@dataclass(frozen=True)
class Finding:
    """level: ERROR | WARNING | NOTE. line: of its first place, 0 for the file as a whole. count: of places."""

    level: str
    line: int
    said: str
    count: int = 1


def findings(data: bytes, *, unit: str = "um") -> list[Finding]:
    """Everything that is odd about the bytes of an SWC file, in `unit`: errors first, then by line."""
    text = swc_text.decode(data)
    lines = swc_text.data_lines(text)
    found: list[Finding] = []
    if not lines:
        return [Finding(ERROR, 0, f"no rows: at least one node ({swc_text.COLUMNS})")]
    try:
        comma = swc_text.decimal_commas(lines)
    except LineError as error:
        return [Finding(ERROR, error.number, f"{error.found}; allowed: {error.allowed}")]
    rows, numbers, broken = [], [], []
    for number, line in lines:
        try:
            rows.append(swc_text.read_row(number, line, comma=comma))
            numbers.append(number)
        except LineError as error:
            broken.append(error)
    if broken:
        said = f"{broken[0].found}; allowed: {broken[0].allowed}"
        found.append(Finding(ERROR, broken[0].number, said, len(broken)))
    if comma:
        found.append(Finding(WARNING, 0, "decimal commas, read as points"))
    found += [Finding(WARNING, 0, said) for said in swc.header_remarks(swc_text.read_header(text), unit=unit)]
    table = np.array(rows, float).reshape(-1, 7)
    place = np.array(numbers, int)
    if len(table):
        found += _numbers(table, place)
        found += _structure(table, place)
    return sorted(found, key=lambda one: ((ERROR, WARNING, NOTE).index(one.level), one.line))


def _told(level: str, place: np.ndarray, bad: np.ndarray, said: str) -> list[Finding]:
    """A finding for the rows where `bad` (bool) holds, at the first of them; none where it holds nowhere."""
    where = np.flatnonzero(bad)
    return [Finding(level, int(place[where[0]]), said, len(where))] if len(where) else []


def _numbers(table: np.ndarray, place: np.ndarray) -> list[Finding]:
    """What single numbers have wrong."""
    with np.errstate(invalid="ignore"):
        whole = table[:, [0, 1, 6]]
        radius = table[:, 5]
        no_place = ~(np.abs(table[:, 2:5]) < swc.LARGEST).all(1)
        no_id = ~((np.abs(whole) < swc.LARGEST) & (np.mod(whole, 1) == 0)).all(1)
        large = np.isfinite(radius) & (np.abs(radius) >= swc.LARGEST)
        return [
            *_told(ERROR, place, no_place, "x, y or z is no finite number"),
            *_told(ERROR, place, no_id, "id, type or parent is no whole number"),
            *_told(ERROR, place, large, "a radius beyond all measure"),
            *_told(
                WARNING, place, ~np.isfinite(radius), "a radius that is no number: the neighbours' is taken"
            ),
            *_told(WARNING, place, radius < 0, "a negative radius"),
            *_told(NOTE, place, radius == 0, "a radius of 0"),
            *_told(NOTE, place, (table[:, 1] < 0) | (table[:, 1] > TYPES), "a type that no program knows"),
        ]


def _structure(table: np.ndarray, place: np.ndarray) -> list[Finding]:
    """What ids and parents have wrong, and edges that look wrong; rows whose numbers are wrong are left out."""
    with np.errstate(invalid="ignore"):
        sound = ((np.abs(table[:, [0, 2, 3, 4, 6]]) < swc.LARGEST).all(1)) & (
            np.mod(table[:, [0, 6]], 1) == 0
        ).all(1)
    table, place = table[sound], place[sound]
    if not len(table):
        return []
    ids, parents, xyz = table[:, 0].astype(np.int64), table[:, 6].astype(np.int64), table[:, 2:5]
    order = np.argsort(ids, kind="stable")
    again = np.zeros(len(ids), bool)
    again[order[1:]] = np.diff(ids[order]) == 0
    spot = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    known = ids[order][spot] == parents
    zero = ~known & (parents == 0)
    dangling = ~known & (parents != 0) & (parents != -1)
    parent = np.where(known, order[spot], -1)
    circle = swc.circular(parent)
    found = [
        *_told(ERROR, place, again, "an id that an earlier row has"),
        *_told(ERROR, place, dangling, "a parent that no row has as its id (-1 is a root)"),
        *_told(ERROR, place, circle, "a node that is its own ancestor"),
        *_told(WARNING, place, zero, "parent 0 where no node has id 0: taken as a root"),
    ]
    roots = (parent < 0) & ~dangling
    if roots.all() and len(roots) > 1:
        level = ERROR if len(roots) >= swc.MANY else WARNING
        return [*found, Finding(level, 0, f"{len(roots)} rows and no edge: each is a root")]
    if roots.sum() > 1:
        found += _told(
            NOTE, place, roots & (np.cumsum(roots) > 1), f"a further root: {roots.sum()} trees in the file"
        )
    child = np.flatnonzero((parent >= 0) & ~circle)
    late = np.zeros(len(ids), bool)
    late[child] = parent[child] > child
    length = np.zeros(len(ids))
    length[child] = np.linalg.norm(xyz[child] - xyz[parent[child]], axis=1)
    typical = float(np.quantile(length[child], 0.99)) if len(child) else 0.0
    long = (length > JUMP * typical) & (length > 0) if len(child) >= 100 else np.zeros(len(ids), bool)
    return [
        *found,
        *_told(WARNING, place, long, f"an edge {JUMP:g} times longer than 99 of 100 others"),
        *_told(NOTE, place, late, "a row before its parent"),
        *_told(NOTE, place, (parent >= 0) & ~circle & (length == 0), "a node at the place of its parent"),
    ]
