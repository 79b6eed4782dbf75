"""A tree as the DIADEM score sees it: rooted, binary, of branch points and tips alone."""

from collections.abc import Iterator

import numpy as np

from pipeline.metrics.paths.rooted import next_above, root_of, sums_to_root
from pipeline.swc import Tree

ROOT = 0


class Nodes:
    """The branch points and tips of the first tree of a forest; number 0 is its root.

    A place with k > 2 children is k - 1 nodes, the nearest two children joined first. xyz: (n, 3). parent: number,
    -1 for the root. children: numbers, none or two (the root: any). length: (n, 3) of the path to the parent: all of
    it, in the plane, along z. depth: (n, 3) the same to the root.
    """

    def __init__(self, tree: Tree, *, use_z_path: bool = True) -> None:
        rows = np.flatnonzero(root_of(tree.parent) == np.flatnonzero(tree.parent < 0)[0])
        place = np.full(len(tree) + 1, -1)
        place[rows] = np.arange(len(rows))
        self.path_xyz, self.path_parent = tree.xyz[rows], place[tree.parent[rows]]
        up = np.maximum(self.path_parent, 0)
        step = np.where(self.path_parent[:, None] < 0, 0, self.path_xyz - self.path_xyz[up])
        xy, z = np.hypot(step[:, 0], step[:, 1]), np.abs(step[:, 2])
        whole = np.hypot(xy, z) if use_z_path else xy
        self._depth = np.stack([sums_to_root(self.path_parent, one) for one in (whole, xy, z)], axis=1)
        self._headings_up: dict[tuple[int, tuple[float, float]], np.ndarray] = {}
        self._collect()

    def _collect(self) -> None:
        count = np.bincount(self.path_parent[self.path_parent >= 0], minlength=len(self.path_parent))
        kept = (count != 1) | (self.path_parent < 0)
        above = next_above(self.path_parent, kept)
        rows = np.flatnonzero(kept)
        rows = np.concatenate([rows[self.path_parent[rows] < 0], rows[self.path_parent[rows] >= 0]])
        number = np.full(len(kept), -1)
        number[rows] = np.arange(len(rows))
        self.row: list[int] = rows.tolist()
        self.parent: list[int] = [-1, *number[above[rows[1:]]].tolist()]
        self.children: list[list[int]] = [[] for _ in rows]
        for child, parent in enumerate(self.parent):
            if parent >= 0:
                self.children[parent].append(child)
        for node in range(1, len(rows)):
            if len(self.children[node]) > 2:
                self._make_binary(node)
        self.xyz = self.path_xyz[self.row]
        self.depth = self._depth[self.row]
        self.length = self.depth - np.where(
            np.array(self.parent)[:, None] < 0, self.depth, self.depth[self.parent]
        )

    def _make_binary(self, node: int) -> None:
        group = self.children[node]
        while len(group) > 2:
            ends = self.path_xyz[[self.row[child] for child in group]]
            apart = np.linalg.norm(ends[:, None] - ends, axis=2)
            apart[np.tril_indices(len(group))] = np.inf
            first, second = np.unravel_index(apart.argmin(), apart.shape)
            joined = len(self.row)
            self.row.append(self.row[node])
            self.parent.append(node)
            self.children.append([group[first], group[second]])
            for child in self.children[joined]:
                self.parent[child] = joined
            group = [child for child in group if child not in self.children[joined]] + [joined]
        self.children[node] = group

    def __len__(self) -> int:
        return len(self.row)

    def above(self, node: int) -> Iterator[int]:
        """The ancestors of a node, nearest first."""
        while (node := self.parent[node]) >= 0:
            yield node

    def preorder(self) -> list[int]:
        """All nodes but the root, parents before children."""
        order, stack = [], list(self.children[ROOT])
        while stack:
            order.append(node := stack.pop())
            stack.extend(self.children[node])
        return order

    def heading_up(self, node: int, *, reach: tuple[float, float]) -> np.ndarray:
        """(3,) the point where the way from a node to the root leaves the node's surroundings, else the root.

        reach: how far these go in the plane and along z.
        """
        if (node, reach) not in self._headings_up:  # asked for with every candidate
            self._headings_up[node, reach] = self._leaving(node, self._way_up(self.row[node]), reach)
        return self._headings_up[node, reach]

    def heading_down(self, node: int, descendant: int, *, reach: tuple[float, float]) -> np.ndarray:
        """(3,) the point where the way from a node to a descendant leaves the node's surroundings, else its end."""
        way, row = [], self.row[descendant]
        while row != self.row[node]:
            way.append(row)
            row = int(self.path_parent[row])
        return self._leaving(node, reversed(way), reach)

    def side(self, node: int, descendant: int) -> int:
        """The child of a node that a descendant is or lies below."""
        while self.parent[descendant] != node:
            descendant = self.parent[descendant]
        return descendant

    def _way_up(self, row: int) -> Iterator[int]:
        while (row := int(self.path_parent[row])) >= 0:
            yield row

    def _leaving(self, node: int, way: Iterator[int], reach: tuple[float, float]) -> np.ndarray:
        # In the plane and along z each for itself, as lengths are compared.
        origin = before = self.xyz[node]
        point, done_xy, done_z = origin.copy(), False, False
        for row in way:
            here = self.path_xyz[row]
            if not done_xy:
                point[:2], done_xy = _crossing(origin[:2], before[:2], here[:2], reach[0])
            if not done_z:
                point[2:], done_z = _crossing(origin[2:], before[2:], here[2:], reach[1])
            if done_xy and done_z:
                break
            before = here
        return point


def _crossing(
    origin: np.ndarray, first: np.ndarray, last: np.ndarray, radius: float
) -> tuple[np.ndarray, bool]:
    """The point between first and last where the distance to the origin passes the radius; else last."""
    near, far = np.linalg.norm(first - origin), np.linalg.norm(last - origin)
    if far <= radius:
        return last, False
    # In proportion, as the program does it.
    return first + (radius - near) / (far - near) * (last - first), True
