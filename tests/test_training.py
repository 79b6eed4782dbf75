"""Pairs, windows, losses and the loop of the training."""

import dataclasses

import numpy as np
import pytest
import tifffile
import torch

from conftest import save_slices
from pipeline import config, swc
from pipeline.errors import InputError
from pipeline.network import contract
from pipeline.network.slices import Architecture, SliceSegmenter
from pipeline.stages import ingest
from pipeline.stages import train as stages_train
from pipeline.swc import Tree
from pipeline.training import augment, loop, losses, pairs, store
from pipeline.training.material import Material
from pipeline.training.pairs import RIM
from pipeline.training.slices import SliceTask, dice

VOXEL_SIZE = (1.0, 0.5, 0.5)


def straight(y=16.0, z=4.0, radius=1.0):
    """A tube along x at y, z um."""
    xyz = np.array([[2, y, z], [28, y, z]], float)
    return Tree(xyz, np.full(2, radius), np.array([-1, 0]), np.zeros(2, int))


@pytest.fixture
def pair():
    image = np.zeros((9, 64, 64), np.float32)
    image[4, 31:34, 2:59] = 100
    image[[3, 5], 32, 2:59] = 100
    return pairs.from_tree("tube", image, [straight()], VOXEL_SIZE, complete=True)


def test_foreground_lies_on_the_tube_and_nowhere_else(pair):
    z, y, x = pair.foreground.T
    assert set(z) == {3, 4, 5}
    assert np.abs(y - 32).max() <= 2
    assert (x.min(), x.max()) == (2, 58)  # 2 um - radius 1 um .. 28 + 1, voxel 0.5 um


def test_a_bright_structure_that_was_not_traced_does_not_count_and_the_background_does():
    image = np.zeros((9, 64, 64), np.float32)
    image[4, 30:35] = 100
    image[4, 5:9] = 100  # 12 um beside the tree: somebody else's neuron
    image[4, 50, 20] = 100  # a speck of noise is background
    tree = [straight()]
    counts = pairs.from_tree("two", image, tree, VOXEL_SIZE, complete=False).counts
    assert not counts[4, 5:9].any()
    # Inside; what lies beside is left open, along z too: people do not draw to the voxel.
    assert counts[4, 31:34, 6:54].all()
    assert counts[4, 40:52].all()
    assert counts[0, :20].all() and counts[0, 45:].all()
    whole = pairs.from_tree("two", image, tree, VOXEL_SIZE, complete=True)
    assert whole.counts[whole.distance > 0].all()


def test_what_was_grown_but_cannot_be_seen_does_not_count():
    image = np.zeros((9, 64, 64), np.float32)
    image[3:6, 30:35, :30] = 10  # behind it the line runs on in the dark: too dim, or under a black plane
    made = pairs.from_tree("dark", image, [straight()], VOXEL_SIZE, complete=True)
    assert made.counts[4, 31:34, 6:28].all() and (made.foreground[:, 2] < 33).all()
    assert not made.counts[4, 31:34, 34:54].any()
    assert made.counts[made.distance > 0].all()


def test_the_dim_end_of_what_was_not_traced_does_not_count_and_dim_noise_does():
    image = np.zeros((9, 64, 64), np.float32)
    image[4, 30:35] = 100
    image[4, 5:9, :40] = 100
    image[4, 5:9, 40:64] = 12
    image[4, 55:59, :40] = 12
    counts = pairs.from_tree("two", image, [straight()], VOXEL_SIZE, complete=False).counts
    assert not counts[4, 5:9, :50].any()
    assert counts[4, 5:9, 51:].all()  # 5 um on it may be anything
    assert counts[4, 55:59, :40].all()


@pytest.mark.parametrize(("scatter", "open_slices"), [(0, 0), (1, 1)])
def test_what_is_left_open_beside_a_line_is_as_wide_as_lines_scatter(scatter, open_slices):
    image = np.zeros((15, 64, 64), np.float32)
    image[6:9, 30:35] = 100
    pair = pairs.from_tree("one", image, [straight(z=7.0)], VOXEL_SIZE, complete=False, scatter=scatter)
    beside = (pair.distance > 0)[:, 32, 30] & ~pair.counts[:, 32, 30]
    first = np.flatnonzero(pair.distance[:, 32, 30] <= 0).max() + 1
    assert beside[first:].sum() == open_slices == beside[first : first + open_slices].sum()


