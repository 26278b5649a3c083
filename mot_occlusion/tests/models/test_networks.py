import pytest
import torch
import torch.nn.functional as F
import torchvision

from mot_occlusion.models import DLA34, HEADS, SmallNetwork, build_network
from mot_occlusion.models.deform import DCN, deform_conv2d
from shared_utils import UserError


def _arguments(dtype=torch.float32, channels=5, out=4, size=(7, 9), stride=1, kernel=3, reach=3.0):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    padding = kernel // 2
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    x, weight, bias = draw(2, channels, *size), draw(out, channels, kernel, kernel), draw(out)
    offset, mask = reach * draw(2, 2 * kernel**2, height, width), draw(2, kernel**2, height, width).sigmoid()
    return (x, offset, mask, weight, bias), (stride, padding)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (1, 1), (1, 5)])
def test_deformable_layer_equals_torchvision_with_gradients(stride, kernel):
    """Offsets of several cells, so that many taps leave the map."""
    tensors, geometry = _arguments(stride=stride, kernel=kernel)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    x, offset, mask, weight, bias = tensors
    ours = deform_conv2d(*tensors, *geometry)
    theirs = torchvision.ops.deform_conv2d(x, offset, weight, bias, *geometry, mask=mask)
    assert torch.allclose(ours, theirs, atol=1e-5)
    direction = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, tensors, direction), torch.autograd.grad(theirs, tensors, direction), strict=True
    ):
        assert (a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max()))


def test_deformable_layer_is_the_same_in_chunks_without_gradients():
    tensors, geometry = _arguments(size=(40, 50))
    with torch.no_grad():
        chunked = deform_conv2d(*tensors, *geometry)
    whole = deform_conv2d(*[tensor.requires_grad_() for tensor in tensors], *geometry)
    assert torch.allclose(chunked, whole, atol=1e-5)


def test_deformable_layer_passes_gradcheck():
    tensors, geometry = _arguments(torch.float64, channels=2, out=2, size=(2, 3), reach=0.7)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *t: deform_conv2d(*t, *geometry), tensors)


def test_deformable_layer_takes_bfloat16_and_autocast():
    layer = DCN(6, 5)
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.1)
    x = torch.randn(1, 6, 8, 8)
    with torch.no_grad():
        exact = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = layer(x)
        low = layer.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    for found in (autocast, low):
        assert (found.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_fresh_deformable_layer_is_half_a_convolution():
    layer = DCN(3, 4)
    x = torch.randn(1, 3, 6, 6)
    assert torch.allclose(layer(x), 0.5 * F.conv2d(x, layer.weight, padding=1) + layer.bias[:, None, None], atol=1e-6)


def test_offsets_that_are_not_numbers_do_not_crash():
    tensors, geometry = _arguments()
    tensors[1][0, 0, 0, 0] = float("nan")
    assert deform_conv2d(*tensors, *geometry).isnan().any()


def test_dla34_is_the_published_network_parameter_for_parameter():
    network = DLA34()
    assert len(network.state_dict()) == 410
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(20.15e6, rel=1e-3)


def test_every_trained_parameter_of_dla34_gets_a_gradient():
    """Or training in several processes would stop."""
    network = DLA34({"hm": 1, "id": 8}, head_channels=16)
    sum(value.square().mean() for value in network(torch.rand(2, 3, 32, 64)).values()).backward()
    silent = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert silent == []


@pytest.mark.parametrize("backbone", ["small", "dla34"])
def test_maps_have_stride_four_and_heatmaps_start_at_a_tenth(backbone):
    network = build_network(backbone, {**HEADS, "id": 16}).eval()
    with torch.no_grad():
        maps = network(torch.rand(1, 3, 64, 96))
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        name: (1, {**HEADS, "id": 16}[name], 16, 24) for name in HEADS
    }
    for name in ("hm", "occlusion", "occlusion_offset"):
        assert network.get_submodule(name)[2].bias.unique().item() == pytest.approx(-2.19)


def test_small_network_fits_beside_the_code():
    assert sum(p.numel() for p in SmallNetwork().state_dict().values()) * 4 < 4e6


def test_unknown_backbone_is_named():
    with pytest.raises(UserError, match="hrnet_18.*small"):
        build_network("hrnet_18", HEADS)
