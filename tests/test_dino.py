"""DINO: the loss against a case done by hand, its parts, and a run that learns, is killed, and goes on."""

import io
import json
import math
import tarfile

import numpy as np
import pytest
import tifffile
import torch
from imageio.v3 import imwrite

from pipeline import config
from pipeline.errors import InputError
from pipeline.network import source, weights
from pipeline.network.slices import Architecture
from pipeline.stages import dino as stages_dino
from pipeline.stages import ingest
from pipeline.training import crops, dino
from pipeline.training import pictures as reading
from pipeline.training.crops import Pictures

SMALL = Architecture(tile=32, patch=16, width=48, blocks=2, heads=3)
PLAN = dino.Plan(steps=6, batch=4, local=2, sizes=(32, 16), outputs=16, hidden=24, bottleneck=8, seed=3)

STUDENT = torch.tensor(
    [
        [[0.2, -0.1, 0.4], [0, 0.3, -0.2]],
        [[-0.3, 0.1, 0.2], [0.5, 0, -0.4]],
        [[0.1, 0.1, -0.1], [-0.2, 0.4, 0]],
    ]
)
TEACHER = torch.tensor([[[0.1, 0, -0.05], [0.02, 0.08, -0.04]], [[-0.06, 0.03, 0.05], [0, -0.02, 0.07]]])
CENTRE = torch.tensor([0.01, -0.02, 0.03])


@pytest.fixture(scope="module")
def pictures():
    """Sixteen pictures of coloured stripes in 40 x 48 pixels, half of them upright."""
    draw = np.random.default_rng(0)
    rgb = np.zeros((16, 3, 48, 48), np.uint8)
    for number in range(16):
        wave = np.sin(np.arange(48) * (0.3 + 0.05 * number))
        plane = np.broadcast_to(wave if number % 2 else wave[:, None], (48, 48))
        rgb[number] = 127 + 100 * plane * draw.random(3)[:, None, None]
    return Pictures(torch.from_numpy(rgb), torch.tensor([[40, 48]] * 16))


def test_the_loss_and_the_centre_of_a_case_done_by_hand():
    loss = dino.dino_loss(STUDENT, TEACHER, CENTRE, 0.04)
    assert abs(loss.item() - 2.826975274402) <= 1e-6
    exact = dino.moved_centre(CENTRE.double(), TEACHER.double())
    assert torch.allclose(exact, torch.tensor([0.0105, -0.01575, 0.02775]).double(), atol=1e-8)


def test_a_crop_is_not_compared_with_itself():
    student = STUDENT.clone()
    first = dino.dino_loss(student[:2], TEACHER, CENTRE, 0.04)
    said = (student[:2] / 0.1).log_softmax(-1)
    wanted = dino.teacher_says(TEACHER, CENTRE, 0.04)
    crossed = [-(wanted[i] * said[1 - i]).sum(-1).mean() for i in (0, 1)]
    torch.testing.assert_close(first, sum(crossed) / 2)


def test_neither_teacher_nor_centre_has_a_gradient():
    student, teacher, centre = (x.clone().requires_grad_() for x in (STUDENT, TEACHER, CENTRE))
    dino.dino_loss(student, teacher, centre.detach(), 0.04).backward()
    assert teacher.grad is None and student.grad is not None
    nets = dino.begin(SMALL, PLAN, None)
    assert not any(parameter.requires_grad for parameter in nets[1].parameters())


@pytest.mark.parametrize("times", [1, 7])
def test_the_teacher_follows_the_student(times):
    teacher, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for net, value in ((teacher, 0.0), (student, 1.0)):
        for parameter in net.parameters():
            torch.nn.init.constant_(parameter, value)
    for _ in range(times):
        dino.follow(teacher, student, 0.9)
    for parameter in teacher.parameters():
        torch.testing.assert_close(parameter, torch.full_like(parameter, 1 - 0.9**times))


def test_the_last_layer_has_rows_of_norm_one_and_no_gain():
    head = dino.Head(6, hidden=8, bottleneck=4, outputs=5)
    torch.testing.assert_close(head.directions().norm(dim=1), torch.ones(5))
    assert {name for name, _ in head.named_parameters()} == {
        "last",
        *(f"mlp.{index}.{kind}" for index in (0, 2, 4) for kind in ("weight", "bias")),
    }
    assert head(torch.randn(3, 6)).abs().max() <= 1 + 1e-6, "cosines"


def test_the_last_layer_stays_as_it_began_while_it_is_frozen(pictures, tmp_path):
    student, _ = dino.begin(SMALL, PLAN, None)
    saved = tmp_path / "c"
    for frozen, moves in ((1.0, False), (0.0, True)):
        plan = dino.Plan(**{**vars(PLAN), "frozen": frozen, "warmup": 0.0})
        dino.train(pictures, SMALL, plan, log=tmp_path / "l.tsv", checkpoint=saved, digest=str(frozen))
        last = torch.load(saved, weights_only=True)["student"]["head.last"]
        assert torch.equal(last, student.head.last) != moves


