"""The affinity network and its task: the lattice, targets, masks, erosion, sections."""

from dataclasses import replace

import cc3d
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline import blocks
from pipeline.network.affinities import (
    DEEPEST,
    MERGES,
    PRESETS,
    SHORT,
    AffinityNet,
    Architecture,
    lattice,
    merge,
    merge_up,
    z_pooling,
)
from pipeline.network.contract import PIXELS, Contract
from pipeline.training import sections
from pipeline.training.affinities import (
    AffinityTask,
    Volume,
    affinities,
    affinity_counts,
    affinity_loss,
    erode,
    in_pieces,
)

TINY = Architecture(widths=(2, 3, 3, 4, 5), depth=8, height=16, width=16)


# The network


@pytest.mark.parametrize(
    ("widths", "parameters"),
    [
        (PRESETS["paper"], 40_370_432),
        ((28, 36, 48, 64, 80), 7_817_872),
        (PRESETS["gpu"], 4_248_640),
        (PRESETS["cpu"], 1_065_632),
    ],
)
def test_parameters_are_the_published_count(widths, parameters):
    with torch.device("meta"):
        net = AffinityNet(Architecture(widths=widths))
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize(
    ("depth", "depths"),
    [
        (2, [2, 2, 2, 2, 2]),
        (7, [7, 7, 7, 7, 7]),
        (8, [8, 4, 4, 4, 4]),
        (15, [15, 7, 7, 7, 7]),
        (16, [16, 8, 4, 4, 4]),
        (20, [20, 10, 5, 5, 5]),
        (33, [33, 16, 8, 4, 4]),
    ],
)
def test_nodes_have_the_widths_and_depths_of_the_lattice(depth, depths):
    widths = TINY.widths
    with torch.device("meta"):  # shapes without arithmetic
        net = AffinityNet(Architecture(widths=widths, z_pooled=z_pooling(depth)))
        window = torch.zeros(1, 1, depth, 32, 16)
    assert len(net.encoder.nodes) == 15 and len(net.affinities.up) == len(net.foreground.up) == 10
    features = net.encoder(window)
    assert net(window).shape == (1, 4, depth, 32, 16)
    for a, b in lattice(4):
        level = a + b
        flat, deep = features[a, b]
        assert (flat is None) == (level == 4 and a == 0) and (deep is None) == (level == 4 and b == 0)
        for part in (flat, deep):
            assert part is None or part.shape[1:] == (widths[level], depths[b], 32 >> level, 16 >> level)


@pytest.mark.parametrize(
    ("depth", "voxel_size", "pooled"),
    [
        (32, (8, 8, 8), (True, True, True, False)),
        (32, (16, 8, 8), (False, True, True, True)),  # a section of two pixels is thick
        (32, (32, 8, 8), (False, False, True, True)),
        (20, (40, 4, 4), (False, False, False, True)),
        (7, (8, 8, 8), (False, False, False, False)),
    ],
)
def test_thick_sections_are_pooled_late(depth, voxel_size, pooled):
    assert z_pooling(depth, voxel_size) == pooled


@pytest.mark.parametrize("how", MERGES)
def test_enlarging_the_merge_is_merging_the_enlarged(how):
    torch.manual_seed(0)
    flat, deep = torch.randn(2, 3, 7, 4, 6), torch.randn(2, 3, 3, 4, 6)
    size = torch.Size((7, 8, 12))
    long_way = merge(*(F.interpolate(x, size=size, mode="trilinear") for x in (flat, deep)), how)
    torch.testing.assert_close(merge_up(flat, deep, size, how), long_way, atol=1e-5, rtol=0)


def test_the_difference_is_symmetric_and_has_no_gradient_where_both_agree():
    first, second = torch.randn(2, 1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(merge(first, second, "sub"), merge(second, first, "sub"))
    same = first.clone().requires_grad_()
    merged = merge(same, first, "sub")
    merged.sum().backward()
    assert not merged.any() and not same.grad.any()


def test_with_no_look_at_neighbouring_sections_the_sections_are_independent():
    torch.manual_seed(0)
    net = AffinityNet(Architecture(widths=TINY.widths, z_pooled=z_pooling(6))).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 5 and parameter.shape[2] == 3:
                parameter[:, :, [0, 2]] = 0
        window, order = torch.rand(1, 1, 6, 32, 32).double(), torch.tensor([3, 0, 5, 1, 4, 2])
        torch.testing.assert_close(net(window[:, :, order]), net(window)[:, :, order], atol=1e-10, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 8, 24, 16), (1, 1, 1, 16, 16), (1, 2, 8, 16, 16)])
