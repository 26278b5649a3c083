"""Training of the network, detection, re-identification and occlusions together or the occlusion heads alone."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from mot_occlusion.data.training_pairs import Batch
from mot_occlusion.decode import decode_boxes
from mot_occlusion.losses import TrackingLoss, UnsupervisedReIDLoss
from mot_occlusion.metrics import SEEN, average_precision, match_boxes, recognition
from mot_occlusion.models import HEADS, build_network
from mot_occlusion.pretrained import initialise
from shared_utils import UserError, distributed

log = logging.getLogger(__name__)


class TrackingModule(LightningModule):
    """The network, its losses and its schedule. The network itself is ``network``.

    Logged: ``train_loss`` and its parts; ``val_`` and ``test_`` ``ap50`` (average precision at IoU 0.5 over people seen
    to a quarter or more) and ``rank1`` (of people seen to a half, the nearest embedding a few frames later, under another
    light, is the same person's). Identities are read for ``rank1`` alone.

    Args:
        backbone: ``dla34`` (published) or ``small``.
        embedding_channels: of the ``id`` head.
        input_size: of the data; the checkpoint keeps it.
        init: what ``pretrained.load`` takes, to start from; what does not fit is reported.
        train_only: ``occlusion`` freezes all but the occlusion heads, batch statistics too (the published ``trainOcc``).
        reid: whether embeddings are learned.
        id_weight: of the re-ID loss, see ``losses.TrackingLoss``.
        loss_weights: of the terms of detection by head, see ``losses.TrackingLoss``; as published where not given.
        margin: see ``losses.UnsupervisedReIDLoss``.
        placeholder: see ``losses.UnsupervisedReIDLoss``.
        temperature_epsilon: see ``losses.UnsupervisedReIDLoss``.
        learning_rate: of Adam.
        schedule: ``step``, times 0.1 at each of ``milestones``; ``one_cycle`` up to the learning rate and down again, a
            step a batch; ``constant``.
        milestones: epochs.

    Raises:
        UserError: ``train_only`` without ``init``, or an ``init`` that does not fit.
    """

    def __init__(
        self,
        backbone: Literal["dla34", "small"] = "dla34",
        embedding_channels: int = 128,
        input_size: tuple[int, int] = (608, 1088),
        init: str | None = None,
        train_only: Literal["occlusion"] | None = None,
        reid: bool = True,
        id_weight: float = 1.0,
        loss_weights: dict[str, float] | None = None,
        margin: float = 0.5,
        placeholder: Literal["mean", "median", "zero", "none"] = "mean",
        temperature_epsilon: float = 0.5,
        learning_rate: float = 1e-4,
        schedule: Literal["step", "one_cycle", "constant"] = "step",
        milestones: Sequence[int] = (20,),
    ) -> None:
        super().__init__()
        if train_only == "occlusion" and init is None:
            raise UserError("model.train_only=occlusion trains heads on a finished network: give it as model.init")
        self.save_hyperparameters()
        self.train_only = train_only
        network = build_network(backbone, {**HEADS, "id": embedding_channels})
        self.network = network.to(memory_format=torch.channels_last)  # a fifth faster on the CPU
        unsupervised = UnsupervisedReIDLoss(margin, placeholder, temperature_epsilon) if reid else None
        self.loss = TrackingLoss(unsupervised, id_weight, loss_weights)
        if init is not None:
            log.info("%s", initialise(self.network, init, self.loss))
        if train_only == "occlusion":
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith("network.occlusion"))
        elif not reid:  # or DistributedDataParallel would wait for gradients that never come
            self.network.get_submodule("id").requires_grad_(False)
            self.loss.requires_grad_(False)
        self._found: dict[str, list] = {}
        self.train()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] -> raw maps by head."""
        return self.network(images)

    def train(self, mode: bool = True) -> TrackingModule:
        super().train(mode)
        if mode and self.train_only == "occlusion":
            self.network.eval()  # batch statistics are frozen too; the occlusion heads have none
        return self

    def setup(self, stage: str) -> None:
        if self.train_only == "occlusion":
            # Lightning warns of frozen batch statistics, which are the point of this stage.
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        count = len(batch["image"])
        # Both frames at once, as batch norm sees them together; of the second one only the embeddings are needed.
        images = torch.cat((batch["image"], batch["image_previous"]))
        features = self.network.features(images.contiguous(memory_format=torch.channels_last))
        current = self.network.apply_heads(features[:count], self.network.heads)
        previous = self.network.apply_heads(features[count:], ["id"])
        losses = self.loss(current, batch["targets"], previous, batch["targets_previous"], batch["negative"].tolist())
        if self.train_only == "occlusion":
            losses["loss"] = sum(self.loss.weights[name] * losses[name] for name in ("occlusion", "occlusion_offset"))
        for name, value in losses.items():
            if name not in ("similarities", "loss"):
                self.log(f"train_{name}", value, batch_size=count)
        self.log("train_loss", losses["loss"], prog_bar=True, batch_size=count)
        return losses["loss"]

    def on_validation_epoch_start(self) -> None:
        self._found = {"scores": [], "verdicts": [], "truths": [0], "hits": [0], "queries": [0]}

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self._summarise("val")

    def on_test_epoch_end(self) -> None:
        self._summarise("test")

    def _evaluate(self, batch: Batch) -> None:
        """One frame and the one a few frames later."""
        maps = self.network(torch.stack((batch["image"], batch["image_later"])))
        decoded = decode_boxes(maps["hm"][:1], maps["wh"][:1], maps["reg"][:1], k=100)
        seen = batch["now"]["visibility"].cpu() >= SEEN
        verdict = match_boxes(decoded.boxes[0].cpu() * 4, batch["now"]["boxes"].cpu(), ~seen)
        found = self._found
        found["scores"].append(decoded.scores[0].cpu())
        found["verdicts"].append(verdict)
        found["truths"].append(int(seen.sum()))
        hits, queries = recognition(maps["id"], (batch["now"], batch["later"]))
        found["hits"].append(hits)
        found["queries"].append(queries)

    def _summarise(self, stage: str) -> None:
        merged = {name: [] for name in self._found}
        for part in distributed.gather_objects(self._found):
            for name, values in part.items():
                merged[name] += values
        if not merged["scores"]:
            return
        precision = average_precision(torch.cat(merged["scores"]), torch.cat(merged["verdicts"]), sum(merged["truths"]))
        self.log(f"{stage}_ap50", precision, prog_bar=True)
        self.log(f"{stage}_rank1", sum(merged["hits"]) / max(1, sum(merged["queries"])), prog_bar=True)

    def configure_optimizers(self) -> Any:
        options: Any = self.hparams
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, options.learning_rate)
        schedulers = torch.optim.lr_scheduler
        if options.schedule == "one_cycle":
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = schedulers.OneCycleLR(optimizer, options.learning_rate, total_steps=steps, pct_start=0.2)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        if options.schedule == "step":
            schedule = schedulers.MultiStepLR(optimizer, list(options.milestones), 0.1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
        return optimizer
