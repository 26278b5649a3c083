"""Losses of fine-tuning, each a function of tensors, as fast-reid computes them.

Features of all ranks are gathered where pairs are compared, so that two processes see the pairs that one would see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, one_hot, softplus

from shared_utils.distributed import gather

_ADAPTIVE = 0.2  # what adaptive smoothing takes of the target's probability


def cross_entropy_smooth(logits: Tensor, labels: Tensor, epsilon: float = 0.1) -> Tensor:
    """Cross entropy against ``1 - epsilon`` on the target and ``epsilon / (C - 1)`` on every other class.

    The sum is divided by the number of samples whose loss is not 0.

    Args:
        logits: (n, C).
        labels: (n,) int64.
        epsilon: below 0: adaptive, 0.2 times the sample's probability of its target.
    """
    log_probability = log_softmax(logits.float(), dim=1)
    own = labels[:, None]
    smooth = _ADAPTIVE * log_probability.detach().exp().gather(1, own) if epsilon < 0 else torch.tensor(epsilon)
    targets = (smooth / max(1, logits.shape[1] - 1)).to(logits.device).expand_as(log_probability).clone().float()
    targets.scatter_(1, own, (1 - smooth).to(targets).expand_as(own).clone())
    losses = -(targets * log_probability).sum(1)
    return losses.sum() / max(1, int(losses.count_nonzero()))


def circle_softmax(cosines: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.35) -> Tensor:
    """Logits of the circle softmax (Sun et al., 2020) from cosines (n, C) and labels (n,)."""
    detached = cosines.detach()
    positive = scale * (1 + margin - detached).clamp(min=0) * (cosines - (1 - margin))
    negative = scale * (detached + margin).clamp(min=0) * (cosines - margin)
    return torch.where(one_hot(labels, cosines.shape[1]).bool(), positive, negative)


def distances(features: Tensor) -> Tensor:
    """Euclidean distances within (n, d); at least 1e-6, also on the diagonal."""
    squares = features.square().sum(1)
    return (squares[:, None] + squares[None] - 2 * features @ features.t()).clamp(min=1e-12).sqrt()


def triplet(
    features: Tensor, labels: Tensor, margin: float | None = 0.3, mining: str = "hard", normalised: bool = False
) -> Tensor:
    """Triplet loss over a batch; an anchor without a sample of another identity is left out.

    Args:
        features: (n, d); gathered over the ranks, as the labels are.
        labels: (n,) int64, any number of samples an identity.
        margin: ``max(0, d_ap - d_an + margin)``; None: ``log(1 + exp(d_ap - d_an))``.
        mining: ``hard``: the farthest positive (the anchor itself counts) and the nearest negative; ``weighted``: means
            under softmax weights of the distances (Ye et al., 2021).
        normalised: compare directions.
    """
    features, labels = gather(features).float(), gather(labels)
    if normalised:
        features = features / (features.norm(dim=1, keepdim=True) + 1e-12)
    distance = distances(features)
    same = labels[:, None] == labels[None]
    if mining == "hard":
        positive = distance.masked_fill(~same, -torch.inf).amax(1)
        negative = distance.masked_fill(same, torch.inf).amin(1)
    else:
        positive = (distance * same * _softmax_weights(distance * same, same)).sum(1)
        negative = (distance * ~same * _softmax_weights(-distance * ~same, ~same)).sum(1)
    gap = (positive - negative)[(~same).any(1)]
    losses = softplus(gap) if margin is None else (gap + margin).clamp(min=0)
    return losses.sum() / max(1, len(losses))


def _softmax_weights(values: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the masked entries; the constant keeps, as published, far negatives from having any weight."""
    shifted = torch.exp(values - values.amax(1, keepdim=True)) * mask
    return shifted / (shifted.sum(1, keepdim=True) + 1e-6)


def circle(features: Tensor, labels: Tensor, margin: float = 0.25, gamma: float = 128.0) -> Tensor:
    """Pairwise circle loss (Sun et al., 2020), pairs of neither kind excluded.

    Args:
        features: (n, d); gathered over the ranks, as the labels are.
        labels: (n,) int64.
    """
    features, labels = normalize(gather(features).float()), gather(labels)
    cosine = features @ features.t()
    same = labels[:, None] == labels[None]
    self_pair = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    detached = cosine.detach()
    positive = -gamma * (1 + margin - detached).clamp(min=0) * (cosine - (1 - margin))
    negative = gamma * (detached + margin).clamp(min=0) * (cosine - margin)
    positive = positive.masked_fill(~same | self_pair, -torch.inf)
    negative = negative.masked_fill(same, -torch.inf)
    # A sample without a pair of one kind has nothing to compare: log 0 there, and a loss of 0.
    usable = (same & ~self_pair).any(1) & (~same).any(1)
    total = softplus(positive[usable].logsumexp(1) + negative[usable].logsumexp(1)).sum()
    return total / max(1, len(labels))


@dataclass(frozen=True)
class LossSettings:
    """How a kind of network is trained.

    smoothing: of the classes. margin (None: soft), mining, normalised: of ``triplet``. scale, circle_margin: of
    ``circle_softmax``, where the classifier gives cosines.
    """

    smoothing: float = 0.1
    margin: float | None = 0.3
    mining: str = "hard"
    normalised: bool = False
    scale: float = 64.0
    circle_margin: float = 0.35


SETTINGS = {
    "bot": LossSettings(),
    "agw": LossSettings(margin=None, mining="weighted"),
    "mgn": LossSettings(margin=None),
}
# Heads whose features are compared together in MGN, by the name of their term.
_TRIPLETS = {"b1": ("b1",), "b2": ("b2",), "b3": ("b3",), "b22": ("b21", "b22"), "b33": ("b31", "b32", "b33")}


def reid_loss(
    kind: str, outputs: Mapping[str, Mapping[str, Tensor]], labels: Tensor, settings: LossSettings | None = None
) -> dict[str, Tensor]:
    """The terms of a network's loss, weighted: their sum is the loss.

    Args:
        kind: ``bot``, ``agw`` or ``mgn``.
        outputs: of the network in training, by head.
        labels: (n,) int64.
        settings: None: those of the kind.

    Returns:
        ``cls`` and ``triplet``; of mgn ``cls_b1`` .. ``cls_b33`` and ``triplet_b1``, ``_b2``, ``_b3``, ``_b22``, ``_b33``.
    """
    settings = settings or SETTINGS[kind]

    def classify(head: Mapping[str, Tensor]) -> Tensor:
        logits = head.get("logits")
        if logits is None:
            logits = circle_softmax(head["cosines"].float(), labels, settings.scale, settings.circle_margin)
        return cross_entropy_smooth(logits, labels, settings.smoothing)

    def compare(features: Tensor) -> Tensor:
        return triplet(features, labels, settings.margin, settings.mining, settings.normalised)

    if kind != "mgn":
        return {"cls": classify(outputs["heads"]), "triplet": compare(outputs["heads"]["feature"])}
    terms = {f"cls_{name}": classify(head) / len(outputs) for name, head in outputs.items()}
    for name, heads in _TRIPLETS.items():
        together = torch.cat([outputs[head]["feature"] for head in heads], dim=1)
        terms[f"triplet_{name}"] = compare(together) / len(_TRIPLETS)
    return terms
