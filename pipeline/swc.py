"""Trees and the SWC format: the one place where voxel indices (z,y,x) and um (x,y,z) meet."""

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.files import write_text

UNITS = ("voxel", "um", "nm")
SOMA = 1


@dataclass(frozen=True, eq=False)
class Tree:
    """A forest of nodes; edges join a node to its parent.

    xyz: (n, 3) float64, um. radius: (n,) float64, um. parent: (n,) int64, the row of the parent, -1 for
    a root. type: (n,) int64, SWC type code (0 undefined, 1 soma, 2 axon, 3 dendrite ...).
    """

    xyz: np.ndarray
    radius: np.ndarray
    parent: np.ndarray
    type: np.ndarray

    def __len__(self) -> int:
        return len(self.parent)


EMPTY = Tree(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))


def voxel_to_um(points_zyx: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n, 3) voxel indices z,y,x -> (n, 3) um x,y,z. voxel_size: z,y,x um. Index i is the centre of voxel i."""
    return (np.asarray(points_zyx, float) * voxel_size)[..., ::-1]


def um_to_voxel(xyz: np.ndarray, voxel_size: tuple[float, float, float]) -> np.ndarray:
    """(n, 3) um x,y,z -> (n, 3) fractional voxel indices z,y,x: the inverse of voxel_to_um."""
    return np.asarray(xyz, float)[..., ::-1] / voxel_size


def read(
    path: Path,
    *,
    unit: str = "um",
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    empty: bool = False,
) -> Tree:
    """Read an SWC file whose coordinates are in `unit` (voxel, um, nm); the tree is in um, rows in file order.

    voxel: x, y, z are multiplied by voxel_size (z,y,x um), radii by the mean of its two in-plane edges. Any
    white space or commas between fields, comments anywhere, BOM, CRLF, columns beyond seven and rows in any
    order are accepted. Parent 0 where no node has id 0 is a root, with a warning (some tools write that).
    empty: a file without rows is an empty tree.
    Raises InputError, naming file and line, for no rows, a field that is no number, NaN, infinity, a duplicate
    id, a parent that does not exist, a cycle.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
        text = text.replace("\r\n", "\n").replace(
            "\r", "\n"
        )  # CR alone ends the lines of old Macintosh programs
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "an SWC file") from error
    rows = _fast_rows(text)
    if rows is None:
        rows = _lenient_rows(path, text)
    if not len(rows):
        if empty:
            return EMPTY
        raise InputError(path, "no rows", "at least one node (id type x y z radius parent)")
    bad = np.flatnonzero(~np.isfinite(rows).all(1) | (np.mod(rows[:, [0, 1, 6]], 1) != 0).any(1))
    if len(bad):
        found = " ".join(f"{value:g}" for value in rows[bad[0]])
        raise InputError(
            _line(path, text, bad[0]), found, "finite numbers; whole ones for id, type and parent"
        )
    xyz, radius = _to_um(path, rows[:, 2:5], rows[:, 5], unit, voxel_size)
    return Tree(xyz, radius, _parent_rows(path, text, rows), rows[:, 1].astype(np.int64))


def header(image: str, voxel_size: tuple[float, float, float]) -> dict[str, str]:
    """Words of a file's header: those of the INCF specification, and the unit and voxel size, for which it has none.

    image: name of the picture that was traced. voxel_size: its z, y, x um; written x y z, as the nodes are.
    """
    z, y, x = voxel_size
    return {
        "ORIGINAL_SOURCE": "stack2swc",
        "RAW": image,
        "VERSION_NUMBER": __version__,
        "SCALE": "1.0 1.0 1.0",
        "UNIT": "um",
        "VOXEL_SIZE": f"{x:g} {y:g} {z:g}",
    }


def write(path: Path, tree: Tree, *, header: dict[str, str] | None = None) -> None:
    """Write a tree in um: roots first, parents before children, ids 1..n, single spaces, no date, no blank line.

    header: words and their values, one comment line each (see `header`).
    """
    tree = sorted_tree(tree)
    lines = [f"# {word} {' '.join(str(value).split())}" for word, value in (header or {}).items()]
    lines.append("# id type x y z radius parent")
    parent = np.where(tree.parent < 0, -1, tree.parent + 1)
    # + 0.0 makes -0.0 a plain 0.
    numbers = np.round(np.column_stack([tree.xyz, tree.radius]), 4) + 0.0
    lines += [
        f"{index} {kind} {x:.4f} {y:.4f} {z:.4f} {radius:.4f} {above}"
        for index, kind, (x, y, z, radius), above in zip(
            range(1, len(tree) + 1), tree.type.tolist(), numbers.tolist(), parent.tolist(), strict=True
        )
    ]
    write_text(path, "\n".join(lines) + "\n")


def sorted_tree(tree: Tree) -> Tree:
    """The same forest, each tree depth first from its root, soma roots first; otherwise in row order."""
    return take(tree, depth_first(tree))


