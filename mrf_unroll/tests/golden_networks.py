"""How the golden cases of networks, losses and metrics are run through our importer and modules."""

from __future__ import annotations

import re

import numpy as np
import torch

from mrf_unroll.losses import ProxNetLoss
from mrf_unroll.metrics import map_errors, published_map_error, tsmi_errors
from mrf_unroll.operators import CartesianMaskOperator, SubspaceOperator, ToeplitzNormal
from mrf_unroll.published import import_decoder, import_encoder, import_published


def _tensors(case):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in case.inputs().items()}


def _stored(case, name):
    return torch.from_numpy(np.asarray(case.stored[name]))


def _complex(pairs):
    return torch.view_as_complex(pairs.contiguous())


def run_decoder(case):
    return {"tsmi": import_decoder(case.state_dict())(_tensors(case)["maps"])}


def run_encoder(case):
    encoder, report = import_encoder(case.state_dict(), blocks=case.config["blocks"])
    assert len(report.matched) + len(report.unused) == len(case.spec["shapes"]) and not report.unknown
    encoder.train(case.spec["mode"] == "train")
    return {"maps": encoder(_tensors(case)["x"])}


def _network(case):
    network, _ = import_published(case.state_dict(), alpha=case.config["alpha"], blocks=case.config["blocks"])
    return network.train(case.spec["mode"] == "train")


def run_cartesian(case):
    """The published operator, all iterates and, where the case has weights of a loss, the training step."""
    config, maps = case.config, _tensors(case)["maps"]
    network = _network(case)
    basis = _complex(_stored(case, "V"))
    operator = CartesianMaskOperator(_stored(case, "mask").long(), basis, (config["H"], config["W"]))
    with torch.no_grad():
        x = network.decoder(maps)
        y = operator(x)
        adjoint = operator.adjoint(y)
    iterates = network(adjoint, operator.normal)
    outputs = {
        "y": torch.view_as_real(y)[:, :, None],
        "HTy": adjoint,
        "m": torch.stack(iterates.maps),
        "x": torch.stack(iterates.tsmi),
    }
    weights = config.get("loss_weight")
    if not weights:
        return outputs
    energy = y.abs().square().sum(dim=1)
    loss = ProxNetLoss(weights["m"], weights["x"], weights["y"])
    terms = loss(iterates, maps, x, operator.normal, adjoint, energy, y.shape[1])
    terms.total.backward()
    outputs |= {
        "loss_m": terms.maps[None],
        "loss_x": terms.tsmi[None],
        "loss_y": terms.measurements[None],
        "loss_total": terms.total[None],
        "grad_alpha": network.alpha.grad,
    }
    parameters = {name.replace(".", "_"): value for name, value in network.encoder.named_parameters()}
    for name in case.spec["outputs"]:
        if name.startswith("grad_") and name not in outputs:
            outputs[name] = parameters[name.removeprefix("grad_")].grad
    return outputs


def run_noncartesian(case):
    """Iterations with coils on a non-Cartesian trajectory, through the explicit operator's adjoint and its Toeplitz form."""
    config, maps = case.config, _tensors(case)["maps"]
    network = _network(case)
    size = (config["H"], config.get("W", config["H"]))
    basis = _stored(case, "V")
    basis = _complex(basis) if basis.ndim == 3 else basis
    coils = _complex(_stored(case, "maps_re_im"))
    weights = _stored(case, "dcf") if "dcf" in case.stored else None
    operator = SubspaceOperator(_stored(case, "traj"), basis, size, coils, weights)
    normal = ToeplitzNormal.from_operator(operator)
    with torch.no_grad():
        adjoint = operator.weighted_adjoint(operator(network.decoder(maps))).real
        iterates = network(adjoint, normal)
    outputs = {"Aty": adjoint[0]}
    for t, (g, m, x) in enumerate(zip(*iterates, strict=True)):
        outputs |= {f"g{t}": g[0], f"m{t}": m, f"x{t}": x[0]}
    return outputs


def run_metrics(case):
    inputs = {name: value.double() for name, value in _tensors(case).items()}
    threshold = re.search(r"mask > ([\d.]+)", case.spec.get("note", ""))
    mask = inputs["mask"] > (float(threshold[1]) if threshold else 0.4)
    truth, prediction = inputs["gt"], inputs["gt"] + inputs["e"]
    errors = map_errors(prediction, truth, mask)
    errors |= tsmi_errors(inputs["x"] + inputs["xe"], inputs["x"], mask)
    errors["published_map_error"] = published_map_error(prediction, truth)
    return {name: torch.as_tensor(errors[name]).reshape(1) for name in case.spec["outputs"]}


ADAPTERS = {
    "bloch.BlochDecoder": run_decoder,
    "network_arch.ResNet": run_encoder,
    "network_arch.ResNet (second residual block enabled, as the released checkpoints need)": run_encoder,
    "network_arch.ProxNet + operators.OperatorBatch + bloch.BlochDecoder": run_cartesian,
    **{
        f"{count} unrolled iterations, non-Cartesian, {coils}-coil": run_noncartesian
        for count in ("two", "three", "four", "five")
        for coils in ("multi", "single")
    },
    "one unrolled iteration, non-Cartesian, multi-coil": run_noncartesian,
    "metrics": run_metrics,
}
