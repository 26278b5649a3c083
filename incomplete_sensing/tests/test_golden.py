"""The numbers of the published implementations, of deepinv, and of an independent float64 reference for the theory.

One adapter a published module: it takes the case and returns the outputs that the case names, for whatever config,
inputs and outputs the case has. Where sizes stand in a module's name, the adapter is found with # for every number.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from incomplete_sensing.dimension import mle_dimension, two_nn_dimension
from incomplete_sensing.identifiability import (
    assess,
    consistent_set,
    invariant_consistent_dimension,
    subspace_consistent_dimension,
)
from incomplete_sensing.irreps import irreps, named_action
from incomplete_sensing.learning_rate import learning_rate
from incomplete_sensing.losses import (
    cross_operator,
    equivariance,
    measurement_consistency,
    splitting,
    supervised,
)
from incomplete_sensing.metrics import psnr_moi, psnr_rei
from incomplete_sensing.operators import (
    DenseOperators,
    MaskOperators,
    MRIOperators,
    MultiCoilMRIOperators,
    fastmri_column_mask,
)
from incomplete_sensing.published import import_published
from incomplete_sensing.solvers import closed_form
from incomplete_sensing.sure import sure_gaussian
from incomplete_sensing.transforms import Rotation, build_transform
from shared_utils.testing import adapter_for, golden_cases

# Theory --------------------------------------------------------------------------------------------------------------


def run_subspace_table(case):
    rng, rows = np.random.default_rng(0), []
    for n, k, G, m in case.stored["table"][:, :4].tolist():
        found = assess(n, m, G, k)
        dimension = subspace_consistent_dimension(n, k, m, G)
        drawn = consistent_set(list(rng.standard_normal((G, m, n))), rng.standard_normal((n, k)))
        assert drawn.dimension == dimension
        assert found["linear"].holds == (dimension == k)
        answers = (dimension == k, found["C1"].holds, found["C2"].holds, found["C3"].holds)
        rows.append([n, k, G, m, drawn.stacked_rank, dimension, *answers])
    return {"table": np.array(rows)}


def run_given_operators(case):
    inputs = case.inputs()
    found = []
    for number in range(len(case.config["cases"])):
        own = [value for name, value in inputs.items() if name.startswith(f"c{number}_")]
        operators = [np.eye(len(value))[value > 0] if value.ndim == 1 else value.astype(float) for value in own]
        found.append(consistent_set(operators, inputs["basis"].astype(float)))
    return {
        "stacked_rank": [test.stacked_rank for test in found],
        "consistent_dim": [test.dimension for test in found],
    }


def _named_group(key):
    """``shift12by3``, ``img5x5_rot90``, ``img3x4_shift2d``, ``trivial5``."""
    if shift := re.fullmatch(r"shift(\d+)by(\d+)", key):
        return named_action("shift", [int(shift[1])], step=int(shift[2]))
    if trivial := re.fullmatch(r"trivial(\d+)", key):
        return named_action("trivial", [int(trivial[1])])
    height, width, name = re.fullmatch(r"img(\d+)x(\d+)_(\w+?)(?:2d)?", key).groups()
    return named_action(name, [int(height), int(width)])


def run_groups(case):
    outputs = {}
    for key in case.config["keys"]:
        found = irreps(_named_group(key))
        outputs[f"{key}_dims_mults"] = np.stack([found.dimensions, found.multiplicities], axis=1)
        counts = range(1, case.spec["outputs"][f"{key}_orbit_rank"][0] + 1)
        outputs[f"{key}_orbit_rank"] = [found.orbit_rank(m) for m in counts]
        outputs[f"{key}_summary"] = [found.n, found.order, found.necessary_rows, max(found.multiplicities)]
    return outputs


def run_invariant_subspace(case):
    step, n = (int(number) for number in re.search(r"shifts by (\d+) of R\^(\d+)", case.module).groups())
    found = irreps(named_action("shift", [n], step))
    rows = []
    for zero, two, one, k, m in case.stored["table"][:, :5].tolist():
        # All irreps of this group have the same s and c, so their order is free.
        dimension = invariant_consistent_dimension(found, [zero, one, two, one], m)
        answers = (dimension == k, assess(n, m, 1, k, found)["C6"].holds)
        rows.append([zero, two, one, k, m, dimension, *answers])
    return {"table": np.array(rows)}


def run_subspace_recovery(case):
    inputs = {name: torch.from_numpy(value).double() for name, value in case.inputs().items()}
    families = range(case.config["G"])
    # A mask's rows of the identity; zero rows make their counts equal and say nothing.
    kept = [torch.eye(len(a))[a > 0].double() if a.ndim == 1 else a for a in (inputs[f"A{g}"] for g in families)]
    operators = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
    codes = torch.stack([inputs[f"C{g}"] for g in families])
    samples = operators @ inputs["basis"] @ codes
    found = closed_form(operators[None], samples[None], case.config["k"])
    return {"projector": found.projectors[0, 0], **{f"y{g}": kept[g] @ inputs["basis"] @ codes[g] for g in families}}


def run_intrinsic_dimension(case):
    inputs = {name: value.astype(float) for name, value in case.inputs().items()}
    samples = {
        "digits": load_digits().data / 16,
        "flat": inputs["Z"] @ inputs["U"],
        "curved": np.concatenate([np.sin(2 * inputs["Z"]), np.cos(2 * inputs["Z"]), inputs["Z"] ** 2], axis=1),
    }
    return {
        name: [_dimension(samples[name], method) for method in case.config["order"]] for name in case.spec["outputs"]
    }


def _dimension(samples, method):
    number = int(re.search(r"\d+", method)[0])
    return mle_dimension(samples, number) if method.startswith("MLE") else two_nn_dimension(samples, 1 - number / 100)


THEORY = {
    "generic identifiability of a k-dimensional subspace of R^n from G operators with m rows": run_subspace_table,
    "identifiability of a GIVEN subspace from GIVEN operators": run_given_operators,
    "complex irreducible representations of a finite group acting on R^n, and the necessary condition": run_groups,
    "invariant subspace under circular shifts by # of R^# (|G| = #, every c_j = #), one generic operator": (
        run_invariant_subspace
    ),
    "recovery of the subspace from incomplete samples": run_subspace_recovery,
    "nearest-neighbour estimates of the dimension k of a data set": run_intrinsic_dimension,
}

# Learning ------------------------------------------------------------------------------------------------------------


def _tensors(case):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in case.inputs().items()}


def _network(case, image_shape=None):
    """The case's filled weights through the importer of published checkpoints; the network alone."""
    options = {
        key: case.config[key] for key in ("residual", "circular_padding", "cat", "compact") if key in case.config
    }
    reconstructor, report = import_published(case.state_dict(), image_shape=image_shape, **options)
    assert len(report.matched) + len(report.dropped) == len(case.spec["shapes"])
    return reconstructor.network.train(case.spec["mode"] == "train")


