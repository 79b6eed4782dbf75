"""From affinities to cells: volumes whose cells are known."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.spatial import cKDTree

from pipeline.instances import METHODS, by_size, prepared, segment
from pipeline.instances.affinities import (
    NEAREST,
    as_bytes,
    boundary,
    from_labels,
    offset,
    prediction_of,
    restricted,
)
from pipeline.instances.blockwise import blocks, segment_blocks
from pipeline.instances.fragments import Cutting, fragments, is_flat
from pipeline.instances.multicut import costs, multicut
from pipeline.instances.mutex import far_links
from pipeline.instances.regions import BINS, region_graph
from pipeline.intensity.blank import REACH, blank
from pipeline.metrics.labels import scores

ISOTROPIC, SECTIONS = (0.008, 0.008, 0.008), (0.04, 0.008, 0.008)


def voronoi(shape, *, cells, voxel_size=ISOTROPIC, seed=0):
    """uint32 (z, y, x) cells 1..n that touch everywhere: each voxel belongs to the nearest of n points."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (cells, 3)) * shape * voxel_size
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    return (cKDTree(points).query(places * voxel_size)[1].reshape(shape) + 1).astype(np.uint32)


def information(one, two):
    """VI in bits between two segmentations, 0 being a segment like others."""
    found = scores(one, two + 1)
    return found["vi_split"] + found["vi_merge"]


def same_cells(one, two):
    """Whether two volumes show the same cells under other numbers, and 0 in the same places."""
    pairs = np.unique(np.stack([one.ravel(), two.ravel()]).astype(np.int64), axis=1)
    unique = [len(np.unique(side)) == pairs.shape[1] for side in pairs]
    return all(unique) and np.array_equal(one == 0, two == 0)


# Affinities


def test_two_touching_labels_a_gap_and_the_first_planes_have_the_affinities_drawn_by_hand():
    labels = np.array([[[1, 1, 2, 2, 0, 2], [1, 3, 2, 0, 0, 2]]])
    on = 255
    assert_array_equal(from_labels(labels, "affinity_x"), [[[on, on, 0, on, 0, 0], [on, 0, 0, 0, 0, 0]]])
    assert_array_equal(from_labels(labels, "affinity_y"), [[[on, on, on, on, 0, on], [on, 0, on, 0, 0, on]]])
    assert_array_equal(from_labels(labels, "affinity_z"), (labels > 0) * 255)
    assert_array_equal(
        from_labels(labels, "affinity_x_3"), [[[on, on, on, 0, 0, on], [on, on, on, 0, 0, on]]]
    )


def test_one_voxel_is_linked_to_nothing_and_counts_as_its_own():
    one = np.ones((1, 1, 1), np.uint8)
    assert [from_labels(one, name).item() for name in (*NEAREST, "affinity_z_9")] == [255] * 4
    assert from_labels(0 * one, "affinity_y").item() == 0


