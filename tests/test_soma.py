"""Somata in simulated images: found, of the right size, all arms from it, none where there is none."""

import numpy as np
import pytest

from pipeline import config, intensity, rasterise
from pipeline.intensity.points import Light
from pipeline.simulation.render import render
from pipeline.simulation.views import soma_view
from pipeline.swc import SOMA, Tree
from pipeline.tracing import graph, neuron, soma
from pipeline.tracing.field import Field, Soma


def field_of(image, voxel_size, probability=None) -> Field:
    blank = np.zeros(image.shape, np.uint8)
    return Field(
        blank if probability is None else probability, voxel_size, Light(image, intensity.measure(image))
    )


@pytest.mark.parametrize(("soma_um", "plane_um"), [(4, 0.3), (6, 0.8), (9, 0.4), (14, 0.5), (20, 0.8)])
def test_a_soma_is_found_within_a_tenth_of_its_radius(soma_um, plane_um):
    image, voxel_size, tree = soma_view(np.random.default_rng(5), soma_um=soma_um, plane_um=plane_um)
    (found,) = soma.find(field_of(image, voxel_size), soma_um=3.5)
    assert np.linalg.norm(np.subtract(found.xyz, tree.xyz[0])) < 0.1 * soma_um
    assert found.radius == pytest.approx(soma_um, rel=0.1)


def test_a_network_that_is_blank_within_a_soma_still_gives_all_its_arms():
    image, voxel_size, tree = soma_view(np.random.default_rng(3), soma_um=6, plane_um=0.4, reach_um=30)
    arms = Tree(tree.xyz, np.where(tree.type == SOMA, 0.1, tree.radius), tree.parent, tree.type)
    inside = rasterise.mask(tree, image.shape, voxel_size)
    ring = rasterise.tube_distance(part_of(tree), image.shape, voxel_size, reach_um=3.0)
    blank = ring < -1.0  # the network draws a ring of 1 um
    near = rasterise.mask(arms, image.shape, voxel_size, min_radius_um=1.2)
    probability = np.where((inside | near) & ~blank, 255, 0).astype(np.uint8)
    labels = (probability > 0).astype(np.uint32)
    (found,) = neuron.trace(labels, field_of(image, voxel_size, probability), config.Trace()).neurons
    made = found.tree
    assert made.type[0] == SOMA and (made.type[1:] != SOMA).all()
    assert np.linalg.norm(made.xyz[0] - tree.xyz[0]) < 0.6 and made.radius[0] == pytest.approx(6, rel=0.1)
    assert (np.linalg.norm(made.xyz[1:] - tree.xyz[0], axis=1) > 5).all()
    starts = [np.linalg.norm(made.xyz[made.parent == 0] - tree.xyz[row], axis=1).min() for row in stems(tree)]
    assert np.median(starts) < 1 and max(starts) < 6  # one of the five is seen from 5 um off the surface on


def part_of(tree: Tree) -> Tree:
    """The soma alone."""
    return Tree(tree.xyz[:1], tree.radius[:1], np.array([-1]), tree.type[:1])


def stems(tree: Tree) -> np.ndarray:
    return np.flatnonzero(tree.parent == 0)


def test_neurites_thick_tubes_and_noise_are_no_somata():
    rng = np.random.default_rng(0)
    tube = Tree(
        np.array([[-10.0, 20, 12], [70, 24, 14]]), np.full(2, 4.5), np.array([-1, 0]), np.zeros(2, int)
    )
    image = render(tube, shape_zyx=(30, 110, 150), voxel_size=(0.8, 0.4, 0.4), rng=rng)
    assert soma.find(field_of(image, (0.8, 0.4, 0.4)), soma_um=3.5) == []
    noise = rng.poisson(20, (20, 100, 100)).astype(np.uint8)
    assert soma.find(field_of(noise, (0.8, 0.4, 0.4)), soma_um=3.5) == []


def test_two_somata_that_touch_are_two():
    xyz = np.array([[15.0, 20, 12], [28, 20, 12]])
    both = Tree(xyz, np.array([7.0, 6.0]), np.array([-1, -1]), np.full(2, SOMA))
    image = render(both, shape_zyx=(60, 100, 110), voxel_size=(0.4, 0.4, 0.4), rng=np.random.default_rng(0))
    found = soma.find(field_of(image, (0.4, 0.4, 0.4)), soma_um=3.5)
    assert [round(one.radius) for one in found] == [7, 6]


