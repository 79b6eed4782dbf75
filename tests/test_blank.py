"""Voxels without data: padding is found to the pixel, tissue is not."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import rotate

from pipeline.intensity.blank import REACH, SIDE, blank


def tissue(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_padding_on_all_sides_is_found_to_the_pixel(value, dtype):
    image = np.pad(tissue(3, 50, 40), ((1, 0), (20, 9), (30, 16)), constant_values=value).astype(dtype)
    inside = np.zeros(image.shape, bool)
    inside[1:, 20:-9, 30:-16] = True
    found = blank(image)
    assert found[~inside].all()
    assert not found[inside & (image != value)].any()


def test_padding_of_a_turned_image_is_found_but_for_its_corners():
    image = rotate(np.pad(tissue(1, 90, 90), ((0, 0), (40, 40), (40, 40))), 20, axes=(1, 2), order=0)
    found = blank(image)
    assert not found[image > 0].any()
    assert found[image == 0].mean() > 0.99


def test_a_strip_at_the_border_is_found_from_half_a_square_on():
    for width, expected in ((SIDE // 2, False), (SIDE // 2 + 1, True)):
        image = np.pad(tissue(1, 60, 60), ((0, 0), (0, 0), (0, width)))
        assert blank(image)[0, :, -1].all() == expected


def test_tissue_with_dark_spots_smaller_than_a_square_holds_data():
    image = tissue(2, 80, 80)
    image[:, 10 : 9 + SIDE, 10:50] = 0
    image[:, 40:60, 60 : 59 + SIDE] = 255
    assert not blank(image).any()


def test_what_a_voxel_is_depends_on_its_surroundings_alone():
    image = tissue(2, 80, 80)
    image[:, 20:60, 30:70] = 7
    part = (slice(None), slice(30, 75), slice(10, 60))
    wide = (slice(None), slice(30 - REACH, 80), slice(0, 60 + REACH))
    assert_array_equal(blank(image[wide])[:, REACH : REACH + 45, 10:60], blank(image)[part])
