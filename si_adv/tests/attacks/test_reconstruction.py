import pytest
import torch
from attack_toys import Counting, predicted, toy_clouds
from torch import Tensor, nn

from shared_utils import UserError
from si_adv import losses
from si_adv.attacks import AdvPC
from si_adv.attacks.base import cloud_generators, draw_normal


class Smoothing(nn.Module):
    """An autoencoder for tests: every coordinate through a soft sign, and half of the points; it counts its clouds."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.norm = nn.BatchNorm1d(3)
        self.clouds = 0

    def forward(self, points: Tensor) -> Tensor:
        self.clouds += len(points)
        return self.norm((self.gain * points[:, ::2]).tanh().transpose(1, 2)).transpose(1, 2)


@pytest.fixture(scope="module")
def clouds():
    return toy_clouds(3, 80)[0]


def test_a_descent_is_that_of_adam_on_the_cloud_and_its_reconstruction(victim, clouds):
    """Written out with torch's Adam, box and record of the nearest success included."""
    labels, gamma, box = predicted(victim, clouds), 0.4, 0.05
    autoencoder = Smoothing().eval()
    options = {"gamma": gamma, "eps": box, "iterations": 25, "search_steps": 1, "early_stop": False, "micro_batch": 3}
    result = AdvPC(victim, autoencoder=autoencoder, **options).run(clouds, labels)
    points = clouds + 1e-7 * draw_normal(cloud_generators(0, torch.arange(3)), clouds.shape[1:], clouds)
    points.requires_grad_()
    optimiser = torch.optim.Adam([points], lr=0.01)
    nearest, best = torch.full((3,), torch.inf), clouds.clone()
    for _ in range(25):
        outputs = [victim(cloud.transpose(1, 2)) for cloud in (points, autoencoder(points))]
        plain, made = (losses.margin_loss(output, labels, confidence=30.0) for output in outputs)
        fooled = (outputs[0].argmax(1) != labels) & (outputs[1].argmax(1) != labels)
        distance = losses.l2_distance(points, clouds).detach()
        better = fooled & (distance < nearest)
        nearest = torch.where(better, distance, nearest)
        best = torch.where(better[:, None, None], points.detach(), best)
        optimiser.zero_grad()
        ((1 - gamma) * plain + gamma * made).sum().backward()
        optimiser.step()
        with torch.no_grad():
            points.copy_(losses.clip_linf(points, clouds, box))
    succeeded = nearest.isfinite()
    assert succeeded.any()
    torch.testing.assert_close(result.adv[succeeded], best[succeeded], rtol=0, atol=1e-5)
    assert torch.equal(result.success, succeeded)


def test_a_success_fools_the_victim_before_and_behind_the_autoencoder(victim, clouds):
    labels, counting, autoencoder = predicted(victim, clouds), Counting(victim), Smoothing().eval()
    result = AdvPC(counting, autoencoder=autoencoder, iterations=30, search_steps=1).run(clouds, labels)
    assert result.success.any()
    assert result.queries.sum() == counting.clouds
    assert (result.adv - clouds).abs().max() <= 0.18 + 1e-6
    for cloud in (result.adv, autoencoder(result.adv)):
        assert (predicted(victim, cloud.detach()) != labels)[result.success].all()


def test_the_autoencoder_is_used_in_evaluation_mode_and_left_as_it_was(victim, clouds):
    training, labels = Smoothing(), predicted(victim, clouds)
    training.norm.weight.requires_grad_(False)
    statistics = {name: value.clone() for name, value in training.norm.state_dict().items()}
    budget = {"iterations": 4, "search_steps": 1}
    adv = AdvPC(victim, autoencoder=training, **budget)(clouds, labels)
    assert training.clouds > 0 and training.training and training.norm.training
    assert training.gain.requires_grad and not training.norm.weight.requires_grad and training.gain.grad is None
    assert all(torch.equal(value, statistics[name]) for name, value in training.norm.state_dict().items())
    assert torch.equal(adv, AdvPC(victim, autoencoder=Smoothing().eval(), **budget)(clouds, labels))


def test_any_function_is_an_autoencoder_and_without_loss_it_adds_nothing(victim, clouds):
    labels = predicted(victim, clouds)
    budget = {"iterations": 5, "search_steps": 1}
    little, much = (
        AdvPC(victim, autoencoder=lambda points: points, gamma=gamma, **budget).run(clouds, labels)
        for gamma in (0.1, 0.9)
    )
    torch.testing.assert_close(little.adv, much.adv)
    assert torch.equal(little.success, much.success)


def test_a_folder_without_an_autoencoder_is_named(victim, tmp_path):
    with pytest.raises(UserError, match="not found"):
        AdvPC(victim, autoencoder=tmp_path / "made" / "here")