def test_a_soma_whose_voxels_are_as_coarse_as_they_are_noisy_is_found():
    """Voxels of a quarter of the least radius are not averaged: single dark ones must not break the ball."""
    z, y, x = np.ogrid[:52, :70, :70]
    ball = np.sqrt((z - 21) ** 2 + (y - 27) ** 2 + (x - 38) ** 2) < 14.5
    rng = np.random.default_rng(0)
    image = np.rint(np.clip(rng.normal(np.where(ball, 62, 1), np.where(ball, 22, 1.9)), 0, 255)).astype(
        np.uint8
    )
    (found,) = soma.find(field_of(image, (0.77, 0.77, 0.77)), soma_um=3.5)
    assert found.radius == pytest.approx(14.5 * 0.77, rel=0.1)


def test_two_somata_side_by_side_with_arms_of_their_own_are_two_trees():
    somata = [Soma((30.0, 30.0, 12.0), 7.0, 50.0), Soma((44.0, 30.0, 12.0), 6.0, 50.0)]
    arms = [np.linspace((22, 30, 12), (5, 30, 12), 40), np.linspace((51, 30, 12), (70, 30, 12), 40)]
    parent = np.concatenate([np.arange(-1, 39), [-1], np.arange(40, 79)])
    forest = Tree(np.concatenate(arms), np.full(80, 0.6), parent, np.zeros(80, np.int64))
    made = soma.joined(forest, somata)
    assert len(made) == 82 and graph.degree(made)[80:].tolist() == [1, 1]
    assert graph.pieces(made).max() == 1


def test_a_way_from_the_root_that_passes_a_soma_twice_stays_one_tree():
    # Along x through the soma's edge, out, back in by its middle, and out again.
    way = [(x, 3.5, 0) for x in range(-12, 13)] + [(12, 2, 0)] + [(x, 0, 0) for x in range(12, -13, -1)]
    xyz = np.array(way, float) + 20
    line = Tree(xyz, np.ones(len(xyz)), np.arange(-1, len(xyz) - 1), np.zeros(len(xyz), int))
    made, rows = soma.restored(line, [Soma((20.0, 20.0, 20.0), 5.0, 50.0)])
    assert (made.parent < 0).sum() == 1 and graph.pieces(made).max() == 0
    np.testing.assert_allclose(made.xyz[made.parent < 0], line.xyz[:1])
    np.testing.assert_allclose(made.xyz[made.type == SOMA], [[20, 20, 20]])
    outside = np.linalg.norm(line.xyz - 20, axis=1) >= 0.95 * 5
    assert outside.sum() == len(made) - 1 == len(rows) - 1


def test_an_arm_that_bends_along_its_soma_as_soon_as_it_has_left_is_joined():
    one = Soma((30.0, 30.0, 12.0), 7.3, 50.0)
    angle = np.radians(np.linspace(120, 90, 12))
    bent = np.array([30, 30, 12]) + 8.5 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    # Out at 0 degrees, a long way round, and back to the soma along its rim: two arms that touch far away.
    corners = np.array([(38.5, 30, 12), (52, 30, 12), (52, 55, 12), (14, 48, 12), bent[0]])
    way = np.concatenate([np.linspace(*pair, 30, endpoint=False) for pair in zip(corners, corners[1:])])
    xyz = np.concatenate([way, bent])
    arms = Tree(xyz, np.full(len(xyz), 0.6), np.arange(-1, len(xyz) - 1), np.zeros(len(xyz), np.int64))
    made = soma.joined(arms, [one])
    assert graph.degree(made)[-1] == 2
    # With another such end beside it, it is a neurite that passes and was cut by the rim.
    ends = np.array([(30, 38.5, 12), (33, 38.2, 12), (30, 21.5, 12)], float)
    alone = soma._alone(ends, np.array([0.1, 0.1, 0.1]), np.ones(3, bool), reach_um=7.3)
    assert alone.tolist() == [False, False, True]
