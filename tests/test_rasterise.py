"""Trees to voxels, against closed forms."""

import numpy as np

from pipeline import rasterise
from pipeline.swc import Tree


def line(start_xyz, end_xyz, radii):
    return Tree(
        np.array([start_xyz, end_xyz], float), np.array(radii, float), np.array([-1, 0]), np.zeros(2, int)
    )


def test_distance_to_a_tapered_tube_is_distance_to_the_line_less_the_radius_there():
    tube = line((2, 5, 5), (22, 5, 5), (1, 2))
    distance = rasterise.tube_distance(tube, (20, 20, 50), (0.5, 0.5, 0.5), reach_um=1)
    # voxel (z, y, x) is at (x, y, z) / 2 um; half-way along, the radius is 1.5
    assert abs(distance[10, 10, 24] + 1.5) < 0.02
    assert abs(distance[10, 12, 24] + 0.5) < 0.02
    assert abs(distance[13, 10, 24] - 0.0) < 0.02
    assert distance[10, 10, 4] == -1 or abs(distance[10, 10, 4] + 1) < 0.1
    assert distance[0, 0, 0] == 1  # out of reach


def test_axes_and_anisotropy_are_not_mixed_up():
    tube = line((3, 8, 4), (9, 8, 4), (0.6, 0.6))  # along x at y 8, z 4 um
    mask = rasterise.mask(tube, (6, 20, 24), (1.0, 0.5, 0.5))
    z, y, x = (axis.mean() for axis in np.nonzero(mask))
    np.testing.assert_allclose((z, y, x), (4, 16, 12), atol=1e-9)
    assert mask[4, 16, 6:19].all()
    assert not mask[3].any()
    assert not mask[5].any()


def test_a_tube_outside_the_volume_reaches_in_and_one_far_away_does_not():
    near = line((-1, 5, 5), (-1, 6, 5), (1.6, 1.6))
    far = line((-50, 5, 5), (-50, 6, 5), (1.6, 1.6))
    assert rasterise.mask(near, (10, 10, 10), (1, 1, 1)).sum() > 0
    assert rasterise.mask(far, (10, 10, 10), (1, 1, 1)).sum() == 0


def test_volume_of_a_long_tube_is_that_of_a_cylinder():
    tube = line((-20, 15, 15), (80, 15, 15), (6, 6))
    mask = rasterise.mask(tube, (30, 30, 60), (1, 1, 1))
    np.testing.assert_allclose(mask.sum() / 60, np.pi * 36, rtol=0.02)


def test_thin_tubes_are_drawn_at_the_least_radius():
    tube = line((2, 5, 5), (12, 5, 5), (0.01, 0.01))
    assert rasterise.mask(tube, (11, 11, 20), (1, 1, 1), min_radius_um=1.5)[5, 3:8, 7].tolist() == [
        0,
        1,
        1,
        1,
        0,
    ]
