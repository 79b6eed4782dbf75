"""Are single voxels that no light makes told from thin neurites and bright spots?"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import ndimage

from pipeline import intensity


def found(light: np.ndarray, brightest: float = 100.0) -> list[list[int]]:
    return [
        [z, *place]
        for z, each in enumerate(intensity.find_hits(iter(light), brightest))
        for place in each.tolist()
    ]


def blurred(light: np.ndarray, sigma: float) -> np.ndarray:
    """Light of points and lines as voxels hold it: a blur of so many voxels, integrated over each of them."""
    fine = np.kron(light, np.ones((5, 5, 5))) * (np.indices(np.array(light.shape) * 5) % 5 == 2).all(0)
    blur = ndimage.gaussian_filter(fine, 5 * sigma)
    blur = blur.reshape(*np.array([light.shape, (5, 5, 5)]).T.ravel()).sum((1, 3, 5))
    return 100 * blur / blur.max()


@pytest.mark.parametrize("at", [(4, 5, 6), (0, 0, 0), (8, 10, 12)])
def test_a_voxel_alone_is_a_hit_also_in_a_corner(at):
    light = np.zeros((9, 11, 13))
    light[at] = 60
    assert found(light) == [list(at)]


def test_two_side_by_side_are_hits_and_of_a_sharp_line_only_its_ends():
    light = np.zeros((3, 5, 12))
    light[1, 2, 2:4] = 60
    assert len(found(light)) == 2
    light[1, 2, 2:10] = 60
    assert found(light) == [[1, 2, 2], [1, 2, 9]]


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_a_bright_spot_has_none(sigma):
    spot = np.zeros((9, 9, 9))
    spot[4, 4, 4] = 1
    assert found(blurred(spot, sigma)) == []


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("way", [(0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0)])
def test_a_line_through_the_view_has_none_but_at_the_border(sigma, way):
    line = np.zeros((9, 9, 9))
    line[tuple(4 + np.arange(-4, 5) * step for step in way)] = 1
    at_border = {0, 8}
    assert all(at_border & set(place) for place in found(blurred(line, sigma)))


def test_what_is_dim_beside_the_brightest_is_none():
    light = np.zeros((3, 9, 9))
    light[1, 4, 4] = 20
    assert found(light, 50.0) and not found(light, 100.0)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "f4"])
def test_a_hit_takes_the_median_around_it(kind):
    plane = np.arange(30).reshape(5, 6).astype(kind)
    salted = plane.copy()
    salted[2, 3] = salted[0, 0] = 99
    mended = intensity.without_hits(salted, np.array([[2, 3], [0, 0]]))
    assert mended.dtype == kind
    assert mended[2, 3] == 14  # the fourth of 8, 9, 10, 14, 16, 20, 21, 22
    assert mended[0, 0] == 6  # and of 1, 1, 6, 6, 7, 7, 7, 7
    mended[2, 3], mended[0, 0] = plane[2, 3], plane[0, 0]
    assert_array_equal(mended, plane)
