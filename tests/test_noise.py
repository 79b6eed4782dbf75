"""Are the noises what they are called, and does nothing in them look like a neurite to the levels?"""

import numpy as np
import pytest

from pipeline import intensity
from pipeline.simulation import noise
from pipeline.simulation.scene import empty_scene

SHAPE = (8, 96, 96)
# Of these, light is changed by more than noise: planes' gain and offset, clouds, single bright voxels.
UNEVEN = {"by_slice", "mottled", "salted", "banded"}


@pytest.mark.parametrize("kind", noise.KINDS)
def test_a_kind_of_noise_has_the_sigma_asked_for_and_keeps_the_light(kind):
    rng = np.random.default_rng(3)
    dark = noise.KINDS[kind](rng, np.zeros(SHAPE, np.float32), 1.0)
    assert dark.shape == SHAPE and np.isfinite(dark).all()
    if kind not in UNEVEN:
        assert dark.std() == pytest.approx(1, rel=0.1)
        assert dark.mean() == pytest.approx(0, abs=0.1)
    light = np.zeros(SHAPE, np.float32)
    light[:, 40:50] = 50
    bright = noise.KINDS[kind](np.random.default_rng(3), light, 1.0)
    assert bright[:, 41:49].mean() - bright[:, :30].mean() == pytest.approx(50, rel=0.2)


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_is_a_function_of_its_seed_and_of_whole_numbers(seed):
    first, second = (
        noise.picture(np.random.default_rng(seed), np.zeros(SHAPE, np.float32)) for _ in range(2)
    )
    assert first.dtype in (np.uint8, np.uint16)
    assert first.tobytes() == second.tobytes()


def test_empty_scenes_stay_dark_most_of_the_time():
    """Whatever the noise is and however strong: its unit is measured, so that few voxels are bright."""
    share = []
    for seed in range(20):
        image = empty_scene(np.random.default_rng(seed), shape_zyx=SHAPE)
        share.append(np.mean(intensity.light(image, intensity.measure(image)) > 10))
    assert np.median(share) < 0.01


def test_what_is_cut_out_keeps_its_noise_and_the_rest_is_of_one_value():
    light = np.zeros((12, 96, 96), np.float32)
    light[6, 40:44] = 30
    for seed in range(8):
        rng = np.random.default_rng(seed)
        image = light + rng.normal(0, 1, light.shape).astype(np.float32)
        cut = noise._cut_out(rng, image, light)
        beyond = cut == cut.min()
        assert 0.2 < beyond.mean() < 1
        np.testing.assert_array_equal(cut[~beyond], image[~beyond])
        assert not beyond[6, 40:44].any()
        assert noise._cut_out(rng, image, 0 * light) is image


def test_compression_keeps_what_is_coarse_and_the_odd_border():
    rng = np.random.default_rng(0)
    image = 100 + rng.normal(0, 1, (2, 35, 41)).astype(np.float32)
    again = noise._compressed(image, step=4)
    assert again.shape == image.shape
    assert np.abs(again.mean() - image.mean()) < 0.2
    assert np.array_equal(again[:, 32:], image[:, 32:])
    assert again[:, :32, :40].std() < image.std()
