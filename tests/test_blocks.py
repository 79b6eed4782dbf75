"""The window grid, the blocks and the blending: nothing depends on how a volume was cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import blocks
from pipeline.network.predict import predict_block, reach
from pipeline.stages.tile import windows_with_signal


def whole(network, volume, *, depth=5, window=16, stride=12, plane=2**31, voxels=2**40, signal=None, batch=4):
    """Probability of a whole volume, block by block, as infer and stack make it."""
    if signal is None:
        grids = [len(blocks.grid_starts(size, window, stride)) for size in volume.shape[1:]]
        signal = np.ones((volume.shape[0], *grids), bool)
    plan = blocks.make_plan(
        signal, volume.shape, depth=depth, window=window, stride=stride, plane=plane, voxels=voxels
    )
    result = np.full(volume.shape, np.nan, np.float32)
    for block in plan.blocks:
        grey = blocks.read_clamped(volume, reach(block, plan))
        core = tuple(slice(*ends) for ends in zip(block.start, block.stop, strict=True))
        assert np.isnan(result[core]).all(), "two blocks write the same voxel"
        result[core] = predict_block(network, grey, block, plan, batch=batch)
    return result


def centre_slice(window):
    """A network that returns what it sees: the logit of its centre slice."""
    return torch.logit(window[:, :, window.shape[2] // 2], eps=1e-6)


@given(
    size=st.integers(1, 300), window=st.sampled_from([16, 32, 128]), overlap=st.sampled_from([0, 0.25, 0.5])
)
def test_normalised_weights_of_all_windows_sum_to_one_everywhere(size, window, overlap):
    stride = round(window * (1 - overlap))
    total = np.zeros(10_000)
    for start in blocks.grid_starts(size, window, stride):
        total[start : start + window] += blocks.blending_profile(window)
    np.testing.assert_allclose(total[:size] / blocks.blending_sum(size, window, stride), 1, atol=1e-6)


@given(size=st.integers(1, 300), window=st.sampled_from([16, 128]))
def test_the_grid_covers_the_axis_and_is_the_same_for_a_longer_one(size, window):
    starts = blocks.grid_starts(size, window, window // 2)
    assert starts[0] == 0 and starts[-1] + window >= size
    np.testing.assert_array_equal(starts, blocks.grid_starts(size + 57, window, window // 2)[: len(starts)])


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70)),
    plane=st.integers(8, 80),
    voxels=st.integers(200, 20_000),
)
def test_cores_of_the_blocks_fill_the_volume_once(shape, plane, voxels):
    count = np.zeros(shape, int)
    for start, stop in blocks.core_boxes(shape, plane=plane, voxels=voxels):
        count[tuple(slice(*ends) for ends in zip(start, stop, strict=True))] += 1
        assert stop[1] - start[1] <= plane and stop[2] - start[2] <= plane
    assert (count == 1).all()


@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(st.integers(1, 7), st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_a_network_that_returns_its_centre_slice_gives_the_volume_back(shape, seed):
    volume = np.random.default_rng(seed).uniform(0.01, 0.99, shape).astype(np.float32)
    np.testing.assert_allclose(whole(centre_slice, volume), volume, atol=2e-6)


def test_slice_z_carries_z_at_both_ends_too():
    volume = np.broadcast_to(np.linspace(0.05, 0.95, 10, dtype=np.float32)[:, None, None], (10, 20, 33))
    np.testing.assert_allclose(whole(centre_slice, volume)[:, 7, 9], volume[:, 0, 0], atol=1e-6)


@pytest.mark.parametrize("cut", [{"voxels": 900}, {"plane": 13}, {"plane": 29, "voxels": 500}, {"voxels": 1}])
def test_probability_does_not_depend_on_the_cut(cut, tiny_network):
    volume = np.random.default_rng(0).random((7, 45, 38), np.float32)
    with torch.inference_mode():
        np.testing.assert_array_equal(
            np.rint(255 * whole(tiny_network, volume, **cut)), np.rint(255 * whole(tiny_network, volume))
        )


def test_a_plan_read_back_is_the_plan(tmp_path):
    signal = np.random.default_rng(0).random((4, 3, 5)) > 0.5
    plan = blocks.make_plan(signal, (4, 40, 60), depth=5, window=16, stride=12, plane=30, voxels=2000)
    path = tmp_path / "plan.json"
    path.write_text(blocks.plan_text(plan))
    assert blocks.read_plan(path) == plan


def test_windows_without_signal_are_skipped_and_a_dim_neurite_is_none_of_them():
    rng = np.random.default_rng(1)
    background, noise = 100.0, 5.0
    volume = background + noise * rng.standard_normal((9, 128, 128))
    grid = {"depth": 5, "window": 32, "stride": 24}
    threshold = background + 6 * noise / 3
    assert not windows_with_signal(volume, threshold, **grid).any()
    volume[4, 40:43, :] += 3 * noise  # three pixels wide, three sigma bright, in one slice only
    signal = windows_with_signal(volume, threshold, **grid)
    starts = blocks.grid_starts(128, 32, 24)
    crossed = (starts < 43) & (starts + 32 > 40)
    assert signal[2:7, crossed].all(), "every window that sees the neurite, in all slices that look at it"
    assert not signal[:, ~crossed].any() and not signal[[0, 1, 7, 8]].any()


def test_skipped_windows_are_exactly_zero_and_the_others_as_before(tiny_network):
    volume = np.random.default_rng(0).random((3, 40, 40), np.float32)
    signal = np.zeros((3, 3, 3), bool)
    signal[1, 0, 0] = True
    with torch.inference_mode():
        skipped = whole(tiny_network, volume, signal=signal)
        full = whole(tiny_network, volume)
    assert not skipped[[0, 2]].any() and not skipped[1, 16:].any()
    np.testing.assert_allclose(skipped[1, :12, :12], full[1, :12, :12], atol=1e-6)
