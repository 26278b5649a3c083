"""Fine-tuning: which parts are trained, at which rates, and the loss."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from av_deepfake.models.branches import Detector
from av_deepfake.objective.recipe import Recipe

Unfreeze = Literal["none", "encoder", "last_stage", "all", "head_only"]
"""What is trained besides the head: nothing (``none`` and ``head_only``, the linear probe), the encoder, the front-end's last
stage with it, or everything."""


class MouthBatch(NamedTuple):
    """n clips. pictures: (n, t, s, s) uint8. valid: (n, t) bool. label: (n,) float32, 1 = fake."""

    pictures: Tensor
    valid: Tensor
    label: Tensor


class Frozen:
    """The parts of a detector that are not trained: no gradients, and evaluation mode, so that statistics stay too.

    Args:
        detector: whose parameters are marked.
        unfreeze: what is trained.
    """

    def __init__(self, detector: Detector, unfreeze: Unfreeze = "encoder") -> None:
        stages = _stages(detector)
        trained = {"none": 1, "head_only": 1, "encoder": 2, "last_stage": 3, "all": len(stages)}[unfreeze]
        self.parts = [part for stage in stages[trained:] for part in stage]
        for stage in stages:
            for part in stage:
                part.requires_grad_(part not in self.parts)

    def keep(self) -> None:
        """Put the frozen parts into evaluation mode; to be called after ``train()`` of what holds them."""
        for part in self.parts:
            part.eval()


def _stages(detector: Detector) -> list[list[nn.Module]]:
    """Parts from the head down to the stem."""
    trunk = [[layer] for _, layer in sorted(detector.frontend.trunk.named_children(), reverse=True)]
    return [[detector.head], [detector.encoder], *trunk, [detector.frontend.frontend3D]]


def parameter_groups(detector: Detector, recipe: Recipe, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """The parameters that are trained.

    Args:
        detector: whose frozen parts are marked.
        recipe: rate and decay.
        layer_decay: each part below the head has the rate of the part above times this.
    """
    groups: list[dict[str, Any]] = []
    for depth, stage in enumerate(_stages(detector)):
        groups += recipe.groups((p for part in stage for p in part.parameters()), layer_decay ** max(0, depth - 1))
    return groups


def detection_loss(logits: Tensor, label: Tensor, fakes: float | None = None) -> Tensor:
    """Cross entropy of logits (n,), in float32.

    Args:
        logits: positive means fake.
        label: (n,), 1 = fake.
        fakes: share of fakes in the training where it is not balanced: logits are adjusted by the log of the odds, so that
            the network's own are those of a balanced set (Menon et al., 2021). None: balanced.
    """
    logits = logits.float()
    if fakes is not None:
        logits = logits + math.log(fakes / (1 - fakes))
    return binary_cross_entropy_with_logits(logits, label.float())
