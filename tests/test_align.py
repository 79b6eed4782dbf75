import numpy as np
from numpy.testing import assert_allclose

from pipeline import swc
from pipeline.swc import Tree, um_to_voxel
from pipeline.training import align

VOXEL_SIZE = (1.0, 0.5, 0.5)


def neurite(z=6, y=30):
    image = np.zeros((12, 64, 64), np.float32)
    image[z, y - 1 : y + 2] = 100
    return image


def line(z, y):
    xyz = np.array([[2, y, z], [10, y, z], [30, y, z]], float) * [1, VOXEL_SIZE[1], VOXEL_SIZE[0]]
    return Tree(xyz, np.ones(3), np.array([-1, 0, 1]), np.zeros(3, int))


def test_a_line_beside_its_neurite_is_moved_onto_it():
    moved = align.to_ridge(line(8, 31), neurite(6, 30), VOXEL_SIZE)
    z, y, _ = um_to_voxel(moved.xyz, VOXEL_SIZE).T
    assert_allclose(z, 6, atol=0.1)
    assert_allclose(y, 30, atol=0.6)
    assert_allclose(moved.xyz[[0, -1], 0], [2, 30], atol=1.1)


def test_where_the_image_is_dark_the_line_stays():
    moved = align.to_ridge(line(6, 30), np.zeros((12, 64, 64), np.float32), VOXEL_SIZE)
    assert_allclose(
        um_to_voxel(moved.xyz, VOXEL_SIZE)[:, :2], np.tile([6.0, 30.0], (len(moved), 1)), atol=1e-6
    )


def test_a_neurite_out_of_reach_is_another():
    moved = align.to_ridge(line(1, 10), neurite(8, 50), VOXEL_SIZE)
    assert_allclose(
        um_to_voxel(moved.xyz, VOXEL_SIZE)[:, :2], np.tile([1.0, 10.0], (len(moved), 1)), atol=1e-6
    )


def test_a_tree_keeps_its_cable_and_its_branch_points():
    xyz = np.array([[2, 8, 4], [14, 8, 4], [26, 14, 4], [26, 2, 4]], float)
    tree = Tree(xyz, np.ones(4), np.array([-1, 0, 1, 1]), np.zeros(4, int))
    same = align.to_ridge(tree, np.zeros((9, 64, 64), np.float32), VOXEL_SIZE)
    assert_allclose(swc.cable_length(same), swc.cable_length(tree))
    assert (np.bincount(same.parent[same.parent >= 0], minlength=len(same)) == 2).sum() == 1
    assert swc.edge_lengths(same).max() <= 0.5 + 1e-9


def test_the_cheapest_moves_are_those_of_an_exhaustive_search():
    rng = np.random.default_rng(0)
    parent = np.array([-1, 0, 1, 1, 3])
    price, between = rng.random((5, 3)), rng.random((3, 3))
    between = between + between.T
    every = np.stack(np.meshgrid(*[range(3)] * 5, indexing="ij"), -1).reshape(-1, 5)
    cost = price[np.arange(5), every].sum(1) + sum(
        between[every[:, parent[n]], every[:, n]] for n in range(1, 5)
    )
    assert np.array_equal(align._cheapest(parent, price, between), every[cost.argmin()])
