import pytest
import torch

from incomplete_sensing.models import MLP, AutoEncoder, UNet, UnrolledProximalGradient, build_network
from incomplete_sensing.operators import OperatorOptions, draw_operators
from shared_utils import UserError


def test_autoencoder_takes_non_contiguous_images():
    network = AutoEncoder(20, 8, width=16)
    x = torch.rand(3, 1, 5, 4).transpose(-1, -2)
    assert torch.allclose(network(x), network(x.contiguous()))


def test_residual_networks_of_zero_weights_are_the_identity():
    x = torch.rand(2, 3, 8, 8)
    for network in (MLP(192, (16,)), AutoEncoder(192, 8, width=16), UNet(3, 3, base_channels=4, norm="none")):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        assert torch.equal(network(x), x)


def test_published_sizes():
    assert sum(value.numel() for value in UNet(3, 3).state_dict().values()) == 8_570_708
    assert sum(value.numel() for name, value in UNet(3, 3).named_parameters() if name.startswith("Up")) > 0


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
@pytest.mark.parametrize("size", [(16, 24), (13, 9), (16, 16)])
def test_unet_takes_any_size(norm, size):
    network = UNet(2, 2, base_channels=4, norm=norm).eval()
    x = torch.rand(1, 2, *size)
    assert network(x).shape == x.shape


def test_unet_pads_and_crops_what_the_levels_do_not_divide():
    network = UNet(1, 1, base_channels=4).eval()
    x = torch.rand(1, 1, 13, 16)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 3), mode="reflect")
    assert torch.allclose(network(x), network(padded)[..., :13, :], atol=1e-6)


def test_circular_padding_is_of_the_first_convolution_only():
    first = UNet(1, 1, circular_padding="first", base_channels=4)
    modes = [module.padding_mode for module in first.modules() if isinstance(module, torch.nn.Conv2d)]
    assert modes.count("circular") == 1 and first.Conv1[0].padding_mode == "circular"
    everywhere = UNet(1, 1, circular_padding="all", base_channels=4, levels=3)
    modes = {
        module.padding_mode
        for module in everywhere.modules()
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3)
    }
    assert modes == {"circular"}


def test_without_skips_the_up_blocks_stay_in_the_state_but_not_in_the_path():
    network = UNet(1, 1, cat=False, base_channels=4).eval()
    assert set(network.state_dict()) == set(UNet(1, 1, base_channels=4).state_dict())
    x = torch.rand(1, 1, 8, 8)
    before = network(x)
    for parameter in network.Up_conv2.parameters():
        torch.nn.init.constant_(parameter, 3.0)
    assert torch.equal(network(x), before)


def test_unrolled_network_of_identity_steps_is_gradient_descent_with_mixed_operators():
    family = draw_operators(OperatorOptions("gaussian", 3, 10), (1, 4, 4))
    network = UnrolledProximalGradient(1, iterations=2, base_channels=2, levels=2, norm="none", step_size=0.3)
    for parameter in network.networks.parameters():
        torch.nn.init.zeros_(parameter)
    g = torch.tensor([2, 0, 2])
    y = family(torch.rand(3, 1, 4, 4), g)
    z = family.adjoint(y, g)
    for _ in range(2):
        z = z - 0.3 * family.adjoint(family(z, g) - y, g)
    assert torch.allclose(network(y, family, g), z, atol=1e-5)


def test_unrolled_networks_can_share_their_weights():
    own = UnrolledProximalGradient(1, base_channels=2, levels=2)
    shared = UnrolledProximalGradient(1, base_channels=2, levels=2, shared=True)
    assert len(own.networks) == 3 and len(shared.networks) == 1
    assert shared.step_sizes.shape == (3,)


def test_networks_are_built_from_their_description_with_the_images_sizes():
    network = build_network({"name": "unet", "base_channels": 4}, (2, 8, 8))
    assert network.Conv1[0].in_channels == network.Conv_1x1.out_channels == 2
    assert build_network({"name": "mlp", "hidden": [5]}, (1, 4, 4)).layers[0].in_features == 16


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "resnet"}, "unknown network 'resnet'; known: autoencoder"),
        ({"hidden": 3}, "given as"),
        ({"name": "unet", "depth": 3}, "has no option depth"),
        ({"name": "autoencoder", "dim_input": 5}, "takes 5 pixels, the images have 16"),
        ({"name": "unet", "levels": 1}, "at least 2 levels"),
    ],
)
def test_what_cannot_be_is_said(description, message):
    with pytest.raises(UserError, match=message):
        build_network(description, (1, 4, 4))
