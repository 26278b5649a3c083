import math

import pytest
import torch

from incomplete_sensing.learning_rate import learning_rate
from incomplete_sensing.metrics import consistency_residual, nmse, psnr, psnr_moi, psnr_rei, ssim
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorOptions, draw_operators
from shared_utils import UserError


def test_psnr_is_per_image():
    truth = torch.rand(2, 1, 5, 5)
    images = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    assert psnr(images, truth).tolist() == pytest.approx([20, 40], abs=1e-3)
    assert psnr(images, truth, peak=10).tolist() == pytest.approx([40, 60], abs=1e-3)
    assert psnr(truth, truth).isinf().all()


def test_complex_images_are_compared_by_magnitude():
    truth = torch.randn(2, 2, 5, 5)
    turned = torch.stack((-truth[:, 1], truth[:, 0]), 1)  # times i
    assert (psnr(turned, truth, complex_valued=True) > 100).all()
    assert (nmse(turned, truth, complex_valued=True) < 1e-10).all()
    assert (nmse(turned, truth) > 0.5).all()


def test_psnr_of_equal_images_is_100_in_the_published_log():
    x = torch.rand(2, 1, 3, 3)
    assert psnr_moi(x, x) == 100


def test_reis_psnr_falls_with_the_batch():
    a, b = torch.rand(1, 1, 6, 6), torch.rand(1, 1, 6, 6)
    many = psnr_rei(a.repeat(4, 1, 1, 1), b.repeat(4, 1, 1, 1))
    assert float(psnr_rei(a, b) - many) == pytest.approx(20 * math.log10(2), abs=1e-4)


def test_ssim_agrees_with_torchmetrics():
    reference = pytest.importorskip("torchmetrics.functional.image")
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 3, 40, 36, generator=generator)
    images = (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)
    theirs = reference.structural_similarity_index_measure(images, truth, data_range=1.0, reduction="none")
    assert torch.allclose(ssim(images, truth), theirs, atol=5e-3)  # they include a padded border


def test_ssim_takes_small_images_and_is_one_for_equal_ones():
    x = torch.rand(2, 1, 8, 8)
    assert torch.allclose(ssim(x, x), torch.ones(2))
    assert (ssim(1 - x, x) < 0.5).all()


def test_residual_needs_no_truth():
    operators = draw_operators(OperatorOptions("gaussian", 2, 6), (1, 4, 4))
    g = torch.tensor([0, 1, 1])
    y = operators(torch.rand(3, 1, 4, 4), g)
    assert (consistency_residual(operators.pinv(y, g), y, operators, g) < 1e-5).all()
    assert torch.allclose(consistency_residual(torch.zeros(3, 1, 4, 4), y, operators, g), torch.ones(3))


def test_rate_drops_at_milestones_and_follows_the_cosine():
    assert [learning_rate(epoch, 1.0, 10, (3, 6)) for epoch in (0, 2, 3, 6)] == pytest.approx([1, 1, 0.1, 0.01])
    assert learning_rate(5, 1.0, 10, cosine=True) == pytest.approx(0.5)


def test_noise_is_of_the_declared_strength_on_observed_entries_only():
    observed = torch.tensor([1.0, 0.0]).repeat(5000)
    clean = torch.full((4, 10_000), 2.0) * observed
    gaussian = Noise(sigma=0.3)(clean, observed, torch.Generator().manual_seed(0)) - clean
    assert not gaussian[:, 1::2].any()
    assert float(gaussian[:, ::2].std()) == pytest.approx(0.3, rel=0.02)
    poisson = Noise(gain=0.5)(clean, observed, torch.Generator().manual_seed(0)) - clean
    assert float(poisson[:, ::2].var()) == pytest.approx(0.5 * 2, rel=0.05)
    assert torch.equal(Noise()(clean, observed), clean)


def test_impossible_noise_is_said():
    with pytest.raises(UserError, match="not negative"):
        Noise(sigma=-1)
    with pytest.raises(UserError, match="not negative"):
        Noise(gain=0.1)(torch.tensor([[-1.0]]), torch.ones(1))
