"""The numbers of the published implementation, through the importer of its checkpoints.

One adapter a published module: it takes the case and returns the outputs that the case names, for whatever config,
inputs and outputs the case has. Cases of one module are told apart by their ``runner``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils.testing import adapter_for, golden_cases, make_input
from si_adv.defences import SOR, SRS
from si_adv.geometry import estimate_normals, from_tangent, to_tangent
from si_adv.published import LAYOUTS, import_published, read_quantised


def _tensors(case):
    return {name: torch.from_numpy(value) for name, value in case.inputs().items() if value.dtype.kind in "fi"}


def _import(case, **options):
    return import_published(case.state_dict(), **options)[0]


# Victims -------------------------------------------------------------------------------------------------------------

# What a published constructor calls the arguments that no weight tells; the rest is inferred from the weights.
_OPTIONS = {"dgcnn": {"k": "k"}}


def _submodule(model, architecture, name):
    for alias, real in LAYOUTS[architecture].aliases:
        if f"{name}.".startswith(alias):
            name = (real + f"{name}.".removeprefix(alias)).rstrip(".")
    return model.get_submodule(name)


def run_victim(case, architecture):
    """The published output, its margin and the margin's gradient, and the output of every submodule that was tapped."""
    options = {
        ours: case.config[theirs] for ours, theirs in _OPTIONS.get(architecture, {}).items() if theirs in case.config
    }
    model = _import(case, architecture=architecture, **options)
    return _outputs(case, model, architecture, _tensors(case)["clouds"])


def _outputs(case, model, architecture, clouds):
    taps = {}
    for output in case.spec["outputs"]:
        if output.startswith("tap:"):
            name = output.removeprefix("tap:")
            item = case.spec.get("tap_item", {}).get(name, 0)

            def keep(module, args, result, output=output, item=item):
                taps[output] = result[item] if isinstance(result, tuple) else result

            _submodule(model, architecture, name).register_forward_hook(keep)
    clouds = clouds.clone().requires_grad_()
    logits = model(clouds)
    # The published margin with its floor of zero, on the model's own prediction.
    top = logits.topk(2, dim=1).values
    loss = (top[:, 0] - top[:, 1]).clamp_min(0).sum()
    (gradient,) = torch.autograd.grad(loss, clouds)
    return {"logits": logits, "cw_loss_sum": loss[None], "cw_grad_clouds": gradient, **taps}


def run_bench(case, architecture):
    """The trained victim, from its quantised weights, on real clouds that it classifies correctly."""
    weights = case.folder / "victim_pointnet_mn10.npz"
    model, report = import_published(read_quantised(weights), architecture)
    assert report.num_classes == case.config["k"]
    clouds = _tensors(case)["clouds6"].float()[..., :3].transpose(1, 2)
    with torch.no_grad():
        logits = model(clouds)
    assert (logits.argmax(1) == _tensors(case)["labels"]).all()
    return {"logits": logits}


# Geometry ------------------------------------------------------------------------------------------------------------


def run_transform(case):
    inputs = _tensors(case)
    transformed, basis, translation = to_tangent(inputs["points"], inputs["normals"])
    restored = from_tangent(transformed, basis, translation)
    assert torch.allclose(restored, inputs["points"], rtol=0, atol=1e-6)
    return {"spin_axis_matrix": basis, "translation": translation, "transformed": transformed, "restored": restored}


def run_normals(case):
    normals = estimate_normals(_tensors(case)["points"])
    outer = normals[..., :, None] * normals[..., None, :]
    rows, columns = np.triu_indices(3)
    return {"normal_outer": outer[..., rows, columns]}


def exempt_transform(case):
    """Points that the published frame does not restore itself: ours has to, so the two must differ there.

    In the pole rule its rows are not of length one; just outside, float32 has few digits of 1 - z^2 left.
    """
    published, points = case.stored["restored"], case.inputs()["points"]
    normals = case.inputs()["normals"].astype(np.float64)
    in_pole_rule = (np.abs(normals[..., 2] ** 2 - 1) < 1e-4) & (np.abs(normals[..., :2]).max(-1) > 0)
    unrestored = np.abs(published - points).max(-1) > 1e-5
    exempt = {"restored": in_pole_rule | unrestored, "spin_axis_matrix": in_pole_rule, "transformed": in_pole_rule}
    return {
        name: np.broadcast_to(free.reshape(free.shape + (1,) * (len(shape) - 2)), shape)
        for name, free in exempt.items()
        for shape in [case.spec["outputs"][name]]
    }


# Defences ------------------------------------------------------------------------------------------------------------


def run_sor_and_srs(case):
    clouds = _tensors(case)["clouds"].requires_grad_()
    sor = SOR(case.config.get("k", 2), case.config.get("alpha", 1.1), case.spec["outputs"]["sor"][-1])
    cleaned = sor(clouds)
    weights = torch.from_numpy(make_input("sor_w", cleaned.shape))
    (gradient,) = torch.autograd.grad((cleaned * weights).sum(), clouds)
    srs = SRS(case.config["drop_num"])
    # The published draw is numpy's; the case replaces it by the first points.
    srs.draw = lambda batch, num_points: torch.arange(num_points - srs.num_drop).expand(batch, -1)
    return {"sor": cleaned, "sor_grad": gradient, "srs_first": srs(clouds)}


def run_punet(case):
    punet = _import(case, architecture="pu_net", num_points=case.config["npoint"])
    assert punet.up_ratio == case.config["up_ratio"]
    return {"upsampled": punet(_tensors(case)["clouds"])}


# By the case's ``module``; a victim's cases are told apart by their ``runner``, that of the trained one has none.
VICTIM_MODULES = {
    "pointnet_cls": "pointnet",
    "pointnet2_cls_ssg": "pointnet2_ssg",
    "pointnet2_cls_msg": "pointnet2_msg",
    **{name: name for name in ("dgcnn", "pct", "pointconv", "paconv", "curvenet", "simple_view", "pointcnn")},
}
VICTIM_RUNNERS = {"victim": run_victim, "bench": run_bench}
ADAPTERS = {
    "attacks:PointCloudAttack.get_transformed_point_cloud": run_transform,
    "attacks:PointCloudAttack.get_normal_vector": run_normals,
    "baselines.defense:SORDefense/SRSDefense": run_sor_and_srs,
    "baselines.defense.DUP_Net.pu_net:PUNet": run_punet,
}
# By the case's ``runner``: masks of what the case's note excepts.
EXEMPTIONS = {"geom": exempt_transform}


def run_on_victim(case):
    runner = case.spec.get("runner", "bench")
    assert runner in VICTIM_RUNNERS, f"no runner {runner!r} for case {case.name}; known: {', '.join(VICTIM_RUNNERS)}"
    return VICTIM_RUNNERS[runner](case, VICTIM_MODULES[case.module.split(":")[0]])


ADAPTERS.update(dict.fromkeys(VICTIM_MODULES, run_on_victim))


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    exempt = EXEMPTIONS.get(case.spec.get("runner"), lambda case: None)(case)
    case.check(adapter_for(case, ADAPTERS)(case), exempt=exempt)
