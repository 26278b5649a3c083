"""Losses: closed forms, gradients against finite differences, and weights that are never random in silence."""

import pytest
import torch

from old_films_rtn import losses, pretrained, published
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError


def test_hinge_losses_vanish_where_the_discriminator_is_sure():
    assert losses.discriminator_loss(torch.full((3,), 1.5), True) == 0
    assert losses.discriminator_loss(torch.full((3,), -1.5), False) == 0
    assert losses.discriminator_loss(torch.zeros(3), True) == 1


@pytest.mark.parametrize("kind", ["hinge", "nsgan", "lsgan"])
def test_the_generator_gains_by_larger_logits(kind):
    low, high = (losses.generator_loss(torch.full((2, 5), value), kind) for value in (-1.0, 1.0))
    assert high < low


def vgg(seed=0):
    generator = torch.Generator().manual_seed(seed)
    state, channels = {}, 3
    for index, width in zip(
        (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28), (*[64] * 2, *[128] * 2, *[256] * 4, *[512] * 5), strict=True
    ):
        state[f"features.{index}.weight"] = (
            torch.randn(width, channels, 3, 3, generator=generator) / (channels * 4.5) ** 0.5
        )
        state[f"features.{index}.bias"] = torch.zeros(width)
        channels = width
    return state


def test_the_gradient_of_all_terms_is_that_of_finite_differences():
    """In double precision, along the gradient, where a kink or two of the absolute values weigh nothing."""
    torch.manual_seed(0)
    rtn = RTN(4, 16, (2,), 1).double()
    perceptual = losses.PerceptualLoss(published.vgg19_features(vgg())).double()
    clip, target = torch.rand(2, 1, 2, 3, 32, 32, dtype=torch.double) * 2 - 1
    flows = torch.randn(2, 1, 1, 2, 32, 32, dtype=torch.double)

    def loss():
        made = rtn(clip, *flows)[0]
        return (made - target).abs().mean() + perceptual(made[0], target[0])

    value = loss()
    gradients = torch.autograd.grad(value, list(rtn.parameters()), allow_unused=True)
    used = [(p, g) for p, g in zip(rtn.parameters(), gradients, strict=True) if g is not None]
    norm = torch.stack([g.norm() for _, g in used]).norm()
    step = 1e-5
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, gradient in used:
                parameter += sign * step * gradient / norm
        values.append(loss().item())
    # Warping computes its places in single precision, which is what is left.
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(norm.item(), rel=2e-3)


def test_random_vgg_weights_are_never_used(tmp_path):
    with pytest.raises(UserError, match="vgg19-dcbb9e9d.pth"):
        pretrained.perceptual_loss(tmp_path / "missing.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "half.pth")
    with pytest.raises(UserError, match="missing"):
        pretrained.perceptual_loss(tmp_path / "half.pth")


def test_the_perceptual_term_of_equal_images_is_zero_and_normalisation_matters():
    features = published.vgg19_features(vgg())
    a, b = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    plain, normalised = losses.PerceptualLoss(features), losses.PerceptualLoss(features, normalise=True)
    assert plain(a, a) == 0
    assert plain(a, b) != normalised(a, b)
