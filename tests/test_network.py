"""Identities of the 3D vision transformer and its inflation from 2D: they prove that a transfer is one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from conftest import ROOT, save_slices
from pipeline import intensity
from pipeline.errors import InputError
from pipeline.network import contract, inflate, model, source, weights
from pipeline.network.slices import Architecture, Encoder, SliceSegmenter

SMALL = Architecture(depth=5, tile=64, patch=16, width=48, blocks=4, heads=3)


@pytest.fixture
def kernel():
    torch.manual_seed(0)
    return torch.randn(48, 3, 16, 16) * 0.05, torch.randn(48) * 0.05


@pytest.fixture
def window():
    return torch.rand(2, 1, 5, 64, 64, generator=torch.Generator().manual_seed(1))


def rgb_embedding(grey, kernel, bias):
    """The 2D model's own embedding of (B, S, S) grey: repeated to RGB, normalised, convolved."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (inflate.IMAGENET_MEAN, inflate.IMAGENET_STD))
    return nn.functional.conv2d((grey[:, None] - mean) / std, kernel, bias, stride=16)


def grey_embedding(grey, kernel, bias):
    return nn.functional.conv2d(grey[:, None], kernel[:, None], bias, stride=16)


def embedding_3d(window, kernel, bias, how):
    inflated = inflate.inflate(kernel, window.shape[2], how)
    return nn.functional.conv3d(window, inflated, bias, stride=(1, 16, 16))[:, :, 0]


def close(a, b, within):
    assert (a - b).abs().max() <= within * b.abs().max()


def checkpoint_2d(architecture=SMALL, grid=4):
    """A 2D RGB ViT's state dict with random values, under timm's names."""
    torch.manual_seed(3)
    state = {
        name: torch.randn_like(value) * 0.02 for name, value in Encoder(architecture).state_dict().items()
    }
    state["patch_embed.proj.weight"] = torch.randn(architecture.width, 3, 16, 16) * 0.05
    state["pos_embed"] = torch.randn(1, 1 + grid * grid, architecture.width) * 0.02
    return state


def as_source(checkpoint):
    return source.Source("vit", source.plain_names(checkpoint), heads=3)


def save_2d(path, state=None, **told):
    """A 2D ViT of three heads on disk."""
    save_file(state or checkpoint_2d(), path, {source.ENTRY: json.dumps({"heads": 3, **told})})
    return path


def test_folded_grey_kernel_embeds_as_the_rgb_kernel_embeds_the_normalised_picture(kernel, window):
    grey = window[:, 0, 2]
    close(grey_embedding(grey, *inflate.fold_grey(*kernel)), rgb_embedding(grey, *kernel), 1.3e-5)


def test_center_embeds_the_centre_slice_and_nothing_else(kernel, window):
    folded, bias = inflate.fold_grey(*kernel)
    embedded = embedding_3d(window, folded, bias, "center")
    close(embedded, grey_embedding(window[:, 0, 2], folded, bias), 1e-6)
    noisy = torch.rand_like(window)
    noisy[:, :, 2] = window[:, :, 2]
    assert torch.equal(embedding_3d(noisy, folded, bias, "center"), embedded)


def test_average_embeds_the_mean_slice(kernel, window):
    folded, bias = inflate.fold_grey(*kernel)
    mean = grey_embedding(window[:, 0].mean(1), folded, bias)
    close(embedding_3d(window, folded, bias, "average"), mean, 1.9e-5)


def test_average_of_a_window_linear_in_z_embeds_the_centre_slice(kernel, window):
    folded, bias = inflate.fold_grey(*kernel)
    step = torch.rand(2, 1, 1, 64, 64, generator=torch.Generator().manual_seed(2)) * 0.1
    linear = window[:, :, 2:3] + torch.arange(-2, 3)[:, None, None] * step
    centre = grey_embedding(linear[:, 0, 2], folded, bias)
    close(embedding_3d(linear, folded, bias, "average"), centre, 1.9e-5)


@pytest.mark.parametrize("how", ["center", "average"])
def test_reversing_the_slices_changes_nothing(kernel, window, how):
    folded, bias = inflate.fold_grey(*kernel)
    close(embedding_3d(window.flip(2), folded, bias, how), embedding_3d(window, folded, bias, how), 2.2e-5)


