import pytest
import torch
from torch import nn

from shared_utils import UserError
from si_adv.defences import (
    DEFENCES,
    SOR,
    SRS,
    Defended,
    DUPNet,
    ExpectationOverTransformation,
    SurfaceOptimisation,
    build_defence,
    outlier_statistics,
)
from si_adv.models.pointnet import PointNet
from si_adv.models.punet import PUNet


def clouds(batch: int = 2, num_points: int = 200, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(batch, 3, num_points, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x / x.norm(dim=1, keepdim=True)


def with_outliers(num_points: int, *outliers: int) -> torch.Tensor:
    x = clouds(1, num_points)
    x[:, :, list(outliers)] *= 5
    return x


# Simple random sampling


def test_srs_keeps_points_of_the_cloud_in_their_order():
    x = clouds()
    x[:, 0] = torch.arange(200.0)
    kept = SRS(num_drop=50)(x)
    assert kept.shape == (2, 3, 150)
    assert (kept[:, 0].diff(dim=1) > 0).all()
    indices = kept[:, :1].long().expand(-1, 3, -1)
    assert torch.equal(kept, x.gather(2, indices))


def test_srs_draws_anew_for_every_cloud_and_call_and_follows_its_seed():
    x = clouds(1).repeat(2, 1, 1)
    srs, again, other = SRS(50, seed=3), SRS(50, seed=3), SRS(50, seed=4)
    first, second = srs(x), srs(x)
    assert torch.equal(again(x), first)
    assert torch.equal(again(x), second)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(other(x), first)


def test_srs_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    SRS(50)(clouds())
    assert torch.equal(torch.rand(3), expected)


def test_srs_keeps_every_point_equally_often():
    srs, x = SRS(num_drop=30), torch.arange(40.0).expand(4000, 3, 40)
    counts = srs(x)[:, 0].long().flatten().bincount(minlength=40)
    # 4000 draws of probability 1/4: mean 1000, standard deviation 27
    assert (counts - 1000).abs().max() < 5 * 27


def test_gradient_of_srs_goes_to_the_points_that_were_kept():
    x = clouds().requires_grad_()
    kept = SRS(num_drop=50)(x)
    (gradient,) = torch.autograd.grad(kept.sum(), x)
    assert gradient.sum() == kept.numel()
    assert set(gradient.unique().tolist()) == {0.0, 1.0}


def test_srs_cannot_drop_the_whole_cloud():
    with pytest.raises(ValueError, match="cannot drop 500 points of clouds of 200"):
        SRS()(clouds())


# Statistical outlier removal


def test_sor_drops_outliers_and_repeats_the_kept_points_from_the_first():
    x = with_outliers(100, 7, 60)
    values, threshold = outlier_statistics(x.transpose(1, 2))
    kept = [i for i in range(100) if values[0, i] <= threshold[0]]
    assert 7 not in kept and 60 not in kept
    expected = (kept * 3)[:150]
    assert torch.equal(SOR(num_points=150)(x), x[:, :, expected])


@pytest.mark.parametrize("num_points", [50, 1024, 2048])
def test_sor_returns_as_many_points_as_it_was_given(num_points):
    assert SOR()(clouds(1, num_points)).shape == (1, 3, num_points)


def test_the_statistics_are_mean_squared_distances_with_the_unbiased_deviation():
    x = clouds(2, 40, dtype=torch.float64).transpose(1, 2)
    values, threshold = outlier_statistics(x, k=3, alpha=0.7)
    squared = (x[:, :, None] - x[:, None]).square().sum(-1).sort(-1).values[..., 1:4].mean(-1)
    torch.testing.assert_close(values, squared)
    torch.testing.assert_close(threshold, squared.mean(1) + 0.7 * squared.std(1, correction=1))


def test_a_cloud_is_defended_alike_alone_and_in_a_batch():
    x = torch.cat((with_outliers(200, 5), clouds(3)))
    assert torch.equal(SOR()(x)[:1], SOR()(x[:1]))


def test_gradient_of_sor_agrees_with_finite_differences():
    x = clouds(1, 30, dtype=torch.float64).requires_grad_()
    weights = torch.randn(1, 3, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    # far from the threshold, so that a step of 1e-6 changes no decision
    values, threshold = outlier_statistics(x.transpose(1, 2))
    assert ((values - threshold[:, None]).abs() > 1e-4).all()
    sor = SOR(num_points=45)
    assert torch.autograd.gradcheck(lambda clouds: (sor(clouds) ** 2 * weights).sum(), x, eps=1e-6, atol=1e-8)


def test_gradient_of_sor_is_zero_at_outliers_and_adds_over_repeats():
    x = with_outliers(100, 7).requires_grad_()
    (gradient,) = torch.autograd.grad(SOR()(x).sum(), x)
    assert gradient[0, :, 7].tolist() == [0, 0, 0]
    assert gradient.amax() == 2
    assert gradient.sum() == 300


def test_duplicates_are_no_outliers():
    x = clouds(1, 50).repeat(1, 1, 3)
    assert torch.equal(SOR()(x), x)


def test_a_regular_grid_loses_nothing():
    axis = torch.arange(-3, 4) / 4  # exact in float32, so that all distances are equal
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).flatten(1)[None]
    assert torch.equal(SOR()(grid), grid)


def test_normals_stay_with_their_points():
    x = with_outliers(100, 7)
    assert torch.equal(SOR()(torch.cat((x, -x), 1)), torch.cat((SOR()(x), -SOR()(x)), 1))


# DUP-Net


def test_dupnet_up_samples_what_outlier_removal_left_and_is_differentiable():
    punet = PUNet(64).eval()
    x = with_outliers(64, 7).requires_grad_()
    output = DUPNet(SOR(), punet)(x)
    assert torch.equal(output, punet(SOR()(x).transpose(1, 2)).transpose(1, 2))
    assert output.shape == (1, 3, 256)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    assert gradient[0, :, 7].abs().max() == 0
    assert (gradient.abs().amax(1) > 0).sum() > 50


def test_dupnet_runs_from_a_weights_file_in_front_of_a_victim(tmp_path):
    torch.save(PUNet().state_dict(), tmp_path / "pu-in_1024-up_4.pth")
    dupnet = build_defence("dupnet", weights=tmp_path / "pu-in_1024-up_4.pth")
    logits = Defended(PointNet(10).eval(), dupnet)(clouds(1, 100))
    assert logits.shape == (1, 10)
    assert torch.isfinite(logits).all()
    assert not any(parameter.requires_grad for parameter in dupnet.parameters())


def test_absent_weights_are_named_with_where_they_come_from(tmp_path):
    with pytest.raises(UserError, match=r"needs weights=PATH.*pu-in_1024-up_4\.pth of github"):
        build_defence("dupnet")
    with pytest.raises(UserError, match=r"x\.pth not found.*pu-in_1024-up_4\.pth"):
        build_defence("dupnet", weights=tmp_path / "x.pth")


# In front of a victim


def test_any_callable_serves_as_a_defence():
    victim, x = PointNet(10).eval(), clouds()
    torch.testing.assert_close(Defended(victim, lambda clouds: clouds[:, :, ::2])(x), victim(x[:, :, ::2]))


class NoisyLinear(nn.Module):
    """Logits a cloud: its mean, plus noise of standard deviation one a draw."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(2) + torch.randn(len(x), x.shape[1])


def test_the_expectation_over_m_draws_has_a_variance_m_times_smaller():
    torch.manual_seed(0)
    x = clouds(1).repeat(2000, 1, 1)

    def variance_of_margin(num_draws: int) -> float:
        output = ExpectationOverTransformation(NoisyLinear(), num_draws)(x)
        return (output[:, 0] - output[:, 1]).var().item()

    # the variance of 2000 samples is within 20% of 2 / m (six standard errors)
    assert variance_of_margin(1) == pytest.approx(2, rel=0.2)
    assert variance_of_margin(8) == pytest.approx(2 / 8, rel=0.2)


def test_the_expectation_averages_log_probabilities_over_the_draws_of_every_cloud():
    victim, x = PointNet(10).eval(), clouds()
    expected = ExpectationOverTransformation(Defended(victim, SRS(50, seed=3)), 4)(x)
    draws = SRS(50, seed=3)(x.repeat(4, 1, 1))
    mean = torch.stack([victim(draw).log_softmax(1) for draw in draws.split(2)]).mean(0)
    torch.testing.assert_close(expected, mean, rtol=1e-4, atol=1e-5)


def test_the_expectation_takes_the_first_item_of_a_tuple_and_passes_the_gradient():
    x = clouds().requires_grad_()
    model = ExpectationOverTransformation(Defended(lambda clouds: (clouds.mean(2), "aside"), SRS(50)), 4)
    (gradient,) = torch.autograd.grad(model(x)[:, 0].sum(), x)
    assert (gradient.abs().amax(1) > 0).float().mean() > 0.9


# By name


def test_defences_are_built_by_name():
    assert {name for name in DEFENCES if name != "dupnet"} == {"srs", "sor", "surface_opt"}
    assert build_defence("srs", num_drop=10, seed=1)(clouds()).shape == (2, 3, 190)
    assert build_defence("sor", alpha=0.5).alpha == 0.5


def test_unknown_names_and_options_are_answered_with_the_closest():
    with pytest.raises(UserError, match="unknown defence 'dup_net': did you mean 'dupnet'"):
        build_defence("dup_net")
    with pytest.raises(UserError, match="'srs' has no option 'drop_num': did you mean 'num_drop'"):
        build_defence("srs", drop_num=3)


@pytest.mark.parametrize("defence", [SRS(1), SOR()])
def test_clouds_of_the_wrong_layout_are_refused(defence):
    with pytest.raises(ValueError, match=r"\(B, 3, N\)"):
        defence(torch.rand(100, 3))


# Optimisation towards the surface


def sheet(height: float = 0.0) -> torch.Tensor:
    """A flat cloud of 225 points, one of them ``height`` off it."""
    axis = torch.linspace(-0.5, 0.5, 15)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    cloud = torch.stack((x.flatten(), y.flatten(), torch.zeros(225)))[None]
    cloud[0, 2, 112] = height
    return cloud


def test_optimisation_brings_a_point_back_to_the_surface_of_its_neighbours():
    defence = SurfaceOptimisation(iterations=60, repulsion=0.0)
    defence.sor = nn.Identity()  # which would drop the point instead
    moved = defence(sheet(0.05))
    assert moved[0, 2, 112].abs() < 0.02
    # Its neighbours, whose normals it tilts, hardly move.
    assert (moved - sheet())[0].norm(dim=0).median() < 0.005


def test_optimisation_parts_points_that_lie_on_each_other():
    cloud = sheet()
    cloud[0, :, 3] = cloud[0, :, 4]
    apart = {}
    for repulsion in (0.0, 0.5):
        defence = SurfaceOptimisation(iterations=30, repulsion=repulsion)
        defence.sor = nn.Identity()
        moved = defence(cloud)
        apart[repulsion] = (moved[0, :, 3] - moved[0, :, 4]).norm()
    assert apart[0.5] > 0.01 and apart[0.5] > 3 * apart[0.0]


def test_the_gradient_passes_the_optimisation_as_the_identity():
    x = clouds(2, 60).requires_grad_()
    weights = torch.randn(2, 3, 60)
    (ours,) = torch.autograd.grad((SurfaceOptimisation(iterations=3)(x) * weights).sum(), x)
    (sor,) = torch.autograd.grad((SOR()(x) * weights).sum(), x)
    torch.testing.assert_close(ours, sor)


def test_optimisation_treats_every_cloud_on_its_own_also_inside_no_grad():
    x, defence = clouds(2, 60), SurfaceOptimisation(iterations=5)
    with torch.no_grad():
        both, alone = defence(x), defence(x[1:])
    torch.testing.assert_close(both[1:], alone)
    assert not torch.equal(both, SOR()(x))