def test_windows_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="allowed"):
        AffinityNet(TINY)(torch.zeros(shape))


def test_channels_are_named_after_their_offsets():
    long = Architecture(offsets=(*SHORT, (-3, 0, 0), (0, -9, 0)))
    assert long.channels == (
        "affinity_z", "affinity_y", "affinity_x", "affinity_z_3", "affinity_y_9", "foreground",
    )  # fmt: skip


# Targets


def test_affinities_of_hand_drawn_labels():
    labels = np.array([[[1, 1, 2, 0, 2]], [[1, 2, 2, 0, 0]]])  # two sections of one row
    z, y, x = affinities(labels)
    assert z.tolist() == [[[1, 1, 1, 0, 1]], [[1, 0, 1, 0, 0]]]
    assert y.tolist() == [[[1, 1, 1, 0, 1]], [[1, 1, 1, 0, 0]]]  # one row: the first plane only
    assert x.tolist() == [[[1, 1, 0, 0, 0]], [[1, 0, 1, 0, 0]]]
    assert affinities(np.ones((1, 1, 1), int)).ravel().tolist() == [1, 1, 1]
    (x2,) = affinities(labels, ((0, 0, -2),))
    assert x2.tolist() == [[[1, 1, 0, 0, 1]], [[1, 1, 0, 0, 0]]]


def test_components_of_perfect_affinities_are_the_labels():
    labels = in_pieces(np.random.default_rng(0).integers(0, 3, (5, 9, 8)))
    maps = affinities(labels)
    assert np.array_equal(_components(labels, maps), labels > 0) or labels.max() > 1
    joined = _components(labels, maps)
    pairs = np.unique(np.stack([joined[labels > 0], labels[labels > 0]]), axis=1)
    assert len(pairs.T) == joined.max() == labels.max()


def _components(labels, maps):
    """Union of voxels over affinities of 1, written the slow way."""
    parent = np.arange(labels.size)

    def find(index):
        while parent[index] != index:
            index = parent[index]
        return index

    place = np.arange(labels.size).reshape(labels.shape)
    for axis, channel in enumerate(maps):
        for voxel in np.argwhere(channel):
            if voxel[axis]:
                before = voxel.copy()
                before[axis] -= 1
                parent[find(place[tuple(voxel)])] = find(place[tuple(before)])
    roots = np.array([find(index) for index in range(labels.size)]).reshape(labels.shape)
    _, ids = np.unique(np.where(labels > 0, roots + 1, 0), return_inverse=True)
    return ids.reshape(labels.shape)


def test_a_body_in_two_pieces_becomes_two():
    labels = np.zeros((1, 3, 5), int)
    labels[0, :, 0] = labels[0, :, 3] = 7
    assert len(np.unique(in_pieces(labels))) == 3 and np.array_equal(in_pieces(labels) > 0, labels > 0)


@pytest.mark.parametrize("in_plane", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_after_erosion_no_two_labels_touch(in_plane, steps):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 5, (3, 4, 4)), np.ones((5, 6, 6), int))
    eroded, lost = erode(labels, steps=steps, in_plane=in_plane)
    for axis in (1, 2) if in_plane else (0, 1, 2):
        ahead, behind = np.moveaxis(eroded, axis, 0)[1:], np.moveaxis(eroded, axis, 0)[:-1]
        assert not ((ahead != behind) & (ahead > 0) & (behind > 0)).any()
    assert lost == [] and np.isin(eroded, [0, *np.unique(labels)]).all()
    assert np.array_equal(eroded[eroded > 0], labels[eroded > 0])


def test_erosion_reports_a_label_that_it_removes_whole_and_leaves_what_faces_nothing():
    labels = np.zeros((1, 5, 12), int)
    labels[..., 1:5], labels[..., 5:7], labels[..., 7:] = 1, 2, 3
    eroded, lost = erode(labels)
    assert lost == [2]
    assert eroded[0, 2].tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 3, 3, 3, 3]


# Masks and loss


def test_what_is_not_scored_has_no_say_in_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 4, 5, generator=generator).requires_grad_()
    target = torch.randint(0, 2, logits.shape, generator=generator)
    counts = torch.randint(0, 2, logits.shape, generator=generator)
    loss = affinity_loss(logits, target, counts)
    loss.backward()
    assert not logits.grad[counts == 0].any() and logits.grad[counts == 1].all()
    moved = logits.detach() + 5 * (1 - counts)
    assert torch.equal(affinity_loss(moved, target, counts), loss.detach())
    by_hand = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none").detach()
    expected = sum(by_hand[:, part][counts[:, part] == 1].mean() for part in (slice(0, 3), slice(3, 4)))
    torch.testing.assert_close(loss.detach(), expected)


