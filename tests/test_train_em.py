"""Training for electron microscopy: sheet and labels to weights that infer can use."""

import h5py
import numpy as np
import pytest
import tifffile
import torch

from pipeline import blocks, config
from pipeline.errors import InputError
from pipeline.network import contract, model, weights
from pipeline.network.affinities import SHORT, AffinityNet, Architecture, z_pooling
from pipeline.stages import infer, ingest, tile, train_em
from pipeline.training import electron, loop, sheet
from pipeline.training.affinities import AffinityTask, Volume, border_f1

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (20, 40, 48)
TINY = config.TrainEm(
    start="",
    widths="2,3,3,4,5",
    depth=8,
    height=16,
    width=16,
    steps=2,
    pretrain_steps=2,
    validate_every=1,
)


def cells() -> np.ndarray:
    """Eight columns of cells along z, walls of label 0 between them."""
    labels = np.zeros(SHAPE, np.uint16)
    for row in range(2):
        for column in range(4):
            labels[:, 20 * row + 1 : 20 * row + 19, 12 * column + 1 : 12 * column + 11] = 4 * row + column + 1
    return labels


def picture(labels: np.ndarray) -> np.ndarray:
    """Bright cells, dark walls, some noise; uint8."""
    noise = np.random.default_rng(0).normal(0, 10, labels.shape)
    return np.clip(np.where(labels > 0, 170, 60) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two ingested volumes: "a" with labels in an HDF5 file, "b" with a TIFF of labels; "c" has none."""
    labels = cells()
    rows = ["sample\timage\treference\treference_unit"]
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", picture(labels))
        ingest.run(tmp_path / f"{name}.tif", tmp_path / f"{name}.zarr", voxel_size="0.01,0.008,0.008")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/labels"] = labels
    tifffile.imwrite(tmp_path / "b_labels.tif", labels)
    for name, truth in (
        ("a", f"{tmp_path}/a.h5:/volumes/labels"),
        ("b", f"{tmp_path}/b_labels.tif"),
        ("c", ""),
    ):
        rows.append(f"{name}\t{tmp_path}/{name}.zarr\t{truth}\tum")
    (tmp_path / "samples.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def train(folder, **changed):
    settings = TINY.model_copy(update=changed)
    train_em.run([folder / "samples.tsv"], output=folder / "em.safetensors", workers=0, settings=settings)
    return folder / "em.safetensors"


def test_a_sheet_becomes_weights_that_infer_runs(folder):
    made = train(folder, validation="b", stretched=0.0)
    about = contract.read(made)
    assert about.channels == (
        *("affinity_z", "affinity_y", "affinity_x", "affinity_z_3", "affinity_y_6", "affinity_x_6"),
        "foreground",
    )
    assert (about.window, about.levels, about.dark_is_empty) == ((8, 16, 16), "bytes 1", False)
    assert about.voxel_um == ((0.01, 0.008, 0.008), (0.05, 0.008, 0.008))  # up to five sections made one
    card = (folder / "em.md").read_text()
    assert "trained on: a (20 x 40 x 48 voxels of 10 x 8 x 8 nm)\n" in card
    assert "held out (scored only): b (" in card and str(folder) not in card
    assert len((folder / "em.tsv").read_text().splitlines()) == 3
    assert not list(folder.glob(".em*"))
    tile.run(folder / "c.zarr", made, folder / "plan.json")
    infer.run(folder / "c.zarr", folder / "plan.json", made, folder / "blocks")
    found = np.load(folder / "blocks/000000.npy")
    assert found.shape[0] == 7
    assert len(blocks.read_plan(folder / "plan.json").blocks) == len(list((folder / "blocks").glob("*.npy")))


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(folder):
    first = train(folder).read_bytes()
    assert train(folder).read_bytes() == first
    assert train(folder, seed=1).read_bytes() != first


@pytest.mark.slow
def test_killed_in_either_phase_it_goes_on_to_the_same_weights(folder, monkeypatch):
    settings = {"pretrain": "gaussian_mask", "steps": 3, "pretrain_steps": 3}
    whole = train(folder, **settings).read_bytes()
    fit, save = loop.fit, loop._save

    for dies_in, steps in (("pretrain", 2), (".em.checkpoint", 1)):

        def save_and_die(checkpoint, step, *rest, dies_in=dies_in, steps=steps):
            save(checkpoint, step, *rest)
            if dies_in in checkpoint.name and step == steps:
                raise KeyboardInterrupt

        monkeypatch.setattr(loop, "_save", save_and_die)
        monkeypatch.setattr(loop, "fit", lambda *args, **more: fit(*args, **more, save_every=1))
        with pytest.raises(KeyboardInterrupt):
            train(folder, **settings)
    monkeypatch.undo()
    assert list(folder.glob(".em.checkpoint")) and list(folder.glob(".em.pretrain.checkpoint"))
    assert train(folder, **settings).read_bytes() == whole
    assert not list(folder.glob(".em*"))


def test_pretraining_moves_the_encoder_and_leaves_the_decoders(folder, monkeypatch):
    seen = {}
    fit = loop.fit

    def watch(module, task, **more):
        seen[type(module).__name__] = {name: value.clone() for name, value in module.state_dict().items()}
        seen[f"images of {type(task).__name__}"] = len(getattr(task, "images", ()))
        return fit(module, task, **more)

    monkeypatch.setattr(loop, "fit", watch)
    train(folder, pretrain="gaussian_mask")
    begun, rebuilder = seen["AffinityNet"], seen["Rebuilder"]
    assert seen["images of GaussianMaskTask"] == 3  # the one without labels, too
    torch.manual_seed(0)
    sizes = Architecture((2, 3, 3, 4, 5), 8, 16, 16, (*SHORT, (-3, 0, 0), (0, -6, 0), (0, 0, -6)))
    sizes = Architecture(**{**sizes.__dict__, "z_pooled": z_pooling(8, (0.01, 0.008, 0.008))})
    fresh = AffinityNet(sizes).state_dict()
    moved = {name for name in begun if not torch.equal(begun[name], fresh[name])}
    assert moved and all(name.startswith("encoder.") for name in moved)
    assert all(torch.equal(rebuilder[name], fresh[name]) for name in fresh if name.startswith("encoder."))


def test_a_start_of_our_own_keeps_its_sizes(folder):
    torch.manual_seed(1)
    start = folder / "start.safetensors"
    weights.save(
        start,
        AffinityNet(Architecture(widths=(2, 2, 3, 3, 4), depth=12, height=16, width=32)),
        levels="bytes 1",
        voxel_um=((0.008,) * 3, (0.04, 0.008, 0.008)),
        card={},
    )
    assert contract.read(train(folder, start=str(start))).window == (12, 16, 32)
    assert "start: start.safetensors" in (folder / "em.md").read_text()


def test_weights_of_another_modality_are_no_start(folder, tiny_weights):
    with pytest.raises(
        InputError, match=r"tiny.safetensors: architecture SliceSegmenter; allowed: .*affinity"
    ):
        train(folder, start=str(tiny_weights))


# Labels


def relabel(folder, labels):
    with h5py.File(folder / "a.h5", "w") as file:
        file["volumes/labels"] = labels


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            lambda labels: labels[1:],
            r"labels of 19 x 40 x 48 voxels; allowed: 20 x 40 x 48 voxels as .*a.zarr",
        ),
        (lambda labels: labels.astype(np.float32), r"labels of type float32; allowed: uint8"),
        (lambda labels: labels.astype(np.int32) - 1, r"a label -1; allowed: uint8"),
        (lambda labels: labels * 0, r"no label but 0; allowed: at least one"),
    ],
)
def test_wrong_labels_are_named_with_their_data_set(folder, wrong, said):
    relabel(folder, wrong(cells()))
    with pytest.raises(InputError, match=r"a.h5:/volumes/labels: " + said):
        train(folder)


def test_a_tree_teaches_no_affinities(folder):
    text = (folder / "samples.tsv").read_text().replace("b_labels.tif", "b.swc")
    (folder / "samples.tsv").write_text(text)
    with pytest.raises(InputError, match=r"b.swc: a tree; allowed: an image of voxel labels"):
        train(folder)


def test_ids_of_any_size_are_the_same_cells(folder):
    row = sheet.read_sheet(folder / "samples.tsv")[0]
    small = electron.load(row, membrane=False).labels
    relabel(folder, np.where(cells() > 0, cells().astype(np.uint64) + 2**40, 0))
    large = electron.load(row, membrane=False).labels
    assert large.dtype == np.uint32 and large.max() == 8
    np.testing.assert_array_equal(large > 0, small > 0)
    np.testing.assert_array_equal(
        np.diff(large.astype(int), axis=2) != 0, np.diff(small.astype(int), axis=2) != 0
    )


def test_without_labels_to_train_on_nothing_is_trained(folder):
    with pytest.raises(InputError, match="no sample with labels"):
        train(folder, validation="a b")


# Parts of volumes


def test_held_out_sections_and_fewer_labels(folder):
    train(folder, validation_share=0.2, label_share=0.25, membrane="a", pretrain="gaussian_mask")
    card = (folder / "em.md").read_text()
    assert "trained on: a (4 x 40 x 48 voxels of 10 x 8 x 8 nm), b (4 x " in card
    assert "held out (scored only): a (4 x 40 x 48 voxels of 10 x 8 x 8 nm), b (4 x " in card


@pytest.mark.parametrize(
    ("share", "sections"), [((0, 0.8), (0, 16)), ((0.8, 1), (16, 20)), ((0, 0.01), (0, 1))]
)
def test_a_part_is_whole_sections(share, sections):
    labels = np.arange(20, dtype=np.uint32)[:, None, None] * np.ones((1, 2, 2), np.uint32)
    whole = Volume("v", labels.astype(np.uint8), labels, (1, 1, 1), membrane=True)
    assert list(electron.part(whole, *share).labels[:, 0, 0]) == list(range(*sections))


def test_a_tenth_of_the_voxels_teaches_a_third_as_often():
    volumes = [
        Volume(
            str(depth), np.zeros((depth, 4, 5), np.uint8), np.ones((depth, 4, 5), np.uint32), (1, 1, 1), True
        )
        for depth in (10, 90)
    ]
    kinds = electron.weighed(volumes, stretched=0.25)
    assert [kind.share / kinds[0].share for kind in kinds] == pytest.approx([1, 1 / 3, 3, 1])
    assert len(electron.weighed(volumes, stretched=0)) == len(electron.weighed(volumes, stretched=1)) == 2


def test_stretched_grey_reaches_black_and_white():
    image = np.random.default_rng(0).integers(60, 200, (10, 40, 40)).astype(np.uint8)
    stretched = electron.stretch(image)
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert (np.diff(stretched.ravel()[np.argsort(image.ravel(), kind="stable")].astype(int)) >= 0).all()


# The score of what is held out


class Painted(torch.nn.Module):
    """Answers with given affinities, wherever the window lies: for windows as large as the volume."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.from_numpy(logits))

    def forward(self, window):
        return self.logits[None]


def test_true_affinities_score_1_and_none_cut_scores_0():
    labels = cells()[:8, :16, :16].astype(np.uint32)
    volume = Volume("v", picture(labels), labels, (1, 1, 1), membrane=True)
    architecture = Architecture(depth=8, height=16, width=16)
    task = AffinityTask([volume], architecture, held_out=[volume], erosion=0)
    from pipeline.training.affinities import affinities

    true = affinities(labels).astype(np.float32) * 8 - 4
    assert task.validate(Painted(true)) == 1
    assert border_f1(Painted(np.abs(true)), volume, volume.image.shape, erosion=0) == 0


def test_nothing_held_out_has_no_score():
    labels = np.ones((8, 16, 16), np.uint32)
    volume = Volume("v", labels.astype(np.uint8), labels, (1, 1, 1), membrane=True)
    assert AffinityTask([volume], Architecture(depth=8, height=16, width=16)).validate(None) is None


# Settings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"widths": "8,12,16"}, "train_em.widths: found '8,12,16'; allowed: 5 whole numbers"),
        ({"z_pooled": "110"}, "train_em.z_pooled: found '110'; allowed: auto, depth, or four"),
        ({"z_pooled": "1100", "depth": 7}, "train_em.depth: found 7 with z_pooled=1100; allowed: 8 or more"),
        ({"start": "", "pretrain": "gaussian_mask", "depth": 7}, "train_em.depth: found 7 with pretrain"),
    ],
)
def test_wrong_sizes_are_told_before_anything_runs(values, said):
    with pytest.raises(InputError, match=said):
        config.load({"train_em": values})


def test_the_pattern_of_pooling_is_as_set(folder):
    for pattern, pooled in (("0100", (False, True, False, False)), ("depth", z_pooling(8))):
        assert model.load(train(folder, z_pooled=pattern)).module.architecture.z_pooled == pooled
