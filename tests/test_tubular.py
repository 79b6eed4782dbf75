"""Bent tubes: they equal convolutions where they are straight, bend where they are told to, and begin as Center."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.network import tubular, weights
from pipeline.network.slices import Architecture, Encoder, SliceSegmenter
from pipeline.network.tubular import ACROSS, TubularEmbed, displaced, line_kernels, sample, tube_points

SMALL = Architecture(depth=5, tile=64, patch=16, width=48, blocks=4, heads=3)
WIDE = (torch.float32, 2e-4), (torch.float64, 4e-13)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def everywhere(shape, dtype=torch.float64):
    """(N, 3): every voxel as the centre of a tube."""
    return torch.cartesian_prod(*(torch.arange(n, dtype=dtype) for n in shape))


def view(volume, bend, taps_kernel, axis, *, pitch=1.0):
    """One view of dense tubes; volume (1, D, H, W), bend (N, 2, K), kernel (E, K) -> (E, D, H, W)."""
    shape, dtype = volume.shape[1:], volume.dtype
    whole = torch.zeros(1, len(bend), 3, *bend.shape[1:], dtype=dtype)
    whole[:, :, axis] = bend
    points = tube_points(everywhere(shape, dtype), whole, (pitch,) * 3)
    values = sample(volume, points)[0, :, axis]
    return (values @ taps_kernel.T).T.unflatten(1, shape)


def along(axis, kernel):
    """(E, K) -> the same as a 3D kernel along an axis."""
    shape = [len(kernel), 1, 1, 1, 1]
    shape[2 + axis] = kernel.shape[1]
    return kernel.reshape(shape)


def convolved(volume, kernel, axis):
    before = [0] * 6
    taps = kernel.shape[2 + axis]
    before[2 * (2 - axis)], before[2 * (2 - axis) + 1] = taps // 2, taps - 1 - taps // 2
    return F.conv3d(F.pad(volume[None], before), kernel)[0]


@pytest.mark.parametrize(("dtype", "within"), WIDE)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("taps", [3, 5, 9, 16])
def test_straight_tubes_of_pitch_one_are_a_convolution_borders_included(dtype, within, axis, taps):
    volume, kernel = random(1, 6, 9, 11, dtype=dtype), random(4, taps, seed=1, dtype=dtype)
    bend = torch.zeros(6 * 9 * 11, 2, taps, dtype=dtype)
    expected = convolved(volume, along(axis, kernel), axis)
    assert (view(volume, bend, kernel, axis) - expected).abs().max() <= within


@pytest.mark.parametrize(("dtype", "within"), WIDE)
@pytest.mark.parametrize("axis", [1, 2])
def test_straight_tubes_of_any_pitch_are_a_folded_convolution(dtype, within, axis):
    taps, patch = 64, 16
    kernel, volume = random(4, taps, dtype=dtype), random(1, 1, 48, 48, seed=1, dtype=dtype)
    place = (torch.arange(taps, dtype=dtype) - taps // 2) * patch / taps + patch // 2
    fold = (1 - (place[:, None] - torch.arange(patch + 1, dtype=dtype)).abs()).clamp(min=0)
    folded = along(axis, kernel @ fold)
    # The tube runs through the middle row of each block.
    middle = volume[:, :, patch // 2 :: patch] if axis == 2 else volume[..., patch // 2 :: patch]
    stride, rim = [1, 1, 1], [0] * 6
    # The last taps lie between a block and the first voxel behind it.
    stride[axis], rim[2 * (2 - axis) + 1] = patch, 1
    expected = F.conv3d(F.pad(middle[None], rim), folded, stride=stride)[0, :, 0].flatten(1).T
    centre = tubular.origins((3, 3), (1, patch, patch), volume)
    steps = torch.zeros(1, 9, 3, 2, 16, dtype=dtype)
    values = tubular.tube_values(volume, steps, centre, extent=(1, patch, patch), taps=taps)[0, :, axis]
    assert (values @ kernel.T - expected).abs().max() <= within


def test_a_step_moves_its_tap_and_all_beyond_it_on_its_side_only():
    steps = torch.zeros(9)
    steps[6] = 0.7
    torch.testing.assert_close(displaced(steps), torch.tensor([0.0] * 6 + [0.7] * 3), atol=0, rtol=0)
    steps = torch.zeros(9)
    steps[2] = 0.7
    torch.testing.assert_close(displaced(steps), torch.tensor([0.7] * 3 + [0.0] * 6), atol=0, rtol=0)


@pytest.mark.parametrize("taps", [8, 9])
def test_the_step_of_the_centre_tap_moves_nothing(taps):
    steps = torch.zeros(1, 1, 3, 2, taps)
    steps[..., taps // 2] = 0.7
    assert not displaced(steps).any()


@pytest.mark.parametrize(("axis", "place"), itertools.product(range(3), range(2)))
def test_a_step_of_one_voxel_is_a_bent_kernel(axis, place):
    volume, kernel = random(1, 6, 9, 11), random(4, 5, seed=1)
    steps = torch.zeros(6 * 9 * 11, 2, 5, dtype=torch.float64)
    steps[:, place, 3] = 1
    found = view(volume, displaced(steps), kernel, axis)
    across = ACROSS[axis][place]
    shape = [4, 1, 1, 1, 1]
    shape[2 + axis], shape[2 + across] = 5, 3
    bent = torch.zeros(shape, dtype=torch.float64).movedim((2 + axis, 2 + across), (-2, -1))
    bent[..., :3, 1], bent[..., 3:, 2] = kernel[:, None, None, :3], kernel[:, None, None, 3:]
    bent = bent.movedim((-2, -1), (2 + axis, 2 + across))
    pads = [0] * 6
    for one, size in ((axis, 5), (across, 3)):
        pads[2 * (2 - one)] = pads[2 * (2 - one) + 1] = size // 2
    assert (found - F.conv3d(F.pad(volume[None], pads), bent)[0]).abs().max() <= 2e-13


def values_of(volume, steps, centre, pitch=(1.0, 1.0, 1.0)):
    points = tube_points(centre, displaced(steps), pitch)
    return sample(volume, points)


def test_swapping_two_axes_swaps_the_views():
    volume, steps = random(1, 7, 7, 7), 0.3 * random(1, 5, 3, 2, 9, seed=1)
    centre = torch.randint(2, 5, (5, 3), generator=torch.Generator().manual_seed(2)).double()
    before = values_of(volume, steps, centre)
    swapped = torch.zeros_like(steps)
    for one, other in ((0, 0), (1, 2), (2, 1)):  # y <-> x
        for place, axis in enumerate(ACROSS[one]):
            mapped = {0: 0, 1: 2, 2: 1}[axis]
            swapped[:, :, other, ACROSS[other].index(mapped)] = steps[:, :, one, place]
    after = values_of(volume.transpose(2, 3), swapped, centre[:, [0, 2, 1]])
    assert (after[:, :, [0, 2, 1]] - before).abs().max() <= 2e-14


def test_reversing_volume_taps_and_steps_reverses_the_values():
    volume, steps = random(1, 7, 9, 11), 0.3 * random(1, 5, 3, 2, 9, seed=1)
    centre = torch.tensor([[3.0, 4, 5]] * 5, dtype=torch.float64)
    before = values_of(volume, steps, centre)[:, :, 2]
    mirrored = steps.flip(-1)
    after = values_of(volume.flip(3), mirrored, centre)[:, :, 2]
    assert (after.flip(-1) - before).abs().max() <= 4e-14


def test_a_shift_by_whole_voxels_shifts_the_values():
    volume, steps = random(1, 9, 15, 15), 0.3 * random(1, 4, 3, 2, 5, seed=1)
    centre = torch.tensor([[4.0, 7, 7]] * 4, dtype=torch.float64)
    moved = values_of(volume.roll((1, 2, -1), (1, 2, 3)), steps, centre + torch.tensor([1.0, 2, -1]))
    assert (moved - values_of(volume, steps, centre)).abs().max() <= 2e-13


def test_in_a_constant_volume_a_tube_that_stays_inside_sees_the_constant():
    steps = 0.2 * random(1, 4, 3, 2, 5)
    centre = torch.tensor([[8.0, 8, 8]] * 4, dtype=torch.float64)
    values = values_of(torch.full((1, 17, 17, 17), 0.7, dtype=torch.float64), steps, centre)
    assert (values - 0.7).abs().max() <= 1e-14


def test_gradients_are_those_of_finite_differences():
    volume = random(1, 4, 7, 7).requires_grad_()
    steps = (0.13 + 0.02 * random(1, 2, 3, 2, 4, seed=1)).requires_grad_()
    kernel = random(3, 2, 4, seed=2).requires_grad_()
    centre = torch.tensor([[2.0, 3, 3], [1.0, 4, 2]], dtype=torch.float64)

    def seen(volume, steps, kernel):
        values = tubular.tube_values(volume, steps, centre, extent=(2, 3, 3), taps=4)
        return torch.einsum("bnak,aek->bne", values, kernel)

    assert torch.autograd.gradcheck(seen, (volume, steps, kernel), eps=1e-6, atol=1e-4)


def test_tubes_reach_the_faces_of_their_block_and_no_further():
    pitch = (5 / 64, 0.25, 0.25)
    ones = torch.ones(1, 1, 3, 2, 64, dtype=torch.float64)
    bend = displaced(ones)
    steps_from_centre = (torch.arange(64) - 32).abs()
    assert torch.equal(bend, steps_from_centre.double().expand_as(bend))
    centre = torch.tensor([[2.0, 8, 8]], dtype=torch.float64)
    far = (tube_points(centre, bend, pitch) - centre[:, None, None]).abs().amax((0, 1, 2, 3))
    assert far.tolist() == [2.5, 8.0, 8.0]
    straight = tube_points(centre, torch.zeros_like(bend), pitch)[0, 0, 1, :, 1]
    assert (straight[0].item(), straight[-1].item()) == (0.0, 15.75)


def test_segments_are_taps_with_repeated_steps():
    volume, steps = random(1, 5, 32, 32), torch.tanh(random(1, 4, 3, 2, 16, seed=1))
    centre = tubular.origins((2, 2), (5, 16, 16), volume)
    sizes = {"extent": (5, 16, 16), "taps": 64}
    repeated = steps.repeat_interleave(4, -1)
    assert torch.equal(
        tubular.tube_values(volume, steps, centre, **sizes),
        tubular.tube_values(volume, repeated, centre, **sizes),
    )


def test_pooled_taps_are_taps_moved_onto_the_first_of_their_group():
    kernel = random(3, 16, 16)
    fine, pooled = line_kernels(kernel, 256), line_kernels(kernel, 64)
    values = random(3, 64, seed=1)
    torch.testing.assert_close(
        (fine * values.repeat_interleave(4, 1)[:, None]).sum(2), (pooled * values[:, None]).sum(2)
    )
    assert torch.equal(fine[1, 0], kernel[0].flatten()) and torch.equal(fine[2, 0], kernel[0].T.flatten())


def test_a_tubular_model_begins_as_center_bit_for_bit():
    plain = SliceSegmenter(SMALL).eval()
    bent = weights.with_tubes(plain).eval()
    window = torch.rand(2, 1, 5, 64, 64)
    with torch.inference_mode():
        assert torch.equal(bent.encoder.patch_embed(window), plain.encoder.patch_embed(window))
        assert torch.equal(bent(window), plain(window))
    own, more = plain.state_dict(), bent.state_dict()
    assert all(torch.equal(own[name], more[name]) for name in own)
    assert weights.with_tubes(bent) is bent


def test_gradient_reaches_gamma_first_and_tubes_and_offsets_from_the_second_step_on():
    embed = TubularEmbed(5, 16, 48)
    window = torch.rand(2, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(embed.parameters(), lr=0.1)
    probe = random(2, 4, 48, dtype=torch.float32)
    for step in (1, 2):
        optimiser.zero_grad()
        (embed(window) * probe).sum().backward()
        assert embed.gamma.grad.abs().max() > 0
        for late in (embed.tubes, embed.offsets.weight):
            assert (late.grad.abs().max() > 0) == (step == 2)
        optimiser.step()


def test_the_tubes_cost_the_parameters_of_the_table():
    with torch.device("meta"):
        plain, bent = (
            Encoder(replace(Architecture(tile=224), embedding=kind)) for kind in ("plain", "tubular")
        )
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (plain, bent)]
    assert count[1] - count[0] == 203_424
    assert {name: value.shape for name, value in plain.state_dict().items()}.items() <= {
        name: value.shape for name, value in bent.state_dict().items()
    }.items()


@pytest.fixture
def bending():
    """An embedding whose tubes bend and count."""
    torch.manual_seed(0)
    embed = TubularEmbed(5, 16, 48)
    nn.init.normal_(embed.gamma)
    nn.init.normal_(embed.offsets.weight, std=0.3)
    return embed.eval()


def test_a_sample_is_embedded_alike_alone_and_in_a_batch(bending, monkeypatch):
    window = torch.rand(3, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole, alone = bending(window), bending(window[:1])
        monkeypatch.setattr(tubular, "MOST_POINTS", 1)
        cut = bending(window)
    assert (whole[:1] - alone).abs().max() <= 2.4e-6
    assert (whole - cut).abs().max() <= 2.4e-6


def test_no_more_points_are_sampled_at_once_than_allowed(bending, monkeypatch):
    seen, original = [], tubular.tube_points
    monkeypatch.setattr(tubular, "tube_points", lambda *given: seen.append(original(*given)) or seen[-1])
    monkeypatch.setattr(tubular, "MOST_POINTS", 2 * 16 * 3 * 64)
    with torch.inference_mode():
        bending(torch.rand(7, 1, 5, 64, 64))
    assert [len(points) for points in seen] == [2, 2, 2, 1]
    assert max(points[..., 0].numel() for points in seen) <= tubular.MOST_POINTS


def test_one_slice_is_no_trouble():
    torch.manual_seed(0)
    embed = TubularEmbed(1, 16, 48)
    nn.init.normal_(embed.gamma)
    window = torch.rand(1, 1, 1, 32, 32)
    assert torch.isfinite(embed(window)).all()
    # A straight tube along z meets the one slice with the taps that lie less than a voxel away: all, by their nearness.
    values = tubular.tube_values(
        window[:, 0],
        torch.zeros(1, 4, 3, 2, 16),
        tubular.origins((2, 2), (1, 16, 16), window),
        extent=(1, 16, 16),
        taps=64,
    )
    near = 1 - (torch.arange(64) - 32).abs() / 64
    torch.testing.assert_close(values[0, 0, 0], near * window[0, 0, 0, 8, 8])


def test_half_precision_is_used_for_the_products_not_for_the_places(bending):
    window = torch.rand(1, 1, 5, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        full = bending(window)
        with torch.autocast("cpu", torch.bfloat16):
            half = bending(window)
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() <= 0.03 * full.abs().max()