def test_sparse_labels_leave_out_what_is_not_annotated_and_the_rim():
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1] = pairs.BACKGROUND
    labels[1, 2:6, 2:6] = pairs.RIM_LABEL
    labels[1, 3:5, 3:5] = pairs.NEURITE
    pair = pairs.from_labels("trailmap", np.full((3, 8, 8), 10, np.float32), labels)
    assert not pair.counts[[0, 2]].any()
    assert len(pair.foreground) == 4
    rim = (pair.distance > 0) & (pair.distance <= pairs.RIM)
    np.testing.assert_array_equal(rim, labels == pairs.RIM_LABEL)


def test_a_neurite_that_is_lost_in_the_noise_is_none_and_a_dim_one_does_not_count():
    labels = np.full((3, 24, 16), pairs.BACKGROUND, np.uint8)
    labels[1, 2:6], labels[1, 10:14], labels[1, 18:22] = [pairs.NEURITE] * 3
    bands = np.repeat([1.0, 3.0, 10.0], 8)[:, None] * np.ones((3, 24, 16), np.float32)
    pair = pairs.from_labels("three", bands, labels)
    assert pair.counts[1, 2:6].all() and (pair.distance[1, 2:6] > 0).all()
    assert not pair.counts[1, 10:14].any() and pair.counts[1, 18:22].all()
    assert pair.foreground[:, 1].min() == 18


def test_a_window_and_its_target_stay_together_whatever_is_flipped_and_zoomed(pair, monkeypatch):
    monkeypatch.setattr(augment, "change_image", lambda rng, window, **about: window)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        window, target, weight = augment.sample_window(rng, pair, depth=5, tile=32)
        assert window.shape == (5, 32, 32)
        bright = window[2] > 90
        # The line is brighter in the centre slice than elsewhere only where the target says neurite.
        assert not np.any(bright & (target == 0) & (weight > 0)), seed


def test_changes_keep_the_window_in_its_range_and_its_type():
    window = 20 * np.random.default_rng(0).random((5, 32, 32), np.float32)
    for seed in range(60):
        changed = augment.change_image(
            np.random.default_rng(seed), window, brightest=20.0, cleaned=seed % 2 == 0
        )
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
    groups = task_of([], encoder_rate=1.0, decoder_rate=3.0, layer_decay=0.5).parameter_groups(model)
    rate = {id(p): group["rate"] for group in groups for p in group["params"]}
    assert len(rate) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    blocks = [rate[id(block.norm1.weight)] for block in model.encoder.blocks]
    assert blocks == [0.125, 0.25, 0.5, 1.0]
    assert rate[id(model.encoder.pos_embed)] == 0.0625
    assert rate[id(model.decoder.head.weight)] == 3.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_recorded_step_does_what_a_plain_one_does():
    from pipeline.training.step import EAGER, Step

    def losses(graph: bool) -> list[float]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1)).cuda()
        groups = [{"params": list(net.parameters()), "rate": 1e-2, "weight_decay": 0.05}]
        step = Step(
            net, lambda model, batch: (model(batch[0]) - batch[1]).square().mean(), groups, bf16=False
        )
        step.taken = 0 if graph else -100
        batches = torch.randn(12, 2, 16, 8, generator=torch.Generator().manual_seed(1))
        return [float(step((one[0], one[1, :, :1]), 0.5)) for one in batches]

    assert EAGER < 12
    np.testing.assert_allclose(losses(True), losses(False), rtol=1e-4)


class Killed(Exception):
    pass


def material(pairs=(), judges=(), empty=()):
    return Material([*pairs], [], [], [*judges], [], [*empty])


def task_of(pairs, *, batch=2, **rates):
    rates = {"encoder_rate": 2e-4, "decoder_rate": 1e-3, "layer_decay": 0.75, **rates}
    return SliceTask(material(pairs), simulated_share=0.4, batch=batch, depth=5, tile=32, seed=1, **rates)


def tiny():
    torch.manual_seed(0)
    return SliceSegmenter(Architecture(tile=32, width=24, blocks=4, heads=3))