def test_a_crop_without_scored_voxels_costs_nothing():
    logits = torch.full((1, 4, 2, 2, 2), 30.0, requires_grad=True)
    loss = affinity_loss(logits, torch.zeros_like(logits), torch.zeros_like(logits))
    loss.backward()
    assert loss == 0 and torch.isfinite(logits.grad).all() and not logits.grad.any()


def test_a_pair_is_scored_when_both_its_voxels_are():
    counts = np.ones((1, 1, 5), bool)
    counts[..., 2] = False
    short, long = affinity_counts(counts, ((0, 0, -1), (0, 0, -2)))
    assert short.ravel().tolist() == [1, 1, 0, 0, 1]
    assert long.ravel().tolist() == [0, 0, 0, 1, 0]


# Sections


def test_thick_and_thin_sections_hand_on_their_voxel_size():
    image = np.arange(9, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    labels = np.arange(9)[:, None, None] * np.ones((1, 2, 2), int)
    thin, thin_labels, thin_size = sections.thin(image, labels, (8.0, 6.0, 5.0), 3)
    assert thin_size == (24, 6, 5) and thin[:, 0, 0].tolist() == thin_labels[:, 0, 0].tolist() == [0, 3, 6]
    thick, thick_labels, thick_size = sections.average(image, labels, (8.0, 6.0, 5.0), 4)
    assert thick_size == (32, 6, 5)
    assert thick[:, 0, 0].tolist() == [1.5, 5.5] and thick_labels[:, 0, 0].tolist() == [2, 6]


def test_a_shift_moves_image_and_labels_alike_and_scores_nothing_that_came_in():
    labels = np.arange(6 * 20 * 20).reshape(6, 20, 20)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image, moved, counts = sections.misalign(rng, labels / 1e4, labels, np.ones(labels.shape, bool), 5)
        changed = np.flatnonzero((image != labels / 1e4).any((1, 2)))
        if np.array_equal(moved, labels):  # a slip: at most one section of the image
            assert len(changed) <= 1 and counts.all()
            continue
        assert np.array_equal(image, moved / 1e4)
        assert changed.tolist() == list(range(changed[0], 6))
        # What is scored is inside: each of its labels once.
        inside = moved[5][counts[5]]
        assert len(np.unique(inside)) == len(inside) == counts[5].sum() < 400


def test_flips_keep_the_volumes_together():
    volume = np.random.default_rng(0).random((3, 5, 5))
    for seed in range(10):
        first, second = sections.turn(np.random.default_rng(seed), volume, volume * 2)
        assert np.array_equal(first * 2, second) and np.allclose(np.sort(first, None), np.sort(volume, None))


# The task


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(1, 9, (4, 5, 5)), np.ones((10, 10, 10), int)).astype(np.uint16)
    image = np.where(erode(labels, in_plane=False)[0] > 0, 200, 60).astype(np.uint8)
    return [
        Volume("isotropic", image, labels, (8, 8, 8), membrane=False),
        Volume("thick", image[::2], labels[::2], (40, 4, 4), membrane=True),
    ]


def test_a_batch_depends_on_seed_and_step_alone_and_fits_the_network(volumes):
    task, again = (AffinityTask(volumes, TINY, size=2, seed=5) for _ in range(2))
    net = AffinityNet(TINY)
    for step in (11, 3):
        image, target, counts = task.batch(step)
        assert all(torch.equal(a, b) for a, b in zip((image, target, counts), again.batch(step)))
        assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
        assert target.shape == counts.shape == (2, 4, *image.shape[2:])
        loss = task.loss(net, (image, target, counts))
        loss.backward()
        assert torch.isfinite(loss)
    assert not torch.equal(task.batch(1)[0], AffinityTask(volumes, TINY, size=2, seed=6).batch(1)[0])


def test_every_parameter_is_in_one_group(volumes):
    net = AffinityNet(TINY)
    groups = AffinityTask(volumes, TINY).parameter_groups(net)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    assert all({"params", "rate", "weight_decay"} <= group.keys() for group in groups)


