"""Images finer than a network was trained on: voxels that are read as one, and the prediction on all of them again.

And images of tissue with padding, which no window may feel.
"""

import json

import numpy as np
import pytest
import tifffile

from pipeline import blocks, intensity, volume
from pipeline.instances import affinities
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
    assert all(slices_um.knows((size, size, size)) for size in np.geomspace(0.005, 0.8, 200))
    assert not slices_um.knows((1.0, 1.3, 1.3)) and not slices_um.knows((5.0, 0.3, 0.3))


# What the network sees


def test_white_noise_is_halved_by_four_and_that_of_an_enlarged_image_stays():
    noise = np.random.default_rng(0).normal(size=(4, 256, 256)).astype(np.float32)
    assert intensity.noise_left(noise, FINE) == pytest.approx(0.5, abs=0.02)
    assert intensity.noise_left(noise.repeat(2, 1).repeat(2, 2), FINE) == pytest.approx(1, abs=0.02)
    assert intensity.noise_left(np.zeros_like(noise), FINE) == 1


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


def enlarged(values: np.ndarray, folder, *, binning, faces) -> np.ndarray:
    plan = plan_of(values, folder, binning=binning)
    stop = tuple(np.multiply(values.shape[1:], binning).tolist())
    return stack.enlarged(plan, folder, start=(0, 0, 0), stop=stop, faces=faces)


def test_a_slope_stays_a_slope(tmp_path):
    ramp = (10 * np.arange(12)[:, None] + 4 * np.arange(10)).astype(np.uint8) * np.ones(
        (1, 3, 1, 1), np.uint8
    )
    fine = enlarged(ramp, tmp_path, binning=(2, 2, 2), faces=[None])[0]
    y, x = (np.arange(n) for n in fine.shape[1:])
    expected = 5 * (y[:, None] - 0.5) + 2 * (x - 0.5)
    inner = slice(1, -1), slice(1, -1)  # beyond the middle of the last voxels their value repeats
    np.testing.assert_allclose(fine[3][inner], expected[inner], atol=0.51)
    assert (fine == fine[:1]).all()


def test_a_cut_lies_at_the_face_between_two_voxels(tmp_path):
    answers = np.full((2, 3, 8, 8), 255, np.uint8)
    answers[:, :, 5] = 0  # between the coarse rows 4 and 5: before the fine row 10
    fine = enlarged(answers, tmp_path, binning=FINE, faces=[1, None])
    affinity, foreground = fine[:, 1, :, 4].astype(int)
    assert affinity.argmin() == 10 and affinity[10] == 0
    np.testing.assert_array_equal(affinity[[9, 11]], 128)  # half way to the next faces
    np.testing.assert_array_equal(foreground[[9, 10, 11, 12]], [191, 64, 64, 191])


def test_no_voxel_depends_on_the_box(tmp_path):
    values = np.random.default_rng(2).integers(0, 256, (2, 3, 11, 9)).astype(np.uint8)
    faces = [2, None]
    plan = plan_of(values, tmp_path, binning=(2, 3, 2))
    shape = (5, 32, 17)  # the last coarse voxels are not full
    every = stack.enlarged(plan, tmp_path, start=(0, 0, 0), stop=shape, faces=faces)
    for z in range(shape[0]):
        for y in (0, 7, 31):
            box = stack.enlarged(plan, tmp_path, start=(z, y, 3), stop=(z + 1, y + 1, 16), faces=faces)
            np.testing.assert_array_equal(box, every[:, z : z + 1, y : y + 1, 3:16])


def test_far_affinities_are_named_in_voxels_of_the_image():
    names = ["affinity_z", "affinity_x", "affinity_z_3", "affinity_y_6", "foreground", "neurite"]
    farther = [affinities.farther(name, (2, 3, 2)) for name in names]
    assert farther == ["affinity_z", "affinity_x", "affinity_z_6", "affinity_y_18", "foreground", "neurite"]


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


def test_an_image_twice_as_fine_has_the_prediction_of_the_image(affinity_weights, tmp_path):
    image = np.random.default_rng(3).integers(60, 200, (10, 40, 50)).astype(np.uint8)
    fine = image.repeat(2, 1).repeat(2, 2)[:, :79]  # the last row of bins is not full
    how = {"weights": affinity_weights, "modality": "em"}
    coarse, _ = predicted(image, folder=tmp_path / "1", voxel_size="0.008,0.008,0.008", **how)
    same, plan = predicted(fine, folder=tmp_path / "2", voxel_size="0.008,0.004,0.004", **how)
    assert plan["binning"] == [1, 2, 2]
    assert same.shape == (10, 79, 100) and same.voxel_size == (0.008, 0.004, 0.004)
    whole = coarse.channel("foreground").astype(int)
    middle = same.channel("foreground").astype(int)[:, 2:78, 2:98].reshape(10, 38, 2, 48, 2).mean((2, 4))
    # The mean of four voxels between middles: 9/16 of its own, the rest of its neighbours.
    near = np.pad(whole, ((0, 0), (1, 1), (1, 1)), mode="edge")
    near = (near[:, :-2] + 6 * near[:, 1:-1] + near[:, 2:]) / 8
    near = (near[..., :-2] + 6 * near[..., 1:-1] + near[..., 2:]) / 8
    np.testing.assert_allclose(middle, near[:, 1:39, 1:49], atol=1)


def test_light_microscopy_finds_its_line_in_a_finer_image(tiny_weights, tmp_path):
    image = np.random.default_rng(4).normal(100, 3, (6, 40, 64)).astype(np.float32)
    image[2:4, 18:22] += 100
    fine = np.clip(image, 0, 255).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    made, plan = predicted(fine, tiny_weights, tmp_path / "2", voxel_size="1,0.1,0.1", modality="lm")
    assert made.shape == fine.shape
    assert plan["binning"] == [1, 2, 2] and plan["noise"] == pytest.approx(1, abs=0.1)
    assert made.channel("neurite")[2:4].any() and plan["grid"]["shape"] == [6, 40, 64]


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
