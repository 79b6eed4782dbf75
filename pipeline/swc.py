"""Trees and the SWC format: the one place where voxel indices (z,y,x) and um (x,y,z) meet."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import __version__, swc_text
from pipeline.dataset import is_tree
from pipeline.errors import FileWarning, InputError
from pipeline.files import write_text
from pipeline.swc_text import LineError

UNITS = ("voxel", "um", "nm")
# Words of a header for them.
_UNIT_WORDS = {
    word: unit
    for unit, words in (
        ("um", ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers")),
        ("nm", ("nm", "nanometer", "nanometers")),
        ("voxel", ("voxel", "voxels", "pixel", "pixels")),
    )
    for word in words
}
SOMA = 1
MANY = 1000  # so many rows without an edge are no tree, whatever else they are
LARGEST = 1e12  # beyond it nothing is a place, and ids lose their last digits as floating-point numbers


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
    """Read an SWC or ESWC file whose coordinates are in `unit` (voxel, um, nm); the tree is in um, rows in file order.

    voxel: x, y, z are multiplied by voxel_size (z,y,x um), radii by the mean of its two in-plane edges. Any
    white space, commas or semicolons between fields, comments anywhere, BOM, any line ends, columns beyond seven and
    rows in any order are accepted. Mended, each with a FileWarning: parent 0 where no node has id 0 is a root (some
    tools write that); decimal commas; `# OFFSET x y z` of the header is added; a radius that is no number is that
    of the node's neighbours. Told: `# SCALE` other than 1 (programs disagree on what it means: it is not applied),
    `# UNIT` other than `unit`, rows without an edge.
    empty: a file without rows is an empty tree.
    Raises InputError, naming file and line, for no rows, a field that is no number, a coordinate of NaN or infinity, a
    duplicate id, a parent that does not exist, a cycle; and for MANY rows without an edge.
    """
    path = Path(path)
    if unit not in UNITS:
        raise InputError(path, f"unit {unit!r}", " | ".join(UNITS))
    try:
        text = swc_text.decode(path.read_bytes())
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "an SWC file") from error
    try:
        found = swc_text.parse(text)
    except LineError as error:
        raise InputError(f"{path} line {error.number}", error.found, error.allowed) from None
    rows = found.values
    if not len(rows):
        if empty:
            return EMPTY
        raise InputError(path, "no rows", "at least one node (id type x y z radius parent)")
    _check_numbers(path, text, rows)
    remarks = header_remarks(found.header, unit=unit)
    if found.comma:
        remarks.append("decimal commas, read as points")
    parent, taken = _parent_rows(path, text, rows)
    if len(parent) >= MANY and (parent < 0).all():
        found_rows, allowed = f"{len(parent)} rows and no edge: each is a root", "the id of a row as parent"
        raise InputError(path, found_rows, allowed)
    if taken:
        remarks.append("parent 0 where no node has id 0: taken as a root")
    if 1 < len(parent) < MANY and (parent < 0).all():
        remarks.append(f"{len(parent)} rows and no edge: each is a root")
    xyz = rows[:, 2:5] + found.header.get("OFFSET", 0.0)
    xyz, radius = _to_um(xyz, rows[:, 5], unit, voxel_size)
    if missing := int((~np.isfinite(radius)).sum()):
        radius = fill_radii(radius, parent, xyz)
        remarks.append(f"{missing} of {len(radius)} radii are no number: those of their neighbours taken")
    for remark in remarks:
        warnings.warn(FileWarning(f"{path}: {remark}"), stacklevel=2)
    return Tree(xyz, radius, parent, rows[:, 1].astype(np.int64))


def header_remarks(header: dict[str, Any], *, unit: str) -> list[str]:
    """What a file's header (swc_text.read_header) says that `unit` does not, and what was made of it."""
    remarks = []
    if any(header.get("OFFSET", ())):
        remarks.append(f"OFFSET {_numbers(header['OFFSET'])} of its header was added to every node")
    if any(value != 1 for value in header.get("SCALE", ())):
        remarks.append(
            f"SCALE {_numbers(header['SCALE'])} of its header was not applied: the rows are taken as they are"
        )
    said = _UNIT_WORDS.get(header.get("UNIT", ""), unit)
    if said != unit:
        remarks.append(f"its header says UNIT {header['UNIT']}, it was read as {unit}")
    return remarks


