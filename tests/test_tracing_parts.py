"""The parts of the tracer alone: graphs, links, pruning, smoothing, centring, radii."""

import numpy as np
import pytest

from pipeline import config, rasterise
from pipeline.swc import Tree, cable_length, edge_lengths, take
from pipeline.tracing import bridge, graph, prune, radius
from pipeline.tracing.field import Field

VOXEL = (1.0, 0.4, 0.4)


def tree_of(xyz, parent, radius_um=0.5):
    xyz = np.asarray(xyz, float)
    return Tree(xyz, np.full(len(xyz), radius_um), np.asarray(parent, np.int64), np.zeros(len(xyz), np.int64))


def straight(start, end, step=0.5, radius_um=0.5):
    """A line of nodes from start to end (x, y, z um), the root at start."""
    count = 1 + round(np.linalg.norm(np.subtract(end, start)) / step)
    return tree_of(np.linspace(start, end, count), np.arange(count) - 1, radius_um)


def joined(*trees, at=()):
    """Trees as one forest; at: (tree, node of the first tree) hangs the root of that tree on that node."""
    before = np.cumsum([0] + [len(tree) for tree in trees])
    parent = [np.where(t.parent < 0, -1, t.parent + start) for t, start in zip(trees, before)]
    for tree, node in at:
        parent[tree][0] = node
    return Tree(
        np.concatenate([tree.xyz for tree in trees]),
        np.concatenate([tree.radius for tree in trees]),
        np.concatenate(parent),
        np.zeros(before[-1], np.int64),
    )


def painted(tree, shape=(24, 60, 140)):
    return rasterise.mask(tree, shape, VOXEL).astype(np.uint8) * 255


@pytest.fixture
def random_tree():
    rng = np.random.default_rng(7)
    parent = np.array([-1] + [rng.integers(0, row) for row in range(1, 200)])
    return tree_of(rng.uniform(0, 50, (200, 3)), parent)


def test_turning_a_tree_to_another_root_keeps_its_edges(random_tree):
    turned = graph.rooted(random_tree.xyz, random_tree.radius, graph.edges(random_tree), root=117)
    assert np.flatnonzero(turned.parent < 0).tolist() == [117]
    pairs = [set(map(frozenset, graph.edges(tree).tolist())) for tree in (random_tree, turned)]
    assert pairs[0] == pairs[1]


def test_a_cycle_is_opened_at_its_longest_edge():
    square = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1.5, 0)], float)
    made = graph.rooted(square, np.ones(4), np.array([(0, 1), (1, 2), (2, 3), (3, 0)]))
    assert cable_length(made) == pytest.approx(1 + 1 + np.hypot(1, 0.5))


def test_depth_counts_edges_to_the_root(random_tree):
    depth = graph.depth(random_tree)
    below = random_tree.parent >= 0
    assert (depth[below] == depth[random_tree.parent[below]] + 1).all()
    assert (depth[~below] == 0).all()


def test_sections_hold_each_edge_once_and_end_at_critical_nodes(random_tree):
    sections = graph.sections(random_tree)
    edges = [edge for part in sections for edge in zip(part[1:], part[:-1])]
    assert sorted(edges) == sorted(map(tuple, graph.edges(random_tree)))
    degree = graph.degree(random_tree)
    for part in sections:
        assert degree[part[-1]] != 2
        assert degree[part[0]] != 2 or random_tree.parent[part[0]] < 0
        assert (degree[part[1:-1]] == 2).all()


def gap_between(first_end, second_start):
    pieces = joined(straight((5, 10, 10), first_end), straight(second_start, (50, 10, 10)))
    return pieces, painted(pieces)


@pytest.mark.parametrize(("gap", "joins"), [(4.0, True), (4.9, True), (5.2, False)])
def test_tips_in_line_are_joined_up_to_the_gap(gap, joins):
    pieces, _ = gap_between((20, 10, 10), (20 + gap, 10, 10))
    dark = np.zeros((24, 60, 140), np.uint8)
    made, bridges = bridge.join(pieces, Field(dark, VOXEL), gap_um=5.0)
    assert (graph.pieces(made).max() == 0) == joins
    assert bool(len(bridges.rows)) == joins


def test_a_tip_meets_the_side_of_another_piece_only_over_two_thirds_of_the_gap():
    dark = np.zeros((24, 60, 140), np.uint8)
    for gap, joins in ((3.2, True), (3.6, False)):
        pieces = joined(straight((5, 5, 10), (50, 5, 10)), straight((27, 5 + gap, 10), (27, 20, 10)))
        assert (graph.pieces(bridge.join(pieces, Field(dark, VOXEL), gap_um=5.0)[0]).max() == 0) == joins


