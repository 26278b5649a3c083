"""Training of a segmenter, a detector and an upstream classifier, dense or with experts. Wiring only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.nn import functional

from rmoe.building import Mixture
from rmoe.data.detection import DetectionDataModule
from rmoe.data.mosaic import Split
from rmoe.evaluation.detection import evaluate as average_precision
from rmoe.evaluation.detection import to_results
from rmoe.evaluation.segmentation import ConfusionMatrix
from rmoe.models.detection import cascade_mask_rcnn, mask_rcnn
from rmoe.models.mosaic_net import LinearHead, PooledClassifier
from rmoe.models.segmenter import Segmenter, upernet
from rmoe.moe import auxiliary_losses, describe, parallel, update_balance
from rmoe.moe.diagnostics import load
from rmoe.moe.layer import moe_layers
from rmoe.optimisation import Recipe, parameter_groups
from rmoe.pretrained import started_backbone, started_classifier
from shared_utils import UserError
from shared_utils.distributed import world_size


class Trained(LightningModule):
    """What the three tasks share: the sum of the losses, the optimiser, the schedule.

    ``model`` is set by the task. Logged in training: ``train_loss``, every term of the task's loss, every auxiliary loss by
    name (``train_aux_importance``), unweighted. Evaluation has the task's loss alone.

    Args:
        recipe: optimiser, schedule, auxiliary losses.
    """

    network: dict[str, Any]
    """What the model is made of, kept in the checkpoint."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model: nn.Module

    def total(self, terms: Mapping[str, Tensor], batch_size: int) -> Tensor:
        """The sum of the task's terms and the weighted auxiliary losses of the last forward pass; all are logged.

        Under gradient accumulation Lightning divides the sum, so that both count alike.
        """
        first, *rest = terms.values()
        task = sum(rest, first)
        weights = self.recipe.auxiliary_losses
        balance = auxiliary_losses(self.model, tuple(weights), self.recipe.global_balance) if weights else {}
        loss = sum((weights[name] * value for name, value in balance.items()), task)
        logged = {"train_loss": loss, "train_task_loss": task}
        logged |= {f"train_{name}": value for name, value in terms.items() if len(terms) > 1}
        logged |= {f"train_aux_{name}": value for name, value in balance.items()}
        logged |= self._loads()
        values = {name: value.detach() for name, value in logged.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        return loss

    @torch.no_grad()
    def _loads(self) -> dict[str, Tensor]:
        """The share of tokens of the busiest expert, and what found no slot, as means over the mixtures."""
        found = [load(layer.routing) for _, layer in moe_layers(self.model)]
        if not found:
            return {}
        largest = torch.stack([each.share.max() for each in found]).mean()
        dropped = torch.tensor(sum(each.dropped for each in found) / len(found))
        return {"largest_load": largest.to(self.device), "dropped": dropped.to(self.device)}

    def setup(self, stage: str) -> None:
        """Spread the experts over the processes, where the recipe says so.

        Raises:
            UserError: the strategy is Lightning's ModelParallelStrategy. Its checkpoints would keep one process's experts.
        """
        if isinstance(self.trainer.strategy, ModelParallelStrategy):
            raise UserError(
                "ModelParallelStrategy (FSDP2) is not for train: write a configure_model with "
                "rmoe.moe.parallel.fully_shard_around, or give --trainer.strategy ddp --model.recipe.expert_parallel true"
            )
        if self.recipe.expert_parallel and world_size() > 1 and not self._is_sharded():
            parallel.shard_experts(self.model)
            parallel.ignore_in_ddp(self)

    def _is_sharded(self) -> bool:
        return any(True for _ in parallel.sharded_parameters(self.model))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        parallel.finish_gradients(self.model)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning's; of experts over processes by the norm over all of them."""
        if not self._is_sharded() or not gradient_clip_val:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_algorithm not in (None, "norm"):
            raise UserError("experts over processes are clipped by the norm: leave trainer.gradient_clip_algorithm out")
        else:
            parallel.clip_gradients(self.model, float(gradient_clip_val))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """As Lightning's; then the selection bias of mixtures that are balanced by one moves."""
        super().optimizer_step(*args, **kwargs)
        update_balance(self.model)

    def _groups(self) -> list[dict[str, Any]]:
        recipe = self.recipe
        return parameter_groups(
            self.model,
            recipe.learning_rate,
            recipe.weight_decay,
            recipe.residual_lr_mult,
            recipe.residual_weight_decay,
        )

    def configure_optimizers(self) -> Any:
        recipe, trainer, groups = self.recipe, self.trainer, self._groups()
        fused = self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=(recipe.betas[0], recipe.betas[1]), fused=fused
        )
        steps = int(trainer.estimated_stepping_batches)
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 1
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor(steps, max(1, steps // epochs)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What was converted, so that the model can be built again from the file alone; experts of all processes."""
        if self._is_sharded():
            parallel.gather_state(self, checkpoint["state_dict"], self._optimizer_states(checkpoint))
        checkpoint["rmoe"] = describe(self.model)
        checkpoint["network"] = self.network
        data = getattr(self._trainer, "datamodule", None)
        if data is not None and getattr(data, "root", "") is None:
            checkpoint["mosaic"] = asdict(data.mosaic)  # its rules follow from its seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Of a whole checkpoint the experts of this process."""
        if self._is_sharded():
            parallel.scatter_state(self, checkpoint["state_dict"], self._optimizer_states(checkpoint))

    def _optimizer_states(self, checkpoint: dict[str, Any]) -> list[tuple[list[nn.Parameter], dict[str, Any]]]:
        # On loading there is no optimiser yet: its parameters come in the order of the groups.
        parameters = [each for group in self._groups() for each in group["params"]]
        return [(parameters, state) for state in checkpoint.get("optimizer_states", [])]


class SegmentationModule(Trained):
    """Semantic segmentation. Logged at evaluation: ``val_loss``, ``val_miou``, ``test_miou``, ``test_pixel_accuracy``.

    Args:
        backbone: ``{"name": "swin_t", **options}`` of ``rmoe.models.backbone``, or ``{"name": "mosaic_net", ...}``.
        weights: a published file for the backbone, of any layout; None: none.
        mixture: which feed-forward layers become experts, and how; None: a dense model.
        head: ``upernet``, or ``linear`` on the finest map.
        head_channels: of UperNet.
        auxiliary_head: UperNet's second head.
        num_classes: of the data.
        class_names: in the order of the labels.
        ignore_in_mean: see ``rmoe.models.segmenter.segmentation_loss``.
        mask_padding: leave padding out of the mixtures' statistics (Swin).
        recipe: optimiser, schedule, auxiliary losses.
    """

    def __init__(
        self,
        backbone: dict[str, Any] = {"name": "swin_t"},  # noqa: B006 (never changed)
        weights: str | None = None,
        mixture: Mixture | None = None,
        head: Literal["upernet", "linear"] = "upernet",
        head_channels: int = 512,
        auxiliary_head: bool = True,
        num_classes: int = 150,
        class_names: Sequence[str] | None = None,
        ignore_in_mean: bool = True,
        mask_padding: bool = False,
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(recipe)
        names = [str(name) for name in class_names or (f"class {number}" for number in range(num_classes))]
        net = started_backbone(backbone, weights, mixture)
        options: dict[str, Any] = {"ignore_in_mean": ignore_in_mean, "mask_padding": mask_padding}
        if head == "linear":
            self.model: Segmenter = Segmenter(net, LinearHead(net.channels, num_classes), **options)
        else:
            self.model = upernet(net, num_classes, head_channels, head_channels // 2, auxiliary_head, **options)
        self.mask_padding = mask_padding
        self.network = {
            "task": "segmentation",
            "backbone": backbone,
            "head": head,
            "head_channels": head_channels,
            "auxiliary_head": auxiliary_head,
            "num_classes": num_classes,
            "class_names": names,
        }
        self.confusion = ConfusionMatrix(num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> logits (B, classes, H, W)."""
        return self.model(images)

    def training_step(self, batch: dict[str, Any] | None, batch_index: int) -> Tensor | None:
        if batch is None:
            return None  # no image of the batch could be read; each has been named
        padding = batch.get("padding") if self.mask_padding else None
        terms = self.model.losses(batch["image"], batch["label"], padding)
        return self.total(terms, len(batch["image"]))

    def _evaluate(self, batch: dict[str, Any]) -> Tensor:
        logits = self.model(batch["image"], tuple(batch["label"].shape[1:]))
        self.confusion.update(logits.argmax(1), batch["label"])
        labels = batch["label"]
        loss = functional.cross_entropy(logits, labels, ignore_index=self.model.ignore_index, reduction="sum")
        return loss / (labels != self.model.ignore_index).sum().clamp(min=1)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        loss = self._evaluate(batch)
        self.log("val_loss", loss, batch_size=len(batch["image"]), sync_dist=True)

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self.log("val_miou", self.confusion.scores().mean_iou, prog_bar=True)
        self.confusion.reset()

    def on_test_epoch_end(self) -> None:
        scores = self.confusion.scores()
        self.log_dict({"test_miou": scores.mean_iou, "test_pixel_accuracy": scores.pixel_accuracy})
        self.confusion.reset()


class DetectionModule(Trained):
    """Instance segmentation. Logged at evaluation: ``val_box_ap``, ``val_mask_ap``, ``test_box_ap``, ... in per cent.

    Args:
        backbone: see ``SegmentationModule``; also weights and mixture.
        weights: of the backbone.
        mixture: which feed-forward layers become experts.
        detector: ``mask_rcnn`` or ``cascade_mask_rcnn``.
        detector_options: of ``rmoe.models.detection.mask_rcnn``: channels, anchor_scale, min_size, ...
        num_classes: of the data, without the background.
        class_names: in the order of the labels.
        recipe: optimiser, schedule, auxiliary losses.
    """

    def __init__(
        self,
        backbone: dict[str, Any] = {"name": "swin_t"},  # noqa: B006 (never changed)
        weights: str | None = None,
        mixture: Mixture | None = None,
        detector: Literal["mask_rcnn", "cascade_mask_rcnn"] = "mask_rcnn",
        detector_options: dict[str, Any] | None = None,
        num_classes: int = 80,
        class_names: Sequence[str] | None = None,
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(recipe)
        names = [str(name) for name in class_names or (f"class {number}" for number in range(num_classes))]
        make = mask_rcnn if detector == "mask_rcnn" else cascade_mask_rcnn
        net = started_backbone(backbone, weights, mixture)
        try:
            self.model = make(net, num_classes, **(detector_options or {}))
        except TypeError as error:
            raise UserError(f"model.detector_options: {error}") from error
        self.network = {
            "task": "detection",
            "backbone": backbone,
            "detector": detector,
            "detector_options": detector_options or {},
            "num_classes": num_classes,
            "class_names": names,
        }
        self.results: list[dict[str, Any]] = []
        self.seen: list[int] = []

    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """(3, H, W) of 0 to 1 each -> detections of each."""
        return self.model(images)

    def training_step(self, batch: list[Any] | None, batch_index: int) -> Tensor | None:
        if batch is None:
            return None
        targets = [{name: sample.target[name] for name in ("boxes", "labels", "masks")} for sample in batch]
        return self.total(self.model([sample.image for sample in batch], targets), len(batch))

    def _evaluate(self, batch: list[Any], split: Split) -> None:
        truth = self._truth(split)
        ids = sorted(category["id"] for category in truth["categories"])
        for sample, found in zip(batch, self.model([sample.image for sample in batch]), strict=True):
            number = int(sample.target["image_id"])
            self.results += to_results(number, found, ids)
            self.seen.append(number)

    def _truth(self, split: Split) -> dict[str, Any]:
        return cast(DetectionDataModule, getattr(self.trainer, "datamodule", None)).truth(split)

    def validation_step(self, batch: list[Any], batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: list[Any], batch_index: int) -> None:
        self._evaluate(batch, "test")

    def _log_precision(self, stage: Split) -> None:
        scores = average_precision(self._truth(stage), self.results, image_ids=self.seen)
        for kind, name in (("bbox", "box"), ("segm", "mask")):
            summary = scores[kind].summary
            self.log_dict({f"{stage}_{name}_ap": summary["AP"], f"{stage}_{name}_ap50": summary["AP50"]})
        self.results, self.seen = [], []

    def on_validation_epoch_end(self) -> None:
        self._log_precision("val")

    def on_test_epoch_end(self) -> None:
        self._log_precision("test")


class UpstreamModule(Trained):
    """Classification, dense or with experts: pre-training, and the intermediate stage of RMoE-I.

    Logged at evaluation: ``val_loss``, ``val_accuracy`` (of the last thing to tell), ``test_accuracy``.

    Args:
        network: ``{"name": "swin_t", **options}`` of ``rmoe.models.classifier``, or ``{"name": "mosaic_net", ...}``.
        weights: a published file of a classifier; a head of another number of classes starts anew.
        mixture: which feed-forward layers become experts.
        num_classes: of each thing to tell.
        label_smoothing: of the cross entropy.
        recipe: optimiser, schedule, auxiliary losses.
    """

    def __init__(
        self,
        network: dict[str, Any] = {"name": "mosaic_net"},  # noqa: B006 (never changed)
        weights: str | None = None,
        mixture: Mixture | None = None,
        num_classes: Sequence[int] = (1000,),
        label_smoothing: float = 0.0,
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(recipe)
        if network.get("name") == "mosaic_net":
            self.model: nn.Module = PooledClassifier(started_backbone(network, weights, mixture), num_classes)
        elif len(num_classes) == 1:
            self.model = started_classifier({**network, "num_classes": num_classes[0]}, weights, mixture)
        else:
            raise UserError(f"{network.get('name')} has one head: it cannot tell {len(num_classes)} things")
        self.label_smoothing = label_smoothing
        self.network = {"task": "classification", "backbone": network, "num_classes": list(num_classes)}

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> logits of each thing to tell."""
        logits = self.model(images)
        return logits if isinstance(logits, list) else [logits]

    def _loss(self, logits: list[Tensor], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        pairs = zip(logits, targets.unbind(1), strict=True)
        first, *rest = (functional.cross_entropy(x.float(), y, label_smoothing=smoothing) for x, y in pairs)
        return sum(rest, first)

    def training_step(self, batch: dict[str, Any] | None, batch_index: int) -> Tensor | None:
        if batch is None:
            return None
        loss = self._loss(self(batch["image"]), batch["target"], self.label_smoothing)
        return self.total({"classification": loss}, len(batch["image"]))

    def _evaluate(self, batch: dict[str, Any], stage: str) -> None:
        logits = self(batch["image"])
        accuracy = (logits[-1].argmax(1) == batch["target"][:, -1]).float().mean()
        values = {f"{stage}_loss": self._loss(logits, batch["target"]), f"{stage}_accuracy": accuracy}
        self.log_dict(values, batch_size=len(batch["image"]), sync_dist=True)

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._evaluate(batch, "test")
