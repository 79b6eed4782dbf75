"""DIADEM score: is each branch point and tip of the gold standard there, and joined to its ancestors as it should be?

Gillette, Brown, Ascoli 2011, Neuroinformatics 9:233, as their program computes it. Both trees become rooted binary
trees of branch points and tips (here: nodes). The roots count as matched.

Two rules stand in no paper; they were found by running the program:

* The direction of a way down from an ancestor (`heading_down`) is that of the first node below that asks whether its
  ancestor is there; it stands for all nodes on that side of the ancestor.
* A branch point in excess weighs the tips in excess that are reached from it through branch points in excess
  (`excess`). What it weighs beside a tip in excess, where its other child weighs nothing, is fitted to a single unit
  of weight of one real pair: no other case at hand tells it from its alternatives.

See docs/metrics.md for what other ports do differently.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.metrics.diadem.binary_tree import ROOT, Nodes
from pipeline.metrics.scores import Scores, undefined
from pipeline.swc import Tree

# Continuations may visit all descendants of each missed node.
MOST_NODES = 10_000


@dataclass(frozen=True)
class Limits:
    """What counts as the same. The defaults are ours; the program's depend on its data set.

    xy, z: how far apart (units of the trees) matching nodes may be in the plane and along z. xy_path, z_path:
    by which share of the gold path the lengths may differ; local_path: the same for paths shorter than xy or z.
    spur: tips on a branch shorter than this are neither missed nor in excess. use_z_path: whether z counts in
    the length of a path.
    """

    xy: float = 3.0
    z: float = 3.0
    xy_path: float = 0.08
    z_path: float = 0.2
    local_path: float = 0.4
    spur: float = 0.0
    use_z_path: bool = True


class Match:
    """Which nodes of a tree (`own`) and of another belong together. Swapped, the same pairs the other way round."""

    def __init__(self, own: Nodes, other: Nodes, limits: Limits) -> None:
        self.own, self.other, self.limits = own, other, limits
        self._reach = limits.xy, limits.z
        self.to_other: dict[int, int] = {ROOT: ROOT}
        self.to_own: dict[int, int] = {ROOT: ROOT}
        self._near: dict[int, list[int]] = {}
        self._down: dict[tuple[int, int], np.ndarray] = {}

    def swapped(self) -> "Match":
        """Roles exchanged; the pairs are shared."""
        swapped = Match(self.other, self.own, self.limits)
        swapped.to_other, swapped.to_own = self.to_own, self.to_other
        return swapped

    def pair(self, node: int, other: int) -> None:
        self.to_other[node], self.to_own[other] = other, node

    def near(self, node: int) -> list[int]:
        """Nodes of the other tree, its root left out, in the cylinder around a node."""
        if node not in self._near:
            step = self.other.xyz - self.own.xyz[node]
            inside = (np.hypot(step[:, 0], step[:, 1]) <= self.limits.xy) & (
                np.abs(step[:, 2]) <= self.limits.z
            )
            inside[ROOT] = False
            self._near[node] = np.flatnonzero(inside).tolist()
        return self._near[node]

    def free(self, node: int) -> list[int]:
        """Those of the near nodes that belong to none yet."""
        return [one for one in self.near(node) if one not in self.to_own]

    def is_near(self, node: int, other: int, *, times: float = 1.0) -> bool:
        step = self.other.xyz[other] - self.own.xyz[node]
        return bool(
            np.hypot(step[0], step[1]) <= times * self.limits.xy and abs(step[2]) <= times * self.limits.z
        )

    def heading_down(self, ancestor: int, node: int, *, keep: bool) -> np.ndarray:
        """(3,) where our way down from an ancestor leaves its surroundings.

        As in the program, the way of the first node that asks with `keep` stands for all on its side of the ancestor.
        """
        side = ancestor, self.own.side(ancestor, node)
        if side in self._down:
            return self._down[side]
        point = self.own.heading_down(ancestor, node, reach=self._reach)
        if keep:
            self._down[side] = point
        return point

    def same_path(
        self, ancestor: int, node: int, other_ancestor: int, other: int, *, keep: bool = False
    ) -> bool:
        """Whether the paths from node to ancestor in both trees are of one length.

        The other path is made longer where an end of it lies before the end of ours along our way, shorter
        where it lies behind. keep: see heading_down.
        """
        wanted = self.own.depth[node] - self.own.depth[ancestor]
        found = self.other.depth[other] - self.other.depth[other_ancestor]
        ends = (
            (node, other, self.own.heading_up(node, reach=self._reach)),
            (ancestor, other_ancestor, self.heading_down(ancestor, node, keep=keep)),
        )
        xy, z = found[1], found[2]
        for mine, theirs, heading in ends:
            own, far = self.own.xyz[mine] - heading, self.other.xyz[theirs] - heading
            xy += np.hypot(own[0], own[1]) - np.hypot(far[0], far[1])
            z += abs(own[2]) - abs(far[2])
        return self._agree(wanted, xy, z)

    def _agree(self, wanted: np.ndarray, xy: float, z: float) -> bool:
        # wanted: length of the whole path, in the plane, along z
        if not wanted[0]:
            return True
        limits = self.limits
        for length, found, radius, share in (
            (wanted[1], xy, limits.xy, limits.xy_path),
            (wanted[2], z, limits.z, limits.z_path),
        ):
            if length < radius:
                if found < radius:
                    continue
                share = limits.local_path
            if abs(length - found) / wanted[0] >= share:
                return False
        return True

    def has_ancestor(self, node: int, other: int) -> bool:
        """Whether the first pair of ancestors that are near each other is joined to both by paths of one length."""
        up, other_up = self.own.parent[node], self.other.parent[other]
        while not self.is_near(up, other_up):
            # The shorter of the two paths goes on.
            length = self.own.depth[node][0] - self.own.depth[up][0]
            other_length = self.other.depth[other][0] - self.other.depth[other_up][0]
            if length < other_length:
                up = self.own.parent[up]
            else:
                other_up = self.other.parent[other_up]
            if up < 0 or other_up < 0:
                return False
        return self.same_path(up, node, other_up, other, keep=True)

    def find(self, node: int) -> int | None:
        """The match of a node: of several candidates one that a descendant confirms, then the nearest."""
        candidates = [one for one in self.free(node) if self.has_ancestor(node, one)]
        if len(candidates) > 1:
            candidates = self._confirmed(node, candidates) or candidates
        step = self.other.xyz[candidates] - self.own.xyz[node]
        return candidates[int(np.linalg.norm(step, axis=1).argmin())] if candidates else None

    def _confirmed(self, node: int, candidates: list[int]) -> list[int]:
        level = self.own.children[node]
        while level:
            confirmed = {
                up
                for below in level
                for one in self.free(below)
                for up in self.other.above(one)
                if up in candidates and self.same_path(node, below, up, one)
            }
            if confirmed:
                return sorted(confirmed)
            level = [child for below in level for child in self.own.children[below]]
        return []

    def continues(self, node: int, *, pair: bool = True) -> bool:
        """Whether the other tree runs through a branch point that it does not have.

        A matched ancestor, and a descendant that is matched or has a node near it, are joined in the other tree
        by a path of the right length. Where that holds on both sides and the two paths part not far away, the
        parting is the match.
        """
        for up in self.own.above(node):
            starts = [self.to_other[up]] if up in self.to_other else self.free(up)
            for start in starts:
                ends = [self._end(up, child, start) for child in self.own.children[node]]
                found = [end for end in ends if end is not None]
                if not found:
                    continue
                if pair and len(found) == 2:
                    self._pair_parting(node, start, found)
                return True
            if up in self.to_other:
                return False
        return False

    def _end(self, ancestor: int, first: int, start: int) -> int | None:
        stack = [first]
        while stack:
            node = stack.pop()
            matched = node in self.to_other
            for one in [self.to_other[node]] if matched else self.near(node):
                if start in self.other.above(one) and self.same_path(ancestor, node, start, one):
                    return one
            if not matched:
                stack.extend(self.own.children[node])
        return None

    def _pair_parting(self, node: int, start: int, ends: list[int]) -> None:
        first = [ends[0], *self.other.above(ends[0])]
        parting = next(one for one in [ends[1], *self.other.above(ends[1])] if one in first)
        if (
            parting not in (start, *ends)
            and parting not in self.to_own
            and self.is_near(node, parting, times=3)
        ):
            self.pair(node, parting)


def score(
    prediction: Tree,
    reference: Tree,
    *,
    limits: Limits = Limits(),
    weight_by_tips: bool = True,
    count_excess: bool = True,
) -> Scores:
    """diadem: weight of the gold nodes that are matched or continued / (weight of all of them + excess weight).

    The first tree of each is scored, rooted as it is. A node weighs the number of tips below it (a tip: 1), or 1.
    diadem_missed: gold nodes neither matched nor continued. diadem_excess: weight of nodes too many.
    Undefined for a gold standard without a branch point, and above 10,000 nodes.
    """
    names = ("diadem", "diadem_missed", "diadem_excess")
    if not len(reference) or not len(prediction):
        return undefined(f"the {'prediction' if len(reference) else 'reference'} has no node", *names)
    gold, test = (Nodes(tree, use_z_path=limits.use_z_path) for tree in (reference, prediction))
    if why := why_no_score(gold, test):
        return undefined(why, *names)

    match = Match(gold, test, limits)
    spurs = find_spurs(gold, limits.spur, matched=set())
    weight = weights(gold, spurs) if weight_by_tips else [1] * len(gold)
    scored = [node for node in gold.preorder() if node not in spurs]
    for node in scored:
        if (found := match.find(node)) is not None:
            match.pair(node, found)
    missed = [
        node
        for node in scored
        if node not in match.to_other and not (gold.children[node] and match.continues(node))
    ]
    right = sum(weight[node] for node in scored) - sum(weight[node] for node in missed)
    extra = excess(match) if count_excess else 0
    total = sum(weight[node] for node in scored) + extra
    return {"diadem": right / total, "diadem_missed": len(missed), "diadem_excess": extra}


def why_no_score(gold: Nodes, *others: Nodes) -> str:
    """Why trees have no score against a reference, "" where they have one."""
    if not any(gold.children[node] for node in range(1, len(gold))):
        return "the reference has no branch point besides its root"
    most = max(map(len, (gold, *others)))
    return f"more than {MOST_NODES} branch points and tips" if most > MOST_NODES else ""


def find_spurs(nodes: Nodes, shortest: float, *, matched: set[int]) -> set[int]:
    """Unmatched tips on a branch shorter than `shortest`, and the branch points that are there for one alone."""
    spurs = {
        node
        for node in range(1, len(nodes))
        if not nodes.children[node] and nodes.length[node][0] < shortest and node not in matched
    }
    # Of tips alone: a branch point that is there for a spur makes no spur of the one above it, in whatever order.
    return spurs | {
        node for node in range(1, len(nodes)) if sum(child in spurs for child in nodes.children[node]) == 1
    }


def weights(nodes: Nodes, spurs: set[int]) -> list[int]:
    """Tips below each node, a tip itself 1; spurs do not count, two on one branch point are its tip."""
    weight = [1] * len(nodes)
    for node in reversed(nodes.preorder()):
        children = nodes.children[node]
        if children:
            real = [child for child in children if nodes.children[child] or child not in spurs]
            weight[node] = max(1, sum(weight[child] for child in real))
    return weight


def excess(match: Match) -> int:
    """Weight of the nodes of the test tree that the gold tree has not.

    A tip is in excess when it is unmatched, its parent too, and no unmatched gold node lies near it; a gold node
    excuses one tip. It weighs 1. A branch point is in excess when it is unmatched, no such gold node lies near it, it
    is no continuation and a child of it is in excess. It weighs the tips in excess that are reached from it through
    branch points in excess. One that has a tip in excess and a branch point for children is there for that tip: it
    weighs nothing where the other child weighs something, else the tips in excess below the other child.
    """
    test = match.other
    swapped = match.swapped()
    spurs = find_spurs(test, match.limits.spur, matched=set(match.to_own))
    excused: set[int] = set()
    tips, weight = [0] * len(test), [0] * len(test)  # tips: in excess, reached from the node
    for node in reversed(test.preorder()):
        children = test.children[node]
        if node in match.to_own or (not children and (node in spurs or test.parent[node] in match.to_own)):
            continue
        below = sum(tips[child] for child in children)
        if children and not below:
            continue
        near = [one for one in swapped.free(node) if one not in excused]
        if not children and near:
            step = match.own.xyz[near] - test.xyz[node]
            excused.add(near[int(np.linalg.norm(step, axis=1).argmin())])
        elif not children:
            tips[node] = weight[node] = 1
        elif not near and not swapped.continues(node, pair=False):
            tips[node] = below
            weight[node] = 0 if node in spurs else _weight_in_excess(test, node, tips, weight)
    return sum(weight)


def _weight_in_excess(test: Nodes, node: int, tips: list[int], weight: list[int]) -> int:
    """What a branch point in excess weighs; tips, weight: of all nodes, those below it done."""
    first, second = sorted(test.children[node], key=lambda child: bool(test.children[child]))
    if tips[first] and not test.children[first] and test.children[second]:
        return 0 if weight[second] else tips[second]
    return tips[first] + tips[second]