def train(folder, pair, *, steps=6, killed_at=None, digest=""):
    """Weights after `steps` steps of a tiny model; killed_at: the validation of that step is a kill."""
    task = task_of([pair])

    def validate(network):
        if killed_at is not None:
            raise Killed
        return 0.5

    task.validate = validate
    log, checkpoint = folder / "log.tsv", folder / "checkpoint"
    trained = loop.fit(
        tiny(),
        task,
        steps=steps,
        checkpoint=checkpoint,
        log=log,
        digest=digest,
        validate_every=killed_at or steps,
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


def test_a_checkpoint_of_other_settings_is_put_aside_and_told(tmp_path, pair, capsys):
    expected, _ = train(tmp_path, pair, digest="these")
    (tmp_path / "b").mkdir()
    with pytest.raises(Killed):
        train(tmp_path / "b", pair, killed_at=5, digest="others")
    anew, log = train(tmp_path / "b", pair, digest="these")
    assert all(torch.equal(anew[name], expected[name]) for name in expected)
    assert "of other settings or samples, put aside" in capsys.readouterr().out
    assert len(log.splitlines()) == 7
    assert (tmp_path / "b/checkpoint.other").is_file()


@pytest.mark.parametrize("lost_at", [3, 6])
def test_weights_that_are_no_numbers_end_the_training_and_are_not_saved(tmp_path, pair, lost_at):
    """The gradient of one step is NaN, its loss is not: so it is with oneDNN's 3D convolutions."""
    task, log = task_of([pair]), tmp_path / "log.tsv"
    loss_of, seen = task.loss, []

    def loss(model, batch):
        seen.append(batch)
        value = loss_of(model, batch)
        if len(seen) == lost_at:
            value.register_hook(lambda gradient: gradient * float("nan"))
        return value

    task.loss = loss
    with pytest.raises(
        InputError, match=rf"log.tsv: the training is lost: weights .* step {lost_at - 1}; allowed: a"
    ):
        loop.fit(tiny(), task, steps=6, checkpoint=tmp_path / "c", log=log, save_every=1, workers=0)
    saved = torch.load(tmp_path / "c", weights_only=True)
    assert saved["step"] == lost_at - 1
    assert all(torch.isfinite(each).all() for part in ("model", "averaged") for each in saved[part].values())


@pytest.mark.slow
def test_training_on_one_tube_finds_it(tmp_path, pair):
    task, log = task_of([pair], batch=4, decoder_rate=5e-3), tmp_path / "log.tsv"
    loop.fit(tiny(), task, steps=60, checkpoint=tmp_path / "c", log=log, workers=0)
    values = [float(row.split("\t")[2]) for row in log.read_text().splitlines()[1:]]
    assert np.mean(values[-10:]) < 0.5 * np.mean(values[:5])


def test_a_window_of_one_slice_is_changed_without_a_neighbour_to_lose():
    window = np.random.default_rng(0).random((1, 32, 32), np.float32)
    for seed in range(200):
        assert augment.change_image(
            np.random.default_rng(seed), window, brightest=20.0, cleaned=seed % 2 == 0
        ).shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("images", "remade", "scenes", "expected"),
    [
        (2, 0, 2, [0.3, 0.3, 0.2, 0.2]),
        (1, 1, 1, [0.3, 0.3, 0.4]),
        (2, 0, 0, [0.5, 0.5]),
        (0, 0, 2, [0.5, 0.5]),
    ],
)
def test_shares_are_whole_with_and_without_simulations(pair, images, remade, scenes, expected):
    share = Material([pair] * images, [pair] * remade, [pair] * scenes, [], [], []).shares(0.4)
    np.testing.assert_allclose(share, expected)


class Bright(torch.nn.Module):
    """A network to which what is brighter than a grey of 1/2 is neurite."""

    def __init__(self):
        super().__init__()
        self.architecture = Architecture(tile=32, width=24, blocks=4, heads=3)
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, window):
        return (window[:, :, 2] - 0.5) * 40


def test_dice_leaves_the_rim_out(pair):
    drawn = (100 * (pair.distance <= reach).astype(np.float16) for reach in (RIM, 2))
    exact, thick = (dataclasses.replace(pair, image=image) for image in drawn)
    assert dice(Bright(), exact) == 1
    assert dice(Bright(), thick) < 1


