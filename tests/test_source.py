"""2D vision transformers as their makers store them, and what becomes of them."""

import argparse
import json

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from conftest import line
from pipeline import config, swc
from pipeline.errors import InputError
from pipeline.network import contract, source, weights
from pipeline.network.slices import Architecture
from pipeline.stages import infer, ingest, segment, stack, tile, trace, train

WINDOW = Architecture(depth=5, tile=32)


def official(width=384, patch=16, blocks=12, picture=224):
    """A backbone of random values with every key of DINO's released files."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator) * 0.02

    state = {
        "cls_token": random(1, 1, width),
        "pos_embed": random(1, 1 + (picture // patch) ** 2, width),
        "patch_embed.proj.weight": random(width, 3, patch, patch),
        "patch_embed.proj.bias": random(width),
    }
    for index in range(blocks):
        shapes = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }
        state |= {f"blocks.{index}.{name}": random(*shape) for name, shape in shapes.items()}
    return state | {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}


def full_checkpoint(backbone, *, width):
    """What DINO's training saves: student, teacher, heads, optimiser, arguments; learning rates are numpy's."""
    head = {
        "mlp.0.weight": torch.zeros(2048, width),
        "mlp.0.bias": torch.zeros(2048),
        "last_layer.weight_g": torch.ones(64, 1),
        "last_layer.weight_v": torch.zeros(64, 256),
    }
    teacher = {f"backbone.{name}": value for name, value in backbone.items()}
    teacher |= {f"head.{name}": value for name, value in head.items()}
    return {
        "student": {f"module.{name}": torch.full_like(value, 9) for name, value in teacher.items()},
        "teacher": teacher,
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(0.1), "params": [0]}]},
        "epoch": 3,
        "args": argparse.Namespace(arch="vit_small", patch_size=16),
        "fp16_scaler": None,
    }


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("width", "patch", "heads"), [(192, 16, 3), (384, 8, 6), (768, 16, 12)])
def test_the_sizes_come_from_the_file(tmp_path, width, patch, heads):
    torch.save(official(width, patch, blocks=4, picture=64), tmp_path / "dino.pth")
    sizes = source.read(tmp_path / "dino.pth").sizes(WINDOW)
    assert (sizes.width, sizes.patch, sizes.heads, sizes.blocks) == (width, patch, heads, 4)
    assert (sizes.depth, sizes.tile) == (5, 32)


def test_a_full_training_checkpoint_gives_the_teachers_backbone(tmp_path):
    backbone = official(192, blocks=4, picture=64)
    torch.save(backbone, tmp_path / "backbone.pth")
    torch.save(full_checkpoint(backbone, width=192), tmp_path / "full.pth")
    both = [source.read(tmp_path / name).state for name in ("backbone.pth", "full.pth")]
    assert same(*both) and len(both[0]) == 4 + 12 * 4 + 2


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match=r"trap\.pth"):
        source.read(tmp_path / "trap.pth")


@pytest.mark.parametrize("content", [None, b"", b"GIF89a"])
@pytest.mark.parametrize("name", ["vit.pth", "vit.safetensors"])
def test_a_file_without_tensors_is_refused(tmp_path, content, name):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        source.read(tmp_path / name)


def test_normalisation_is_read_from_what_lies_beside_or_in_the_file(tmp_path):
    state = {"cls_token": torch.zeros(1, 1, 64)}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    save_file(state, tmp_path / "plain.safetensors")
    save_file(state, tmp_path / "ours.safetensors", {source.ENTRY: json.dumps(half)})
    (tmp_path / "hub").mkdir()
    save_file(state, tmp_path / "hub/model.safetensors")
    (tmp_path / "hub/config.json").write_text(json.dumps({"pretrained_cfg": half}))
    plain, ours, hub = (
        source.read(tmp_path / name)
        for name in ("plain.safetensors", "ours.safetensors", "hub/model.safetensors")
    )
    assert plain.mean == source.IMAGENET_MEAN and plain.std == source.IMAGENET_STD
    assert ours.mean == ours.std == hub.mean == hub.std == (0.5,) * 3


def test_layer_scale_is_folded_into_what_it_scales():
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    sizes = {"img_size": 32, "embed_dim": 64, "depth": 2, "num_heads": 1, "num_classes": 0}
    scaled, plain = VisionTransformer(**sizes, init_values=0.3).eval(), VisionTransformer(**sizes).eval()
    plain.load_state_dict(source.plain_names(scaled.state_dict()))
    picture = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(plain(picture), scaled(picture), atol=1e-5, rtol=1e-5)


def test_a_model_with_what_ours_has_not_is_refused_by_name(tmp_path):
    state = official(64, blocks=4, picture=64) | {"reg_token": torch.zeros(1, 4, 64)}
    torch.save(state, tmp_path / "registers.pth")
    with pytest.raises(InputError, match="reg_token"):
        weights.start_slices(tmp_path / "registers.pth", WINDOW, transfer="center", seed=0)


def test_patches_that_do_not_tile_the_window_are_refused(tmp_path):
    torch.save(official(64, patch=14, blocks=4, picture=56), tmp_path / "patch14.pth")
    with pytest.raises(InputError, match=r"14 pixels.*divisor of the window"):
        weights.start_slices(tmp_path / "patch14.pth", WINDOW, transfer="center", seed=0)


@pytest.mark.parametrize("patch", [8, 16])
def test_every_transfer_of_a_file_gives_a_logit_a_pixel(tmp_path, patch):
    torch.save(official(64, patch, blocks=4, picture=64), tmp_path / "dino.pth")
    for transfer in ("scratch", "average", "center", "tubular"):
        model = weights.start_slices(tmp_path / "dino.pth", WINDOW, transfer=transfer, seed=0)
        assert (model.architecture.width, model.architecture.patch) == (64, patch)
        assert model(torch.rand(1, 1, 5, 32, 32)).shape == (1, 1, 32, 32)


def test_scratch_average_and_center_have_the_same_number_of_parameters(tmp_path):
    torch.save(official(64, blocks=4, picture=64), tmp_path / "dino.pth")
    models = [
        weights.start_slices(tmp_path / "dino.pth", WINDOW, transfer=transfer, seed=0)
        for transfer in ("scratch", "average", "center", "tubular")
    ]
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert counts[0] == counts[1] == counts[2] < counts[3]
    assert all(same(models[0].decoder.state_dict(), model.decoder.state_dict()) for model in models)


def test_scratch_takes_the_sizes_of_our_own_weights_and_nothing_else(tmp_path, tiny_weights, tiny_module):
    model = weights.start_slices(tiny_weights, WINDOW, transfer="scratch", seed=0)
    assert model.architecture == tiny_module.architecture
    first = "encoder.blocks.0.attn.qkv.weight"
    assert not torch.allclose(model.state_dict()[first], tiny_module.state_dict()[first], atol=1e-3)


@pytest.mark.slow
def test_a_file_of_dinos_vit_small_becomes_a_network_that_reconstructs(tmp_path):
    """From the file that DINO gives to an SWC, by the stages. Random weights and one step: the tree is any tree."""
    torch.save(official(), tmp_path / "dino_deitsmall16_pretrain.pth")
    voxels = np.random.default_rng(0).integers(90, 111, (9, 64, 64)).astype(np.uint8)
    voxels[3:6, 30:33, 4:60] = 250
    tifffile.imwrite(tmp_path / "image.tif", voxels)
    ingest.run(tmp_path / "image.tif", tmp_path / "image.zarr", voxel_size="1,0.5,0.5")
    rows = ["sample\timage\treference\treference_unit", f"a\t{tmp_path}/image.zarr\t{tmp_path}/a.swc\tum"]
    swc.write(tmp_path / "a.swc", line((2, 15.5, 4), (29, 15.5, 4)), header={})
    (tmp_path / "samples.tsv").write_text("\n".join(rows) + "\n")
    made = tmp_path / "lm.safetensors"
    settings = config.Train(
        start=str(tmp_path / "dino_deitsmall16_pretrain.pth"),
        steps=1,
        batch=1,
        simulated=0,
        remade=0,
        window=32,
    )
    train.run([tmp_path / "samples.tsv"], output=made, workers=0, settings=settings)
    sizes = contract.read(made).architecture
    assert (sizes["width"], sizes["heads"], sizes["blocks"], sizes["patch"]) == (384, 6, 12, 16)
    image, plan, blocks = tmp_path / "image.zarr", tmp_path / "plan.json", tmp_path / "blocks"
    tile.run(image, made, plan)
    infer.run(image, plan, made, blocks)
    stack.run(image, plan, blocks, tmp_path / "prediction.zarr")
    low = config.Segment(high=0.001, low=0.001)
    segment.run(tmp_path / "prediction.zarr", tmp_path / "labels.zarr", settings=low)
    trace.run(
        tmp_path / "labels.zarr",
        tmp_path / "prediction.zarr",
        tmp_path / "a.out.swc",
        tmp_path / "neurons.tsv",
    )
    assert len(swc.read(tmp_path / "a.out.swc").xyz)
