"""Training of pre-training and of fine-tuning. Wiring only."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from luperson_nl.data.corrections import Corrections, sentence
from luperson_nl.data.viewing import Retrieval
from luperson_nl.losses import SETTINGS, LossSettings, reid_loss
from luperson_nl.models.reid import Reid, build_reid
from luperson_nl.models.trunks import build_trunk
from luperson_nl.pnl import METHODS, PNL, Stages, stage_at
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


class PretrainingModule(Trained):
    """PNL and its baselines. Logged: ``train_loss`` and its terms, and the statistics of ``Corrections`` as ``labels_*``.

    Args:
        trunk: of ``models.trunks.build_trunk``.
        method: ``pnl``, ``supervised``, ``moco``, ``simclr`` or ``supcon``.
        stages: the epochs at which the parts of PNL begin.
        recipe: optimiser and schedule.
        weights: what the trunk begins with, whatever ``pretrained.load`` takes; null: random.
        save_labels: write ``labels_epochNN.npz`` into the run's folder: key, label, corrected, max_p.
        num_classes: of the data, as are the next three.
        size: of the pictures.
        mean: of their pixels in 0..1.
        std: of their pixels.
        dim: of the embedding; the rest as ``pnl.PNL`` has it.
        cls_dim: width before the classifier.
        queue_size: keys.
        temperature: tau.
        key_momentum: m1.
        prototype_momentum: m2.
        alpha: weight of the classifier in the correction.
        threshold: T of the correction.
        guided_label: raw, as the published code; corrected, as the paper describes.
        instance_weight: of the instance loss.
        prototype_weight: of the prototypes' loss.
    """

    def __init__(
        self,
        trunk: str = "resnet50",
        method: Literal["pnl", "supervised", "moco", "simclr", "supcon"] = "pnl",
        stages: Stages = Stages(),  # noqa: B008 (frozen)
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
        weights: str | None = None,
        save_labels: bool = False,
        num_classes: int = 1,
        size: tuple[int, int] = (256, 128),
        mean: list[float] | None = None,
        std: list[float] | None = None,
        dim: int = 128,
        cls_dim: int | None = 256,
        queue_size: int = 65536,
        temperature: float = 0.07,
        key_momentum: float = 0.999,
        prototype_momentum: float = 0.999,
        alpha: float = 0.5,
        threshold: float = 0.8,
        guided_label: Literal["raw", "corrected"] = "raw",
        instance_weight: float = 1.0,
        prototype_weight: float = 1.0,
    ) -> None:
        embedder = {"kind": "trunk", "trunk": trunk, "size": list(size), "mean": mean, "std": std}
        super().__init__(recipe, embedder)
        assert method in METHODS
        net = build_trunk(trunk)
        if weights is not None:
            _start(net, trunk, weights)
        contrast = (dim, cls_dim, queue_size, temperature, key_momentum, prototype_momentum, alpha, threshold)
        self.model: PNL = PNL(net, num_classes, method, *contrast, guided_label, instance_weight, prototype_weight)
        self.method, self.stages, self.save_labels, self.threshold = method, stages, save_labels, threshold
        self.corrections: Corrections | None = None
        self._begun: Tensor | None = None
        self._resumed: dict[str, Any] | None = None

    @property
    def _prototypes(self) -> Tensor | None:
        return None if self.model.objective is None else self.model.objective.prototypes.rows

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if self.method != "supervised" and len(data.views) < 2:
            raise UserError(f"method {self.method} compares two views: set data.views to [weak, strong]")
        self.model.check_batch(data.batch_size)
        if self.method == "pnl":
            self.corrections = Corrections(data.labels, self.threshold, data.true, data.keys, self.device)
        if self._resumed is not None and self.corrections is not None:
            self.corrections.load_state_dict(self._resumed["corrections"])
            self._begun = self._resumed["begun"].to(self.device)

    def on_train_epoch_start(self) -> None:
        # Not called where a training goes on within an epoch.
        if self.corrections is not None and self._prototypes is not None:
            self.corrections.reset()
            self._begun = self._prototypes.clone()

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        views, labels = batch["views"], batch["label"]
        result = self.model.step(views[0], views[-1], labels, stage_at(self.current_epoch, self.stages))
        if self.corrections is not None:
            self.corrections.add(batch["index"], result.corrected, result.max_p, result.entropy)
        self._log_losses(result.loss, result.terms, len(labels))
        return result.loss

    def on_train_epoch_end(self) -> None:
        if self.corrections is None or self.model.objective is None:
            return
        path = None
        if self.save_labels and self.trainer.loggers and self.trainer.log_dir is not None:
            path = Path(self.trainer.log_dir) / f"labels_epoch{self.current_epoch:02d}.npz"
        found = self.corrections.finish(path)
        found |= {"unseen": float(self.model.objective.prototypes.num_unseen()), "drift": self._drift()}
        self.log_dict({f"labels_{name}": value for name, value in found.items()}, sync_dist=True)
        if self.trainer.is_global_zero:
            log.info("epoch %d: %s", self.current_epoch, sentence(found))

    def _drift(self) -> float:
        """Mean of 1 - cosine between an identity's prototype before and after the epoch, of those that had one before."""
        now = self._prototypes
        if self._begun is None or now is None or not (had := self._begun.any(1)).any():
            return 0.0
        return float((1 - cosine_similarity(self._begun[had], now[had])).mean())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.corrections is not None and self._begun is not None:
            checkpoint["labels"] = {"corrections": self.corrections.state_dict(), "begun": self._begun}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("labels")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._collect(batch)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", self.trainer.datamodule.final)  # pyright: ignore[reportAttributeAccessIssue]


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
            _start(self.model, trunk, weights)
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


def _start(network: Any, trunk: str, weights: str) -> None:
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