def test_uniform_teacher_and_student_give_the_logarithm_of_the_outputs():
    flat = torch.zeros(3, 2, 8)
    assert dino.dino_loss(flat, flat[:2], torch.zeros(8), 0.04).item() == pytest.approx(math.log(8))
    entropy, kl = dino.health(dino.teacher_says(flat[:2], torch.zeros(8), 0.04))
    assert entropy.item() == pytest.approx(math.log(8))
    assert kl.item() == pytest.approx(0, abs=1e-6)


def test_the_guard_stops_after_two_hundred_steps_of_collapse_and_not_before():
    guard = dino.Guard(64)
    for _ in range(199):
        guard.look(0.05, 1.0, "log.tsv")
    guard.look(2.0, 1.0, "log.tsv")
    for _ in range(199):
        guard.look(3.0, 1e-3 * math.log(64) / 2, "log.tsv")
    with pytest.raises(InputError, match=r"log\.tsv.*the same of all pictures"):
        guard.look(0.05, 1.0, "log.tsv")


def test_schedules_at_their_corners():
    plan = dino.Plan(steps=101, batch=128, warmup=0.1, momentum=0.99, temperature=(0.04, 0.07))
    table = dino.schedules(plan)
    top = 5e-4 / 2
    assert table["rate"][0] == 0 and table["rate"][10] == pytest.approx(top)
    assert table["rate"][55] == pytest.approx(1e-6 + (top - 1e-6) / 2)
    assert table["rate"][-1] == pytest.approx(1e-6)
    assert table["decay"][[0, 50, 100]] == pytest.approx([0.04, 0.22, 0.4])
    assert table["momentum"][[0, 50, 100]] == pytest.approx([0.99, 0.995, 1.0])
    assert table["temperature"][[0, 5, 10, 100]] == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_crops_have_their_sizes_and_their_range_and_are_a_function_of_the_seed(pictures):
    def made():
        draw = torch.Generator().manual_seed(5)
        which = torch.arange(8)
        return crops.views(pictures, which, draw, local=3, sizes=(32, 16), mean=(0.0,) * 3, std=(1.0,) * 3)

    views = made()
    assert [tuple(view.shape) for view in views] == [(8, 3, 32, 32)] * 2 + [(8, 3, 16, 16)] * 3
    assert all(view.min() >= 0 and view.max() <= 1 for view in views)
    assert all(torch.equal(one, other) for one, other in zip(views, made()))


def test_the_middle_square_is_the_picture_itself_where_nothing_is_resized():
    rgb = torch.randint(0, 256, (1, 3, 20, 30), dtype=torch.uint8)
    found = crops.centre(Pictures(rgb, torch.tensor([[20, 24]])), torch.tensor([0]), 20)
    torch.testing.assert_close(found[0], rgb[0, :, :, 2:22] / 255, atol=1e-6, rtol=0)


def test_what_lies_beside_a_picture_in_its_array_is_never_seen():
    rgb = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    rgb[:, :, 20:], rgb[:, :, :, 24:] = 255, 255
    some = Pictures(rgb, torch.tensor([[20, 24]]))
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        cut = crops.random_crop(some, torch.tensor([0]), draw, area=(0.05, 1.0), size=16)
        assert cut.max() == 0


def test_a_crop_keeps_to_its_share_of_the_picture():
    """Of a picture that tells its rows, the rows of a crop tell how high it is."""
    rows = torch.arange(128, dtype=torch.uint8)[None, None, :, None].expand(1, 3, 128, 128).contiguous()
    some = Pictures(rows, torch.tensor([[128, 128]]))
    draw = torch.Generator().manual_seed(0)
    spans = []
    for _ in range(200):
        cut = crops.random_crop(some, torch.tensor([0]), draw, area=(0.25, 0.25), size=64)[0, 0, :, 0] * 255
        spans.append((cut[-1] - cut[0]).abs().item() * 64 / 63)
    low, high = 64 * math.sqrt(3 / 4), 64 * math.sqrt(4 / 3)
    assert low - 1 <= min(spans) <= 60 and 68 <= max(spans) <= high + 1


def test_grey_stays_grey_and_without_change_colours_stay(monkeypatch):
    grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1)
    found = crops.recoloured(grey, torch.Generator().manual_seed(0))
    assert (found - found.mean(1, keepdim=True)).abs().max() <= 1e-5
    monkeypatch.setattr(
        crops, "_uniform", lambda like, draw, low, high: torch.full_like(like, (low + high) / 2)
    )
    monkeypatch.setattr(crops, "_chance", lambda rgb, draw, chance: torch.tensor(chance > 0.5))
    colours = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(crops.recoloured(colours, torch.Generator()), colours, atol=1e-5, rtol=0)


