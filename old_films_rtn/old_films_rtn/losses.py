"""What the generator and the discriminator are trained with: L_G = |y - gt| + L_perc + 0.01 L_adv (section 3.4)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Adversarial = Literal["hinge", "nsgan", "lsgan"]


def discriminator_loss(logits: Tensor, real: bool, kind: Adversarial = "hinge") -> Tensor:
    """The discriminator's loss on real or on made clips; its whole loss is the mean of the two. Any shape -> ()."""
    logits = logits.float()
    if kind == "hinge":
        return F.relu(1 - logits if real else 1 + logits).mean()
    target = torch.full_like(logits, float(real))
    if kind == "nsgan":
        return F.binary_cross_entropy_with_logits(logits, target)
    return F.mse_loss(torch.sigmoid(logits), target)


def generator_loss(logits: Tensor, kind: Adversarial = "hinge") -> Tensor:
    """The adversarial term of the generator, before its weight. Any shape -> ()."""
    return -logits.float().mean() if kind == "hinge" else discriminator_loss(logits, True, kind)


def detection_loss(logits: Tensor, true: Tensor) -> Tensor:
    """Of a detector: binary cross-entropy, and one minus the soft overlap (Dice), which does not shrink with the rare
    class. logits and true (bool), of one shape -> ()."""
    logits, truth = logits.float(), true.float()
    probability = torch.sigmoid(logits)
    overlap = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 0.2 * (1 - overlap)


class PerceptualLoss(nn.Module):
    """Weighted mean absolute differences of VGG19's features after ReLU 1_1, 2_1, 3_1, 4_1 and 5_1.

    features: VGG19's layers (``pretrained.perceptual_loss`` reads them). normalise: bring [-1, 1] to what VGG19 was trained
    on; the published code does not.
    """

    LAYERS = (1, 6, 11, 20, 29)
    WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Sequential, normalise: bool = False) -> None:
        super().__init__()
        self.features, self.normalise = features, normalise
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def terms(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The five mean absolute differences (5,) of images (n, 3, h, w) in [-1, 1], before their weights."""
        if self.normalise:
            predicted, target = (((images + 1) / 2 - self.mean) / self.std for images in (predicted, target))
        differences = []
        for number, layer in enumerate(self.features):
            predicted, target = layer(predicted), layer(target)
            if number in self.LAYERS:
                differences.append((predicted - target).abs().mean())
        return torch.stack(differences)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        terms = self.terms(predicted, target.detach())
        return (terms * terms.new_tensor(self.WEIGHTS)).sum()
