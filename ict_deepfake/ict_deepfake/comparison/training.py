"""One training of a method in memory, as ``train`` does it, without what surrounds it there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from ict_deepfake.data.pairs import PairBatches
from ict_deepfake.lightning_module import Recipe
from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT, Embeddings
from ict_deepfake.objective import Objective, binary_loss, normalised

Method = Literal["ict", "binary"]
_CHUNK = 512
NETWORK = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "stem": "conv"}
"""Of the default recipe."""


@dataclass(frozen=True)
class Settings:
    """How both methods are trained.

    Args:
        steps: of 32 pairs each.
        rate: highest rate of AdamW.
        objective: of ICT.
        network: arguments of both networks besides the size of the pictures.
    """

    steps: int = 2000
    rate: float = 8e-3
    objective: Objective = field(default_factory=lambda: Objective(scale=16.0, margin=0.2))
    network: dict[str, Any] = field(default_factory=lambda: dict(NETWORK))

    def without_consistency(self) -> Settings:
        """lambda = 0."""
        return replace(self, objective=replace(self.objective, consistency=0.0))


class Trained(NamedTuple):
    """A network in evaluation mode, CPU seconds of its training, and the mean loss of each twentieth of it."""

    model: ICT | BinaryNetwork
    seconds: float
    losses: np.ndarray


def train(batches: PairBatches, method: Method, settings: Settings, seed: int) -> Trained:
    """Train a method.

    Args:
        batches: what is trained on, the same for both methods.
        method: ict, or binary: is a picture swapped?
        settings: how.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    network = {**settings.network, "img_size": batches.crops.alignment.crop}
    recipe = Recipe(settings.rate)
    model: ICT | BinaryNetwork
    if method == "binary":
        model = BinaryNetwork(**network)
        trained = torch.nn.ModuleList([model])
        head = None
    else:
        model = ICT(**network)
        head = settings.objective.build_head(model.config["embed_dim"], len(batches.crops.source.names))
        trained = torch.nn.ModuleList([model, head])
    optimizer = recipe.optimizer(trained)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.factor(step / settings.steps))
    trained.train()
    losses, start = [], time.process_time()
    for number in range(settings.steps):
        batch = batches[number]
        if isinstance(model, BinaryNetwork):
            terms = binary_loss(model, batch)
        else:
            assert head is not None
            terms, _ = settings.objective.ict(model, head, batch, number / settings.steps)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        scheduler.step()
        losses.append(float(terms["loss"].detach()))
    seconds = time.process_time() - start
    means = [float(np.mean(part)) for part in np.array_split(losses, min(20, len(losses)))]
    return Trained(model.eval(), seconds, np.array(means))


@torch.no_grad()
def logits(model: BinaryNetwork, images: np.ndarray) -> np.ndarray:
    """Of pictures (n, s, s, 3) uint8: (n,), larger means fake."""
    found = [model(normalised(part)) for part in _tensors(images).split(_CHUNK)]
    return torch.cat(found).numpy()


@torch.no_grad()
def embed(model: ICT, images: np.ndarray) -> Embeddings:
    """Of pictures (n, s, s, 3) uint8."""
    found = [model(normalised(part)) for part in _tensors(images).split(_CHUNK)]
    return Embeddings(*(torch.cat(rows) for rows in zip(*found, strict=True)))


def _tensors(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
