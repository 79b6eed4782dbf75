"""Crops turned by any angle and bent: what is known of image and labels holds afterwards."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.network.affinities import Architecture
from pipeline.training import bend
from pipeline.training.affinities import AffinityTask, Volume

SHAPE = (12, 16, 20)


@pytest.fixture
def cubes():
    """Labels 1.. in cubes of 20 voxels; as grey, each its own."""
    cells = np.arange(1, 3**3 + 1, dtype=np.uint32).reshape(3, 3, 3)
    return cells.repeat(20, 0).repeat(20, 1).repeat(20, 2)


@pytest.mark.parametrize("in_plane", [False, True])
def test_image_and_labels_are_bent_alike(cubes, in_plane):
    seen = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        grey, labels = bend.bent_crop(rng, cubes, cubes, SHAPE, voxel_size=(1, 1, 1), in_plane=in_plane)
        assert grey.shape == labels.shape == SHAPE
        # Away from borders, those of the crop too: what lies beyond is not seen.
        inside = ndimage.maximum_filter(labels, 7) == ndimage.minimum_filter(labels, 7, mode="constant")
        np.testing.assert_allclose(grey[inside], labels[inside], rtol=1e-5)
        seen += inside.sum()
    assert seen > 500


def test_in_plane_every_section_stays_what_it_is():
    # Neighbours have nothing in common: a mean of two would show.
    sections = np.broadcast_to((np.arange(40) * 77 % 256)[:, None, None], (40, 60, 60))
    for seed in range(5):
        grey, labels = bend.bent_crop(
            np.random.default_rng(seed), sections, sections, SHAPE, voxel_size=(5, 1, 1), in_plane=True
        )
        assert (labels == labels[:, :1, :1]).all()
        np.testing.assert_allclose(grey, labels, atol=1e-3)


@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (1.8, 1.0, 1.0)])
def test_without_bending_a_ramp_stays_a_ramp_of_any_direction_and_as_steep(monkeypatch, voxel_size):
    monkeypatch.setattr(bend, "JITTER", 0.0)
    ramp = np.broadcast_to(voxel_size[0] * np.arange(80.0)[:, None, None], (80, 80, 80))
    directions = []
    for seed in range(8):
        grey, _ = bend.bent_crop(
            np.random.default_rng(seed),
            ramp,
            ramp.astype(np.uint32),
            SHAPE,
            voxel_size=voxel_size,
            in_plane=False,
        )
        slope = [np.diff(grey, axis=axis) / voxel_size[axis] for axis in range(3)]
        mean = np.array([float(each.mean()) for each in slope])
        assert all(np.allclose(each, value, atol=1e-3) for each, value in zip(slope, mean))
        assert np.exp(-bend.SCALE) - 1e-3 <= np.linalg.norm(mean) <= np.exp(bend.SCALE) + 1e-3
        directions.append(mean / np.linalg.norm(mean))
    assert np.linalg.matrix_rank(np.array(directions), tol=0.1) == 3


def test_a_flat_volume_has_no_room_to_turn_and_its_crops_are_bent_all_the_same():
    rng = np.random.default_rng(0)
    flat = np.broadcast_to(np.arange(80), (24, 60, 80))
    crops = [
        bend.bent_crop(rng, flat, flat, (12, 48, 48), voxel_size=(1, 1, 1), in_plane=False) for _ in range(20)
    ]
    made = [crop for crop in crops if crop is not None]
    assert len(made) > 10
    assert all(np.ptp(np.diff(grey, axis=2)) > 0.02 for grey, _ in made)


def test_a_volume_that_is_too_small_gives_none_and_the_task_a_straight_crop():
    rng = np.random.default_rng(0)
    small = np.ones((12, 16, 16), np.uint32)
    assert bend.bent_crop(rng, small, small, (12, 16, 16), voxel_size=(1, 1, 1), in_plane=False) is None
    volume = Volume("small", rng.integers(0, 255, (8, 16, 16), np.uint8), small[:8], (0.01,) * 3, True)
    tiny = Architecture(widths=(2, 3, 3, 4, 5), depth=8, height=16, width=16)
    task = AffinityTask([volume], tiny, bent=1.0, thicken=0)
    assert task.batch(0)[0].shape == (1, 1, 8, 16, 16)


def test_the_same_seed_gives_the_same_crop(cubes):
    first, again = (
        bend.bent_crop(np.random.default_rng(3), cubes, cubes, SHAPE, voxel_size=(1, 1, 1), in_plane=False)
        for _ in range(2)
    )
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