def _gradient_norms(network, loss):
    gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    return torch.stack([gradient.norm() for gradient in gradients])


def run_autoencoder(case):
    network, x = _network(case), _tensors(case)["x"]
    return {"encoded": network.encode(x), "out": network(x)}


def run_unet(case):
    network, x = _network(case), _tensors(case)["x"]
    outputs = {"out": network(x)}
    if "conv1" in case.spec["outputs"]:
        outputs["conv1"] = network.Conv1(x)
    return outputs


def run_published_operators(case):
    inputs, shape = _tensors(case), tuple(case.config["img_shape"])
    x = inputs["x"]
    sensing = DenseOperators(inputs["A"][None], shape)
    inpainting = MaskOperators(inputs["mask_hw"][None], shape)
    flat = MaskOperators(inputs["mask_flat"].reshape(1, *shape), shape)
    y = sensing(x, 0)
    return {
        "cs_y": y,
        "cs_dagger": sensing.pinv(y, 0),
        "cs_adjoint": sensing.adjoint(y, 0),
        "cs_pinv": sensing.pseudo_inverses[0],
        "ipt_y": inpainting(x, 0),
        "ipt_dagger": inpainting.pinv(inpainting(x, 0), 0),
        "ipt_adjoint": inpainting.adjoint(inpainting(x, 0), 0),
        "ipt_mnist_y": flat(x, 0).flatten(1),
        "ipt_mnist_dagger": flat.pinv(flat(x, 0), 0),
    }


def run_mri(case):
    inputs = _tensors(case)
    x = inputs["x"]
    operators = MRIOperators(inputs["mask"][None], tuple(x.shape[1:]))
    full = MRIOperators(torch.ones_like(inputs["mask"])[None], tuple(x.shape[1:]))
    y = operators(x, 0)
    return {"kspace": full(x, 0), "y": y, "dagger": operators.pinv(y, 0)}


def run_column_masks(case):
    masks = {}
    for name in case.spec["outputs"]:
        width, acceleration, centre, seed = re.fullmatch(r"W(\d+)_x([\d.]+)_c([\d.]+)_s(\d+)", name).groups()
        masks[name] = fastmri_column_mask(int(width), float(acceleration), float(centre), int(seed))
    return masks


