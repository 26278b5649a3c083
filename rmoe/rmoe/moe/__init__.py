"""The residual mixture of experts: routing, dispatch, the layer, its losses, conversion, experts over processes.

``routing`` -> ``dispatch`` -> ``layer`` is the forward pass in the order it runs.
"""

from rmoe.moe.convert import (
    PRESETS,
    apply_description,
    convert,
    dense_state_dict,
    describe,
    factor,
    find_feed_forwards,
    merge,
    permute_experts,
    to_dense,
)
from rmoe.moe.dispatch import BACKENDS, apply_experts
from rmoe.moe.feed_forward import FeedForward
from rmoe.moe.layer import ResidualMoE, moe_layers, update_balance
from rmoe.moe.losses import LOSSES, auxiliary_losses
from rmoe.moe.routing import Routing, route

__all__ = [
    "BACKENDS",
    "LOSSES",
    "PRESETS",
    "FeedForward",
    "ResidualMoE",
    "Routing",
    "apply_description",
    "apply_experts",
    "auxiliary_losses",
    "convert",
    "dense_state_dict",
    "describe",
    "factor",
    "find_feed_forwards",
    "merge",
    "moe_layers",
    "permute_experts",
    "route",
    "to_dense",
    "update_balance",
]
