"""Images finer than a network was trained on: voxels that are read as one, and the prediction on all of them again.

And images of tissue with padding, which no window may feel.
"""

import json

import numpy as np
import pytest
import tifffile

from pipeline import blocks, intensity, volume
from pipeline.errors import InputError
from pipeline.intensity import Levels
from pipeline.intensity.blank import Filled, blank
from pipeline.network import contract
from pipeline.stages import infer, ingest, stack, tile

FINE = (1, 2, 2)


@pytest.fixture(scope="module")
def slices_um(tiny_weights) -> contract.Contract:
    """Of a network that was trained on voxels of .2 um and more."""
    return contract.read(tiny_weights)


@pytest.mark.parametrize(
    ("voxel_size", "binning"),
    [
        ((1.0, 0.33, 0.33), (1, 1, 1)),
        ((1.0, 0.2, 0.2), (1, 1, 1)),
        ((0.3, 0.14, 0.14), (1, 1, 1)),  # nearly as large as what it has seen
        ((0.3, 0.11, 0.13), (1, 2, 2)),
        ((0.3, 0.1, 0.1), (1, 2, 2)),
        ((0.05, 0.05, 0.065), (4, 4, 3)),
    ],
)
def test_as_many_voxels_are_one_as_fit_into_the_smallest_it_has_seen(slices_um, voxel_size, binning):
    assert slices_um.binning(voxel_size) == binning
    assert slices_um.knows(voxel_size)


def test_no_voxel_is_too_fine_for_a_network_but_some_are_too_large(slices_um):
    assert all(slices_um.knows((size, size, size)) for size in np.geomspace(0.02, 0.8, 200))
    assert not slices_um.knows((0.001, 0.00033, 0.00033)), "mm for um"
    assert not slices_um.knows((1.0, 1.3, 1.3)) and not slices_um.knows((5.0, 0.3, 0.3))


# What the network sees


def noise_left(image: np.ndarray, binning) -> float:
    return tile.noise_left(image, intensity.measure(image), binning)


def test_white_noise_is_halved_by_four_and_that_of_an_enlarged_image_stays():
    noise = np.random.default_rng(0).normal(100, 10, (12, 256, 256)).astype(np.float32)
    assert noise_left(noise, (1, 1, 1)) == 1
    assert noise_left(noise, FINE) == pytest.approx(0.5, abs=0.02)
    assert noise_left(noise, (3, 2, 2)) == pytest.approx(12**-0.5, abs=0.02)
    assert noise_left(noise.repeat(2, 1).repeat(2, 2), FINE) == pytest.approx(1, abs=0.02)
    assert noise_left(np.full_like(noise, 7), FINE) == 1


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.5, 10])
@pytest.mark.parametrize("padded", [0, 0.14, 0.25, 0.6])
@pytest.mark.parametrize("binning", [FINE, (1, 4, 4)])
def test_neither_padding_nor_whole_numbers_change_how_much_noise_is_left(sigma, padded, binning):
    noise = np.random.default_rng(0).normal(100.3, sigma, (12, 256, 256))
    image = np.rint(noise).clip(0, 255).astype(np.uint8)
    image[:, :, 256 - round(256 * padded) :] = 0
    assert noise_left(image, binning) == pytest.approx(np.prod(binning) ** -0.5, rel=0.12)


def test_neurites_do_not_count_as_noise():
    image = np.random.default_rng(0).normal(100, 10, (12, 256, 256)).astype(np.float32)
    image[:, 100:120] += 200
    assert noise_left(image, FINE) == pytest.approx(0.5, abs=0.05)


def test_what_is_left_of_the_noise_is_what_light_is_measured_in():
    summary = {"background": 100.0, "noise": 10.0, "darkest": 90, "brightest": 600, "cleaned": 0}
    cells = np.full((1, 1, 1), 100, np.float32)
    level = Levels(cells, cells, cells / 10, summary)
    image = np.full((1, 4, 4), 200, np.uint8)  # 10 sigma of one voxel, 20 of the mean of four
    half = intensity.grey(image, level, binning=FINE, noise=0.5)
    np.testing.assert_allclose(half, np.sqrt((20 - 1) / (100 - 1)), rtol=1e-5)


