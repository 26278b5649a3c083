"""Training of PNL and of its baselines."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.parallel import DistributedDataParallel

from luperson_nl.data.corrections import Corrections, sentence
from luperson_nl.lightning_module.trained import Trained, start_from
from luperson_nl.models.trunks import build_trunk
from luperson_nl.pnl import METHODS, PNL, SPLIT, Prototypes, Shard, Stages, stage_at
from luperson_nl.pnl.sharding import map_momenta
from luperson_nl.recipes import Recipe
from shared_utils import UserError

log = logging.getLogger(__name__)


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
        prototype_reset_epoch: at its start, prototypes become the mean embeddings of the epoch before; null: never.
        classifier_sharding: none; or partial_fc, which splits classifier and prototypes over processes (``pnl.sharding``).
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
        prototype_reset_epoch: int | None = None,
        classifier_sharding: Literal["none", "partial_fc"] = "none",
    ) -> None:
        if prototype_reset_epoch is not None and (prototype_reset_epoch < 1 or method != "pnl"):
            raise UserError(
                f"model.prototype_reset_epoch {prototype_reset_epoch} with method {method}: give 1 or more, with method pnl; "
                "the prototypes become the means of the epoch before"
            )
        if classifier_sharding != "none" and recipe.optimizer == "lars":
            raise UserError("model.recipe.optimizer lars takes norms of whole tensors: set classifier_sharding to none")
        embedder = {"kind": "trunk", "trunk": trunk, "size": list(size), "mean": mean, "std": std}
        super().__init__(recipe, embedder)
        assert method in METHODS
        net = build_trunk(trunk)
        if weights is not None:
            start_from(net, trunk, weights)
        contrast = (dim, cls_dim, queue_size, temperature, key_momentum, prototype_momentum, alpha, threshold)
        weighted = (guided_label, instance_weight, prototype_weight)
        self.model: PNL = PNL(net, num_classes, method, *contrast, *weighted, classifier_sharding=classifier_sharding)
        self.prototype_reset_epoch = prototype_reset_epoch
        self.method, self.stages, self.save_labels, self.threshold = method, stages, save_labels, threshold
        self.corrections: Corrections | None = None
        self._begun: Tensor | None = None
        self._resumed: dict[str, Any] | None = None

    @property
    def _prototypes(self) -> Prototypes | None:
        return None if self.model.objective is None else self.model.objective.prototypes

    def setup(self, stage: str) -> None:
        super().setup(stage)
        shard = self.model.split_classes(self.trainer.strategy.root_device)
        if shard is None:
            return
        if not isinstance(self.trainer.strategy, DDPStrategy):
            raise UserError("classifier_sharding partial_fc is made for trainer.strategy ddp: choose it, or set none")
        if self.trainer.gradient_clip_val:
            raise UserError(
                "trainer.gradient_clip_val would be of a part of the classes: set classifier_sharding to none"
            )
        names = [f"model.{name}" for name in SPLIT]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, names)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if self.method != "supervised" and len(data.views) < 2:
            raise UserError(f"method {self.method} compares two views: set data.views to [weak, strong]")
        self.model.check_batch(data.batch_size)
        if self.method == "pnl":
            self.corrections = Corrections(data.labels, self.threshold, data.true, data.keys, self.device)
        if self._resumed is not None and self.corrections is not None and self._prototypes is not None:
            self.corrections.load_state_dict(self._resumed["corrections"])
            cut = self._prototypes.classes.cut
            self._begun = cut(self._resumed["begun"]).to(self.device)
            if (sums := self._resumed.get("sums")) is not None:
                self._prototypes.sums = cut(sums).to(self.device)

    def on_train_epoch_start(self) -> None:
        # Not called where a training goes on within an epoch.
        prototypes = self._prototypes
        if self.corrections is None or prototypes is None:
            return
        if self.current_epoch == self.prototype_reset_epoch and prototypes.sums is not None:
            prototypes.become_means()
            log.info("epoch %d: the prototypes are the mean embeddings of the epoch before", self.current_epoch)
        if self.prototype_reset_epoch is not None and self.current_epoch == self.prototype_reset_epoch - 1:
            prototypes.collect()
        self.corrections.reset()
        self._begun = prototypes.rows.clone()

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
        prototypes = self._prototypes
        if self._begun is None or prototypes is None:
            return 0.0
        had = self._begun.any(1)
        moved = 1 - cosine_similarity(self._begun[had], prototypes.rows[had])
        total, count = prototypes.classes.total(torch.stack([moved.sum(), had.sum()]))
        return float(total / count) if count else 0.0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.corrections is not None and self._begun is not None and self._prototypes is not None:
            join, sums = self._prototypes.classes.join, self._prototypes.sums
            checkpoint["labels"] = {"corrections": self.corrections.state_dict(), "begun": join(self._begun)}
            if sums is not None:
                checkpoint["labels"]["sums"] = join(sums)
        self._map_momenta(checkpoint, "join")

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("labels")
        self._map_momenta(checkpoint, "cut")

    def _map_momenta(self, checkpoint: dict[str, Any], way: Literal["join", "cut"]) -> None:
        """Momenta of split parameters: whole in a checkpoint, as the parameters are."""
        shard = self.model.encoder_q.classes
        if isinstance(shard, Shard) and checkpoint.get("optimizer_states"):
            state = checkpoint["optimizer_states"][0]
            places = self._split_places()
            checkpoint["optimizer_states"] = [map_momenta(state, places, getattr(shard, way))]

    def _split_places(self) -> list[int]:
        """Where an optimiser has the parameters that are split over processes."""
        own = dict(self.model.named_parameters())
        split = {id(own[name]) for name in SPLIT if name in own}
        groups = self.recipe.build(self.model).param_groups
        order = [parameter for group in groups for parameter in group["params"]]
        return [place for place, parameter in enumerate(order) if id(parameter) in split]

    def test_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._collect(batch)

    def on_test_epoch_end(self) -> None:
        self._log_scores("test", self.trainer.datamodule.final)  # pyright: ignore[reportAttributeAccessIssue]
