"""Contrastive losses: InfoNCE and label-guided contrast against a queue, SupCon and SimCLR within a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def full_precision(tensor: Tensor) -> Tensor:
    """At least float32: in half precision a logit of 1 / 0.07 has steps of 1 %."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def queue_logits(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """``[q . k, q . queue] / tau``: (n, dim), (n, dim), (dim, K) -> (n, 1 + K); column 0 is the own key.

    The queue is copied, since it changes before the backward pass reads it.
    """
    own = (queries * keys).sum(1, keepdim=True)
    return torch.cat([own, queries @ queue.clone()], dim=1) / temperature


def guided_positives(labels: Tensor, queue_ids: Tensor) -> Tensor:
    """Bool (n, 1 + K): the own key, and every entry of the queue under the sample's label."""
    own = torch.ones(len(labels), 1, dtype=torch.bool, device=labels.device)
    return torch.cat([own, labels[:, None] == queue_ids[None]], dim=1)


def info_nce(logits: Tensor) -> Tensor:
    """Cross entropy with column 0 as the target."""
    return -log_softmax(logits, 1)[:, 0].mean()


def multi_positive(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over samples of the mean over positives of ``-log softmax``; the denominator holds all entries."""
    log_probability = log_softmax(logits, 1)
    return -((log_probability * positives).sum(1) / positives.sum(1)).mean()


def supcon(
    first: Tensor,
    second: Tensor,
    labels: Tensor | None = None,
    temperature: float = 0.07,
    base_temperature: float = 0.07,
) -> Tensor:
    """SupCon over two views (Khosla et al., 2020); without labels the loss of SimCLR, up to the factor tau / base.

    Args:
        first, second: (n, dim) unit embeddings of the views.
        labels: (n,) int64; None: the only positive of a view is the other view.
        temperature: tau.
        base_temperature: the loss is multiplied by tau / base.
    """
    features = torch.cat([first, second])
    n = len(first)
    identity = torch.arange(n, device=first.device) if labels is None else labels
    identity = identity.repeat(2)
    self_pair = torch.eye(2 * n, dtype=torch.bool, device=first.device)
    positives = (identity[:, None] == identity[None]) & ~self_pair
    logits = (features @ features.t() / temperature).masked_fill(self_pair, -torch.inf)
    log_probability = log_softmax(logits, 1).masked_fill(self_pair, 0.0)
    loss = -((log_probability * positives).sum(1) / positives.sum(1)).mean()
    return loss * temperature / base_temperature