@pytest.mark.parametrize("rule", ["share 1", "bytes 1"])
def test_an_enlarged_image_looks_like_the_image(rule):
    image = np.random.default_rng(1).integers(90, 200, (3, 20, 36)).astype(np.uint8)
    summary = {"background": 100.0, "noise": 2.0, "darkest": 90, "brightest": 200, "cleaned": 0}
    cells = np.full((3, 4, 6), 100, np.float32)
    level = Levels(cells, cells, cells / 50, summary)
    large = image.repeat(2, 1).repeat(2, 2)
    seen = intensity.grey(large, level, rule=rule, binning=FINE)
    np.testing.assert_allclose(seen, intensity.grey(image, level, rule=rule), atol=1e-6)


# What is made of its answers


def plan_of(values: np.ndarray, folder, *, binning) -> blocks.Plan:
    """A plan of some blocks that hold values, (c, z, y, x) bytes, in a folder."""
    shape = values.shape[1:]
    grid = blocks.Grid(shape=shape, window=(1, 4, 4), core=(1, 4, 4), stride=(1, 4, 4))
    plan = blocks.make_plan(np.zeros(grid.counts, bool), grid, plane=5, voxels=40, binning=binning)
    assert len(plan.blocks) > 4
    for index, block in enumerate(plan.blocks):
        box = tuple(slice(*ends) for ends in zip(block.start, block.stop))
        np.save(folder / f"{index:06d}.npy", values[(slice(None), *box)])
    return plan


def enlarged(values: np.ndarray, folder, *, binning) -> np.ndarray:
    plan = plan_of(values, folder, binning=binning)
    stop = tuple(np.multiply(values.shape[1:], binning).tolist())
    return stack.enlarged(plan, folder, start=(0, 0, 0), stop=stop, channels=len(values))


def test_a_slope_stays_a_slope(tmp_path):
    ramp = (10 * np.arange(12)[:, None] + 4 * np.arange(10)).astype(np.uint8) * np.ones(
        (1, 3, 1, 1), np.uint8
    )
    fine = enlarged(ramp, tmp_path, binning=(2, 2, 2))[0]
    y, x = (np.arange(n) for n in fine.shape[1:])
    expected = 5 * (y[:, None] - 0.5) + 2 * (x - 0.5)
    inner = slice(1, -1), slice(1, -1)  # beyond the middle of the last voxels their value repeats
    np.testing.assert_allclose(fine[3][inner], expected[inner], atol=0.51)
    assert (fine == fine[:1]).all()


def test_no_voxel_depends_on_the_box(tmp_path):
    values = np.random.default_rng(2).integers(0, 256, (2, 3, 11, 9)).astype(np.uint8)
    plan = plan_of(values, tmp_path, binning=(2, 3, 2))
    shape = (5, 32, 17)  # the last coarse voxels are not full
    every = stack.enlarged(plan, tmp_path, start=(0, 0, 0), stop=shape, channels=2)
    for z in range(shape[0]):
        for y in (0, 7, 31):
            box = stack.enlarged(plan, tmp_path, start=(z, y, 3), stop=(z + 1, y + 1, 16), channels=2)
            np.testing.assert_array_equal(box, every[:, z : z + 1, y : y + 1, 3:16])


# All stages


@pytest.fixture(scope="module")
def affinity_weights(tmp_path_factory):
    """Of a tiny network for tissue, trained on voxels of 8 nm and more."""
    import torch

    from pipeline.network import weights
    from pipeline.network.affinities import AffinityNet, Architecture

    torch.manual_seed(0)
    net = AffinityNet(Architecture(widths=(2, 2, 3, 3, 4), depth=8, height=32, width=32)).eval()
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    weights.save(path, net, levels="bytes 1", voxel_um=((0.008,) * 3, (0.04, 0.01, 0.01)), card={})
    return path


def predicted(image, weights, folder, *, voxel_size, modality):
    """prediction.zarr and what tile planned, of an image (z, y, x)."""
    folder.mkdir()
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    made, plan = folder / "image.zarr", folder / "plan.json"
    ingest.run(folder / "image.tif", made, voxel_size=voxel_size, modality=modality)
    tile.run(made, weights, plan)
    infer.run(made, plan, weights, folder / "blocks")
    stack.run(made, plan, folder / "blocks", folder / "prediction.zarr")
    return volume.open_volume(folder / "prediction.zarr"), json.loads(plan.read_text())


