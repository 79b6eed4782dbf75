"""Pairs, windows, losses and the loop of the training."""

import numpy as np
import pytest
import torch

from pipeline.network.vit3d import Architecture, SliceSegmenter
from pipeline.swc import Tree
from pipeline.training import augment, loop, losses, pairs

VOXEL_SIZE = (1.0, 0.5, 0.5)


def straight(y=16.0, z=4.0, radius=1.0):
    """A tube along x at y, z um."""
    xyz = np.array([[2, y, z], [28, y, z]], float)
    return Tree(xyz, np.full(2, radius), np.array([-1, 0]), np.zeros(2, int))


@pytest.fixture
def pair():
    image = np.zeros((9, 64, 64), np.float32)
    image[4, 31:34, 2:59] = 1
    return pairs.from_tree("tube", image, [straight()], VOXEL_SIZE, complete=True)


def test_foreground_lies_on_the_tube_and_nowhere_else(pair):
    z, y, x = pair.foreground.T
    assert set(z) == {3, 4, 5}
    assert np.abs(y - 32).max() <= 2
    assert (x.min(), x.max()) == (2, 58)  # 2 um - radius 1 um .. 28 + 1, voxel 0.5 um


def test_a_bright_structure_that_was_not_traced_does_not_count_and_the_background_does():
    image = np.zeros((9, 64, 64), np.float32)
    image[4, 30:35] = 1
    image[4, 5:9] = 1  # 12 um beside the tree: somebody else's neuron
    image[4, 50, 20] = 1  # a speck of noise is background
    tree = [straight()]
    counts = pairs.from_tree("two", image, tree, VOXEL_SIZE, complete=False).counts
    assert not counts[4, 5:9].any()
    assert counts[4, 28:52].all()
    assert counts[:2].all()
    assert pairs.from_tree("two", image, tree, VOXEL_SIZE, complete=True).counts.all()


def test_sparse_labels_leave_out_what_is_not_annotated_and_the_rim():
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1] = pairs.BACKGROUND
    labels[1, 2:6, 2:6] = pairs.RIM_LABEL
    labels[1, 3:5, 3:5] = pairs.NEURITE
    pair = pairs.from_labels("trailmap", np.zeros((3, 8, 8), np.float32), labels)
    assert not pair.counts[[0, 2]].any()
    assert len(pair.foreground) == 4
    rim = (pair.distance > 0) & (pair.distance <= pairs.RIM)
    np.testing.assert_array_equal(rim, labels == pairs.RIM_LABEL)


def test_a_window_and_its_target_stay_together_whatever_is_flipped_and_zoomed(pair, monkeypatch):
    monkeypatch.setattr(augment, "change_image", lambda rng, window: window)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        window, target, weight = augment.sample_window(rng, pair, depth=5, tile=32)
        assert window.shape == (5, 32, 32)
        bright = window[2] > 0.9
        # The line is brighter in the centre slice than elsewhere only where the target says neurite.
        assert not np.any(bright & (target == 0) & (weight > 0)), seed


def test_changes_keep_the_window_in_its_range_and_its_type():
    window = np.random.default_rng(0).random((5, 32, 32), np.float32)
    for seed in range(60):
        changed = augment.change_image(np.random.default_rng(seed), window)
        assert changed.dtype == np.float32
        assert changed.shape == window.shape
        assert changed.min() >= 0
        assert changed.max() <= 1


def test_two_neurons_in_view_are_both_neurite_and_unknown_stays_unknown():
    one = tuple(
        np.zeros((n, 2, 2), np.float32)[0] if n == 1 else np.zeros((n, 2, 2), np.float32) for n in (5, 1, 1)
    )
    first = (one[0] + 0.2, np.array([[1, 0], [0, 0]], np.float32), np.ones((2, 2), np.float32))
    second = (one[0] + 0.7, np.array([[0, 1], [0, 0]], np.float32), np.array([[1, 1], [1, 0]], np.float32))
    window, target, weight = augment.overlay(first, second)
    assert (window == np.float32(0.7)).all()
    assert target.tolist() == [[1, 1], [0, 0]]
    assert weight.tolist() == [[1, 1], [1, 0]]