def run_moi_losses(case):
    inputs, config = _tensors(case), case.config
    x = inputs["x"]
    network = _network(case, x.shape[1:])
    operators = DenseOperators(torch.stack([inputs[f"A{g}"] for g in range(config["G"])]), x.shape[1:])
    passes = []

    def reconstruct(y, g):
        passes.append(network(operators.pinv(y, g)))
        return passes[-1]

    y = operators(x, config["g"])
    x1 = reconstruct(y, config["g"])
    mc = measurement_consistency(x1, y, operators, config["g"])
    cross = cross_operator(x1, reconstruct, operators, config["j"])
    (bias_gradient,) = torch.autograd.grad(mc + cross, network.decoder[2].bias, retain_graph=True)
    return {
        "x1": x1,
        "x2": passes[1],
        "loss_mc": mc,
        "loss_coc": cross,
        "grad_norms": _gradient_norms(network, mc + cross),
        "grad_decoder_2_bias": bias_gradient,
    }


def run_moi_steps(case):
    inputs, config = _tensors(case), case.config
    shape = tuple(inputs["probe"].shape[1:])
    network = _network(case, shape)
    masks = torch.stack([inputs[f"mask{g}"].reshape(shape) for g in range(config["G"])])
    operators = MaskOperators(masks, shape)

    def reconstruct(y, g):
        return network(operators.pinv(y, g))

    optimizer = torch.optim.Adam(network.parameters(), config["lr"], weight_decay=config["weight_decay"])
    rows = []
    for step, (g, j) in enumerate(config["order"]):
        x = inputs[f"x{step}"]
        y = operators(x, g)
        x1 = reconstruct(y, g)
        mc = measurement_consistency(x1, y, operators, g)
        cross = cross_operator(x1, reconstruct, operators, j)
        rows.append(torch.stack([mc, cross, psnr_moi(x1, x)]).detach())
        optimizer.zero_grad()
        (mc + cross).backward()
        optimizer.step()
    return {"mc_coc_psnr": torch.stack(rows), "final_probe": network(inputs["probe"])}


def run_equivariant(case):
    inputs, config = _tensors(case), case.config
    x = inputs["x"]
    network = _network(case, x.shape[1:])
    operators = DenseOperators(inputs["A"][None], x.shape[1:])
    passes = []

    def reconstruct(y, g):
        passes.append(network(operators.pinv(y, g)))
        return passes[-1]

    y = operators(x, 0)
    x1 = reconstruct(y, 0)
    x2 = build_transform("shift").apply(x1, config["shifts"])
    mc = measurement_consistency(x1, y, operators, 0)
    ei = equivariance(x2, reconstruct, operators, 0)
    total = mc + config["alpha"] * ei
    return {
        "x1": x1,
        "x2": x2,
        "x3": passes[1],
        "loss_mc": mc,
        "loss_ei": ei,
        "total": total,
        "grad_norms": _gradient_norms(network, total),
    }


def run_rei_sure(case):
    inputs, config = _tensors(case), case.config
    shape = tuple(inputs["x"].shape[1:])
    network = _network(case, shape)
    operators = MRIOperators(inputs["mask"][None], shape)
    y = operators(inputs["x"], 0) + operators(config["sigma"] * inputs["noise"], 0)

    def reconstruct(y, g):
        return network(operators.pinv(y, g))

    found = sure_gaussian(
        reconstruct(y, 0),
        y,
        reconstruct,
        operators,
        0,
        config["sigma"],
        config["tau"],
        probe=operators(inputs["b"], 0),
        num_measurements=y[0].numel() / config["acceleration"],
    )
    return {
        "y0": y,
        "fit": found.fit.mean(),
        "divergence": found.divergence.mean(),
        "loss_sure": found.loss.mean(),
    }


def run_published_metrics(case):
    inputs, config = _tensors(case), case.config
    a, b, ac, bc = (inputs[name] for name in ("a", "b", "ac", "bc"))
    rates = [
        [
            learning_rate(epoch, config["lr"], config["epochs"], config["schedule"], cosine)
            for epoch in range(config["epochs"])
        ]
        for cosine in (False, True)
    ]
    return {
        "moi_psnr": psnr_moi(a, b),
        "moi_psnr_complex": psnr_moi(ac, bc, complex_valued=True),
        "rei_psnr": psnr_rei(a, b),
        "rei_psnr_single": psnr_rei(a[:1], b[:1]),
        "rei_psnr_complex": psnr_rei(ac, bc, complex_valued=True),
        "lr_step_then_cos": rates,
    }


