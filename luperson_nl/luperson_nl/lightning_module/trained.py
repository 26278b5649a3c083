"""What the two kinds of training share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from luperson_nl.data.viewing import Retrieval
from luperson_nl.pretrained import trunk_weights
from luperson_nl.recipes import Recipe
from luperson_nl.retrieval import Features, Scores, evaluate_retrieval
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)


class Trained(LightningModule):
    """What the two kinds of training share: optimiser and schedule, retrieval as evaluation, what a checkpoint says of itself.

    Logged at evaluation: ``val_mAP``, ``val_rank1``, ``val_mINP``; the same as ``test_`` where there is a test. In per cent.

    Args:
        recipe: optimiser and schedule.
        embedder: arguments of ``pretrained.Embedder`` for the network that is trained; kept in the checkpoint.
    """

    misfit_hint = "for other identities, begin with its trunk and a fresh classifier: --weights in place of --ckpt_path"

    def __init__(self, recipe: Recipe, embedder: dict[str, Any]) -> None:
        super().__init__()
        self.recipe, self.embedder = recipe, embedder
        self.model: nn.Module
        self._found: list[tuple[Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        """Refuse, before anything is trained, what would train something else."""
        strategy = self.trainer.strategy
        if getattr(strategy, "_layer_sync", None) is not None:
            raise UserError("trainer.sync_batchnorm would undo what shuffled batch norm is for: leave it out")
        if isinstance(strategy, DDPStrategy):
            # Queue and prototypes are alike on all ranks by construction; each keeps its own batch norm statistics.
            strategy._ddp_kwargs["broadcast_buffers"] = False

    def on_fit_start(self) -> None:
        pictures = getattr(self.trainer.datamodule, "retrieval", None)  # pyright: ignore[reportAttributeAccessIssue]
        if pictures is not None and self.trainer.limit_val_batches != 0:
            check_retrieval(pictures)

    def configure_optimizers(self) -> Any:
        optimizer = self.recipe.build(self.model)
        steps = self.trainer.estimated_stepping_batches  # which also counts the batches of an epoch
        each = max(1, int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches)
        schedule = self.recipe.schedule(steps / each)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / each))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"] = {"embedder": self.embedder}

    def _log_losses(self, loss: Tensor, terms: Mapping[str, Tensor], batch_size: int) -> None:
        values = {"train_loss": loss.detach(), **{f"train_{name}": value.detach() for name, value in terms.items()}}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def _collect(self, batch: tuple[Tensor, Tensor]) -> None:
        images, rows = batch
        self._found.append((rows, self.model(images).float()))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", self.trainer.datamodule.retrieval)  # pyright: ignore[reportAttributeAccessIssue]

    def _log_scores(self, stage: str, pictures: Retrieval | None) -> None:
        found, self._found = self._found, []
        if self.trainer.sanity_checking or pictures is None or not found:
            return
        rows, features = (distributed.gather(torch.cat(parts)).cpu().numpy() for parts in zip(*found, strict=True))
        if len(rows) < len(pictures):
            return  # a trial run, with a part of the pictures
        scores = retrieved(features[np.argsort(rows)], pictures)
        values = {"mAP": 100 * scores.mAP, "rank1": 100 * float(scores.cmc[0]), "mINP": 100 * scores.mINP}
        self.log_dict({f"{stage}_{name}": value for name, value in values.items()}, sync_dist=True)
        if self.trainer.is_global_zero:
            what = "validation" if stage == "val" else "test"
            log.info("%s: mAP %.1f, rank-1 %.1f (%d queries)", what, values["mAP"], values["rank1"], scores.valid)


def retrieved(features: np.ndarray, pictures: Retrieval) -> Scores:
    """Search the gallery for every query by features in the order of the pictures."""
    n = pictures.num_query
    query, gallery = (
        Features(features[part], pictures.pid[part], pictures.camera[part]) for part in (slice(n), slice(n, None))
    )
    return evaluate_retrieval(query, gallery)


def check_retrieval(pictures: Retrieval) -> None:
    """Raise UserError where no query has a match of another camera, which would be found only after the first epochs."""
    n = pictures.num_query
    seen: dict[int, set[int]] = {}
    for person, camera in zip(pictures.pid[n:].tolist(), pictures.camera[n:].tolist(), strict=True):
        seen.setdefault(person, set()).add(camera)
    pairs = zip(pictures.pid[:n].tolist(), pictures.camera[:n].tolist(), strict=True)
    if not any(seen.get(person, set()) - {camera} for person, camera in pairs):
        raise UserError(
            f"none of the {n} queries has a match from another camera in the gallery: validate with a data set of two or more "
            "cameras, or leave validation out with --trainer.limit_val_batches 0"
        )


def start_from(network: Any, trunk: str, weights: str) -> None:
    """Begin with the trunk of other weights, whatever head they have."""
    name, state = trunk_weights(weights)
    if name != trunk:
        raise UserError(f"{weights} has the trunk {name}, this model has {trunk}: set model.trunk to {name}")
    if hasattr(network, "load_trunk"):
        network.load_trunk(state)
    else:
        network.load_state_dict(state)
    log.info(
        "beginning with the trunk of %s (%s, %d entries); heads and classifier are fresh", weights, name, len(state)
    )
