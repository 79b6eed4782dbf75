"""Pre-training by noise: the mask, the HOG picture, decoders without skips, and what is handed on."""

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.network.affinities import PRESETS, AffinityNet, Architecture, lattice
from pipeline.training.gaussian_mask import (
    DEPTHS,
    SIDES,
    GaussianMaskTask,
    Rebuilder,
    draw_mask,
    hog_picture,
    replace_by_noise,
    transfer,
)

TINY = Architecture(widths=(2, 3, 3, 4, 5), depth=20, height=32, width=32)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_whole_blocks_and_their_share_is_the_drawn_one_rounded_down(seed):
    shape = (20, 32, 48)
    mask = draw_mask(np.random.default_rng(seed), shape)
    fits = []
    for depth in DEPTHS:
        for side in SIDES:
            blocks = mask.reshape(20 // depth, depth, 32 // side, side, 48 // side, side)
            whole = (blocks.all((1, 3, 5)) == blocks.any((1, 3, 5))).all()
            fits += [blocks.all((1, 3, 5)).size] if whole else []
    assert fits, "not aligned to blocks of any allowed size"
    assert 0.5 - 1 / min(fits) <= mask.mean() <= 0.7
    exact = draw_mask(np.random.default_rng(seed), shape, depths=(5,), sides=(16,), share=(0.63, 0.63))
    assert exact.sum() == int(0.63 * 4 * 2 * 3) * 5 * 16 * 16


def test_noise_has_the_mean_and_spread_of_the_crop_and_the_rest_is_untouched():
    rng = np.random.default_rng(0)
    crop = rng.beta(2, 5, (20, 64, 64)).astype(np.float32)
    mask = draw_mask(rng, crop.shape)
    noisy = replace_by_noise(rng, crop, mask)
    count = mask.sum()
    assert np.array_equal(noisy[~mask], crop[~mask])
    assert abs(noisy[mask].mean() - crop.mean()) < 3 * crop.std() / count**0.5
    assert abs(noisy[mask].std() - crop.std()) < 3 * crop.std() / (2 * count) ** 0.5
    assert noisy.min() < 0, "noise is not clipped"


@pytest.mark.parametrize("image", ["noise", "stripes", "blobs"])
def test_the_hog_picture_is_the_one_that_scikit_image_draws(image):
    from scipy.ndimage import gaussian_filter
    from skimage.feature import hog

    rng = np.random.default_rng(1)
    stack = rng.random((3, 24, 40)).astype(np.float32)
    if image == "stripes":
        stack = (np.indices(stack.shape).sum(0) // 3 % 2).astype(np.float32)
    if image == "blobs":
        stack = gaussian_filter(stack, 2)
    ours = hog_picture(torch.from_numpy(stack)).numpy()
    for section, picture in zip(stack, ours):
        _, theirs = hog(
            section, orientations=9, pixels_per_cell=(4, 4), cells_per_block=(1, 1), visualize=True
        )
        np.testing.assert_allclose(picture, theirs, atol=1e-4)


def test_no_gradient_reaches_a_skip_and_decoders_are_as_wide_as_the_level_below():
    net = Rebuilder(TINY)
    features = net.encoder(torch.rand(1, 1, 8, 32, 32))
    skips = [part for node in lattice(3) for part in features[node] if part is not None]
    # Cut the graph at level 4: whatever still reaches a skip would have come past it.
    cut = {
        node: tuple(None if part is None else part.detach().requires_grad_() for part in pair)
        for node, pair in features.items()
    }
    out = net.grey(cut).sum() + net.hog(cut).sum()
    inputs = [part for node in lattice(3) for part in cut[node] if part is not None]
    assert len(inputs) == len(skips) == 20
    assert all(gradient is None for gradient in torch.autograd.grad(out, inputs, allow_unused=True))
    for a, b in lattice(3):
        node = net.grey.up[f"{a}_{b}"]
        for block in (node.flat, node.deep):
            assert block is None or block[0].in_channels == TINY.widths[a + b + 1]


def test_the_encoder_is_handed_on_bit_by_bit_and_decoders_start_afresh():
    torch.manual_seed(0)
    source, target = Rebuilder(TINY), AffinityNet(TINY)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    transfer(source.state_dict(), target)
    for name, tensor in target.state_dict().items():
        other = source.state_dict()[name] if name.startswith("encoder.") else before[name]
        assert torch.equal(tensor, other), name
    for broken in ({"encoder.nodes.9_9.flat.0.weight": torch.zeros(1)}, {"stranger": torch.zeros(1)}):
        with pytest.raises(InputError, match="unknown"):
            transfer({**source.state_dict(), **broken}, target)
    short = source.state_dict()
    short.pop("encoder.nodes.0_0.flat.0.weight")
    with pytest.raises(InputError, match="missing"):
        transfer(short, target)


@pytest.mark.parametrize(("preset", "millions"), [("paper", 35.14), ("gpu", 3.54), ("cpu", 0.89)])
def test_the_pre_training_network_has_the_published_size(preset, millions):
    with torch.device("meta"):
        net = Rebuilder(Architecture(widths=PRESETS[preset]))
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.0051)
    if preset == "paper":
        assert sum(p.numel() for p in net.encoder.parameters()) == 20_447_616


def test_a_batch_depends_on_its_seed_and_step_and_gives_a_finite_loss():
    images = [np.random.default_rng(2).integers(0, 256, (24, 40, 40), dtype=np.uint8)]
    task, again = (GaussianMaskTask(images, TINY, size=2, seed=3) for _ in range(2))
    first, second = task.batch(7), again.batch(7)
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert not torch.equal(first[1], task.batch(8)[1])
    noisy, clean, mask = first
    assert noisy.shape == (2, 1, 20, 32, 32) and torch.equal(noisy[~mask], clean[~mask])
    loss = task.loss(Rebuilder(TINY), first)
    loss.backward()
    assert torch.isfinite(loss) and loss > 0


@pytest.mark.parametrize("sizes", [{"depths": (3,)}, {"sides": (5,)}])
def test_blocks_that_do_not_divide_the_window_are_refused(sizes):
    with pytest.raises(InputError, match="divisors"):
        GaussianMaskTask([np.zeros((20, 32, 32), np.uint8)], TINY, **sizes)