@pytest.mark.parametrize("thick", [0.5, 5.0])
@pytest.mark.parametrize(("gap", "joins"), [(0.8, True), (3.5, True), (4.5, False)])
def test_a_gap_ends_at_the_wall_of_a_piece_however_thick_it_is(thick, gap, joins):
    trunk = straight((5, 12, 10), (50, 12, 10), radius_um=thick)
    pieces = joined(trunk, straight((27, 29, 10), (27, 12 + thick + gap, 10)))
    dim = np.maximum(painted(trunk), 128)  # so that the way there costs little: the reach decides
    made, _ = bridge.join(pieces, Field(dim, VOXEL), gap_um=2.0)
    assert (graph.pieces(made).max() == 0) == joins


def test_a_um_costs_all_in_the_dark_and_least_inside_and_falls_in_between():
    assert bridge.um_cost(np.array([0, 0.01, 0.02])) == pytest.approx(1)
    assert bridge.um_cost(np.array([0.9, 1])) == pytest.approx(bridge.CERTAIN)
    # Half way between .02 and .9 in the logarithm: their geometric mean.
    assert bridge.um_cost(np.sqrt(0.02 * 0.9)) == pytest.approx(0.5)
    assert (np.diff(bridge.um_cost(np.linspace(0.02, 0.7, 50))) < 0).all()


def test_specks_are_no_stepping_stones():
    speck = straight((24, 10, 10), (25, 10, 10))
    pieces = joined(straight((5, 10, 10), (20, 10, 10)), speck, straight((29, 10, 10), (50, 10, 10)))
    dark = np.zeros((24, 60, 140), np.uint8)
    assert graph.pieces(bridge.join(pieces, Field(dark, VOXEL), gap_um=5.0)[0]).max() == 2


def pruned(tree, probability, **changes):
    settings = {"doubt": 0.5, "spur_um": 0.0, "spur_walls": 1.0, "cover_radii": 0.75} | changes
    rows, parent = prune.prune(tree, Field(probability, VOXEL), config.Trace(**settings))
    return take(Tree(tree.xyz, tree.radius, parent, tree.type), rows)


def trunk_with_branch(length_um, trunk_radius=2.0):
    """A thick trunk along x and a branch along y from its middle, from the axis on, length_um long."""
    trunk = straight((5, 8, 10), (50, 8, 10), radius_um=trunk_radius)
    branch = straight((27.5, 8.5, 10), (27.5, 8 + length_um, 10), radius_um=0.4)
    return joined(trunk, branch, at=[(1, 45)])


@pytest.mark.parametrize(("length", "stays"), [(1.4, False), (8.0, True)])
def test_a_branch_stays_when_it_sticks_out_of_the_trunk(length, stays):
    tree = trunk_with_branch(length)
    made = pruned(tree, painted(tree))
    assert (made.xyz[:, 1].max() > 8.1) == stays
    assert made.xyz[:, 0].max() == 50


def test_a_line_along_the_trunk_is_cut_loose_and_joined_where_it_departs():
    trunk = straight((5, 8, 10), (50, 8, 10), radius_um=2.0)
    beside = straight((10, 9, 10), (30, 9, 10), radius_um=1.0)
    away = straight((30.3, 9.4, 10), (30.3, 19, 10), radius_um=0.5)
    tree = joined(trunk, beside, away, at=[(1, 10), (2, len(trunk) + len(beside) - 1)])
    made = pruned(tree, painted(tree))
    lost = cable_length(tree) - cable_length(made)
    assert lost == pytest.approx(20, abs=1.5)
    assert graph.pieces(made).max() == 0
    (fork,) = made.xyz[graph.degree(made) > 2]
    assert abs(fork[0] - 30.3) < 1.0


