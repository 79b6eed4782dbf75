"""The 3D convolution of the affinity network: its gradients in bf16 on a CPU are those of fp32."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.network.affinities import AffinityNet, Architecture
from pipeline.network.convolution import Conv3d


def gradients(convolve, x: torch.Tensor, *, bf16: bool) -> tuple[torch.Tensor, ...]:
    """The output for x, and the gradients of a fixed sum of it by x and by the parameters of `convolve`."""
    x = x.detach().requires_grad_()
    convolve.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made = convolve(x)
    made.float().backward(torch.linspace(-1, 1, made.numel()).sin().view_as(made))
    return made.float(), x.grad, *(each.grad for each in convolve.parameters())


# Channels before and after, sections, edge. On a CPU with AMX torch's own gradient is NaN with the first, breaks the
# heap with the next two, and its output is wrong with a single section; elsewhere it is right, and so must ours be.
SHAPES = [(80, 32, 4, 48), (8, 12, 8, 96), (12, 12, 8, 96), (1, 8, 8, 96), (5, 3, 1, 16), (6, 7, 2, 5)]


@pytest.mark.parametrize(("before", "after", "depth", "edge"), SHAPES)
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (1, 1, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_in_bf16_are_those_of_fp32(before, after, depth, edge, kernel, batch):
    torch.manual_seed(0)
    convolve = Conv3d(before, after, kernel).to(memory_format=torch.channels_last_3d)
    x = torch.randn(batch, before, depth, edge, edge).to(memory_format=torch.channels_last_3d)

    exact = gradients(convolve, x, bf16=False)
    rounded = gradients(convolve, x, bf16=True)

    for wanted, got in zip(exact, rounded, strict=True):
        assert torch.isfinite(got).all()
        assert (wanted - got).abs().max() <= 0.02 * wanted.abs().max()


def test_without_autocast_it_is_torchs_convolution():
    torch.manual_seed(0)
    convolve = Conv3d(4, 6, (3, 3, 3))
    x = torch.randn(2, 4, 5, 8, 8)

    assert torch.equal(convolve(x), F.conv3d(x, convolve.weight, convolve.bias, padding=1))


def test_the_affinity_network_has_no_other_3d_convolution():
    network = AffinityNet(Architecture(widths=(2, 2, 2, 2, 2)))
    kinds = {type(module) for module in network.modules() if isinstance(module, torch.nn.Conv3d)}
    assert kinds == {Conv3d}
