"""Mixing of two domains, in frequencies and in space."""

import numpy as np
import pytest

from pipeline.training.mixing import _swap_amplitudes, cut_mix, draw_box, mix_frequencies


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.random((3, 128, 128)), rng.random((3, 128, 128)) ** 2


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
def test_mixing_a_volume_with_itself_changes_nothing(pair, share):
    source, _ = pair
    np.testing.assert_allclose(_swap_amplitudes(source, source, share), source, atol=2e-15)


def test_the_released_share_replaces_the_mean_of_a_slice(pair):
    source, donor = pair
    expected = source - source.mean((1, 2), keepdims=True) + donor.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(_swap_amplitudes(source, donor, 0.001), expected, atol=2e-15)


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_amplitudes_inside_the_square_are_the_donors_and_phases_are_kept(pair, share):
    source, donor = pair
    mixed = _swap_amplitudes(source, donor, share)
    assert mixed.dtype == np.float64  # real
    of_mixed, of_source, of_donor = (np.fft.fft2(volume) for volume in (mixed, source, donor))
    frequency = np.abs(np.fft.fftfreq(128) * 128)
    square = np.maximum(frequency[:, None], frequency) <= int(share * 128)
    np.testing.assert_allclose(np.abs(of_mixed)[:, square], np.abs(of_donor)[:, square], atol=1e-11)
    np.testing.assert_allclose(np.abs(of_mixed)[:, ~square], np.abs(of_source)[:, ~square], atol=1e-10)
    turn = np.angle(of_mixed * np.conj(of_source))
    assert np.abs(turn).max() < 1e-11


def test_what_leaves_the_range_is_clipped():
    bright = mix_frequencies(np.full((1, 16, 16), 0.5) + np.eye(16) * 0.5, np.ones((1, 16, 16)), share=0.001)
    assert bright.dtype == np.float32 and bright.min() >= 0 and bright.max() <= 1


def test_a_box_of_another_crop_brings_its_own_affinities():
    # Both crops are one body, with the same id: at the seam the affinity stays 1, as in its own crop.
    shape = (4, 12, 12)
    first = (
        np.zeros((1, *shape), np.float32),
        np.ones((4, *shape), np.uint8),
        np.ones((4, *shape), np.uint8),
    )
    second = (
        np.ones((1, *shape), np.float32),
        np.ones((4, *shape), np.uint8),
        np.zeros((4, *shape), np.uint8),
    )
    second[1][:, :, 6] = 0
    box = draw_box(np.random.default_rng(0), shape, 7)
    image, target, counts = cut_mix(first, second, box)
    inside = np.zeros(shape, bool)
    inside[box] = True
    assert inside.sum() == 4 * 7 * 7
    assert np.array_equal(image[0], inside)
    assert np.array_equal(counts, np.broadcast_to(~inside, counts.shape))
    row = np.zeros(shape, bool)
    row[:, 6] = True
    assert np.array_equal(target == 0, np.broadcast_to(inside & row, target.shape))
    assert first[0].max() == 0, "the inputs are not changed"


def test_boxes_lie_inside_and_reach_both_ends():
    rng = np.random.default_rng(1)
    boxes = [draw_box(rng, (2, 9, 9), 5) for _ in range(200)]
    assert {box[1].start for box in boxes} == {box[2].start for box in boxes} == set(range(5))
    assert all(box[1].stop <= 9 and box[2].stop <= 9 for box in boxes)