def test_average_does_not_see_the_order_of_slices(kernel, window):
    folded, bias = inflate.fold_grey(*kernel)
    shuffled = window[:, :, [3, 0, 4, 2, 1]]
    close(
        embedding_3d(shuffled, folded, bias, "average"), embedding_3d(window, folded, bias, "average"), 2.2e-5
    )


def test_both_inflations_have_the_taps_of_the_2d_kernel_in_sum(kernel):
    folded, _ = inflate.fold_grey(*kernel)
    for how in ("center", "average"):
        torch.testing.assert_close(inflate.inflate(folded, 5, how).sum(2)[:, 0], folded, atol=1e-6, rtol=1e-5)


def test_depth_one_makes_center_average_and_2d_the_same(kernel):
    folded, _ = inflate.fold_grey(*kernel)
    assert torch.equal(inflate.inflate(folded, 1, "center"), inflate.inflate(folded, 1, "average"))


@pytest.mark.parametrize(("how", "within"), [("center", 1e-6), ("average", 7e-5)])
def test_all_tokens_of_the_encoder_are_those_of_timms_2d_vit(how, within):
    from timm.models.vision_transformer import VisionTransformer

    state = checkpoint_2d()
    sizes = {"img_size": 64, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 0}
    flat = VisionTransformer(**sizes).eval()
    flat.load_state_dict(state)
    encoder = Encoder(SMALL).eval()
    encoder.load_state_dict(inflate.encoder_from_2d(as_source(state), SMALL, how))
    slices = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(4))
    window = slices[:, None, None].repeat(1, 1, 5, 1, 1)
    if how == "center":
        window[:, :, [0, 1, 3, 4]] = torch.rand(2, 1, 4, 64, 64)
    mean, std = (torch.tensor(v)[:, None, None] for v in (inflate.IMAGENET_MEAN, inflate.IMAGENET_STD))
    with torch.inference_mode():
        expected = flat.forward_features((slices[:, None] - mean) / std)
        # Folding rounds the embedding (1.3e-6 relative); the blocks carry that on.
        assert (encoder(window) - expected).abs().max() <= max(within, 2e-5)


@pytest.mark.parametrize(
    ("width", "patch", "heads", "expected"),
    [(192, 16, 3, 5_622_720), (192, 8, 3, 5_551_296), (384, 16, 6, 21_862_272), (768, 16, 12, 86_191_872)],
)
def test_parameter_counts_are_those_of_the_published_models(width, patch, heads, expected):
    # The table counts the position grid of 224 pixels.
    with torch.device("meta"):
        encoder = Encoder(Architecture(tile=224, patch=patch, width=width, heads=heads))
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected
    assert len(encoder.state_dict()) == 150


def test_off_centre_taps_of_a_center_start_receive_gradient(window):
    encoder = Encoder(SMALL)
    encoder.load_state_dict(inflate.encoder_from_2d(as_source(checkpoint_2d()), SMALL, "center"))
    # A probe that no norm makes constant.
    (encoder(window) * torch.randn(48, generator=torch.Generator().manual_seed(5))).sum().backward()
    assert (encoder.patch_embed.proj.weight.grad.abs().amax((0, 1, 3, 4)) > 0).all()


def test_position_table_of_the_same_grid_comes_back_bit_for_bit():
    table = torch.randn(1, 17, 8)
    assert inflate.resize_positions(table, (4, 4)) is table


def test_resized_position_table_keeps_the_class_row_first_and_commutes_with_flips():
    table = torch.randn(1, 17, 8, dtype=torch.float64)
    resized = inflate.resize_positions(table, (6, 3))
    assert resized.shape == (1, 19, 8) and torch.equal(resized[:, 0], table[:, 0])
    flipped = torch.cat([table[:, :1], table[:, 1:].unflatten(1, (4, 4)).flip(1).flatten(1, 2)], 1)
    expected = resized[:, 1:].unflatten(1, (6, 3)).flip(1).flatten(1, 2)
    torch.testing.assert_close(inflate.resize_positions(flipped, (6, 3))[:, 1:], expected)
    constant = torch.ones(1, 17, 8)
    torch.testing.assert_close(inflate.resize_positions(constant, (7, 7)), torch.ones(1, 50, 8))


