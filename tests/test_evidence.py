"""Does the image tell a branch that is there from one that is not?"""

import numpy as np
import pytest

from pipeline import rasterise
from pipeline.swc import Tree
from pipeline.tracing import evidence

VOXEL = (1.0, 0.4, 0.4)
SHAPE = (24, 80, 160)


@pytest.fixture
def fork() -> Tree:
    """A trunk along x (rows 0..60) that forks (at row 60) into an upper and a lower branch."""
    trunk = np.stack([np.linspace(5, 30, 61), np.full(61, 16.0), np.full(61, 12.0)], 1)
    arms = [
        np.stack([np.linspace(30.4, 55, 60), 16 + side * np.linspace(0.2, 9, 60), np.full(60, 12.0)], 1)
        for side in (-1, 1)
    ]
    xyz = np.concatenate([trunk, *arms])
    parent = np.concatenate([np.arange(-1, 60), [60], np.arange(61, 120), [60], np.arange(121, 180)])
    return Tree(xyz, np.full(181, 0.6), parent, np.zeros(181, np.int64))


def image(tree: Tree, *, signal: float, haze: float = 0.0, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    ramp = np.linspace(0, haze, SHAPE[2], dtype=np.float32)
    return noise + ramp + signal * rasterise.mask(tree, SHAPE, VOXEL)


def part(tree: Tree, rows: slice) -> Tree:
    """The first rows of a tree."""
    return Tree(tree.xyz[rows], tree.radius[rows], tree.parent[rows], tree.type[rows])


def test_every_branch_has_the_contrast_it_was_painted_with(fork):
    found = evidence.contrast(fork, image(fork, signal=6), VOXEL)
    assert found == pytest.approx(6, abs=0.8)


def test_a_branch_through_nothing_has_none_and_the_others_keep_theirs(fork):
    seen = image(part(fork, slice(0, 121)), signal=6)  # the lower arm is not there
    found = evidence.contrast(fork, seen, VOXEL)
    assert found[1:121] == pytest.approx(6, abs=0.8)
    assert np.abs(found[125:]).max() < 1.2
    assert evidence.dark_share(fork, seen, VOXEL, least=2) == pytest.approx(1 / 3, abs=0.05)


def test_haze_is_no_evidence(fork):
    found = evidence.contrast(fork, image(fork, signal=0, haze=40), VOXEL)
    assert np.abs(found).max() < 1.2


def test_trees_without_an_edge_have_no_contrast():
    nothing = Tree(np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    one = Tree(np.ones((1, 3)), np.ones(1), np.array([-1]), np.zeros(1, np.int64))
    for tree in (nothing, one):
        assert len(evidence.contrast(tree, np.zeros(SHAPE, np.float32), VOXEL)) == len(tree)
        assert evidence.dark_share(tree, np.zeros(SHAPE, np.float32), VOXEL, least=1) == 0