def run_deepinv_operators(case):
    inputs = _tensors(case)
    gamma = float(re.search(r"gamma=([\d.]+)", case.config["note"])[1])
    sensing = DenseOperators(inputs["A"][None], inputs["x"].shape[1:])
    inpainting = MaskOperators(inputs["mask"][None], inputs["x3"].shape[1:])
    mri = MRIOperators(inputs["mri_mask"][None], inputs["x2"].shape[1:])
    maps = torch.complex(inputs["maps_re"], inputs["maps_im"])
    multicoil = MultiCoilMRIOperators(inputs["mri_mask"][None], maps)
    y, y3, y2, coils = (
        sensing(inputs["x"], 0),
        inpainting(inputs["x3"], 0),
        mri(inputs["x2"], 0),
        multicoil(inputs["x2"], 0),
    )
    return {
        "cs_y": y,
        "cs_adjoint": sensing.adjoint(y, 0),
        "cs_dagger": sensing.pinv(y, 0),
        "ipt_y": y3,
        "ipt_dagger": inpainting.pinv(y3, 0),
        "ipt_prox": inpainting.regularised(y3, 0, 1 / gamma, prior=0.5 * inputs["x3"]),
        "mri_y": y2,
        "mri_adjoint": mri.adjoint(y2, 0),
        "mri_dagger": mri.pinv(y2, 0),
        "mri_prox": mri.regularised(y2, 0, 1 / gamma, prior=0.5 * inputs["x2"]),
        "multicoil_y": coils,
        "multicoil_adjoint": multicoil.adjoint(coils, 0),
    }


class _TwoConvolutions(torch.nn.Module):
    def __init__(self, shapes):
        super().__init__()
        hidden, channels = shapes["conv1.weight"][:2]
        self.conv1 = torch.nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, images):
        return images + self.conv2(torch.relu(self.conv1(images)))


def _case_transform(config):
    """apply(images) with the elements that the case names."""
    if config["kind"] == "shift":
        elements = list(zip(config["y_shift"], config["x_shift"], strict=True))
        return lambda images: build_transform("shift").apply(images, elements)
    degrees = next(value for name, value in config.items() if isinstance(value, list))
    return lambda images: Rotation(config.get("interpolation", "nearest")).apply(images, degrees)


def run_deepinv_losses(case):
    inputs, config = _tensors(case), case.config
    x = inputs["x"]
    network = _TwoConvolutions(case.spec["shapes"])
    network.load_state_dict(case.state_dict())
    masks = torch.stack([inputs["mask0"], inputs["mask1"]])
    operators = MaskOperators(masks, config["size"])
    transform = _case_transform(config["transform"])

    def reconstruct(y, g):
        return network(operators.adjoint(y, g))

    y = operators(x, 0)
    x1 = reconstruct(y, 0)
    losses = {
        "mc": measurement_consistency(x1, y, operators, 0),
        "moi": cross_operator(x1, reconstruct, operators, 1),
        "ei": equivariance(transform(x1), reconstruct, operators, 0),
        "ei_no_grad": equivariance(transform(x1.detach()), reconstruct, operators, 0),
        "moei": equivariance(transform(x1), reconstruct, operators, 1),
        "sup": supervised(x1, x),
    }
    outputs = dict(losses)
    for name, loss in losses.items():
        outputs[f"{name}_grad_norms"] = _gradient_norms(network, loss)
    given = inputs["split"] * inputs["mask0"]
    target = inputs["mask0"] - given
    split = reconstruct(given * y, 0)
    sure = sure_gaussian(
        x1, y, reconstruct, operators, 0, config["sigma"], config["tau"], inputs["probe"], num_measurements=y[0].numel()
    )
    return outputs | {
        "x_net": x1,
        "splitting_mse": splitting(split, y, operators, 0, target, normalise=False),
        "splitting_normalised": splitting(split, y, operators, 0, target),
        "sure_gaussian": sure.loss,
    }


LEARNING = {
    "models.ae.AE": run_autoencoder,
    "models.unet.UNet": run_unet,
    "physics.cs.CS, physics.inpainting.{Inpainting, Inpainting_MNIST}": run_published_operators,
    "physics.mri.MRI": run_mri,
    "fastmri.data.subsample.RandomMaskFunc": run_column_masks,
    "moi.moi.closure_moi_epoch (loss lines)": run_moi_losses,
    "moi.moi.closure_moi_epoch (five iterations)": run_moi_steps,
    "ei.closure.ei.closure_ei, transforms.shift.shift_random": run_equivariant,
    "rei.closure.rei_end#end.closure_rei_end#end (Gaussian SURE lines)": run_rei_sure,
    "utils.metric.cal_psnr (MOI and REI), utils.nn.adjust_learning_rate": run_published_metrics,
    "physics.CompressedSensing / Inpainting / MRI / MultiCoilMRI": run_deepinv_operators,
    "loss.MCLoss, MOILoss, EILoss, MOEILoss, SupLoss, SplittingLoss, SureGaussianLoss": run_deepinv_losses,
}

# ---------------------------------------------------------------------------------------------------------------------

ADAPTERS = {**THEORY, **LEARNING}


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    general = replace(case, spec=case.spec | {"module": re.sub(r"\d+", "#", case.module)})
    adapter = adapter_for(general if general.module in ADAPTERS else case, ADAPTERS)
    case.check(adapter(case))