def test_dino_and_timm_layouts_of_one_model_give_the_same_encoder():
    state = checkpoint_2d()
    dino = {"teacher": {f"module.backbone.{name}": value for name, value in state.items()}, "student": {}}
    dino["teacher"]["module.head.mlp.0.weight"] = torch.zeros(2, 2)
    expected = inflate.encoder_from_2d(as_source(state), SMALL)
    for name, value in inflate.encoder_from_2d(as_source(dino), SMALL).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, tmp_path):
    state = checkpoint_2d()
    if change == "missing":
        del state["blocks.2.mlp.fc1.weight"]
    elif change == "unknown":
        state["blocks.9.mlp.fc1.weight"] = torch.zeros(1)
    else:
        state["blocks.2.mlp.fc1.weight"] = torch.zeros(7)
    path = save_2d(tmp_path / "vit.safetensors", state)
    with pytest.raises(InputError, match=r"vit\.safetensors.*blocks\.[29]\.mlp\.fc1\.weight"):
        weights.start_slices(path, SMALL, transfer="center", seed=0)


def test_scratch_and_inflated_models_of_one_seed_differ_in_the_encoder_only(tmp_path):
    path = save_2d(tmp_path / "vit.safetensors")
    scratch = weights.start_slices(path, SMALL, transfer="scratch", seed=7).state_dict()
    inflated = weights.start_slices(path, SMALL, transfer="center", seed=7).state_dict()
    assert all(torch.equal(scratch[name], inflated[name]) for name in scratch if name.startswith("decoder."))
    assert not torch.equal(scratch["encoder.pos_embed"], inflated["encoder.pos_embed"])


def test_weights_on_disk_give_the_same_logits_to_half_precision(tmp_path, window):
    model = SliceSegmenter(SMALL).eval()
    loaded = weights.load(save_slices(tmp_path / "m.safetensors", model))
    assert loaded.architecture == SMALL
    with torch.inference_mode():
        np.testing.assert_allclose(loaded(window), model(window), atol=2e-3)


def test_the_same_model_and_card_give_the_same_bytes(tmp_path):
    model = SliceSegmenter(SMALL)
    card = {"settings": {"steps": 1, "seed": 2}, "version": "1", "note": "x"}
    for name in ("a", "b"):
        weights.save(tmp_path / name, model, levels="x 1", voxel_um=((1, 1, 1), (2, 2, 2)), card=card)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_window_gives_one_logit_for_each_pixel(window):
    assert SliceSegmenter(SMALL)(window).shape == (2, 1, 64, 64)


@pytest.mark.parametrize("content", [None, b"", b"GIF89a not weights", b"\x10" * 64])
def test_a_file_that_holds_no_weights_is_refused(content, tmp_path):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors"):
        weights.load(path)


def test_the_header_says_without_torch_what_the_network_reads_and_answers(tmp_path):
    path = save_slices(tmp_path / "m.safetensors", SliceSegmenter(SMALL))
    about = contract.read(path)
    assert (about.window, about.core, about.channels) == ((5, 64, 64), (1, 64, 64), ("neurite",))
    assert about.levels in intensity.LEVELS and about.dark_is_empty
    assert about.architecture == {"name": "slices", **vars(SMALL)}
    code = (
        f"import sys; from pipeline.network import contract; contract.read({str(path)!r});"
        "print('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout
        == "False\n"
    )


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="unknown"):
        weights.load(path)


def test_the_norms_of_a_decoder_fold_into_its_convolutions():
    """On windows alike in their statistics the network without norms answers as the one with them."""
    from pipeline.network.fold import without_norm

    torch.manual_seed(0)
    model = SliceSegmenter(SMALL).eval()
    windows = torch.rand(1, 1, 5, 64, 64).expand(4, -1, -1, -1, -1).contiguous()
    with torch.inference_mode():
        expected = model(windows[:1])
    folded = without_norm(model, windows).eval()
    assert folded.architecture.norm == "none"
    assert not any(isinstance(part, torch.nn.GroupNorm) for part in folded.modules())
    with torch.inference_mode():
        torch.testing.assert_close(folded(windows[:1]), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("device", "multiplies", "chosen"),
    [("cpu", "", "fp32"), ("cpu", "amx_bf16", "bf16"), ("cpu", "avx512_bf16", "bf16"), ("cuda", "", "bf16")],
)
def test_auto_is_bf16_where_the_hardware_multiplies_it(monkeypatch, device, multiplies, chosen):
    none = {"amx_bf16": False, "avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**none, multiplies: True})
    assert model.choose_precision("auto", device) == chosen
    assert model.choose_precision("fp32", device) == "fp32"
