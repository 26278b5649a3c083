"""Fine-tuning on labelled persons."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from luperson_nl.lightning_module.trained import Trained, start_from
from luperson_nl.losses import SETTINGS, LossSettings, reid_loss
from luperson_nl.models.reid import Reid, build_reid
from luperson_nl.recipes import Recipe
from shared_utils import UserError


class FinetuningModule(Trained):
    """BoT, AGW or MGN on labelled persons. Logged: ``train_loss`` and its terms.

    Args:
        kind: bot, agw or mgn.
        trunk: of ``models.trunks.build_trunk``.
        weights: what the trunk begins with, whatever ``pretrained.load`` takes; null: random.
        options: of ``models.reid.build_reid``: extra_bn, embedding_dim, pool, ...
        loss: smoothing, margin, mining, scale, circle_margin, where they are not those of the kind.
        freeze_epochs: the trunk stays as it is, with its batch norm in evaluation, for so many epochs.
        recipe: optimiser and schedule.
        num_classes: of the data, as are the next three.
        size: of the pictures.
        mean: of their pixels in 0..1.
        std: of their pixels.
    """

    def __init__(
        self,
        kind: Literal["bot", "agw", "mgn"] = "bot",
        trunk: str = "resnet50",
        weights: str | None = None,
        options: dict[str, Any] | None = None,
        loss: dict[str, Any] | None = None,
        freeze_epochs: int = 0,
        recipe: Recipe = Recipe(optimizer="adam", learning_rate=3.5e-4, weight_decay=5e-4),  # noqa: B008 (frozen)
        num_classes: int = 1,
        size: tuple[int, int] = (256, 128),
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        given = options or {}
        embedder = {"kind": kind, "trunk": trunk, "size": list(size), "mean": mean, "std": std}
        super().__init__(recipe, embedder | given | {"num_classes": num_classes})
        self.model: Reid = build_reid(kind, trunk, num_classes, **given)
        if weights is not None:
            start_from(self.model, trunk, weights)
        try:
            self.loss_settings = LossSettings(**{**vars(SETTINGS[kind]), **(loss or {})})
        except TypeError as error:
            raise UserError(f"model.loss: {error}") from error
        self.kind, self.freeze_epochs = kind, freeze_epochs

    @property
    def frozen(self) -> bool:
        """Whether the trunk stays as it is in this epoch."""
        return self.current_epoch < self.freeze_epochs

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        # For every batch: a validation, or going on within an epoch, comes in between.
        for part in self.model.trunk_parts():
            part.train(not self.frozen)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        terms = reid_loss(self.kind, self.model(batch["views"][0]), batch["label"], self.loss_settings)
        loss = torch.stack(list(terms.values())).sum()
        self._log_losses(loss, terms, len(batch["label"]))
        return loss

    def on_after_backward(self) -> None:
        # Not by requires_grad: DDP decides once, at the start, whose gradients it averages.
        if self.frozen:
            for part in self.model.trunk_parts():
                for parameter in part.parameters():
                    parameter.grad = None
