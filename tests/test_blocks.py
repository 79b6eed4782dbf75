"""The window grid, the blocks and the blending: nothing depends on how a volume was cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import blocks, intensity
from pipeline.blocks import UNBINNED, Grid
from pipeline.network.predict import predict_block
from pipeline.stages.tile import binned_planes, windows_with_signal


def slices(shape, *, depth=5, edge=16, stride=12):
    """The grid of a slice segmenter: the middle slice of its window is its core."""
    return Grid(shape, window=(depth, edge, edge), core=(1, edge, edge), stride=(1, stride, stride))


def volumetric(shape, *, window=(6, 16, 16), core=(4, 16, 12), stride=(3, 8, 9)):
    """The grid of a network whose cores overlap along all axes, and are smaller than what it reads along two."""
    return Grid(shape, window=window, core=core, stride=stride)


GRIDS = pytest.mark.parametrize("grid_of", [slices, volumetric])


def whole(run, image, grid, *, plane=2**31, voxels=2**40, signal=None, batch=4):
    """Probability (c, z, y, x) of a whole volume, block by block, as infer and stack make it."""
    signal = np.ones(grid.counts, bool) if signal is None else signal
    plan = blocks.make_plan(signal, grid, plane=plane, voxels=voxels)
    result = np.full((1, *image.shape), np.nan, np.float32)
    for block in plan.blocks:
        grey = blocks.read_clamped(image, grid.reach(block))
        core = (slice(None), *(slice(*ends) for ends in zip(block.start, block.stop, strict=True)))
        assert np.isnan(result[core]).all(), "two blocks write the same voxel"
        result[core] = predict_block(run, grey, block, grid, batch=batch)
    return result[0]


def core_of(grid):
    """A network that returns what it sees: the core of its window."""
    inner = tuple(slice(a, a + edge) for a, edge in zip(grid.margin, grid.core))
    return lambda windows: windows[(slice(None), *inner)][:, None]


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
def test_equal_steps_cover_the_axis_and_are_the_same_for_a_longer_one(size, window):
    starts = blocks.grid_starts(size, window, window // 2)
    assert starts[0] == 0 and starts[-1] + window >= size
    np.testing.assert_array_equal(starts, blocks.grid_starts(size + 57, window, window // 2)[: len(starts)])


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("core", [(1, 16, 16), (6, 16, 12)])
@pytest.mark.parametrize("shape", [(7, 41, 33), (13, 16, 65), (2, 5, 7)])
def test_nothing_depends_on_how_a_volume_with_fitted_steps_is_cut(shape, core, overlap):
    image = np.random.default_rng(0).random(shape, np.float32)
    grid = blocks.make_grid(shape, window=(core[0] + 4, *core[1:]), core=core, overlap=overlap, least=True)
    run, block = core_of(grid), blocks.whole(grid)
    (alone,) = predict_block(run, blocks.read_clamped(image, grid.reach(block)), block, grid)
    np.testing.assert_array_equal(whole(run, image, grid, plane=9, voxels=300), alone)


@given(
    size=st.integers(1, 700),
    core=st.sampled_from([1, 5, 32, 128]),
    overlap=st.sampled_from([0, 0.25, 0.5, 0.75]),
)
def test_the_cores_of_a_volume_are_as_few_as_their_overlap_asks_for_in_the_least_steps(size, core, overlap):
    grid = blocks.make_grid((1, 1, size), window=(1, 1, core), core=(1, 1, core), overlap=overlap, least=True)
    longest, count = max(1, round(core * (1 - overlap))), grid.counts[2]
    assert count == len(blocks.grid_starts(size, core, longest)) and grid.stride[2] <= longest
    beyond = (count - 1) * grid.stride[2] + core - size
    assert beyond >= 0, "the last voxels are in no core"
    assert size <= core or beyond < count - 1, "a smaller step covers the volume, too"


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


@GRIDS
@settings(deadline=None, max_examples=25)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_a_network_that_returns_its_core_gives_the_volume_back(grid_of, shape, seed):
    image = np.random.default_rng(seed).uniform(0.01, 0.99, shape).astype(np.float32)
    grid = grid_of(shape)
    np.testing.assert_allclose(whole(core_of(grid), image, grid), image, atol=2e-6)


@pytest.mark.parametrize(("stride", "turned"), [(8, [False, True, False, True]), (16, [False] * 4)])
def test_every_second_of_windows_that_overlap_is_read_as_its_mirror_image(stride, turned):
    grid = slices((1, 16, 3 * stride + 16), depth=1, stride=stride)
    image = np.broadcast_to(np.linspace(0, 1, grid.shape[2], dtype=np.float32), grid.shape)
    falling = []

    def run(windows):
        falling.extend((windows[:, 0, 0, 0] > windows[:, 0, 0, -1]).tolist())
        return core_of(grid)(windows)

    whole(run, image, grid, batch=1)
    assert falling == turned


@pytest.mark.parametrize(("views", "mirrored"), [(1, []), (2, [(-2, -1)]), (4, [(-2, -1), (-2,), (-1,)])])
def test_views_answer_alike_for_a_window_and_its_mirror_images(views, mirrored, tiny_network):
    grid = slices((3, 16, 16))
    image = np.random.default_rng(0).random(grid.shape, np.float32)
    block = blocks.whole(grid)

    def answer(image, views=views):
        grey = blocks.read_clamped(image, grid.reach(block))
        return predict_block(tiny_network.run, grey, block, grid, views=views)[0]

    for axes in mirrored:
        np.testing.assert_allclose(np.flip(answer(np.flip(image, axes)), axes), answer(image), atol=1e-6)
    one = [np.flip(answer(np.flip(image, axes), 1), axes) for axes in ((), *mirrored)]
    np.testing.assert_allclose(answer(image), np.mean(one, 0), atol=1e-6)


@pytest.mark.parametrize("axis", [-3, -2, -1])
def test_an_affinity_stays_between_its_two_voxels_in_mirrored_windows(axis):
    """The true affinity with the voxel before, or two before, of random labels."""
    shape = tuple(60 if at == axis else 21 for at in (-3, -2, -1))
    labels = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    grid = volumetric(shape, window=(16,) * 3, core=(16,) * 3, stride=(8,) * 3)

    def run(windows):
        before = [windows.roll(steps, axis) for steps in (1, 2)]
        return torch.stack([(windows == each).float() for each in before], 1)

    plan = blocks.make_plan(np.ones(grid.counts, bool), grid, plane=2**31, voxels=2**40)
    (block,) = plan.blocks
    grey = blocks.read_clamped(labels, grid.reach(block))
    found = predict_block(run, grey, block, grid, channels=2, directions={0: (axis, 1), 1: (axis, 2)})
    for channel, steps in enumerate((1, 2)):
        true, answer = (np.moveaxis(each, axis, 0)[steps:] for each in (labels, found[channel]))
        same = true == np.moveaxis(labels, axis, 0)[:-steps]
        # The first voxels of a window do not know what is before them; they hardly count.
        assert np.mean((answer > 0.5) == same) > 0.99


@pytest.mark.parametrize("shape", [(250, 512, 512), (100, 1500, 700)])
def test_blocks_of_a_volumetric_network_are_no_thinner_than_its_windows(shape):
    """Slabs of single slices would run every window 31 times."""
    grid = volumetric(shape, window=(32, 128, 128), core=(32, 128, 128), stride=(16, 64, 64))
    plan = blocks.make_plan(np.ones(grid.counts, bool), grid, plane=1024, voxels=6_000_000)
    assert sum(len(block.windows) for block in plan.blocks) < 4 * np.prod(grid.counts)
    held = [np.prod([b - a for a, b in grid.reach(block)]) for block in plan.blocks]
    assert max(held) < 60e6  # four bytes each, and as much for each channel


def test_slice_z_carries_z_at_both_ends_too():
    image = np.broadcast_to(np.linspace(0.05, 0.95, 10, dtype=np.float32)[:, None, None], (10, 20, 33))
    grid = slices(image.shape)
    np.testing.assert_allclose(whole(core_of(grid), image, grid)[:, 7, 9], image[:, 0, 0], atol=1e-6)


CUTS = pytest.mark.parametrize(
    "cut", [{"voxels": 900}, {"plane": 13}, {"plane": 29, "voxels": 500}, {"voxels": 1}]
)


@CUTS
def test_probability_does_not_depend_on_the_cut(cut, tiny_network):
    image = np.random.default_rng(0).random((7, 45, 38), np.float32)
    grid = slices(image.shape)
    np.testing.assert_array_equal(
        np.rint(255 * whole(tiny_network.run, image, grid, **cut)),
        np.rint(255 * whole(tiny_network.run, image, grid)),
    )


@CUTS
def test_overlapping_volumetric_windows_do_not_depend_on_the_cut_either(cut):
    image = np.random.default_rng(0).random((11, 45, 38), np.float32)
    grid = volumetric(image.shape)

    def blurred(windows):
        """Each voxel of the core with the mean of its whole window: as a norm over the window would do."""
        return (core_of(grid)(windows) + windows.mean((1, 2, 3))[:, None, None, None, None]) / 2

    np.testing.assert_array_equal(whole(blurred, image, grid, **cut), whole(blurred, image, grid))


def test_a_plan_read_back_is_the_plan(tmp_path):
    signal = np.random.default_rng(0).random(slices((4, 40, 60)).counts) > 0.5
    plan = blocks.make_plan(signal, slices((4, 40, 60)), plane=30, voxels=2000)
    path = tmp_path / "plan.json"
    path.write_text(blocks.plan_text(plan))
    assert blocks.read_plan(path) == plan


def test_windows_without_signal_are_skipped_and_a_dim_neurite_is_none_of_them():
    rng = np.random.default_rng(1)
    background, noise = 100.0, 5.0
    image = background + noise * rng.standard_normal((9, 128, 128))
    grid = slices(image.shape, edge=32, stride=24)
    level = levels(image.shape, background, noise)
    assert not windows_with_signal(binned_planes(Chunked(image), level, UNBINNED), 2.0, grid).any()
    image[4, 40:43, :] += 3 * noise  # three pixels wide, three sigma bright, in one slice only
    signal = windows_with_signal(binned_planes(Chunked(image), level, UNBINNED), 2.0, grid)
    starts = blocks.grid_starts(128, 32, 24)
    crossed = (starts < 43) & (starts + 32 > 40)
    assert signal[2:7, crossed].all(), "every window that sees the neurite, in all slices that look at it"
    assert not signal[:, ~crossed].any() and not signal[[0, 1, 7, 8]].any()


def test_every_plane_is_read_once_a_slab_at_a_time():
    read = []

    class Counted(Chunked):
        def __getitem__(self, key):
            if isinstance(key, slice):
                read.append(key)
            return np.asarray(self)[key]

    list(binned_planes(np.zeros((9, 64, 64)).view(Counted), levels((9, 64, 64), 0.0, 1.0), UNBINNED))
    assert [(z.start, z.stop) for z in read] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 9)]


def test_skipped_windows_are_exactly_zero_and_the_others_as_before(tiny_network):
    image = np.random.default_rng(0).random((3, 40, 40), np.float32)
    grid = slices(image.shape)
    signal = np.zeros(grid.counts, bool)
    signal[1, 0, 0] = True
    skipped = whole(tiny_network.run, image, grid, signal=signal)
    full = whole(tiny_network.run, image, grid)
    assert not skipped[[0, 2]].any() and not skipped[1, 16:].any()
    np.testing.assert_allclose(skipped[1, :12, :12], full[1, :12, :12], atol=1e-6)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 60), st.integers(1, 60)),
    voxel=st.tuples(st.integers(0, 8), st.integers(0, 59), st.integers(0, 59)),
)
@GRIDS
def test_exactly_the_windows_that_see_a_bright_place_hold_signal(grid_of, shape, voxel):
    voxel = tuple(np.minimum(voxel, np.array(shape) - 1))
    image = np.zeros(shape)
    image[voxel] = 9.0
    grid = grid_of(shape)
    planes = binned_planes(Chunked(image), levels(shape, 0.0, 1.0), UNBINNED)
    signal = windows_with_signal(planes, 0.5, grid)
    for index in np.ndindex(*grid.counts):
        first = np.multiply(index, grid.stride) - grid.margin
        # The mean of 3 x 3 pixels is bright in the pixels beside the bright one too.
        sees = all(
            low <= place + reach and place - reach < low + edge
            for low, edge, place, reach in zip(first, grid.window, voxel, (0, 1, 1))
        )
        assert signal[index] == sees


def levels(shape, background, noise):
    """The same background and noise everywhere."""
    cells = np.ones([shape[0], *(-(-size // intensity.CELL) for size in shape[1:])], np.float32)
    return intensity.Levels(background * cells, background * cells, noise * cells, {})


class Chunked(np.ndarray):
    """An array that says its chunks, as zarr does."""

    chunks = (2, 64, 64)

    def __new__(cls, array):
        return np.asarray(array).view(cls)