def circular(parent: np.ndarray) -> np.ndarray:
    """bool (n,): nodes that no root is above of. parent: (n,) rows, -1 for roots."""
    # Each round doubles the distance that a node looks up; who still sees a parent after log2(n) goes in circles.
    above = parent
    for _ in range(int(np.ceil(np.log2(len(parent) + 1))) + 1):
        above = np.where(above >= 0, above[above], -1)
    return above >= 0


def fill_radii(radius: np.ndarray, parent: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """Radii (n,), those that are not finite filled: the mean of the neighbours', else that of the nearest in the tree.

    A tree without any takes the median of the file's, a file without any 0.
    """
    known = np.isfinite(radius)
    if not known.any():
        return np.zeros(len(radius))
    child = np.flatnonzero(parent >= 0)
    ends = np.concatenate([child, parent[child]]), np.concatenate([parent[child], child])
    useful = known[ends[1]]
    count = np.bincount(ends[0][useful], minlength=len(radius))
    total = np.bincount(ends[0][useful], radius[ends[1][useful]], minlength=len(radius))
    filled = np.where(known, radius, total / np.maximum(count, 1))
    left = ~known & (count == 0)
    if left.any():
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import dijkstra

        # An edge of no length would be none for scipy.
        length = np.maximum(np.linalg.norm(xyz[child] - xyz[parent[child]], axis=1), 1e-9)
        graph = coo_array((length, (child, parent[child])), shape=(len(radius),) * 2).tocsr()
        source = np.flatnonzero(known)
        distance, _, nearest = dijkstra(
            graph, directed=False, indices=source, min_only=True, return_predecessors=True
        )
        reached = left & np.isfinite(distance)
        filled[reached] = radius[nearest[reached]]
        filled[left & ~reached] = np.median(radius[known])
    return filled


def below(folder: Path, *, deep: bool = True) -> list[Path]:
    """The tree files of a folder, or all below it, sorted."""
    return sorted(path for path in (folder.rglob("*") if deep else folder.glob("*")) if is_tree(path))


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


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _check_numbers(path: Path, text: str, rows: np.ndarray) -> None:
    """A radius may be no number (see fill_radii), nothing else."""
    whole = rows[:, [0, 1, 6]]
    radius = np.where(np.isfinite(rows[:, 5]), rows[:, 5], 0)
    with np.errstate(invalid="ignore"):
        small = (np.abs(np.column_stack([rows[:, :5], rows[:, 6], radius])) < LARGEST).all(1)
        bad = np.flatnonzero(~small | (np.mod(whole, 1) != 0).any(1))
    if len(bad):
        found = " ".join(f"{value:g}" for value in rows[bad[0]])
        raise InputError(
            _line(path, text, bad[0]), found, "finite numbers; whole ones for id, type and parent"
        )


def _to_um(xyz, radius, unit, voxel_size) -> tuple[np.ndarray, np.ndarray]:
    if unit == "voxel":
        return voxel_to_um(xyz[:, ::-1], voxel_size), radius * (voxel_size[1] + voxel_size[2]) / 2
    factor = 1e-3 if unit == "nm" else 1.0
    return xyz * factor, radius * factor


def _line(path: Path, text: str, row: int) -> str:
    return f"{path} line {swc_text.data_lines(text)[row][0]}"


def _parent_rows(path: Path, text: str, rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """(n,) int64 row of each node's parent, -1 for roots, and whether a 0 was taken for one.

    Checks ids, parents and cycles.
    """
    ids, parents = rows[:, 0].astype(np.int64), rows[:, 6].astype(np.int64)
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(again):
        row = order[again[0] + 1]
        raise InputError(_line(path, text, row), f"id {ids[row]} again", "each id once")
    place = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    known = ids[order][place] == parents
    dangling = np.flatnonzero(~known & (parents != 0) & (parents != -1))
    if len(dangling):
        row = dangling[0]
        raise InputError(
            _line(path, text, row), f"parent {parents[row]}", "the id of a row, or -1 for a root"
        )
    parent = np.where(known, order[place], -1)
    circle = circular(parent)
    if circle.any():
        row = np.flatnonzero(circle)[0]
        raise InputError(
            _line(path, text, row), f"node {ids[row]} is its own ancestor", "a tree without a cycle"
        )
    return parent, bool(np.any(~known & (parents == 0)))