def test_a_killed_pre_training_ends_with_the_weights_of_one_that_was_not(pictures, tmp_path):
    def run(name, until=lambda step: False):
        files = {"log": tmp_path / f"{name}.tsv", "checkpoint": tmp_path / f"{name}.c"}
        return dino.train(pictures, SMALL, PLAN, save_every=2, until=until, **files)

    whole = run("whole").state_dict()
    run("killed", until=lambda step: step == 5)
    again = run("killed").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    logs = [(tmp_path / f"{name}.tsv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) == 7


def test_the_backbone_is_timms_and_starts_a_segmenter(pictures, tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    backbone = dino.train(pictures, SMALL, PLAN, log=tmp_path / "l.tsv", checkpoint=tmp_path / "c")
    sizes = {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}
    flat = VisionTransformer(**sizes).eval()
    flat.load_state_dict(backbone.state_dict())
    picture = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(picture), flat(picture), atol=1e-5, rtol=1e-5)
    attention = backbone.attention(torch.rand(2, 3, 32, 48))
    assert attention.shape == (2, 3, 2, 3) and (attention.sum((2, 3)) < 1).all()


def test_neighbours_name_the_class_of_features_that_cluster():
    centre = torch.eye(4)[torch.arange(40) % 4]
    found = torch.nn.functional.normalize(
        centre + 0.1 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    )
    classes = torch.arange(40) % 4
    assert dino.nearest_neighbours(found, classes, 5) == 1.0
    assert dino.nearest_neighbours(found, classes.roll(1), 5) == 1.0, "whatever they are called"
    assert dino.nearest_neighbours(found, torch.arange(40) // 10, 5) < 0.6


def png(value, shape=(40, 56)):
    file = io.BytesIO()
    picture = np.full((*shape, 3), value, np.uint8)
    picture[::4] = 255 - value
    imwrite(file, picture, extension=".png")
    return file.getvalue()


@pytest.fixture
def tar(tmp_path):
    """Six pictures to train on, and two classes of four that judge."""
    names = [f"pretrain/{number}.png" for number in range(6)]
    names += [f"knn/{name}/{number}.png" for name in ("dark", "light") for number in range(4)]
    with tarfile.open(tmp_path / "pictures.tar", "w") as made:
        for number, name in enumerate([*names, "README.md"]):
            data = png(200 if "light" in name else number) if name.endswith("png") else b"text"
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return tmp_path / "pictures.tar"


def test_a_folder_gives_the_pictures_that_a_tar_file_gives(tar, tmp_path):
    with tarfile.open(tar) as made:
        made.extractall(tmp_path / "folder", filter="data")
    both = [list(reading.read_pictures(path)) for path in (tar, tmp_path / "folder")]
    assert [name for name, _ in both[0]] == [name for name, _ in both[1]]
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(*both))
    assert len(both[0]) == 14


def test_a_large_picture_is_made_smaller_and_cut_in_its_middle():
    assert reading.smaller(np.zeros((300, 900, 3), np.uint8)).shape == (128, 168, 3)
    assert reading.smaller(np.zeros((100, 140, 3), np.uint8)).shape == (100, 140, 3)


@pytest.mark.parametrize("data", [None, b"GIF89a"])
def test_what_is_no_picture_is_told_by_name(tmp_path, data):
    if data is not None:
        (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(InputError, match="no picture" if data is None else r"broken\.png"):
        list(reading.read_pictures(tmp_path))


def test_only_planes_that_show_something_are_pictures():
    grey = np.zeros((3, 200, 400), np.float32)
    grey[1, :50, 200:250] = 0.9
    squares = list(reading.read_planes(grey))
    assert [square.shape for square in squares] == [(168, 168, 3)]
    assert squares[0].max() == 230


def test_the_stage_makes_weights_that_say_what_they_are_and_start_a_training(tar, tmp_path):
    voxels = np.random.default_rng(0).integers(90, 111, (5, 180, 180)).astype(np.uint8)
    voxels[:, 20:24] = 250
    tifffile.imwrite(tmp_path / "image.tif", voxels)
    ingest.run(tmp_path / "image.tif", tmp_path / "image.zarr", voxel_size="1,0.5,0.5")
    small = config.Dino(
        steps=2,
        batch=2,
        local=1,
        size=32,
        local_size=16,
        outputs=8,
        hidden=8,
        judged="knn",
        pictures="x/p.tar",
    )
    output = tmp_path / "vit.safetensors"
    stages_dino.run([tar, tmp_path / "image.zarr"], output=output, device="cpu", settings=small)
    card = (tmp_path / "vit.md").read_text()
    assert "- pictures: 11 of pictures.tar, image.zarr" in card, "six photographs, five planes"
    assert "(k = 5)" in card and "- start: random weights" in card and "x/p.tar" not in card
    assert (tmp_path / "vit.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob(".vit*"))
    from safetensors import safe_open

    with safe_open(output, "pt") as file:
        about = json.loads(file.metadata()[source.ENTRY])
    assert about["heads"] == 3 and about["card"]["pictures"] == 11
    model = weights.start_slices(output, Architecture(tile=32), transfer="center", seed=0)
    assert model.architecture.width == 192
    again = small.model_copy(update={"start": str(output), "steps": 1})
    stages_dino.run([tar], output=tmp_path / "more.safetensors", device="cpu", settings=again)
    assert "- start: vit.safetensors" in (tmp_path / "more.md").read_text()


def test_pictures_that_patches_do_not_divide_are_refused():
    with pytest.raises(InputError, match=r"dino\.local_size: found 48; allowed: a multiple of 32"):
        config.load({"dino": {"patch": 32}})
