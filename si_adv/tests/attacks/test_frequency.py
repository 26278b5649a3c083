import pytest
import torch
from attack_toys import Counting, predicted, toy_clouds

from si_adv import losses
from si_adv.attacks import AOF
from si_adv.attacks.base import cloud_generators, draw_normal
from si_adv.attacks.frequency import low_frequencies


@pytest.fixture(scope="module")
def clouds():
    return toy_clouds(3, 80)[0]


def test_frequencies_are_eigenvectors_of_the_graph_laplacian(clouds):
    basis = low_frequencies(clouds, 10, k=6).double()
    for cloud, vectors in zip(clouds.double(), basis, strict=True):
        distance = torch.cdist(cloud, cloud)
        near = torch.zeros_like(distance).scatter_(1, distance.topk(6, largest=False).indices, 1)
        weights = (-distance.square()).exp() * ((near + near.T) > 0)
        laplacian = weights.sum(1).diag() - weights
        values = (vectors * (laplacian @ vectors)).sum(0)
        torch.testing.assert_close(laplacian @ vectors, values * vectors, atol=1e-4, rtol=0)
        torch.testing.assert_close(vectors.T @ vectors, torch.eye(10).double(), atol=1e-5, rtol=0)
        assert torch.equal(values.argsort(), torch.arange(10))
        torch.testing.assert_close(values, torch.linalg.eigvalsh(laplacian)[:10], atol=1e-4, rtol=0)


def test_a_descent_is_that_of_adam_on_the_low_frequencies(victim, clouds):
    """Written out as the authors do: the low-frequency cloud is the parameter, the rest is added and split anew."""
    labels, gamma, box = predicted(victim, clouds), 0.25, 0.05
    result = AOF(
        victim, gamma=gamma, num_frequencies=12, eps=box, iterations=25, search_steps=1, early_stop=False, micro_batch=3
    ).run(clouds, labels)
    basis = low_frequencies(clouds, 12)
    split = basis @ basis.transpose(1, 2)
    start = clouds + 1e-7 * draw_normal(cloud_generators(0, torch.arange(3)), clouds.shape[1:], clouds)
    low = (split @ start).requires_grad_()
    high = start - low.detach()
    optimiser = torch.optim.Adam([low], lr=0.01)
    nearest, best = torch.full((3,), torch.inf), clouds.clone()
    for _ in range(25):
        outputs = [victim(cloud.transpose(1, 2)) for cloud in (low + high, low)]
        whole, slow = (losses.margin_loss(output, labels, confidence=30.0) for output in outputs)
        fooled = (outputs[0].argmax(1) != labels) & (outputs[1].argmax(1) != labels)
        distance = losses.l2_distance(low + high, clouds).detach()
        better = fooled & (distance < nearest)
        nearest = torch.where(better, distance, nearest)
        best = torch.where(better[:, None, None], (low + high).detach(), best)
        optimiser.zero_grad()
        ((1 - gamma) * whole + gamma * slow).sum().backward()
        optimiser.step()
        with torch.no_grad():
            moved = losses.clip_linf(low + high, clouds, box)
            low.copy_(split @ moved)
            high = moved - low
    assert nearest.isfinite().any()
    succeeded = nearest.isfinite()
    torch.testing.assert_close(result.adv[succeeded], best[succeeded], rtol=0, atol=1e-5)
    assert torch.equal(result.success, succeeded)


def test_a_success_fools_with_and_without_the_high_frequencies(victim, clouds):
    labels, counting = predicted(victim, clouds), Counting(victim)
    result = AOF(counting, num_frequencies=12, iterations=30, search_steps=1).run(clouds, labels)
    assert result.success.any()
    assert result.queries.sum() == counting.clouds
    assert (result.adv - clouds).abs().max() <= 0.18 + 1e-6
    basis = low_frequencies(clouds, 12)
    low = basis @ (basis.transpose(1, 2) @ result.adv)
    for cloud in (result.adv, low):
        assert (predicted(victim, cloud) != labels)[result.success].all()
