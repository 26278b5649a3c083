"""Training of the two-token network, and of its binary control. Wiring only."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ict_deepfake import metrics
from ict_deepfake.margin import MarginHead
from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT
from ict_deepfake.objective import Objective, PairBatch, binary_loss, identity_accuracy, normalised, spread
from ict_deepfake.scores import consistency
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)
_CHECKED_EVERY = 50  # steps


@dataclass(frozen=True)
class Recipe:
    """AdamW whose rate rises and falls once over the whole training.

    Args:
        rate: at its highest.
        weight_decay: of matrices; tokens, biases and norms have none.
        rise: share of the training over which the rate rises.
        start: factor of the rate at the beginning; it ends near 0.
    """

    rate: float = 5e-4
    weight_decay: float = 0.05
    rise: float = 0.3
    start: float = 0.04

    def __post_init__(self) -> None:
        if self.rate <= 0 or not 0 <= self.rise < 1:
            raise UserError(f"model.recipe: a rate is above 0 and a rise in 0..1, got {self.rate} and {self.rise}")

    def factor(self, share: float) -> float:
        """Of the rate, when a share of the training is done: half a cosine up, half a cosine down."""
        if share < self.rise:
            return self.start + (1 - self.start) * 0.5 * (1 - math.cos(math.pi * share / self.rise))
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - self.rise) / (1 - self.rise))))

    def optimizer(self, module: nn.Module) -> torch.optim.AdamW:
        """Of all parameters of a module."""
        plain = [each for each in module.parameters() if each.ndim < 2 or each.shape[0] == 1]
        decayed = [each for each in module.parameters() if not (each.ndim < 2 or each.shape[0] == 1)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.rate, fused=True)


class TrainingModule(LightningModule):
    """Trains ICT on swapped pairs, or the binary control on the same pictures.

    Logged: ``train_loss`` and its terms; ``train_inner_accuracy`` and ``train_outer_accuracy`` of the identities,
    ``train_spread`` (see ``collapse``), ``margin``, ``lambda``; ``val_auc`` of held identities' swaps against genuine
    pictures, of each kind of swap as ``val_auc_KIND``.

    Args:
        method: ict, or binary: is a picture swapped?
        patch_size: of the network, as are the next six.
        embed_dim: length of a token.
        depth: blocks.
        num_heads: of attention.
        mlp_ratio: of the MLPs.
        stem: linear, as published, or conv for small pictures.
        drop_path: of the last block.
        objective: identity and consistency terms.
        recipe: optimiser and schedule.
        collapse: the training stops where the mean squared distance between different identities is below.
        init: a checkpoint, run or exported folder to begin with; the head is fresh.
        num_classes: identities of the data, as are the next two.
        size: of the pictures.
        alignment: where a face lies in them.
    """

    def __init__(
        self,
        method: Literal["ict", "binary"] = "ict",
        patch_size: int = 8,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        stem: Literal["linear", "conv"] = "linear",
        drop_path: float = 0.0,
        objective: Objective = Objective(),  # noqa: B008 (frozen)
        recipe: Recipe = Recipe(),
        collapse: float = 0.2,
        init: str | None = None,
        num_classes: int = 2,
        size: int = 112,
        alignment: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        network = {"img_size": size, "patch_size": patch_size, "embed_dim": embed_dim, "depth": depth}
        network |= {"num_heads": num_heads, "mlp_ratio": mlp_ratio, "stem": stem, "drop_path": drop_path}
        self.method, self.objective, self.recipe, self.collapse = method, objective, recipe, collapse
        self.alignment = alignment
        self.head: MarginHead | None = None
        self.model: ICT | BinaryNetwork
        if method == "binary":
            self.model = BinaryNetwork(**network)
        else:
            self.model = ICT(**network)
            self.head = objective.build_head(embed_dim, num_classes)
        if init is not None:
            self._begin_with(init)
        self._spread: Tensor | None = None
        self._found: list[tuple[Tensor, Tensor]] = []
        self._total = 1

    def _begin_with(self, source: str) -> None:
        from ict_deepfake.pretrained import load

        other = load(source).model
        if not isinstance(self.model, ICT) or other.config != self.model.config:
            raise UserError(f"model.init: {source} is another network ({other.config}), this is {self.model.config}")
        self.model.load_state_dict(other.state_dict())
        log.info("beginning with the network of %s; the head is fresh", source)

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores of pictures (n, 3, s, s), normalised; larger means fake."""
        if isinstance(self.model, BinaryNetwork):
            return self.model(pictures)
        return consistency(*self.model(pictures))

    def on_fit_start(self) -> None:
        self._total = max(1, int(self.trainer.estimated_stepping_batches))

    @property
    def share(self) -> float:
        """Of the training that is done."""
        return min(1.0, self.trainer.global_step / self._total)

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        if isinstance(self.model, BinaryNetwork):
            terms = binary_loss(self.model, batch)
        else:
            assert self.head is not None
            terms, embeddings = self.objective.ict(self.model, self.head, batch, self.share)
            distance = spread(embeddings, batch)
            self._spread = distance if self._spread is None else 0.95 * self._spread + 0.05 * distance
            if (self.trainer.global_step + 1) % _CHECKED_EVERY == 0:
                self._check_spread()
                inner, outer = identity_accuracy(self.head, embeddings, batch)
                accuracy = {"train_inner_accuracy": inner, "train_outer_accuracy": outer}
                self.log_dict(accuracy, on_step=False, on_epoch=True, batch_size=2 * len(batch.a), sync_dist=True)
            terms = {**terms, "spread": distance}
        values = {f"train_{name}": value.detach() for name, value in terms.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch.a), sync_dist=True)
        return terms["loss"]

    def _check_spread(self) -> None:
        assert self._spread is not None
        distance = float(self._spread)
        if not distance >= self.collapse:  # also where it is not a number
            raise UserError(
                f"the embeddings have collapsed: different identities are {distance:.3f} apart on average (step "
                f"{self.trainer.global_step + 1}, below model.collapse {self.collapse:g}); lower model.recipe.rate, or let the "
                "consistency term begin later (model.objective.consistency_start)"
            )

    def on_train_epoch_end(self) -> None:
        if self.method == "ict":
            values = {
                "margin": self.objective.margin_at(self.share),
                "lambda": self.objective.consistency_at(self.share),
            }
            self.log_dict(values)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.recipe.optimizer(self)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.recipe.factor(step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        facts = {"model": dict(self.model.config), "alignment": self.alignment}
        checkpoint["hyper_parameters"] = {"detector" if self.method == "ict" else "binary": facts}
        checkpoint["spread"] = self._spread

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._spread = checkpoint.get("spread")

    # Evaluation ------------------------------------------------------------------------------------------------------

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        pictures, rows = batch
        self._found.append((rows, self(normalised(pictures)).float()))

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", self.trainer.datamodule.held)  # pyright: ignore[reportAttributeAccessIssue]

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self.validation_step(batch, batch_index)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", self.trainer.datamodule.final)  # pyright: ignore[reportAttributeAccessIssue]

    def _log_scores(self, stage: str, held: Any) -> None:
        found, self._found = self._found, []
        if self.trainer.sanity_checking or held is None or not found:
            return
        rows, scores = (distributed.gather(torch.cat(parts)).cpu().numpy() for parts in zip(*found, strict=True))
        if len(rows) < len(held):
            return  # a trial run, with a part of the pictures
        ordered = scores[rows.argsort()]
        genuine = held.kind == 0
        values = {}
        for number, kind in enumerate(held.kinds[1:], start=1):
            which = genuine | (held.kind == number)
            values[kind] = metrics.auc(ordered[which], held.kind[which] > 0)
        logged = {f"{stage}_auc": values[held.kinds[1]], **{f"{stage}_auc_{kind}": auc for kind, auc in values.items()}}
        self.log_dict(logged, sync_dist=True)
        if self.trainer.is_global_zero:
            shown = ", ".join(f"{kind} {auc:.3f}" for kind, auc in values.items())
            log.info("%s AUC: %s", "validation" if stage == "val" else "test", shown)