def test_loss_is_zero_for_a_certain_right_answer_and_ignores_unlabelled_pixels():
    target = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).reshape(1, 1, 2, 2)
    weight = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).reshape(1, 1, 2, 2)
    right = (target * 2 - 1) * 40
    wrong_where_unknown = torch.where(weight > 0, right, -right)
    assert losses.slice_loss(right, target, weight) < 1e-6
    assert losses.slice_loss(wrong_where_unknown, target, weight) < 1e-6


def test_dice_loss_of_a_hand_computed_case():
    probability, target = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    # 1 - (2 * .5 + 1) / (1 + 1 + 1)
    assert losses.dice_loss(probability, target, torch.ones(3)).item() == pytest.approx(1 / 3)


def test_schedule_rises_from_zero_to_its_base_and_falls_to_zero():
    factors = loop.schedule(base=2.0, steps=101, warmup=10)
    assert factors[0] == 0
    assert factors[10] == pytest.approx(2.0)
    assert factors[5] == pytest.approx(1.0)
    assert factors[100] == pytest.approx(2 * 0.5 * (1 + np.cos(np.pi * 90 / 91)))


def test_every_parameter_is_in_one_group_and_deeper_blocks_learn_faster():
    model = SliceSegmenter(Architecture(tile=32, width=24, blocks=4, heads=3))
    groups = loop.parameter_groups(model, encoder_rate=1.0, decoder_rate=3.0, layer_decay=0.5)
    rate = {id(p): group["rate"] for group in groups for p in group["params"]}
    assert len(rate) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    blocks = [rate[id(block.norm1.weight)] for block in model.encoder.blocks]
    assert blocks == [0.125, 0.25, 0.5, 1.0]
    assert rate[id(model.encoder.pos_embed)] == 0.0625
    assert rate[id(model.decoder.head.weight)] == 3.0


class Killed(Exception):
    pass


def train(folder, pair, *, steps=6, killed_at=None):
    """Weights after `steps` steps of a tiny model; killed_at: the validation of that step is a kill."""
    torch.manual_seed(0)
    model = SliceSegmenter(Architecture(tile=32, width=24, blocks=4, heads=3))
    batches = loop.Batches([pair], np.ones(1), size=2, depth=5, tile=32, seed=1)

    def validate(network):
        if killed_at is not None:
            raise Killed
        return 0.5

    every = killed_at or steps
    log, checkpoint = folder / "log.tsv", folder / "checkpoint"
    trained = loop.fit(
        model,
        batches,
        steps=steps,
        checkpoint=checkpoint,
        log=log,
        validate=validate,
        validate_every=every,
        save_every=2,
        workers=0,
    )
    return trained.state_dict(), log.read_text()


def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path, pair):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    expected, log = train(tmp_path / "a", pair)
    with pytest.raises(Killed):
        train(tmp_path / "b", pair, killed_at=5)
    resumed, resumed_log = train(tmp_path / "b", pair)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    column = [[row.split("\t")[2] for row in text.splitlines()] for text in (log, resumed_log)]
    assert column[0] == column[1]
    assert len(column[0]) == 7


def test_training_on_one_tube_finds_it(tmp_path, pair):
    torch.manual_seed(0)
    model = SliceSegmenter(Architecture(tile=32, width=24, blocks=4, heads=3))
    batches = loop.Batches([pair], np.ones(1), size=4, depth=5, tile=32, seed=1)
    losses_seen = tmp_path / "log.tsv"
    loop.fit(
        model, batches, steps=60, checkpoint=tmp_path / "c", log=losses_seen, decoder_rate=5e-3, workers=0
    )
    values = [float(row.split("\t")[2]) for row in losses_seen.read_text().splitlines()[1:]]
    assert np.mean(values[-10:]) < 0.5 * np.mean(values[:5])
