"""The tracer on neurites whose answer is known in closed form."""

import numpy as np
import pytest

from pipeline import config, rasterise
from pipeline.neurons import NOTHING
from pipeline.swc import Tree, cable_length, um_to_voxel
from pipeline.tracing import graph, neuron
from pipeline.tracing.field import Field
from pipeline.tracing.segment import components

VOXEL = (1.0, 0.4, 0.4)
SHAPE = (30, 150, 150)  # 30 x 60 x 60 um


def lines(*polylines, radius=1.0):
    """A forest of separate polylines, each a list of (x, y, z) um."""
    xyz = np.concatenate([np.asarray(line, float) for line in polylines])
    parent = np.concatenate([[-1] + [1] * (len(line) - 1) for line in polylines])
    parent = np.where(parent < 0, -1, np.arange(len(xyz)) - 1)
    return Tree(xyz, np.full(len(xyz), float(radius)), parent, np.zeros(len(xyz), np.int64))


def painted(tree, shape=SHAPE, voxel_size=VOXEL):
    """uint8 (z, y, x) probability: 255 inside the tubes, falling to 0 over half a um around their surface."""
    distance = rasterise.tube_distance(tree, shape, voxel_size, reach_um=2.0)
    return np.rint(255 * np.clip(0.5 - distance / 0.5, 0, 1)).astype(np.uint8)


def traced(probability, voxel_size=VOXEL, root_um=None, **settings):
    labels = components(probability, voxel_size, segment(min_size_um3=1.0))
    start = None if root_um is None else tuple(um_to_voxel(np.array(root_um, float), voxel_size))
    field = Field(probability, voxel_size)
    (found,) = neuron.trace(labels, field, config.Trace(**settings), root_zyx=start).neurons or [NOTHING]
    return found.tree


def segment(**changes):
    return config.Segment(**{"high": 0.6, "low": 0.3, "min_slices": 1, **changes})


def tips(tree):
    return tree.xyz[(graph.degree(tree) == 1) & (tree.parent >= 0)]


def branch_points(tree):
    return tree.xyz[graph.degree(tree) > 2]


