"""Pre-training on crops in memory: the methods of ``pnl.PNL``, with the views of ``data.transforms``."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from luperson_nl.data.label_truth import LabelTruth
from luperson_nl.data.street import Crops
from luperson_nl.data.transforms import NOT_ERASED, StrongView, View, WeakView, finish
from luperson_nl.pnl import PNL, Stages, stage_at
from luperson_nl.retrieval import Features, Scores, evaluate_retrieval

_CHUNK = 256


@dataclass(frozen=True)
class Settings:
    """How every method is trained; a method takes no notice of what it has no use for.

    ``epochs`` are counted in batches of ``batch``; ``warm_up`` is in steps, then the rate falls as a cosine; ``weight`` is of
    both contrastive losses; ``padding`` in pixels, of the weak view; ``strong`` the name of the strong view.
    """

    trunk: str = "resnet_mini"
    epochs: int = 24
    batch: int = 64
    rate: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int = 30
    dim: int = 64
    cls_dim: int = 64
    queue: int = 512
    temperature: float = 0.1
    key_momentum: float = 0.99
    prototype_momentum: float = 0.9
    alpha: float = 0.5
    threshold: float = 0.5
    weight: float = 0.1
    stages: Stages = field(default_factory=lambda: Stages(instance=0, prototypes=3, correction=10, guided=1))
    padding: int = 4
    strong: str = "ori-cj+sre"


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training leaves.

    ``trunk``: with its weights, in evaluation mode; ``mean``, ``std``: of the pixels in 0..1; ``seconds``: CPU seconds of
    all steps; ``losses``: (epochs,) means; ``labels``: (epochs, 6) of each epoch's crops: right person and canonical before
    the correction and after it, share changed, share of the changes that lead to the right person (NaN without one); empty
    where other labels were given; ``corrected``: (n,) labels used in the last epoch.
    """

    trunk: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seconds: float
    losses: np.ndarray
    labels: np.ndarray
    corrected: np.ndarray


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of R, G, B in 0..1 of (n, h, w, 3) uint8 pictures."""
    pixels = images.reshape(-1, 3)
    return tuple((pixels.mean(0) / 255).tolist()), tuple((pixels.std(0, dtype=np.float64) / 255).tolist())


def batch_view(
    images: Sequence[np.ndarray],
    view: Callable[[np.ndarray, random.Random], View],
    draw: random.Random,
    mean: Sequence[float],
    std: Sequence[float],
    erase_black: bool = False,
) -> Tensor:
    """A view of every picture, finished (see ``data.transforms.finish``): (n, 3, h, w)."""
    made = [view(image, draw) for image in images]
    stacked = View(
        torch.from_numpy(np.stack([np.asarray(one.image) for one in made])),
        torch.tensor([bool(one.flip) for one in made]),
        torch.tensor([bool(one.gray) for one in made]),
        torch.from_numpy(np.stack([np.asarray(one.erased) for one in made])),
    )
    return finish(stacked, mean, std, erase_black)


def cosine(steps: int, warm_up: int) -> Callable[[int], float]:
    """Factor of the rate at a step: rising linearly over ``warm_up``, then falling to 0 as a cosine."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warm_up))
        share = min(1.0, max(0, step - warm_up) / max(1, steps - warm_up))
        return rise * 0.5 * (1 + math.cos(math.pi * share))

    return factor


def pretrain(crops: Crops, method: str, settings: Settings, seed: int, labels: np.ndarray | None = None) -> Pretrained:
    """Train a method.

    Args:
        crops: of the street's training split.
        method: of ``pnl.METHODS``.
        settings: how.
        seed: of weights, order of batches and views.
        labels: (n,) in place of those of the crops: the true persons, for the bound.
    """
    targets = torch.from_numpy(crops.labels if labels is None else labels)
    mean, std = statistics(crops.images)
    torch.manual_seed(seed)
    order, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    model = PNL(
        settings.trunk,
        int(targets.max()) + 1,
        method,
        settings.dim,
        settings.cls_dim,
        settings.queue,
        settings.temperature,
        settings.key_momentum,
        settings.prototype_momentum,
        settings.alpha,
        settings.threshold,
        instance_weight=settings.weight,
        prototype_weight=settings.weight,
    ).to(memory_format=torch.channels_last)  # as views are; convolutions on a CPU then take a third less time
    size = (crops.images.shape[1], crops.images.shape[2])
    weak, strong = WeakView(size, settings.padding), StrongView(size, settings.strong)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(
        trained, settings.rate, settings.momentum, weight_decay=settings.weight_decay, foreach=True
    )
    each = len(targets) // settings.batch
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(settings.epochs * each, settings.warm_up))
    truth = LabelTruth(crops.labels, crops.true)
    losses, shares = [], []
    corrected = targets.clone()
    model.train()
    start = time.process_time()
    for epoch in range(settings.epochs):
        total, corrected = 0.0, targets.clone()
        seen = torch.randperm(len(targets), generator=order)[: each * settings.batch]
        for rows in seen.split(settings.batch):
            images = [crops.images[row] for row in rows.tolist()]
            queries = batch_view(images, weak, draw, mean, std)
            keys = queries if method == "supervised" else batch_view(images, strong, draw, mean, std)
            result = model.step(queries, keys, targets[rows], stage_at(epoch, settings.stages))
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
            scheduler.step()
            total += float(result.loss.detach())
            corrected[rows] = result.corrected
        losses.append(total / max(1, each))
        if labels is None:
            shares.append(_label_shares(truth, crops.labels[seen], corrected[seen].numpy(), seen.numpy()))
    seconds = time.process_time() - start
    trunk = model.embedding_net().eval()
    return Pretrained(trunk, mean, std, seconds, np.array(losses), np.array(shares), corrected.numpy())


def _label_shares(truth: LabelTruth, labels: np.ndarray, corrected: np.ndarray, rows: np.ndarray) -> list[float]:
    changed = corrected != labels
    precision = float(truth.right_person(corrected, rows)[changed].mean()) if changed.any() else math.nan
    return [*truth.accuracy(labels, rows), *truth.accuracy(corrected, rows), float(changed.mean()), precision]


@torch.no_grad()
def embed(model: nn.Module, images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Features of pictures as they are: a trunk's pooled map, or what a re-ID model gives; of unit length, (n, d) float32."""
    found = []
    model.eval()
    for start in range(0, len(images), _CHUNK):
        batch = images[start : start + _CHUNK]
        off = torch.zeros(len(batch), dtype=torch.bool)
        erased = torch.from_numpy(np.tile(NOT_ERASED, (len(batch), 1)))
        output = model(finish(View(torch.from_numpy(batch), off, off, erased), mean, std))
        found.append(output.mean((2, 3)) if output.ndim == 4 else output)
    return nn.functional.normalize(torch.cat(found)).numpy()


def retrieve(split: tuple[Crops, Crops], features: Callable[[np.ndarray], np.ndarray]) -> Scores | None:
    """Search the crops of other cameras for every query of a split; None for a network that has died: a crop has the feature
    zero, or one that is not finite, and no nearest neighbour."""
    found = [features(crops.images) for crops in split]
    if not all(np.isfinite(values).all() and values.any(1).all() for values in found):
        return None
    query, gallery = (Features(values, crops.true, crops.cameras) for values, crops in zip(found, split, strict=True))
    return evaluate_retrieval(query, gallery)
