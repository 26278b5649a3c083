"""The numbers of the published implementation, through the importer of its checkpoints.

One adapter a published module: it takes the case and returns the outputs that the case names, for whatever config,
inputs and outputs the case has. Cases of one module are told apart by their ``runner``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils.testing import adapter_for, golden_cases
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


def run_pointnet(case):
    runner = case.spec.get("runner", "bench")
    return _POINTNET_RUNNERS[runner](case)


def run_bench(case):
    weights = case.folder / "victim_pointnet_mn10.npz"
    model, report = import_published(read_quantised(weights))
    assert report.num_classes == case.config["k"]
    clouds = _tensors(case)["clouds6"].float()[..., :3].transpose(1, 2)
    with torch.no_grad():
        logits = model(clouds)
    assert (logits.argmax(1) == _tensors(case)["labels"]).all()
    return {"logits": logits}


_POINTNET_RUNNERS = {"victim": lambda case: run_victim(case, "pointnet"), "bench": run_bench}


# Geometry ------------------------------------------------------------------------------------------------------------


def run_transform(case):
    inputs = _tensors(case)
    transformed, basis, translation = to_tangent(inputs["points"], inputs["normals"])
    return {
        "spin_axis_matrix": basis,
        "translation": translation,
        "transformed": transformed,
        "restored": from_tangent(transformed, basis, translation),
    }


def run_normals(case):
    normals = estimate_normals(_tensors(case)["points"])
    outer = normals[..., :, None] * normals[..., None, :]
    rows, columns = np.triu_indices(3)
    return {"normal_outer": outer[..., rows, columns]}


ADAPTERS = {
    "pointnet_cls": run_pointnet,
    "pointnet2_cls_ssg": lambda case: run_victim(case, "pointnet2_ssg"),
    "pointnet2_cls_msg": lambda case: run_victim(case, "pointnet2_msg"),
    "dgcnn": lambda case: run_victim(case, "dgcnn"),
    "pct": lambda case: run_victim(case, "pct"),
    "pointconv": lambda case: run_victim(case, "pointconv"),
    "paconv": lambda case: run_victim(case, "paconv"),
    "curvenet": lambda case: run_victim(case, "curvenet"),
    "simple_view": lambda case: run_victim(case, "simple_view"),
    "pointcnn": lambda case: run_victim(case, "pointcnn"),
    "attacks:PointCloudAttack.get_transformed_point_cloud": run_transform,
    "attacks:PointCloudAttack.get_normal_vector": run_normals,
}


def pole_rule_points(normals):
    """Normals on which the published frame is not orthonormal: near a pole and not on it."""
    deviation = np.abs(normals[..., 2].astype(np.float64) ** 2 - 1)
    return (deviation < 1e-4) & (np.abs(normals[..., :2]).max(-1) > 0)


def _exempt(case):
    """Entries that a case's note excepts: ours restores a point at a pole-rule normal, the published frame does not."""
    if case.spec.get("runner") != "geom":
        return None
    free = pole_rule_points(case.inputs()["normals"])
    shapes = {name: tuple(shape) for name, shape in case.spec["outputs"].items()}
    return {n: np.broadcast_to(free.reshape(free.shape + (1,) * (len(s) - 2)), s) for n, s in shapes.items()}


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    case.check(adapter_for(case, ADAPTERS)(case), exempt=_exempt(case))