def off_line(tree, start, end):
    """(n,) um from each node to the straight segment start-end."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = np.clip((tree.xyz - start) @ (end - start) / ((end - start) ** 2).sum(), 0, 1)
    return np.linalg.norm(tree.xyz - start - along[:, None] * (end - start), axis=1)


@pytest.mark.parametrize("voxel_size", [(1.0, 0.4, 0.4), (0.5, 0.5, 0.5), (2.0, 0.4, 0.4)])
@pytest.mark.parametrize("end", [(50, 30, 15), (50, 50, 15), (50, 40, 22), (12, 30, 24)])
def test_a_tube_is_one_line_of_its_length_place_and_radius(end, voxel_size):
    start = (10, 30, 10)
    shape = tuple(round(edge / v) for edge, v in zip((32, 60, 60), voxel_size, strict=True))
    tree = traced(painted(lines([start, end], radius=1.2), shape, voxel_size), voxel_size, root_um=start)
    true = np.linalg.norm(np.subtract(end, start))
    assert len(tips(tree)) == 1
    assert not len(branch_points(tree))
    assert np.linalg.norm(tree.xyz[0] - start) < 0.4 + voxel_size[0]
    assert np.linalg.norm(tips(tree)[0] - end) < 0.4 + voxel_size[0]
    assert cable_length(tree) == pytest.approx(true, rel=0.01, abs=0.4 + 2 * voxel_size[0])
    # Between two planes 2 um apart the centre of a thin tube is not better known than that.
    assert off_line(tree, start, end).max() < 0.1 + voxel_size[0] / 3
    assert np.median(tree.radius) == pytest.approx(1.2, abs=0.3)


def test_a_y_has_one_branch_point_and_three_ends():
    middle = (30, 30, 15)
    y = lines([(5, 30, 15), middle], [middle, (50, 45, 15)], [middle, (50, 15, 20)])
    tree = traced(painted(y), root_um=(5, 30, 15))
    assert len(tips(tree)) == 2
    assert len(branch_points(tree)) == 1
    assert np.linalg.norm(branch_points(tree)[0] - middle) < 2.0
    assert (tree.parent < 0).sum() == 1
    assert cable_length(tree) == pytest.approx(25 + 25 + np.sqrt(20**2 + 15**2 + 5**2), rel=0.05)


def test_a_loop_becomes_a_tree_that_lacks_one_short_gap():
    angle = np.linspace(0, 2 * np.pi, 73)
    ring = np.stack([30 + 15 * np.cos(angle), 30 + 15 * np.sin(angle), np.full(73, 15.0)], 1)
    tree = traced(painted(lines(ring)), root_um=(45, 30, 15))
    assert (tree.parent < 0).sum() == 1
    assert cable_length(tree) == pytest.approx(2 * np.pi * 15, abs=9)


def test_a_tube_through_the_volume_reaches_both_borders():
    tree = traced(painted(lines([(-5, 30, 15), (65, 30, 15)])), root_um=(0, 30, 15))
    assert tree.xyz[:, 0].min() < 1.0
    assert tree.xyz[:, 0].max() > 59.6 - 1.5
    assert off_line(tree, (-5, 30, 15), (65, 30, 15)).max() < 0.3
    assert len(tips(tree)) == 1


def test_parallel_tubes_stay_two():
    pair = lines([(5, 28, 15), (55, 28, 15)], [(5, 32, 15), (55, 32, 15)], radius=1.0)
    for y in (28, 32):
        tree = traced(painted(pair), root_um=(5, y, 15), gap_um=0.0)
        assert off_line(tree, (5, y, 15), (55, y, 15)).max() < 0.5
        assert cable_length(tree) == pytest.approx(50, abs=2)


@pytest.mark.parametrize(("gap", "bridged"), [(3.0, True), (5.0, True), (8.0, False), (12.0, False)])
def test_a_gap_is_bridged_up_to_gap_um(gap, bridged):
    middle = 30.0
    broken = lines(
        [(5, 30, 15), (middle - gap / 2 - 1, 30, 15)], [(middle + gap / 2 + 1, 30, 15), (55, 30, 15)]
    )
    tree = traced(painted(broken), root_um=(5, 30, 15), gap_um=6.0)
    assert (tree.xyz[:, 0].max() > 50) == bridged
    if bridged:
        assert cable_length(tree) == pytest.approx(50, abs=2)


# What lies below a probability of .02 is dark, however bright it is against 0.
@pytest.mark.parametrize(("share", "bridged"), [(0, False), (0.03, False), (0.2, True), (0.5, True)])
def test_a_gap_with_some_signal_is_bridged_further(share, bridged):
    broken = painted(lines([(5, 30, 15), (25, 30, 15)], [(33.5, 30, 15), (55, 30, 15)]))
    whole = painted(lines([(5, 30, 15), (55, 30, 15)]))
    dim = np.maximum(broken, (whole * share * 0.59).astype(np.uint8))
    labels = components(broken, VOXEL, segment(min_size_um3=1.0))
    settings = config.Trace(gap_um=6.0, doubt=0.0)
    tree = neuron.trace(labels, Field(dim, VOXEL), settings, root_zyx=(15, 75, 12)).neurons[0].tree
    assert (tree.xyz[:, 0].max() > 50) == bridged


def test_a_thick_saturated_tube_is_one_line_without_spurs():
    rng = np.random.default_rng(0)
    points = np.stack([np.linspace(5, 55, 26), 30 + 4 * np.sin(np.linspace(0, 6, 26)), np.full(26, 14.0)], 1)
    thick = Tree(points, rng.uniform(2.4, 3.4, 26), np.arange(26) - 1, np.zeros(26, np.int64))
    tree = traced(painted(thick), root_um=points[0], soma_um=6.0)
    assert len(tips(tree)) == 1
    assert not len(branch_points(tree))
    assert cable_length(tree) == pytest.approx(cable_length(thick), rel=0.05)


def test_a_soma_with_four_arms_is_the_root_of_four_branches():
    centre = (30, 30, 15)
    arms = [[centre, end] for end in ((55, 32, 15), (5, 28, 15), (32, 55, 17), (28, 5, 13))]
    blob = Tree(
        np.array([centre, (30.5, 30, 15)], float), np.full(2, 6.0), np.array([-1, 0]), np.zeros(2, np.int64)
    )
    tree = traced(np.maximum(painted(lines(*arms)), painted(blob)))
    assert np.linalg.norm(tree.xyz[0] - centre) < 1.5
    assert len(tips(tree)) == 4
    assert tree.radius[0] == pytest.approx(6.0, abs=1.0)
    assert tree.type.tolist() == [1] + [0] * (len(tree) - 1)


def test_nothing_gives_a_tree_without_nodes():
    assert len(traced(np.zeros(SHAPE, np.uint8))) == 0
    assert len(traced(np.zeros(SHAPE, np.uint8), root_um=(1, 1, 1))) == 0


def test_the_given_root_picks_its_tree_and_without_one_the_longest_is_traced():
    two = painted(lines([(5, 10, 10), (30, 10, 10)], [(5, 45, 20), (55, 45, 20)]))
    first = traced(two, root_um=(30, 10, 10))
    assert np.linalg.norm(first.xyz[0] - (30, 10, 10)) < 1.5
    assert off_line(first, (5, 10, 10), (30, 10, 10)).max() < 0.5
    assert off_line(traced(two), (5, 45, 20), (55, 45, 20)).max() < 0.5


@pytest.mark.parametrize(("away", "drawn_on"), [(1.0, True), (2.5, True), (4.0, False)])
def test_a_neurite_that_ends_near_the_given_root_is_drawn_on_to_it(away, drawn_on):
    tree = traced(painted(lines([(10, 30, 15), (50, 30, 15)])), root_um=(10 - away, 30, 15))
    assert tree.xyz[0, 0] == pytest.approx(10 - away if drawn_on else 10, abs=0.5)


def test_a_root_given_beside_the_middle_of_a_neurite_starts_no_twig():
    tree = traced(painted(lines([(10, 30, 15), (50, 30, 15)])), root_um=(30, 31.5, 15))
    assert len(tips(tree)) == 2 and not len(branch_points(tree))
    assert np.abs(tree.xyz[:, 1] - 30).max() < 0.4


def test_a_speck_beside_the_given_root_does_not_win():
    speck = lines([(5, 26, 15), (6.5, 26, 15)], radius=0.8)
    probability = np.maximum(painted(lines([(5, 30, 15), (55, 30, 15)])), painted(speck))
    assert cable_length(traced(probability, root_um=(5, 27.8, 15), gap_um=0.0)) > 40


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipping_the_volume_flips_the_tree(axis):
    y = lines([(5, 30, 15), (30, 30, 15)], [(30, 30, 15), (50, 45, 15)], [(30, 30, 15), (50, 15, 20)])
    probability = painted(y)
    straight = traced(probability)
    flipped = traced(np.ascontiguousarray(np.flip(probability, axis)))
    span = (np.array(SHAPE) - 1) * VOXEL
    mirrored = flipped.xyz.copy()
    mirrored[:, 2 - axis] = span[axis] - mirrored[:, 2 - axis]
    assert cable_length(flipped) == pytest.approx(cable_length(straight), rel=0.04)
    assert _farthest(straight.xyz, mirrored) < 1.2


def test_transposing_the_volume_transposes_the_tree():
    y = lines([(5, 30, 15), (30, 30, 15)], [(30, 30, 15), (50, 45, 15)], [(30, 30, 15), (50, 15, 20)])
    probability = painted(y)
    straight = traced(probability)
    turned = traced(np.ascontiguousarray(probability.transpose(2, 1, 0)), VOXEL[::-1])
    assert cable_length(turned) == pytest.approx(cable_length(straight), rel=0.02)
    assert _farthest(straight.xyz, turned.xyz[:, ::-1]) < 1.2


def _farthest(one, other):
    """Greatest distance from a node of either tree to the nearest node of the other."""
    gaps = np.linalg.norm(one[:, None] - other[None], axis=2)
    return max(gaps.min(0).max(), gaps.min(1).max())


def test_same_input_gives_the_same_tree_bit_by_bit():
    rng = np.random.default_rng(3)
    y = painted(
        lines([(5, 30, 15), (30, 30, 15)], [(30, 30, 15), (50, 45, 15)], [(33, 27, 15), (50, 15, 20)])
    )
    noisy = np.clip(y.astype(int) - rng.integers(0, 90, y.shape), 0, 255).astype(np.uint8)
    one, two = traced(noisy), traced(noisy)
    for field in ("xyz", "radius", "parent"):
        assert getattr(one, field).tobytes() == getattr(two, field).tobytes()


def test_hysteresis_keeps_weak_voxels_only_beside_strong_ones():
    probability = np.zeros((3, 8, 20), np.uint8)
    probability[1, 4, 2:6] = 100, 200, 100, 70  # strong at one voxel; 70/255 is below low
    probability[1, 4, 10:14] = 140  # weak everywhere
    probability[1, 1, 16] = 255  # strong, but too small
    labels = components(probability, (1.0, 1.0, 1.0), segment(min_size_um3=2.0))
    assert labels.dtype == np.uint32
    assert np.argwhere(labels).tolist() == [[1, 4, 2], [1, 4, 3], [1, 4, 4]]
    assert labels.max() == 1


@pytest.mark.parametrize(
    ("z_um", "slices", "kept"),
    [(1.0, 1, False), (1.0, 2, True), (0.15, 2, True), (0.3, 3, True), (2.0, 1, False)],
)
def test_what_is_seen_in_one_slice_only_is_noise_whatever_their_distance(z_um, slices, kept):
    probability = np.zeros((9, 12, 40), np.uint8)
    probability[4 : 4 + slices, 4:7, 2:38] = 255
    labels = components(probability, (z_um, 0.4, 0.4), segment(min_size_um3=0.0, min_slices=2))
    assert labels.any() == kept


def test_an_image_of_one_slice_keeps_its_neurites():
    probability = np.zeros((1, 12, 40), np.uint8)
    probability[0, 4:7, 2:38] = 255
    assert components(probability, (1.0, 0.4, 0.4), segment(min_size_um3=0.0, min_slices=2)).any()