def test_crops_of_a_window_that_is_not_square_have_its_shape(volumes):
    wide = Architecture(widths=(2, 3, 3, 4, 5), depth=8, height=16, width=32)
    task = AffinityTask(volumes, wide, thicken=0, cut_mix=0.5)
    shapes = {task.batch(step)[0].shape for step in range(40)}
    flat = (1, 1, 4, 32, 48)  # half as deep, 2**.5 as wide, in steps of 16: of volumes of thick sections
    assert (1, 1, 8, 16, 32) in shapes <= {(1, 1, 8, 16, 32), flat}


def test_the_task_is_learnt(volumes):
    # Membranes are dark here: a tiny network finds them within some thirty steps.
    torch.manual_seed(0)
    net = AffinityNet(TINY)
    task = AffinityTask(volumes[:1], TINY, mix_frequency=0, cut_mix=0, thicken=0, rate=2e-2)
    optimiser = torch.optim.Adam(net.parameters(), 2e-2)
    losses = []
    for step in range(30):
        loss = task.loss(net, task.batch(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_labels_are_split_before_anything_else(volumes):
    task = AffinityTask(volumes, TINY)
    for volume in task.volumes:
        assert len(np.unique(cc3d.connected_components(volume.labels, connectivity=6))) == len(
            np.unique(volume.labels)
        )


def test_past_the_end_of_a_volume_its_last_plane_repeats_and_nothing_is_scored():
    labels = np.arange(6 * 8 * 10).reshape(6, 8, 10)
    for seed in range(12):
        image, moved, counts = sections.end(
            np.random.default_rng(seed), labels / 1e3, labels, np.ones(labels.shape, bool)
        )
        assert np.array_equal(image, moved / 1e3)
        assert np.array_equal(moved[counts], labels[counts]) and len(np.unique(moved)) == counts.sum()
        assert labels.size / 2 <= counts.sum() <= labels.size


def test_the_loop_fits_it_and_its_weights_file_says_what_it_is(volumes, tmp_path):
    from pipeline.network import model, weights
    from pipeline.training.loop import fit

    torch.manual_seed(0)
    net = fit(
        AffinityNet(TINY),
        AffinityTask(volumes, TINY),
        steps=2,
        checkpoint=tmp_path / "check.pt",
        log=tmp_path / "log.tsv",
        workers=0,
        bf16=True,
    )
    path = tmp_path / "em.safetensors"
    size = ((0.008,) * 3, (0.05, 0.01, 0.01))
    weights.save(path, net, levels="bytes 1", voxel_um=size, card={})
    network = model.load(path, device="cpu", precision="fp32")
    assert network.contract.directions == {0: (-3, 1), 1: (-2, 1), 2: (-1, 1)}
    assert model.load(path, views=2).views == 1  # its windows overlap in depth: they are views already
    assert network.contract.channels == ("affinity_z", "affinity_y", "affinity_x", "foreground")
    window = np.random.default_rng(0).random((1, *TINY.window), np.float32)
    net.half().float()  # the file is in half precision
    with torch.no_grad():
        expected = net(torch.from_numpy(window)[None]).sigmoid().numpy()
    found = network.run(torch.from_numpy(window)).numpy()
    assert found.shape == (1, 4, *TINY.window)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # A volume that is narrower than the windows of the training is one window.
    wide = replace(network.contract, window=(8, 64, 64), core=(8, 64, 64))
    grid = wide.grid(TINY.window, overlap=0.5)
    found = replace(network, contract=wide).predict(window[0], blocks.whole(grid), grid)
    np.testing.assert_allclose(found, expected[0], atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((50, 210, 250), (32, 128, 128)),
        ((50, 100, 200), (32, 96, 128)),
        ((12, 128, 127), (32, 128, 112)),
        ((1, 9, 16), (32, 16, 16)),
    ],
)
def test_a_volumetric_network_reads_no_wider_than_the_volume_in_steps_of_16_pixels(shape, window):
    about = Contract((32, 128, 128), (32, 128, 128), ("affinity_z",), "", ((0.0,) * 3,) * 2, False, {}, {})
    grid = about.grid(shape, overlap=0.5)
    assert grid.window == grid.core == window
    assert PIXELS == 2**DEEPEST


def test_a_slice_segmenter_reads_its_window_of_any_volume():
    about = Contract((5, 128, 128), (1, 128, 128), ("neurite",), "", ((0.0,) * 3,) * 2, True, {}, {})
    grid = about.grid((9, 60, 200), overlap=0.25)
    assert (grid.window, grid.stride) == ((5, 128, 128), (1, 96, 96))
