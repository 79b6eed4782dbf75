"""Two lines side by side in the stem of a soma are one neurite that branches."""

import numpy as np
import pytest

from pipeline import swc
from pipeline.swc import SOMA, Tree
from pipeline.tracing import stem


def arms(*lines, radius=1.5) -> Tree:
    """A soma of 5 um at the origin and arms that begin at it."""
    xyz, parent = [[0.0, 0, 0]], [-1]
    for line in lines:
        for number, place in enumerate(line):
            parent.append(0 if number == 0 else len(xyz) - 1)
            xyz.append(list(place))
    kind = np.zeros(len(xyz), np.int64)
    kind[0] = SOMA
    radii = np.full(len(xyz), radius)
    radii[0] = 5.0
    return Tree(np.array(xyz, float), radii, np.array(parent), kind)


def straight(y, first=5.0, last=30.0, bend=0.0):
    x = np.arange(first, last)
    return np.stack([x, y + bend * np.maximum(x - 12, 0), 0 * x], 1)


def test_two_lines_in_one_stem_become_one_arm_that_branches():
    tree = arms(straight(0.0, last=40), straight(1.0, bend=0.5))
    made, rows = stem.shared(tree)
    assert np.count_nonzero(made.parent == 0) == 1
    ends = np.setdiff1d(np.arange(len(made)), made.parent)
    assert len(ends) == 2
    # It comes out of the stem where it is farther from its line than the stem is thick.
    fork = np.flatnonzero(np.bincount(made.parent[made.parent > 0], minlength=len(made)) > 1)
    assert made.xyz[fork, 0] == pytest.approx([12.5], abs=1.5)
    np.testing.assert_array_equal(made.xyz, tree.xyz[rows])
    assert (made.parent < np.arange(len(made))).all()


def test_an_arm_that_never_leaves_the_stem_of_another_is_gone():
    made, _ = stem.shared(arms(straight(0.0), straight(0.7, last=12)))
    assert np.count_nonzero(made.parent == 0) == 1
    assert len(np.setdiff1d(np.arange(len(made)), made.parent)) == 1


def test_a_soma_in_the_stem_of_another_arm_stays():
    tree = arms(straight(0.0, last=60), straight(1.0, last=20))
    kind = tree.type.copy()
    kind[59] = SOMA  # the fourth node of the second arm
    made, _ = stem.shared(Tree(tree.xyz, tree.radius, tree.parent, kind))
    assert np.count_nonzero(made.type == SOMA) == 2


def test_arms_apart_and_trees_without_a_soma_stay_as_they_are():
    apart = arms(straight(0.0), -straight(0.0), straight(4.0))
    made, _ = stem.shared(apart)
    assert len(made) == len(apart)
    assert swc.cable_length(made) == pytest.approx(swc.cable_length(apart))
    plain = Tree(apart.xyz, apart.radius, apart.parent, np.zeros(len(apart), np.int64))
    assert len(stem.shared(plain)[0]) == len(plain)
