"""Fine-tuning BoT on a tenth of the identities of another street, from a pre-trained trunk or from scratch."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from luperson_nl.comparison.training import batch_view, cosine, embed, retrieve, statistics
from luperson_nl.data.street import Crops, Street
from luperson_nl.data.transforms import FineTuneView
from luperson_nl.losses import reid_loss
from luperson_nl.models.reid import build_reid
from luperson_nl.retrieval import Scores

FAR = 1000
"""What is added to the seed: a target street has other cameras and other persons than the one of pre-training."""
_STEPS, _IDENTITIES, _IMAGES, _WARM_UP = 10, 8, 4, 20


@dataclass(frozen=True)
class Target:
    """A street with true labels of few persons.

    Args:
        seed: of the street of pre-training; the target's is another one.
        persons: of its training split, of which a share is used.
        held: of its validation and test splits.
        size: of the crops.
        share: of the persons whose crops have labels.
    """

    seed: int
    persons: int = 120
    held: int = 60
    size: tuple[int, int] = (64, 32)
    share: float = 0.1

    @cached_property
    def street(self) -> Street:
        """The target street; its labels have no noise."""
        return Street(seed=self.seed + FAR, persons=max(6, round(self.share * self.persons)), size=self.size, noise=0.0)

    @cached_property
    def labelled(self) -> Crops:
        """The crops with labels."""
        return self.street.train()

    @cached_property
    def validation(self) -> tuple[Crops, Crops]:
        """Query and gallery."""
        return self.street.validation(self.held)

    @cached_property
    def test(self) -> tuple[Crops, Crops]:
        """Query and gallery."""
        return self.street.test(self.held)


@dataclass(frozen=True)
class Tuned:
    """``features``: of pictures; ``seconds``: CPU seconds of the steps; ``losses``: (steps,)."""

    features: Callable[[np.ndarray], np.ndarray]
    seconds: float
    losses: np.ndarray

    def score(self, split: tuple[Crops, Crops]) -> Scores | None:
        """Of a split of the target; see ``training.retrieve``."""
        return retrieve(split, self.features)


def finetune(
    target: Target, start: Mapping[str, Tensor] | None, trunk: str, epochs: int, rate: float, seed: int
) -> Tuned:
    """Train BoT (Adam, warm-up, cosine; 8 identities of 4 pictures a batch).

    Args:
        target: the labelled crops.
        start: weights of the trunk; None: from scratch.
        trunk: its name.
        epochs: of 10 steps.
        rate: the largest.
        seed: of the neck, of the batches and of views.
    """
    crops = target.labelled
    mean, std = statistics(crops.images)
    torch.manual_seed(seed)
    draw = random.Random(seed)
    model = build_reid("bot", trunk, int(crops.labels.max()) + 1)
    backbone = model.get_submodule("backbone")
    if start is not None:
        backbone.load_state_dict(dict(start))
    model = model.to(memory_format=torch.channels_last)
    view = FineTuneView((crops.images.shape[1], crops.images.shape[2]), 4)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, rate, weight_decay=5e-4, foreach=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(epochs * _STEPS, _WARM_UP))
    members = [np.flatnonzero(crops.labels == label).tolist() for label in range(int(crops.labels.max()) + 1)]
    model.train()
    losses, begin = [], time.process_time()
    for _ in range(epochs * _STEPS):
        chosen = draw.sample(range(len(members)), min(_IDENTITIES, len(members)))
        rows = [row for label in chosen for row in draw.sample(members[label], min(_IMAGES, len(members[label])))]
        images = batch_view([crops.images[row] for row in rows], view, draw, mean, std, erase_black=True)
        loss = torch.stack(list(reid_loss("bot", model(images), torch.from_numpy(crops.labels[rows])).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(loss.detach()))
    seconds = time.process_time() - begin
    network: nn.Module = model.eval()
    return Tuned(lambda images: embed(network, images, mean, std), seconds, np.array(losses))
