"""Pre-training and fine-tuning through Lightning. Wiring only."""

from __future__ import annotations

import copy
import logging
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from av_deepfake import metrics
from av_deepfake.data.labelled import Labelled
from av_deepfake.losses import Queue, Temperature, collapse, follow, retrieval
from av_deepfake.models.branches import AudioVisual, Compare, Detector
from av_deepfake.objective import (
    Agreement,
    Frozen,
    MouthBatch,
    Recipe,
    TalkingBatch,
    Unfreeze,
    detection_loss,
    normalised,
    parameter_groups,
)
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)
_CHECKED_EVERY = 50  # steps


class _Trained(LightningModule):
    """What both trainings share: schedule, and what a checkpoint says of its network."""

    recipe: Recipe
    described: dict[str, Any]

    def _groups(self) -> list[dict[str, Any]]:
        return self.recipe.groups(self.parameters())

    def configure_optimizers(self) -> Any:
        optimizer = self.recipe.optimizer(self._groups())
        total = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.recipe.factor(step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        if self.recipe.clip:
            self.clip_gradients(optimizer, self.recipe.clip, "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"] = {"mouth_model": self.described}

    def _log_terms(self, terms: dict[str, Tensor], count: int) -> None:
        values = {f"train_{name}": value.detach() for name, value in terms.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)


class Pretraining(_Trained):
    """Brings the pictures of talking mouths and their own sound together.

    Logged: ``train_loss``, its terms, ``train_top1_va`` and ``train_top1_av`` within the batch, ``train_spread`` (see
    ``collapse``); ``val_top1_va``, ``val_top1_av``, ``val_spread``, ``val_rank``; the same of each test set. The loss is computed
    in float32 whatever trainer.precision says.

    Args:
        stage: pretraining; what tells the command which of the two trainings a config is of.
        video: arguments of ``models.branches.VideoBranch``.
        audio: arguments of ``models.branches.AudioBranch``.
        projection: length of the rows that are compared.
        compare: rows of the whole clip, or those of its frames (see ``models.branches.AudioVisual``).
        objective: of the loss.
        recipe: optimiser and schedule.
        collapse: the training stops where the spread of the clips' rows (1 on the whole sphere, 0 in one point) is below.
        preprocessing: how clips are made, of the data, as is the next one.
        training: what is trained on.
    """

    def __init__(
        self,
        stage: Literal["pretraining"] = "pretraining",
        video: dict[str, Any] | None = None,
        audio: dict[str, Any] | None = None,
        projection: int = 256,
        compare: Compare = "clip",
        objective: Agreement = Agreement(),  # noqa: B008 (frozen)
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
        collapse: float = 0.02,
        preprocessing: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (audio or {}).get("kind", "mel") != "mel":
            raise UserError("model.audio.kind: the data give log-mel, choose mel (waveform is for published weights)")
        try:
            self.model = AudioVisual(video or {}, audio or {}, projection, compare)
        except (TypeError, ValueError) as error:
            raise UserError(f"model.video or model.audio: {error}") from error
        self.objective, self.recipe, self.collapse = objective, recipe, collapse
        self.temperature = Temperature(objective.temperature) if objective.learned else None
        self.momentum: AudioVisual | None = None
        self.queue: Queue | None = None
        if objective.queue:
            self.momentum = copy.deepcopy(self.model).requires_grad_(False)
            self.queue = Queue(
                objective.queue, projection * (self.model.video.config["frames"] if compare == "frames" else 1)
            )
        self.preprocessing = preprocessing or {}
        self.described = {
            "video": self.model.video.config,
            "audio": self.model.audio.config,
            "projection": projection,
            "compare": compare,
            "detector": None,
            "preprocessing": self.preprocessing,
            "training": training or {},
        }
        self._found: dict[int, list[tuple[Tensor, ...]]] = {}

    def _pixels(self) -> tuple[float, float]:
        return self.preprocessing.get("mean", 0.421), self.preprocessing.get("std", 0.165)

    def training_step(self, batch: TalkingBatch, batch_index: int) -> Tensor:
        terms = self.objective.terms(self.model, batch, *self._pixels(), self.temperature, self.queue)
        if self.momentum is not None and self.queue is not None:
            follow(self.momentum, self.model, self.objective.momentum)
            with torch.no_grad():
                video, audio, _ = self.objective.embed(self.momentum, batch, *self._pixels())
            self.queue.push(video.clip, audio.clip, batch.video)
        if (self.trainer.global_step + 1) % _CHECKED_EVERY == 0:
            self._check_spread(float(terms["spread"]))
        self._log_terms(terms, len(batch.video))
        return terms["loss"]

    def _check_spread(self, spread: float) -> None:
        # On all ranks alike, so that none waits for one that has stopped.
        spread = float(distributed.gather(torch.tensor([spread])).mean())
        if not spread >= self.collapse:  # also where it is not a number
            raise UserError(
                f"the features have collapsed: their spread is {spread:.3f} at step {self.trainer.global_step + 1} (below "
                f"model.collapse {self.collapse:g}); lower model.recipe.rate, or raise data.batch_size"
            )

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        row, pictures, sound = batch
        video = self.model.embed_video(normalised(pictures, *self._pixels())).clip
        audio = self.model.embed_audio(sound.unsqueeze(1)).clip
        self._found.setdefault(dataloader_idx, []).append((row, video.float(), audio.float()))

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        held = self.trainer.datamodule.held  # pyright: ignore[reportAttributeAccessIssue]
        self._log_retrieval([("val", held)] if held is not None else [])

    def on_test_epoch_end(self) -> None:
        final = self.trainer.datamodule.final  # pyright: ignore[reportAttributeAccessIssue]
        self._log_retrieval([(f"test_{each.name}", each) for each in final])

    def _log_retrieval(self, sets: list[tuple[str, Any]]) -> None:
        found, self._found = self._found, {}
        for number, (name, clips) in enumerate(sets):
            if self.trainer.sanity_checking or number not in found:
                continue
            row, video, audio = (distributed.gather(torch.cat(parts)) for parts in zip(*found[number], strict=True))
            if len(row) < len(clips):
                continue  # a trial run, with a part of the clips
            numbers = retrieval(video, audio) | {key: collapse(video)[key] for key in ("spread", "rank")}
            values = {f"{name}_{key}": value for key, value in numbers.items()}
            self.log_dict(values, sync_dist=True)
            if self.trainer.is_global_zero:
                log.info(
                    "%s: of %d clips %.3f find their sound (chance %.3f), %.3f of the sounds their picture",
                    *(name, len(clips), numbers["top1_va"], 1 / len(clips), numbers["top1_av"]),
                )


class Detection(_Trained):
    """Trains a part of a network on forged and real clips.

    Logged: ``train_loss``; ``val_auc`` of videos; of each test set ``test_NAME_auc``, ``test_NAME_auc_METHOD`` of each method,
    and ``test_NAME_auc_seen`` of those that were trained on.

    Args:
        stage: detection; what tells the command which of the two trainings a config is of.
        weights: what to begin with: bundled, or whatever ``pretrained.load`` takes; null: from scratch.
        video: from scratch: arguments of ``models.branches.VideoBranch``.
        unfreeze: encoder: the front-end stays as it is, its batch norm included; last_stage: its last stage is trained too; all;
            none or head_only: the linear probe.
        layer_decay: each part below the encoder has the rate of the part above times this.
        recipe: optimiser and schedule.
        prior: share of fakes of the data where batches are not balanced, of the data, as are the next two.
        preprocessing: how clips are made.
        training: what is trained on.
    """

    def __init__(
        self,
        stage: Literal["detection"] = "detection",
        weights: str | None = "bundled",
        video: dict[str, Any] | None = None,
        unfreeze: Unfreeze = "encoder",
        layer_decay: float = 1.0,
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
        prior: float | None = None,
        preprocessing: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.preprocessing, self.recipe = preprocessing or {}, recipe
        self.layer_decay, self.prior = layer_decay, prior
        training = training or {}
        audio, projection = None, None
        if weights is None:
            try:
                self.model = Detector(**(video or {}))
            except (TypeError, ValueError) as error:
                raise UserError(f"model.video: {error}") from error
        else:
            self.model, earlier = _begin(weights, self.preprocessing)
            training = {**earlier, **training}
        self.frozen = Frozen(self.model, unfreeze)
        self.described = {
            **{"video": None, "audio": audio, "projection": projection, "detector": self.model.config},
            **{"preprocessing": self.preprocessing, "training": training},
        }
        self._found: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def train(self, mode: bool = True) -> Detection:
        super().train(mode)
        if mode and hasattr(self, "frozen"):
            self.frozen.keep()
        return self

    def _groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.recipe, self.layer_decay)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        # A validation puts every part back into the mode it was in; so does going on within an epoch.
        self.frozen.keep()

    def _pixels(self) -> tuple[float, float]:
        return self.preprocessing.get("mean", 0.421), self.preprocessing.get("std", 0.165)

    def training_step(self, batch: MouthBatch, batch_index: int) -> Tensor:
        logits = self.model(normalised(batch.pictures, *self._pixels()), batch.valid)
        loss = detection_loss(logits, batch.label, self.prior)
        right = ((logits > 0) == (batch.label > 0.5)).float().mean()
        self._log_terms({"loss": loss, "accuracy": right}, len(batch.label))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        row, pictures, valid = batch
        logits = self.model(normalised(pictures, *self._pixels()), valid)
        self._found.setdefault(dataloader_idx, []).append((row, logits.float()))

    def test_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_index, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        held = self.trainer.datamodule.held  # pyright: ignore[reportAttributeAccessIssue]
        self._log_auc([("val", held)] if held is not None else [])

    def on_test_epoch_end(self) -> None:
        final = self.trainer.datamodule.final  # pyright: ignore[reportAttributeAccessIssue]
        self._log_auc([(f"test_{name}", held) for name, held in final])

    def _log_auc(self, sets: list[tuple[str, Any]]) -> None:
        found, self._found = self._found, {}
        trained_on = self.trainer.datamodule.methods  # pyright: ignore[reportAttributeAccessIssue]
        for number, (name, held) in enumerate(sets):
            if self.trainer.sanity_checking or number not in found:
                continue
            row, logits = (distributed.gather(torch.cat(parts)) for parts in zip(*found[number], strict=True))
            if len(row) < len(held):
                continue  # a trial run, with a part of the clips
            values = video_auc(logits[row.argsort()], held.videos, trained_on)
            self.log_dict({f"{name}_{key}": value for key, value in values.items()}, sync_dist=True)
            if self.trainer.is_global_zero:
                log.info("%s: AUC of videos %s", name, ", ".join(f"{key} {value:.3f}" for key, value in values.items()))


def video_auc(logits: Tensor, videos: Labelled, trained_on: list[str]) -> dict[str, float]:
    """AUC of videos: all, of each method, and of the methods that were trained on.

    Args:
        logits: (n,) of the clips, in the order of their index.
        videos: whose clips they are.
        trained_on: methods.
    """
    keys = [videos.keys[video] for video in videos.index.video]
    found = metrics.video_level(logits.cpu().numpy(), keys, videos.label[videos.index.video])
    method = [str(key[0]) for key in found.keys]  # type: ignore[index]

    def area(of: list[str]) -> float:
        rows = [i for i, name in enumerate(method) if found.labels[i] == 0 or name in of]
        return metrics.auc(found.logits[rows], found.labels[rows])

    values = {"auc": area(videos.methods)} | {f"auc_{name}": area([name]) for name in videos.methods}
    seen = [name for name in videos.methods if name in trained_on]
    return values | ({"auc_seen": area(seen)} if seen and len(seen) < len(videos.methods) else {})


def _begin(weights: str, preprocessing: dict[str, Any]) -> tuple[Detector, dict[str, Any]]:
    """A detector with a pre-trained branch and a fresh head, and what it was trained on."""
    from av_deepfake import pretrained

    source = pretrained.load(None if weights == "bundled" else weights)
    branch = source.video
    if branch is None:
        raise UserError(f"{weights} has no pre-trained video branch: give a run of the pre-training")
    detector = Detector(**branch.config)
    missing, unexpected = detector.load_state_dict(branch.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("head.") for name in missing), "a branch and a head make a detector"
    for key in ("mean", "std", "variant"):
        ours, theirs = preprocessing.get(key), source.preprocessing.get(key)
        if ours is not None and theirs is not None and ours != theirs:
            log.warning("%s was pre-trained on crops with %s %s, these have %s", weights, key, theirs, ours)
    log.info("beginning with the branch of %s; the head is fresh", weights)
    return detector, dict(source.training_data)
