"""Labels corrected where classifier and prototypes together are sure of another one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Correction:
    """labels (n,) after correction, and of the mixed probabilities the largest (n,) and the entropy (n,) in nats."""

    labels: Tensor
    max_p: Tensor
    entropy: Tensor


@torch.no_grad()
def correct(
    logits: Tensor, similarity: Tensor, labels: Tensor, alpha: float = 0.5, threshold: float = 0.8
) -> Correction:
    """``p = alpha softmax(logits) + (1 - alpha) softmax(similarity)``; where ``max p > threshold``, the label is argmax p.

    Args:
        logits: (n, C) of the classifier.
        similarity: (n, C) to the prototypes, divided by the temperature.
        labels: (n,), left as they are.
        alpha: weight of the classifier.
        threshold: T of the paper.
    """
    p = alpha * logits.softmax(1) + (1 - alpha) * similarity.softmax(1)
    max_p, best = p.max(dim=1)
    return Correction(torch.where(max_p > threshold, best, labels), max_p, torch.special.entr(p).sum(1))


def uncorrected(labels: Tensor) -> Correction:
    """The labels as they are, where nothing is known of p (NaN)."""
    unknown = torch.full(labels.shape, torch.nan, device=labels.device)
    return Correction(labels.clone(), unknown, unknown)