def test_noise_taken_for_neurite_costs_ten_times_its_share(pair):
    dark = pairs.empty("dark", np.zeros((9, 64, 64), np.float32))
    spoilt = dataclasses.replace(dark, image=dark.image + 100 * (np.arange(64) < 16).astype(np.float16))
    exact = dataclasses.replace(pair, image=100 * (pair.distance <= 0).astype(np.float16))
    scores = []
    for empty in (dark, spoilt):
        task = task_of([pair])
        task.material = Material([], [], [], [exact], [exact], [empty])
        scores.append(task.validate(Bright()))
    assert scores == pytest.approx([1.0, 1.0 - 10 * 0.25])


def test_a_volume_of_several_slabs_gives_the_pair_of_one(tmp_path, pair, monkeypatch):
    def make(first, last):
        moved = straight(z=4.0 - first * VOXEL_SIZE[0])
        image = pair.image[first:last].astype(np.float32)
        return pairs.from_tree("tube", image, [moved], VOXEL_SIZE, complete=True)

    monkeypatch.setattr(store, "SLAB_VOXELS", 2 * 64 * 64)
    found = store.in_slabs("tube", pair.image.shape, make, folder=tmp_path)
    assert isinstance(found.image, np.memmap)
    for name in ("image", "distance", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(pair, name))
    for name in ("foreground", "bright"):
        assert sorted(map(tuple, getattr(found, name))) == sorted(map(tuple, getattr(pair, name)))


@pytest.fixture
def sheet(tmp_path):
    """A training sheet of an ingested tube with an SWC, and of one with a label image beside it."""
    image = np.random.default_rng(0).integers(5, 16, (9, 64, 64)).astype(np.uint8)
    image[4, 31:34, 2:59] = 200
    labels = np.full(image.shape, pairs.BACKGROUND, np.uint8)
    labels[4, 31:34, 2:59] = pairs.NEURITE
    tifffile.imwrite(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "a_labels.tif", labels)
    swc.write(tmp_path / "a.swc", straight())
    ingest.run(tmp_path / "a.tif", tmp_path / "image.zarr", voxel_size="1,0.5,0.5")
    rows = ["sample\timage\treference\treference_unit"]
    rows += [
        f"{name}\t{tmp_path}/image.zarr\t{tmp_path}/{path}\tum"
        for name, path in (("tree", "a.swc"), ("labels", "a_labels.tif"))
    ]
    (tmp_path / "samples.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "samples.tsv"


SETTINGS = config.Train(steps=2, simulated=0, remade=1, start="", batch=1, window=32)


@pytest.mark.slow
@pytest.mark.parametrize("left_out", ["labels", "tree"])
def test_trees_and_label_images_both_teach_and_the_card_says_which(sheet, tmp_path, left_out):
    settings = SETTINGS.model_copy(update={"validation": left_out})
    stages_train.run([sheet], output=tmp_path / "w.safetensors", workers=0, settings=settings)
    card = (tmp_path / "w.md").read_text()
    taught = {"labels": "tree", "tree": "labels"}[left_out]
    assert f"trained on three quarters of: {taught}; 1 parts" in card
    about = contract.read(tmp_path / "w.safetensors")
    assert about.window == (5, 32, 32)
    assert about.voxel_um == ((0.2, 0.2, 0.2), (3.2, 0.8, 0.8))
    assert not list(tmp_path.glob(".w*"))


def test_a_start_of_our_own_keeps_its_sizes_and_the_card_tells_them(sheet, tmp_path):
    start = save_slices(tmp_path / "start.safetensors", tiny())  # GroupNorm is folded away
    settings = SETTINGS.model_copy(update={"start": str(start), "window": 64, "depth": 3})
    stages_train.run([sheet], output=tmp_path / "w.safetensors", workers=0, settings=settings)
    assert contract.read(tmp_path / "w.safetensors").window == (5, 32, 32)
    assert "reads 5 slices of 32 x 32 pixels" in (tmp_path / "w.md").read_text()


def test_labels_of_another_shape_than_the_image_are_refused(sheet, tmp_path):
    tifffile.imwrite(tmp_path / "a_labels.tif", np.ones((8, 64, 64), np.uint8))
    with pytest.raises(InputError, match=r"a_labels.tif: uint8, 8 x 64 x 64 voxels; allowed: .* 9 x 64 x 64"):
        stages_train.run([sheet], output=tmp_path / "w.safetensors", workers=0, settings=SETTINGS)
