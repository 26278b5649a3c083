"""Networks: functions of images (B, C, H, W), and how one of them becomes a reconstruction f(y, A)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from torch import nn

from incomplete_sensing.models.autoencoder import MLP, AutoEncoder
from incomplete_sensing.models.consistent import ConsistentNetwork, MixtureMean
from incomplete_sensing.models.operator_aware import OperatorAware
from incomplete_sensing.models.unet import UNet
from incomplete_sensing.models.unrolled import UnrolledProximalGradient
from shared_utils import UserError

NETWORKS: dict[str, type[nn.Module]] = {
    "autoencoder": AutoEncoder,
    "mlp": MLP,
    "unet": UNet,
    "unrolled": UnrolledProximalGradient,
    "mixture": MixtureMean,
    "consistent": ConsistentNetwork,
}

__all__ = [
    "MLP",
    "NETWORKS",
    "AutoEncoder",
    "ConsistentNetwork",
    "MixtureMean",
    "OperatorAware",
    "UNet",
    "UnrolledProximalGradient",
    "build_network",
    "complete_network",
]


def complete_network(network: dict[str, Any], image_shape: Sequence[int]) -> dict[str, Any]:
    """``{"name": ..., **options}`` with every option it leaves open, sizes taken from the images.

    Raises UserError for an unknown network or option.
    """
    if "name" not in network:
        raise UserError(f"a network is given as {{name: ..., options}}; names: {', '.join(NETWORKS)}")
    name = network["name"]
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    channels, height, width = image_shape
    parameters = inspect.signature(NETWORKS[name]).parameters
    sizes = {"dim_input": channels * height * width, "in_channels": channels, "out_channels": channels}
    sizes |= {"image_size": (height, width)}
    options = {key: parameter.default for key, parameter in parameters.items()}
    options.update({key: value for key, value in sizes.items() if key in parameters})
    unknown = [key for key in network if key not in options and key != "name"]
    if unknown:
        raise UserError(f"network {name} has no option {unknown[0]}; known: {', '.join(options)}")
    options.update({key: value for key, value in network.items() if value is not None})
    if options.get("dim_input", sizes["dim_input"]) != sizes["dim_input"]:
        raise UserError(f"network {name} takes {options['dim_input']} pixels, the images have {sizes['dim_input']}")
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def build_network(network: dict[str, Any], image_shape: Sequence[int]) -> nn.Module:
    """The network of ``complete_network``'s description."""
    options = complete_network(network, image_shape)
    return NETWORKS[options.pop("name")](**options)
