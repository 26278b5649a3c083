"""What makes one vector of a map, and what scores it against the classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class GeM(nn.Module):
    """Generalised mean over places, ``mean(max(x, eps)^p)^(1/p)``: (n, C, h, w) -> (n, C, 1, 1).

    Args:
        p: 1 is the mean, infinity the maximum.
        learned: train p.
    """

    def __init__(self, p: float = 3.0, learned: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.p = nn.Parameter(torch.full((1,), p)) if learned else p

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3), keepdim=True).pow(1.0 / self.p)


class MeanAndMax(nn.Module):
    """The sum of mean and maximum over places."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True) + x.amax(dim=(2, 3), keepdim=True)


class ClippedMean(nn.Module):
    """The mean over places, kept in 0..1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3), keepdim=True).clamp(0.0, 1.0)


#: Pools by name, (n, C, h, w) -> (n, C, 1, 1); every one of fast-reid's.
POOLS = {
    "mean": lambda: nn.AdaptiveAvgPool2d(1),
    "max": lambda: nn.AdaptiveMaxPool2d(1),
    "mean_max": MeanAndMax,
    "clipped_mean": ClippedMean,
    "gem": GeM,
    "gem_learned": lambda: GeM(learned=True),
}


class LinearClassifier(nn.Module):
    """Dot products with a row per class, no bias."""

    #: The name under which the scores are handed to the loss.
    scores = "logits"

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, features))
        nn.init.normal_(self.weight, std=0.001)

    def forward(self, features: Tensor) -> Tensor:
        return linear(features, self.weight)


class CosineClassifier(nn.Module):
    """Cosines with a row per class; ``losses.circle_softmax`` makes logits of them, which takes the labels."""

    scores = "cosines"

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, features))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, features: Tensor) -> Tensor:
        return linear(normalize(features), normalize(self.weight))


CLASSIFIERS = {"linear": LinearClassifier, "circle": CosineClassifier}
