"""Laws of the victims: published sizes, independence of the batch, and one result whichever way the layers run."""

import pytest
import torch
from torch import nn

from shared_utils import UserError
from si_adv.models import VICTIMS, build_victim
from si_adv.models.pointconv import PointConvLevel
from si_adv.models.pointnet import transform_regulariser
from si_adv.models.pointnet2 import SetAbstraction, SetAbstractionMsg
from si_adv.models.pointwise import _argmax

# Parameters at 40 classes and coordinates alone, as counted in the published code.
PARAMETERS = {
    "pointnet": 3_471_473,
    "pointnet2_ssg": 1_475_688,
    "pointnet2_msg": 1_747_368,
    "dgcnn": 1_809_576,
    "pointconv": 19_569_465,
    "pct": 2_876_136,
    "paconv": 2_443_912,
    "curvenet": 2_140_672,
    "simple_view": 803_992,
    "pointcnn": 275_904,
}
FOLDED = ["pointnet", "pointnet2_ssg", "pointnet2_msg", "dgcnn", "pointconv", "pct"]


def lively(name, with_normals=False, thin=False, **options):
    """A victim in evaluation mode whose norms have statistics and signs that a folding could get wrong.

    thin: levels sample a quarter of their centres and look at half as many neighbours, images have fewer channels: the
    laws are the same, and a cloud costs a fraction. The golden cases hold the full sizes.
    """
    torch.manual_seed(0)
    if thin and name == "simple_view":
        options["width"] = 4
    victim = build_victim(name, 5, with_normals, **options).eval()
    for module in victim.modules() if thin else ():
        if isinstance(module, SetAbstraction | SetAbstractionMsg | PointConvLevel):
            module.num_centres = max(1, module.num_centres // 4)
        if isinstance(module, SetAbstractionMsg):
            module.num_samples = [count // 2 for count in module.num_samples]
    for module in victim.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            with torch.no_grad():
                module.weight[3::7] *= -1
    return victim.requires_grad_(False)


def make_clouds(batch, num_points=1024, channels=3):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(batch, channels, num_points, generator=generator) * 2 - 1


def output_and_gradient(victim, clouds):
    clouds = clouds.clone().requires_grad_()
    output = victim(clouds)
    top = output.topk(2, dim=1).values
    (gradient,) = torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), clouds)
    return output.detach(), gradient


def test_every_published_victim_is_listed():
    assert set(PARAMETERS) <= set(VICTIMS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_published_one(name):
    assert sum(parameter.numel() for parameter in build_victim(name, 40).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_cloud_gets_the_same_output_and_gradient_alone_and_in_a_batch(name):
    victim, clouds = lively(name, thin=True), make_clouds(2, 256)
    output, gradient = output_and_gradient(victim, clouds)
    alone, alone_gradient = output_and_gradient(victim, clouds[1:])
    assert output.shape == (2, 5) and torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    # Rounding of matrix products of other sizes; a point whose maximum switches may move its gradient.
    torch.testing.assert_close(output[1:], alone, rtol=1e-4, atol=1e-4)
    assert (gradient[1:] - alone_gradient).norm() <= 1e-2 * alone_gradient.norm()


@pytest.mark.parametrize("name", PARAMETERS)
def test_gradient_is_that_of_finite_differences(name):
    victim, clouds = lively(name, thin=True).double(), make_clouds(1, 256).double()
    output, gradient = output_and_gradient(victim, clouds)
    direction = torch.randn(clouds.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    classes = output.topk(2, dim=1).indices[0]

    def margin(shifted):
        first, second = victim(shifted)[0, classes]
        return first - second

    # A short step, so that no neighbour, maximum or pixel changes.
    difference = (margin(clouds + 1e-8 * direction) - margin(clouds - 1e-8 * direction)) / 2e-8
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("name", FOLDED)
def test_folded_layers_compute_what_the_stored_modules_do(name):
    victim, clouds = (
        lively(name, with_normals=True, thin=True),
        make_clouds(2, 600 if name == "pct" else 300, channels=6),
    )
    output, gradient = output_and_gradient(victim, clouds)
    seen = []
    for module in victim.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.register_forward_hook(lambda *_: seen.append(True))
    stored, stored_gradient = output_and_gradient(victim, clouds)
    assert len(seen) == sum(isinstance(module, nn.Conv1d | nn.Conv2d) for module in victim.modules())
    torch.testing.assert_close(output, stored, rtol=1e-4, atol=1e-4)
    assert (gradient - stored_gradient).norm() <= 1e-2 * stored_gradient.norm()


@pytest.mark.parametrize("name", FOLDED)
def test_output_is_the_same_with_and_without_a_gradient(name):
    victim, clouds = lively(name, thin=True), make_clouds(1, 512)
    output, _ = output_and_gradient(victim, clouds)
    with torch.no_grad():
        torch.testing.assert_close(victim(clouds), output, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FOLDED if name != "pointnet2_msg"])
def test_every_parameter_is_trained(name):
    torch.manual_seed(0)
    victim = lively(name, thin=True).requires_grad_(True).train()
    nn.functional.cross_entropy(victim(make_clouds(2, 300)), torch.tensor([0, 3])).backward()
    assert [n for n, p in victim.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@pytest.mark.parametrize("name", ["pointnet2_ssg", "pct"])
def test_only_a_random_start_changes_the_output_from_call_to_call(name):
    clouds = make_clouds(1, 600)  # more than the first level samples
    torch.manual_seed(0)
    for start, changes in (("first", False), ("far", False), ("random", True)):
        victim = lively(name, fps_start=start)
        assert (victim(clouds) != victim(clouds)).any() == changes


@pytest.mark.parametrize("num_points", [64, 77])
def test_position_of_a_maximum_is_that_of_argmax(num_points):
    x = torch.randn(2, 5, num_points)
    assert (_argmax(x) == x.argmax(-1)).all()


def test_the_callers_clouds_are_left_alone():
    clouds = make_clouds(1, 256)
    before = clouds.clone()
    for name in FOLDED:
        lively(name, thin=True)(clouds)
    assert (clouds == before).all()


def test_points_last_is_refused_with_the_shape_that_is_expected():
    with pytest.raises(ValueError, match=r"\(B, 3, N\), got \(1, 1024, 3\)"):
        lively("pointnet")(make_clouds(1).transpose(1, 2))


def test_an_unknown_victim_is_answered_by_the_closest():
    with pytest.raises(UserError, match="unknown victim 'pointnet3_msg': did you mean 'pointnet2_msg'"):
        build_victim("pointnet3_msg", 40)


def test_an_unknown_option_is_named():
    with pytest.raises(UserError, match="'pointnet' has no such option.*fps_start"):
        build_victim("pointnet", 40, fps_start="first")


def test_a_victim_without_classes_is_refused():
    with pytest.raises(UserError, match="num_classes=0"):
        build_victim("pointnet", 0)


def test_transform_regulariser_vanishes_on_rotations_alone():
    rotations = torch.linalg.qr(torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))).Q
    assert transform_regulariser(rotations) < 1e-5
    torch.testing.assert_close(transform_regulariser(2 * torch.eye(4)[None]), torch.tensor(3.0 * 2))
    published = transform_regulariser(2 * torch.eye(4)[None], published=True)
    torch.testing.assert_close(published, torch.tensor(2.0 * 2))