@pytest.mark.parametrize("at_once", [1, infer.VOXELS])
def test_an_image_twice_as_fine_has_the_cells_of_the_image(affinity_weights, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(infer, "VOXELS", at_once)
    image = np.random.default_rng(3).integers(60, 200, (10, 40, 50)).astype(np.uint8)
    fine = image.repeat(2, 1).repeat(2, 2)[:, :79]  # the last row of bins is not full
    how = {"weights": affinity_weights, "modality": "em"}
    coarse, _ = predicted(image, folder=tmp_path / "1", voxel_size="0.008,0.008,0.008", **how)
    same, plan = predicted(fine, folder=tmp_path / "2", voxel_size="0.008,0.004,0.004", **how)
    assert plan["binning"] == [1, 2, 2] and same.binning == (1, 2, 2)
    assert same.voxel_size == pytest.approx((0.008, 0.008, 0.008))
    np.testing.assert_array_equal(same.array[:, :, :39], coarse.array[:, :, :39])


@pytest.mark.parametrize("binning", [(1, 2, 2), (2, 2, 2)])
def test_light_microscopy_has_its_prediction_on_all_voxels_of_a_finer_image(tiny_weights, tmp_path, binning):
    image = np.random.default_rng(4).normal(100, 3, (6, 40, 64)).astype(np.float32)
    image[2:4, 18:22] += 100
    image = np.clip(image, 0, 255).astype(np.uint8)
    fine = image.repeat(binning[0], 0).repeat(2, 1).repeat(2, 2)[:, :79]
    um = f"{0.2 / binning[0]},0.1,0.1"
    made, plan = predicted(fine, tiny_weights, tmp_path / "fine", voxel_size=um, modality="lm")
    coarse, _ = predicted(image, tiny_weights, tmp_path / "coarse", voxel_size="0.2,0.2,0.2", modality="lm")
    assert plan["binning"] == list(binning) and plan["noise"] == pytest.approx(1, abs=0.1)
    assert made.shape == fine.shape and made.binning == (1, 1, 1)
    back = made.channel("neurite")[:, :78].astype(int)
    back = back.reshape(6, binning[0], 39, 2, 64, 2).mean((1, 3, 5))
    whole = coarse.channel("neurite")[:, :39].astype(int)
    assert np.corrcoef(back.ravel(), whole.ravel())[0, 1] > 0.8


def test_a_plan_of_another_image_is_refused(affinity_weights, tmp_path):
    image = np.random.default_rng(3).integers(60, 200, (10, 40, 50)).astype(np.uint8)
    for name, part in (("1", image), ("2", image[:, :39])):
        predicted(part, affinity_weights, tmp_path / name, voxel_size="0.008,0.008,0.008", modality="em")
    one, two = tmp_path / "1", tmp_path / "2"
    with pytest.raises(InputError, match=r"plan.json.*10, 39, 50.*10, 40, 50"):
        infer.run(one / "image.zarr", two / "plan.json", affinity_weights, tmp_path / "blocks")
    with pytest.raises(InputError, match=r"plan.json.*10, 39, 50.*10, 40, 50"):
        stack.run(one / "image.zarr", two / "plan.json", two / "blocks", tmp_path / "p.zarr")


# Padding


def test_blank_voxels_are_filled_wherever_the_image_is_read():
    rng = np.random.default_rng(5)
    image = rng.integers(60, 200, (2, 60, 70)).astype(np.uint8)
    image[:, :, 45:] = 0
    filled = Filled(image, 130.4)
    every = filled[:, 0:60, 0:70]
    np.testing.assert_array_equal(every, np.where(blank(image), 130, image))
    assert (every[:, :, 45:] == 130).all()
    for y, x in ((0, 0), (13, 31), (40, 44)):
        box = slice(0, 2), slice(y, y + 20), slice(x, x + 22)
        np.testing.assert_array_equal(filled[box], every[box])


def test_the_grey_of_padding_changes_no_prediction(affinity_weights, tmp_path):
    image = np.random.default_rng(6).integers(60, 200, (8, 48, 48)).astype(np.uint8)
    made = []
    for value in (0, 255):
        padded = np.pad(image, ((0, 0), (0, 32), (0, 32)), constant_values=value)
        folder = tmp_path / str(value)
        made.append(
            predicted(padded, affinity_weights, folder, voxel_size="0.008,0.008,0.008", modality="em")[0]
        )
    np.testing.assert_array_equal(made[0].array[:], made[1].array[:])
