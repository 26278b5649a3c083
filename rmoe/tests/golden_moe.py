"""Adapters of the golden cases of the layer: tutel's layer and losses, and the first-principles reference."""

import numpy as np
import torch

from rmoe.moe.layer import ResidualMoE
from rmoe.moe.losses import gshard, importance, load_importance, z_loss
from rmoe.moe.routing import route
from rmoe.published import import_tutel_layer

TUTEL_SKEW = {"moe_top1_bpr": 1.0, "moe_top1_fifo": 0.8, "moe_top2_normalized": 0.5}


def tutel_layer(case):
    config, gate = case.config, case.config["gate"]
    state = case.state_dict()
    layer = ResidualMoE(
        config["model_dim"],
        config["hidden"],
        config["experts"],
        gate["k"],
        gate="normalized" if config["normalize_gate"] else "prob",
        overflow="zero",
        capacity_factor=gate["capacity_factor"],
        eval_capacity_factor=gate["capacity_factor"],
        priority=config["batch_prioritized_routing"],
        param="merged",
        router_noise=gate["gate_noise"],
    ).eval()
    import_tutel_layer(layer, state)
    inputs = case.inputs()
    x = torch.from_numpy(inputs["x"]) + TUTEL_SKEW[case.name] * state["gates.0.wg.weight"][0]
    x.requires_grad_()
    y = layer(x)
    y.backward(torch.from_numpy(inputs["grad_y"]))
    # The golden gradients are of the layer's output alone; the loss is computed beside it.
    routing = layer.routing
    return {
        "y": y,
        "l_aux": gshard(routing).reshape(1),
        "scores": routing.probability,
        "expert": routing.expert,
        "slot": routing.slot,
        "kept": routing.kept,
        "capacity": np.array([routing.capacity]),
        "grad_x": x.grad,
        "grad_fc1": layer.experts.fc1_weight.grad,
        "grad_gate_wg_weight": layer.router.weight.grad,
    }


def load_importance_loss(case):
    inputs, config = case.inputs(), case.config
    logits = torch.from_numpy(inputs["logits"]).requires_grad_()
    noise = config["gate_noise"] * torch.from_numpy(inputs["noise"]) / config["experts"]
    routing = route(logits, config["k"], noise=noise)
    loss = load_importance(routing, gate_noise=config["gate_noise"], published_units=True)
    (gradient,) = torch.autograd.grad(loss, logits)
    return {
        "loss": loss.reshape(1),
        "importance": importance(routing).reshape(1),
        "gshard_of_noisy": gshard(routing).reshape(1),
        "grad_logits": gradient,
    }


def _layer(case, dtype=torch.float32, **switches):
    config = case.config
    layer = ResidualMoE(
        config["dim"],
        config["hidden"],
        config["experts"],
        config["k"],
        gate=config["gate"],
        overflow=config["overflow"],
        capacity_factor=config["capacity_factor"],
        eval_capacity_factor=config["capacity_factor"],
        priority=config["priority"],
        router_noise=0.0,
        **switches,
    ).to(dtype)
    return layer


def reference_layer(case):
    config, state = case.config, case.state_dict()
    layer, scale = _layer(case), config["residual_scale"]
    state["router.weight"] *= 2
    for name in state:
        if name.startswith("residual."):
            state[name] *= scale
            if name.endswith("fc1_weight"):
                state[name] *= config["hidden"] ** 0.5
            if name.endswith("fc2_weight"):
                state[name] *= config["dim"] ** 0.5
    layer.load_state_dict(state)
    layer.eval()
    x = 2 * torch.from_numpy(case.inputs()["x"])
    y, routing = layer(x), layer.routing
    return {
        "y": y,
        "dense_core": layer.core(x),
        "probability": routing.probability,
        "expert": routing.expert,
        "slot": routing.slot,
        "kept": routing.kept,
        "capacity": np.array([routing.capacity]),
        "gshard": gshard(routing).reshape(1),
        "importance": importance(routing).reshape(1),
        "z": z_loss(routing).reshape(1),
    }


def reference_gradients(case):
    layer = _layer(case)
    layer.load_state_dict(case.state_dict())
    inputs = case.inputs()
    x = (2 * torch.from_numpy(inputs["x"])).requires_grad_()
    y = layer.train()(x)
    aux = gshard(layer.routing)
    loss = (y * torch.from_numpy(inputs["grad_y"])).sum() + case.config["aux_weight"] * aux
    loss.backward()
    gradients = {f"grad_{name.replace('.', '_')}": value.grad for name, value in layer.named_parameters()}
    routing = layer.routing
    return {
        "y": y,
        "loss": loss.reshape(1),
        "aux": aux.reshape(1),
        "expert": routing.expert,
        "kept": routing.kept,
        "grad_x": x.grad,
        **gradients,
    }


ADAPTERS = {
    "tutel.moe.moe_layer (CPU, one process)": tutel_layer,
    "tutel.impls.losses.load_importance_loss, gshard_loss": load_importance_loss,
    "RMoE feed-forward layer": reference_layer,
    "RMoE layer: gradients": reference_gradients,
}