def test_a_channel_says_by_its_name_which_voxel_it_asks_about():
    assert [offset(name) for name in NEAREST] == [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
    assert offset("affinity_y_12") == (0, -12, 0)


def test_the_boundary_marks_both_sides_of_a_cut():
    labels = np.array([[[1, 1, 2, 2]] * 2, [[3, 3, 2, 2]] * 2], np.uint32)
    prediction = prediction_of(labels)
    assert_array_equal(boundary(prediction, in_plane=True)[0, 0], [0, 255, 255, 0])
    assert_array_equal(boundary(prediction, in_plane=False)[0, 0], [255, 255, 255, 0])


def test_far_links_are_those_of_the_labels_where_cells_are_convex():
    labels = voronoi((20, 24, 24), cells=6)
    far = far_links(prediction_of(labels), flat=False, distance=5)
    assert list(far) == ["affinity_z_5", "affinity_y_5", "affinity_x_5"]
    for axis, (name, channel) in enumerate(far.items()):
        # In the first planes there is no far voxel, but there are the nearer ones.
        known = (slice(None),) * axis + (slice(5, None),)
        assert_array_equal(channel[known], from_labels(labels, name)[known])


def test_restriction_by_a_certain_foreground_changes_nothing_and_no_affinity_exceeds_the_foreground():
    rng = np.random.default_rng(0)
    affinity, foreground = rng.integers(0, 256, (2, 5, 6, 7), dtype=np.uint8)
    assert_array_equal(restricted(affinity, np.full_like(affinity, 255)), affinity)
    assert_array_equal(restricted(affinity, None), affinity)
    assert (restricted(affinity, foreground) <= foreground).all()
    assert_array_equal(np.maximum(restricted(affinity, foreground), affinity), affinity)


def test_floats_become_bytes_and_other_types_are_refused_by_name():
    assert_array_equal(as_bytes(np.array([0, 0.5, 1, 1.2], np.float32)), [0, 128, 255, 255])
    with pytest.raises(ValueError, match="int16"):
        as_bytes(np.zeros(3, np.int16))


# Costs and multicut


@pytest.mark.parametrize("beta", [0.1, 0.25, 0.5, 0.8])
def test_an_edge_repels_only_beyond_a_boundary_of_one_minus_beta(beta):
    p = np.linspace(0, 1, 1001)
    cost = costs(p, np.ones(1001), beta=beta, sliced=False)
    zero = ((1 - beta) - 0.001) / 0.998
    assert costs(np.array([zero]), np.ones(1), beta=beta, sliced=False)[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(cost) < 0).all()
    mirrored = costs(np.array([0.5]), np.ones(1), beta=1 - beta, sliced=False)[0]
    assert costs(np.array([0.5]), np.ones(1), beta=beta, sliced=False)[0] == pytest.approx(
        -mirrored, abs=1e-12
    )


def test_the_cost_of_the_paper_is_zero_at_750501_and_grows_with_the_faces():
    assert costs(np.array([0.750501]), np.ones(1), beta=0.25, sliced=False)[0] == pytest.approx(0, abs=1e-5)
    weak, strong = costs(np.array([0.1, 0.1]), np.array([3, 12]), beta=0.5, sliced=False)
    assert weak == pytest.approx(strong / 4)


def test_of_a_large_contact_less_membrane_repels():
    boundary, faces = np.full(4, 0.2), np.array([30, 300, 1000, 3000])
    assert (np.sign(costs(boundary, faces, beta=0.5, sliced=False)) == [1, 1, 1, -1]).all()
    # From LARGE to a hundred times as many faces the least membrane that repels falls from .5 to .0315.
    joins, parts = costs(np.array([0.03, 0.033]), np.full(2, 30_000), beta=0.5, sliced=False)
    assert joins > 0 > parts
    assert (costs(boundary, faces, beta=0.5, sliced=True) > 0).all()


def test_a_cell_with_a_weak_membrane_all_over_is_one_by_blocks_too():
    shape = (48, 96, 128)
    weak = {name: np.full(shape, round(0.86 * 255), np.uint8) for name in NEAREST}
    prediction = {**weak, "foreground": np.full(shape, 255, np.uint8)}
    made = np.zeros(shape, np.uint32)
    cells = segment_blocks(
        prediction, made, (0.008,) * 3, block=(48, 96, 64), halo=(8, 8, 8), beta=0.5, min_foreground=0.0
    )
    assert cells == 1


def test_a_triangle_is_cut_at_its_repulsive_edge_and_one_other():
    pairs, cost = np.array([[0, 1], [1, 2], [0, 2]]), np.array([1.0, 1.0, -1.5])
    group = multicut(3, pairs, cost)
    assert cut_cost(group, pairs, cost) == pytest.approx(-0.5)
    assert group[0] != group[2]
    assert len(set(group)) == 2


def cut_cost(group, pairs, cost):
    group = np.asarray(group)
    return cost[group[pairs[:, 0]] != group[pairs[:, 1]]].sum()


def partitions(nodes):
    """All partitions of 0..n-1 as group numbers."""
    groups = [[0]]
    for _ in range(nodes - 1):
        groups = [[*group, new] for group in groups for new in range(max(group) + 2)]
    return groups


def test_multicut_finds_the_best_of_all_partitions_of_small_graphs():
    rng = np.random.default_rng(0)
    exact, worst, every = 0, 0.0, {nodes: partitions(nodes) for nodes in range(2, 9)}
    for trial in range(100):
        nodes = 2 + trial % 7
        pairs = np.array(list(itertools.combinations(range(nodes), 2)))
        pairs = pairs[rng.random(len(pairs)) < 0.7]
        if not len(pairs):
            continue
        cost = rng.normal(size=len(pairs))
        table = np.array(every[nodes])
        best = ((table[:, pairs[:, 0]] != table[:, pairs[:, 1]]) @ cost).min()
        found = cut_cost(multicut(nodes, pairs, cost), pairs, cost)
        exact += found <= best + 1e-9
        worst = max(worst, (found - best) / max(abs(best), 1e-9) if found > best + 1e-9 else 0)
    assert exact >= 95
    assert worst < 0.2  # where it misses, on a handful of nodes


def test_fragments_without_edges_stay_apart():
    assert_array_equal(multicut(3, np.zeros((0, 2), int), np.zeros(0)), [0, 1, 2])


def test_the_region_graph_counts_faces_and_knows_the_mean_and_the_quartile_of_their_membrane():
    labels = np.array([[[1, 1, 2], [1, 3, 2]]], np.uint32)
    affinity = np.zeros((1, 2, 3), np.uint8)
    affinity[0, 0, 2], affinity[0, 1] = 51, (0, 102, 153)
    graph = region_graph(labels, {"affinity_z": affinity, "affinity_y": affinity, "affinity_x": affinity})
    assert graph.pairs.tolist() == [[1, 2], [1, 3], [2, 3]]
    assert graph.faces.tolist() == [1, 2, 1]
    assert graph.mean == pytest.approx([1 - 0.2, 1 - 0.4, 1 - 0.6])
    # One face: every quantile is its cut, to a level.
    assert graph.quantile(0.25)[[0, 2]] == pytest.approx([1 - 0.2, 1 - 0.6], abs=1 / BINS)
    assert graph.boundary == pytest.approx((graph.mean + graph.quantile(0.25)) / 2)


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_the_membrane_of_a_pair_is_the_quantile_of_its_faces_to_a_level(quantile):
    cuts = np.random.default_rng(3).integers(0, 256, 400).astype(np.uint8)
    labels = np.repeat(np.array([[[1], [2]]], np.uint32), len(cuts), axis=2)
    affinity = np.broadcast_to(255 - cuts, labels.shape)
    graph = region_graph(labels, dict.fromkeys(NEAREST, affinity))
    assert graph.faces.tolist() == [len(cuts)]
    assert graph.quantile(quantile) == pytest.approx(np.quantile(cuts, quantile) / 255, abs=1.5 / BINS)


def test_the_region_graph_of_a_tall_volume_is_that_of_its_voxels_one_by_one():
    labels = voronoi((41, 9, 9), cells=12)
    labels[labels == 3] = 0
    rng = np.random.default_rng(0)
    affinities = {name: rng.integers(0, 256, labels.shape, dtype=np.uint8) for name in NEAREST}
    expected = {}
    for z, y, x in np.ndindex(labels.shape):
        for axis, name in enumerate(NEAREST):
            before = tuple(place - (axis == other) for other, place in enumerate((z, y, x)))
            pair = tuple(sorted((int(labels[z, y, x]), int(labels[before]))))
            if min(before) >= 0 and pair[0] and pair[0] != pair[1]:
                expected.setdefault(pair, []).append(255 - int(affinities[name][z, y, x]))
    graph = region_graph(labels, affinities)
    assert [tuple(pair) for pair in graph.pairs.tolist()] == sorted(expected)
    assert graph.faces.tolist() == [len(expected[pair]) for pair in sorted(expected)]
    levels = [
        np.bincount(np.array(expected[pair]) // (256 // BINS), minlength=BINS) for pair in sorted(expected)
    ]
    assert_array_equal(graph.histogram, levels)


# End to end


@pytest.mark.parametrize("voxel_size", [ISOTROPIC, SECTIONS])
@pytest.mark.parametrize("method", METHODS)
def test_perfect_affinities_of_touching_cells_give_the_cells(method, voxel_size):
    shape = (24, 128, 128) if is_flat(voxel_size) else (48, 96, 96)
    labels = voronoi(shape, cells=25, voxel_size=voxel_size)
    names = NEAREST if method != "mutex" else (*NEAREST, "affinity_z_2", "affinity_y_9", "affinity_x_9")
    found = segment(prediction_of(labels, names), voxel_size, method=method)
    assert information(found, labels) < (0.05 if method != "mutex" else 0.01)


def test_components_of_perfect_affinities_are_the_labels_where_these_hang_together():
    labels = voronoi((20, 40, 40), cells=30)
    labels[:, 18:20] = 0
    labels[:, 20:][labels[:, 20:] > 0] += 100
    found = segment(prediction_of(labels), ISOTROPIC, method="components")
    assert same_cells(found, labels)


def test_borders_that_do_not_settle_need_cells_with_space_between_them():
    labels = voronoi((48, 96, 96), cells=25)
    walls = boundary(prediction_of(labels), in_plane=False) > 0
    apart = np.where(walls, 0, labels).astype(np.uint32)
    assert information(segment(prediction_of(apart), ISOTROPIC, cutting=Cutting(settle=False)), apart) < 0.05
    assert information(segment(prediction_of(labels), ISOTROPIC, cutting=Cutting(settle=False)), labels) > 0.1


def test_a_cell_that_branches_is_one_although_its_arms_are_fragments_of_their_own():
    labels = np.full((40, 60, 60), 2, np.uint32)
    labels[16:24, 27:32] = 1
    labels[12:28, :, 8:20] = 1
    labels[:, 20:40, 40:56] = 1
    prediction = prediction_of(labels)
    foreground, affinities = prepared(prediction, min_foreground=0.5, restrict=True)
    pieces = fragments(affinities, foreground, ISOTROPIC, flat=False)
    assert len(np.unique(pieces[labels == 1])) == 2
    assert same_cells(segment(prediction, ISOTROPIC), labels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("voxel_size", [ISOTROPIC, SECTIONS])
@pytest.mark.parametrize("shape", [(6, 20, 20), (1, 20, 20), (2, 2, 30), (1, 1, 1)])
def test_empty_one_cell_and_single_slices(method, voxel_size, shape):
    empty = np.zeros(shape, np.uint32)
    assert not segment(prediction_of(empty), voxel_size, method=method).any()
    one = empty + 1
    found = segment(prediction_of(one), voxel_size, method=method)
    assert found.dtype == np.uint32
    assert_array_equal(found, one)


@pytest.mark.parametrize("method", METHODS)
def test_where_no_voxel_is_foreground_nothing_is_found_whatever_the_affinities(method):
    prediction = prediction_of(np.ones((4, 12, 12), np.uint32))
    prediction["foreground"][:] = 100
    assert not segment(prediction, ISOTROPIC, method=method).any()


@pytest.mark.parametrize("voxel_size", [ISOTROPIC, SECTIONS])
def test_a_thin_island_is_kept_and_a_size_filter_removes_it(voxel_size):
    labels = np.zeros((6, 40, 40), np.uint32)
    labels[:, 2:30, 2:30] = 1
    labels[2:4, 34:36, 4:9] = 2
    assert same_cells(segment(prediction_of(labels), voxel_size), labels)
    smallest = 21 * np.prod(voxel_size)
    assert segment(prediction_of(labels), voxel_size, min_size_um3=smallest).max() == 1


def test_cells_are_numbered_from_the_largest_to_the_smallest():
    labels = np.array([7, 7, 0, 2**40, 2**40, 2**40, 5, 3, 3], np.uint64)
    assert_array_equal(by_size(labels), [2, 2, 0, 1, 1, 1, 4, 3, 3])
    assert_array_equal(by_size(labels, min_voxels=2), [2, 2, 0, 1, 1, 1, 0, 3, 3])


def test_the_same_prediction_gives_the_same_cells_bit_by_bit():
    prediction = noisy(voronoi((24, 64, 64), cells=20))
    for method in METHODS:
        one, two = (segment(prediction, ISOTROPIC, method=method) for _ in range(2))
        assert one.tobytes() == two.tobytes()


def test_an_unknown_method_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"watersheds.*multicut, mutex, components"):
        segment(prediction_of(np.ones((2, 4, 4), np.uint8)), ISOTROPIC, method="watersheds")


def noisy(labels, *, seed=1):
    """A prediction of a network that errs: links and cuts weakened by blobs of noise."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    result = prediction_of(labels)
    for name in NEAREST:
        noise = 60 * gaussian_filter(rng.normal(size=labels.shape), 1) / 0.15
        soft = gaussian_filter(result[name].astype(float), 0.6)
        result[name] = np.clip(soft + noise, 0, 255).astype(np.uint8)
    return result


# By blocks


def test_blocks_fill_the_volume_once():
    count = np.zeros((7, 10, 13), int)
    for box in blocks(count.shape, (3, 4, 5)):
        count[box] += 1
    assert (count == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [0, 10**6])
@pytest.mark.parametrize("voxel_size", [ISOTROPIC, SECTIONS])
def test_cells_found_by_blocks_are_nearly_those_of_the_whole(voxel_size, at_once):
    labels = voronoi((36, 120, 120), cells=60, voxel_size=voxel_size)
    prediction = noisy(labels)
    whole = segment(prediction, voxel_size)
    parts = np.zeros_like(whole)
    count = segment_blocks(
        prediction, parts, voxel_size, block=(20, 50, 64), halo=(8, 16, 16), at_once=at_once
    )
    assert count == parts.max()
    assert information(parts, whole) < 0.15
    sizes = np.bincount(parts.ravel())[1:]
    assert (np.diff(sizes) <= 0).all()


def test_one_block_is_the_whole_to_the_voxel():
    prediction = noisy(voronoi((20, 60, 60), cells=20))
    parts = np.zeros((20, 60, 60), np.uint32)
    for at_once in (0, 10**6):
        segment_blocks(prediction, parts, ISOTROPIC, block=(20, 60, 60), halo=(0, 0, 0), at_once=at_once)
        assert_array_equal(parts, segment(prediction, ISOTROPIC))


@pytest.mark.parametrize("block", [(12, 60, 60), (5, 24, 31)], ids=["one block", "blocks"])
def test_padding_is_of_no_cell_and_changes_no_other(block):
    cells = voronoi((12, 60, 60), cells=30)
    image = np.random.default_rng(0).integers(50, 200, cells.shape).astype(np.uint8)
    padding = np.zeros(cells.shape, bool)
    padding[:, :, 40:] = padding[:, :16] = padding[9:] = True
    image[padding] = 0
    # What a network says of padding: one cell, which leaks into what lies beside it.
    perfect = prediction_of(np.where(padding, 99, cells))
    perfect["affinity_x"][:, :, 40] = 255
    found = np.zeros_like(cells)
    segment_blocks(perfect, found, ISOTROPIC, block=block, halo=(2, REACH, REACH), beta=0.5, image=image)
    whole = segment(perfect, ISOTROPIC, beta=0.5, blank=blank(image))
    for result in (found, whole):
        assert_array_equal(result == 0, padding)
        assert information(np.where(padding, 0, cells), result) < 0.1


def test_blocks_without_foreground_and_a_volume_without_any():
    labels = voronoi((10, 40, 40), cells=8)
    labels[:, :20] = 0
    parts = np.full(labels.shape, 9, np.uint32)
    for at_once in (0, 10**6):
        segment_blocks(
            prediction_of(labels), parts, ISOTROPIC, block=(10, 10, 20), halo=(2, 4, 4), at_once=at_once
        )
        assert_array_equal(parts == 0, labels == 0)
    assert (
        segment_blocks(
            prediction_of(0 * labels), parts, ISOTROPIC, block=(5, 20, 20), halo=(2, 4, 4), at_once=0
        )
        == 0
    )
    assert not parts.any()


def test_a_zarr_array_is_written_as_a_numpy_array_is(tmp_path):
    import zarr

    prediction = noisy(voronoi((12, 40, 40), cells=12))
    parts = np.zeros((12, 40, 40), np.uint32)
    stored = zarr.create_array(tmp_path / "labels.zarr", shape=parts.shape, dtype="u4", chunks=(6, 20, 20))
    for target in (parts, stored):
        segment_blocks(prediction, target, ISOTROPIC, block=(6, 20, 20), halo=(4, 8, 8))
    assert_array_equal(stored[:], parts)


# Real labels


@pytest.fixture(scope="module")
def fly(shared):
    """The labels of 40 sections of the FIB-25 training part, each connected piece a label of its own."""
    import cc3d
    import h5py

    with h5py.File(shared / "data" / "em" / "fib25_train.h5") as file:
        return cc3d.connected_components(file["labels"][100:140], connectivity=6)


def test_perfect_affinities_of_real_cells_give_them_by_components(fly):
    assert information(segment(prediction_of(fly), ISOTROPIC, method="components"), fly) < 0.08


@pytest.mark.slow
def test_perfect_affinities_of_real_cells_give_them_by_multicut_whole_and_by_blocks(fly):
    whole = segment(prediction_of(fly), ISOTROPIC)
    assert information(whole, fly) < 0.05
    parts = np.zeros_like(whole)
    for at_once in (0, 10**6):
        segment_blocks(
            prediction_of(fly), parts, ISOTROPIC, block=(40, 105, 125), halo=(0, 24, 24), at_once=at_once
        )
        assert information(parts, whole) < 0.15