def test_haze_and_what_lies_behind_a_costly_gap_go():
    trunk = straight((5, 8, 10), (50, 8, 10))
    haze = straight((27.5, 8.5, 10), (27.5, 14, 10))
    tree = joined(trunk, haze, at=[(1, 45)])
    probability = painted(trunk)
    probability = np.maximum(probability, painted(haze) // 3)
    assert pruned(tree, probability).xyz[:, 1].max() < 9.1
    # Behind 5.5 um at p = 1/3, 4 um of certain neurite repay the loss of 1.8 um; 1 um does not.
    for length, stays in ((4, True), (1, False)):
        more = straight((27.5, 14.5, 10), (27.5, 14.5 + length, 10))
        tree = joined(trunk, haze, more, at=[(1, 45), (2, len(trunk) + len(haze) - 1)])
        made = pruned(tree, np.maximum(probability, painted(more)))
        assert (made.xyz[:, 1].max() > 14) == stays


def test_resampling_keeps_length_ends_and_forks(random_tree):
    made, lies_on = radius.resample(random_tree, 0.5)
    assert cable_length(made) == pytest.approx(cable_length(random_tree), rel=0.005)  # corners are cut
    assert edge_lengths(made).max() < 0.76
    # Each new edge lies on the old one that it is said to lie on.
    child = np.flatnonzero(made.parent >= 0)
    middle, old = (made.xyz[child] + made.xyz[made.parent[child]]) / 2, lies_on[child]
    ends = random_tree.xyz[old], random_tree.xyz[random_tree.parent[old]]
    way = sum(np.linalg.norm(middle - end, axis=1) for end in ends)
    assert (way - np.linalg.norm(ends[0] - ends[1], axis=1)).max() < 0.2
    critical = [t.xyz[(graph.degree(t) != 2) | (t.parent < 0)] for t in (random_tree, made)]
    np.testing.assert_allclose(np.sort(critical[0], axis=0), np.sort(critical[1], axis=0))


def test_smoothing_leaves_lines_and_constants_alone_and_ends_where_they_are(random_tree):
    line = straight((0, 0, 0), (30, 0, 0))
    np.testing.assert_allclose(radius.smooth(line, line.xyz, 2.0), line.xyz, atol=1e-9)
    np.testing.assert_allclose(radius.smooth(random_tree, np.ones(200), 2.0), 1.0)
    ends = graph.degree(random_tree) == 1
    moved = radius.smooth(random_tree, random_tree.xyz, 2.0)
    np.testing.assert_allclose(moved[ends], random_tree.xyz[ends])


def test_a_line_beside_the_axis_moves_onto_it_and_gets_the_radius_of_the_tube():
    tube = straight((-2, 12, 10), (60, 12, 10), radius_um=2.0)
    probability = painted(tube)
    off = straight((5, 12.9, 10.8), (50, 12.9, 10.8), radius_um=1.0)
    made = radius.centred(off, Field(probability, VOXEL), rounds=3, smooth_um=0.7)
    assert np.abs(made.xyz[:, 1:] - (12, 10)).max() < 0.15
    measured = radius.measured(made, Field(probability, VOXEL), smooth_um=0.7)
    assert np.abs(measured.radius - 2.0).max() < 0.25


def test_where_a_link_bridges_the_dark_the_radius_stays():
    tube = straight((-2, 12, 10), (60, 12, 10), radius_um=2.0)
    probability = painted(tube)
    probability[:, :, 60:66] = 0  # 24 to 26 um
    field = Field(probability, VOXEL)
    made = radius.centred(straight((5, 12, 10), (50, 12, 10), radius_um=1.5), field, rounds=3, smooth_um=0.7)
    assert radius.measured(made, field, smooth_um=0.7).radius.max() < 8  # how far a ray looks: 3 * 2 + 2


def test_a_branch_on_a_start_that_runs_within_the_trunk_is_kept_and_hangs_on_the_trunk():
    trunk = straight((5, 8, 10), (50, 8, 10), radius_um=2.0)
    beside = straight((10, 9, 10), (30, 9, 10), radius_um=1.0)
    away = straight((30.3, 9.4, 10), (30.3, 19, 10), radius_um=0.5)
    twig = straight((20, 9.4, 10), (20, 15, 10), radius_um=0.5)
    tree = joined(trunk, beside, away, twig, at=[(1, 10), (2, len(trunk) + 40), (3, len(trunk) + 20)])
    made = pruned(tree, painted(tree))
    forks = made.xyz[graph.degree(made) > 2]
    np.testing.assert_allclose(sorted(forks[:, 0]), [20, 30.3], atol=1.0)
    assert graph.pieces(made).max() == 0


class Counting(Field):
    """A field that notes how many places are looked at together."""

    looked = []  # noqa: RUF012

    def at(self, xyz):
        self.looked.append(xyz.size // 3)
        return super().at(xyz)


def test_one_thick_node_does_not_make_every_ray_long(monkeypatch):
    thin = straight((2, 12, 10), (38, 12, 10), step=0.02, radius_um=0.5)
    thick = straight((50, 12, 10), (50.3, 12, 10), step=0.4, radius_um=20.0)
    tree = joined(thin, thick)
    probability = painted(joined(thin, straight((50, 12, 10), (50.3, 12, 10), radius_um=4.0)))
    way, length, closed = radius._rays(tree, Field(probability, VOXEL))
    Counting.looked.clear()
    monkeypatch.setattr(radius, "PLACES", 200_000)
    found = radius._rays(tree, Counting(probability, VOXEL))
    step = min(VOXEL) / 2
    alone = radius.RAYS * (2 + (radius.REACH * tree.radius + 2 * max(VOXEL)) / step)
    assert max(Counting.looked) <= radius.PLACES
    assert sum(Counting.looked) < 1.3 * alone.sum()
    assert alone.max() * len(tree) > 10 * alone.sum(), "looked along together they would be many more"
    for one, other in zip((way, length, closed), found):
        np.testing.assert_array_equal(one, other)
