"""One stage of a pipeline on the procedural default: upstream classification, or downstream segmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rmoe import schedules
from rmoe.data.mosaic import Mosaic, Split
from rmoe.models import Backbone
from rmoe.models.mosaic_net import LinearHead, MosaicNet, PooledClassifier
from rmoe.models.segmenter import Segmenter
from rmoe.moe import auxiliary_losses, convert
from rmoe.optimisation import parameter_groups

BLOCKS = "blocks.1.mlp"
MIXTURE: dict[str, Any] = {"experts": 8, "k": 1, "router_init_std": 0.2, "router_noise": 0.0, "capacity_factor": 0.0}
"""The mixture of the procedural default. A larger router and no noise: measured to gain more on so short a training."""


class Fit(NamedTuple):
    """How a model is trained.

    ``rate``: the largest learning rate, after a warm-up, then falling linearly; ``auxiliary``: weight of the importance
    loss; ``seed``: of weights, routers and the order of batches.
    """

    steps: int
    rate: float
    seed: int
    batch_size: int = 32
    weight_decay: float = 0.01
    clip: float = 1.0
    warm_up: int = 20
    auxiliary: float = 0.01


def train(
    model: nn.Module, tensors: Sequence[Tensor], task_loss: Callable[..., Tensor], fit: Fit
) -> tuple[list[float], float]:
    """Train in place on batches drawn without replacement, epoch after epoch.

    Args:
        model: dense or with mixtures.
        tensors: of equal length; a batch of each goes to ``task_loss``.
        task_loss: (model, *batch) -> the task's loss.
        fit: how.

    Returns:
        The task's loss of every step, and the CPU seconds that the steps took.
    """
    order = torch.Generator().manual_seed(fit.seed)
    groups = parameter_groups(model, fit.rate, fit.weight_decay)
    optimizer = torch.optim.AdamW(groups, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedules.linear(fit.steps, fit.warm_up))
    losses: list[float] = []
    rows = torch.empty(0, dtype=torch.long)
    model.train()
    start = time.process_time()
    for _ in range(fit.steps):
        if len(rows) < fit.batch_size:
            rows = torch.randperm(len(tensors[0]), generator=order)
        batch, rows = rows[: fit.batch_size], rows[fit.batch_size :]
        loss = task_loss(model, *(tensor[batch] for tensor in tensors))
        losses.append(float(loss.detach()))
        total = loss + fit.auxiliary * sum(auxiliary_losses(model).values())
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), fit.clip)
        optimizer.step()
        scheduler.step()
    return losses, time.process_time() - start


def classification_loss(model: nn.Module, images: Tensor, *targets: Tensor) -> Tensor:
    """The sum of the heads' cross entropies."""
    pairs = zip(model(images), targets, strict=True)
    first, *rest = (functional.cross_entropy(logits, target) for logits, target in pairs)
    return sum(rest, first)


def segmentation_loss(model: Segmenter, images: Tensor, labels: Tensor) -> Tensor:
    """The sum of the segmenter's terms."""
    first, *rest = model.losses(images, labels).values()
    return sum(rest, first)


@lru_cache(maxsize=4)
def upstream_tensors(mosaic: Mosaic, split: Split, count: int) -> tuple[Tensor, ...]:
    """Images, domains, classes of the upstream task."""
    return tuple(map(torch.from_numpy, mosaic.upstream(split, count)))


@lru_cache(maxsize=8)
def scene_tensors(mosaic: Mosaic, split: Split, count: int) -> tuple[Tensor, ...]:
    """Images, labels of patches, domains, textures of the downstream task."""
    return tuple(map(torch.from_numpy, mosaic.scenes(split, count)))


def backbone(hidden: int, mixture: Mapping[str, Any] | None = None, **options: Any) -> MosaicNet:
    """The transformer, fresh, with its second feed-forward layer converted where a mixture is given."""
    net = MosaicNet(hidden=hidden, **options)
    if mixture is not None:
        convert(net, BLOCKS, **{**MIXTURE, **mixture})
    return net


def classifier(net: Backbone, mosaic: Mosaic) -> PooledClassifier:
    """Fresh heads for domain and class."""
    return PooledClassifier(net, (mosaic.domains, mosaic.classes))


def segmenter(net: Backbone, mosaic: Mosaic) -> Segmenter:
    """A fresh head for the classes of patches."""
    return Segmenter(net, LinearHead(net.channels, mosaic.classes))


@torch.no_grad()
def class_accuracy(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Of the last head."""
    found = [model.eval()(batch)[-1].argmax(1) for batch in images.split(256)]
    return float((torch.cat(found) == classes).double().mean())


@torch.no_grad()
def predicted_patches(model: Segmenter, images: Tensor, labels: Tensor) -> Tensor:
    """The class of every patch, in the shape of the labels."""
    size = tuple(labels.shape[1:])
    return torch.cat([model.eval()(batch, size).argmax(1) for batch in images.split(256)])


def patch_miou(predicted: Tensor, labels: Tensor, num_classes: int) -> float:
    """Mean over classes of intersection over union, summed over the set; classes that occur nowhere are left out.

    Of this process alone: under torchrun the others are at other trainings.
    """
    counts = torch.bincount((labels * num_classes + predicted).flatten(), minlength=num_classes**2)
    matrix = counts.reshape(num_classes, num_classes).double()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return float((matrix.diagonal() / union)[union > 0].mean())