def depth_first(tree: Tree) -> np.ndarray:
    """(n,) int64: rows, each tree depth first from its root, soma roots first; otherwise in row order."""
    children: list[list[int]] = [[] for _ in range(len(tree))]
    for row, above in enumerate(tree.parent.tolist()):
        if above >= 0:
            children[above].append(row)
    roots = np.flatnonzero(tree.parent < 0)
    stack = roots[np.argsort(tree.type[roots] != SOMA, kind="stable")].tolist()[::-1]
    order = []
    while stack:
        row = stack.pop()
        order.append(row)
        stack.extend(reversed(children[row]))
    return np.array(order, np.int64)


def take(tree: Tree, rows: np.ndarray) -> Tree:
    """The given rows in the given order; a node whose parent is not among them becomes a root."""
    place = np.full(len(tree) + 1, -1, np.int64)  # the last entry serves parent -1
    place[rows] = np.arange(len(rows))
    return Tree(tree.xyz[rows], tree.radius[rows], place[tree.parent[rows]], tree.type[rows])


def joined(trees: list[Tree]) -> Tree:
    """Several trees as one forest, rows in their order."""
    before = np.cumsum([0, *map(len, trees)])[:-1]
    parent = [np.where(tree.parent < 0, -1, tree.parent + first) for tree, first in zip(trees, before)]
    fields = ([getattr(tree, name) for tree in trees] for name in ("xyz", "radius", "type"))
    xyz, radius, kind = (np.concatenate(parts) for parts in fields)
    return Tree(xyz, radius, np.concatenate(parent), kind)


def cable_length(tree: Tree) -> float:
    """Length of all edges, in um."""
    return float(edge_lengths(tree).sum())


def edge_lengths(tree: Tree) -> np.ndarray:
    """(n,) um: length of the edge from each node to its parent, 0 for a root."""
    below = tree.parent >= 0
    length = np.zeros(len(tree))
    length[below] = np.linalg.norm(tree.xyz[below] - tree.xyz[tree.parent[below]], axis=1)
    return length


def _to_um(path, xyz, radius, unit, voxel_size) -> tuple[np.ndarray, np.ndarray]:
    if unit not in UNITS:
        raise InputError(path, f"unit {unit!r}", " | ".join(UNITS))
    if unit == "voxel":
        return voxel_to_um(xyz[:, ::-1], voxel_size), radius * (voxel_size[1] + voxel_size[2]) / 2
    factor = 1e-3 if unit == "nm" else 1.0
    return xyz * factor, radius * factor


def _fast_rows(text: str) -> np.ndarray | None:
    """(n, 7) float64 of a file as most tools write it; None where it takes a closer look."""
    if "," in text:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy's remark on an empty file
        try:
            return np.loadtxt(io.StringIO(text), usecols=range(7), ndmin=2)
        except ValueError:
            return None


def _lenient_rows(path: Path, text: str) -> np.ndarray:
    rows = []
    for number, line in _data_lines(text):
        fields = re.split(r"[\s,]+", line)
        try:
            rows.append([float(field) for field in fields[:7]])
        except ValueError:
            raise InputError(
                f"{path} line {number}", f"{line!r}", "numbers: id type x y z radius parent"
            ) from None
        if len(rows[-1]) < 7:
            allowed = "seven: id type x y z radius parent"
            raise InputError(f"{path} line {number}", f"{len(fields)} fields, {line!r}", allowed)
    return np.array(rows).reshape(-1, 7)


def _data_lines(text: str) -> list[tuple[int, str]]:
    """(line number, content without comment) of the lines that hold a row."""
    lines = ((number, line.split("#")[0].strip(" \t\r,;")) for number, line in enumerate(text.split("\n"), 1))
    return [(number, line) for number, line in lines if line]


def _line(path: Path, text: str, row: int) -> str:
    return f"{path} line {_data_lines(text)[row][0]}"


def _parent_rows(path: Path, text: str, rows: np.ndarray) -> np.ndarray:
    """(n,) int64 row of each node's parent, -1 for roots; checks ids, parents and cycles."""
    ids, parents = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(again):
        row = order[again[0] + 1]
        raise InputError(_line(path, text, row), f"id {ids[row]} again", "each id once")
    place = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    known = ids[order][place] == parents
    if np.any(~known & (parents == 0)):
        warnings.warn(f"{path}: parent 0 where no node has id 0: taken as a root", stacklevel=3)
    dangling = np.flatnonzero(~known & (parents != 0) & (parents != -1))
    if len(dangling):
        row = dangling[0]
        raise InputError(
            _line(path, text, row), f"parent {parents[row]}", "the id of a row, or -1 for a root"
        )
    parent = np.where(known, order[place], -1)
    # Each round doubles the distance that a node looks up; who still sees a parent after log2(n) goes in circles.
    above = parent
    for _ in range(int(np.ceil(np.log2(len(parent) + 1))) + 1):
        above = np.where(above >= 0, above[above], -1)
    if np.any(above >= 0):
        row = np.flatnonzero(above >= 0)[0]
        raise InputError(
            _line(path, text, row), f"node {ids[row]} is its own ancestor", "a tree without a cycle"
        )
    return parent
