import pytest
import torch
from attack_toys import toy_clouds, toy_victim

from si_adv.attacks import sensitivity_map
from si_adv.geometry import tangent_basis
from si_adv.losses import output_margin


@pytest.fixture(scope="module")
def clouds():
    return toy_clouds(6)


def _world(direction, normals):
    return (tangent_basis(normals) * direction[..., None]).sum(-2)


def test_the_map_is_positive_where_the_maximum_looks_and_zero_elsewhere(victim, clouds, labels):
    points, normals = clouds
    sensitivity, direction = sensitivity_map(victim, points, labels, normals)
    assert sensitivity.shape == points.shape[:2]
    assert (sensitivity >= 0).all()
    chosen = torch.zeros_like(sensitivity, dtype=torch.bool)
    chosen.scatter_(1, victim.points(points.transpose(1, 2)).argmax(2), True)
    assert (sensitivity[~chosen] == 0).all()
    assert (sensitivity[chosen] > 0).float().mean() > 0.9
    lengths = direction.norm(dim=-1)
    torch.testing.assert_close(lengths, (sensitivity > 0).float())
    assert (direction[..., 2] == 0).all()


def test_moving_a_point_along_its_direction_raises_the_score_at_the_rate_of_the_map(victim, clouds, labels):
    points, normals = clouds
    sensitivity, direction = sensitivity_map(victim, points, labels, normals)
    double = toy_victim(3).double()
    step = 1e-6

    def score(shift):
        return -output_margin(double((points.double() + shift).transpose(1, 2)), labels)

    for rank in range(3):
        row = sensitivity.topk(3, dim=1).indices[:, rank]
        each = torch.arange(len(points))
        shift = torch.zeros_like(points, dtype=torch.float64)
        shift[each, row] = step * _world(direction, normals)[each, row].double()
        rate = (score(shift) - score(-shift)) / (2 * step)
        torch.testing.assert_close(rate.float(), sensitivity[each, row], rtol=1e-3, atol=1e-5)


def test_turning_normals_over_changes_neither_map_nor_direction_in_space(victim, clouds, labels):
    points, normals = clouds
    turned = normals * torch.where(torch.arange(256) % 3 == 0, -1.0, 1.0)[:, None]
    one, other = (sensitivity_map(victim, points, labels, n) for n in (normals, turned))
    torch.testing.assert_close(one[0], other[0])
    torch.testing.assert_close(_world(one[1], normals), _world(other[1], turned), rtol=0, atol=1e-5)


def test_a_point_without_normal_has_no_sensitivity(victim, clouds, labels):
    points, normals = clouds[0], clouds[1].clone()
    row = sensitivity_map(victim, points, labels, normals)[0].argmax(1)
    normals[torch.arange(6), row] = torch.nan
    sensitivity, direction = sensitivity_map(victim, points, labels, normals)
    assert (sensitivity[torch.arange(6), row] == 0).all()
    assert direction.isfinite().all()


def test_the_map_of_a_cloud_does_not_depend_on_its_batch(victim, clouds, labels):
    whole = sensitivity_map(victim, clouds[0], labels, clouds[1])[0]
    alone = sensitivity_map(victim, clouds[0][3:4], labels[3:4], clouds[1][3:4])[0]
    torch.testing.assert_close(alone, whole[3:4], rtol=1e-4, atol=1e-6)


def test_the_model_is_left_as_it_was(clouds, labels):
    model = toy_victim(3).train().requires_grad_(True)
    expected = sensitivity_map(toy_victim(3), *[tensor[:2] for tensor in (clouds[0], labels, clouds[1])])
    with torch.no_grad():
        given = sensitivity_map(model, *[tensor[:2] for tensor in (clouds[0], labels, clouds[1])])
    assert torch.equal(given[0], expected[0])
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
