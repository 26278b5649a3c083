"""Training of a victim (``VictimModule``, plain or adversarial), of DUP-Net's up-sampler (``UpsamplingModule``) and of AdvPC's
autoencoder (``AutoencoderModule``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from shared_utils import UserError
from si_adv.attacks import Attack, build_attack
from si_adv.data.sample import Batch
from si_adv.losses import chamfer_distance
from si_adv.models import build_victim
from si_adv.models.autoencoder import PointAutoencoder
from si_adv.models.pointnet import PointNet, transform_regulariser
from si_adv.models.punet import PUNet, punet_losses, sparse_input


class VictimModule(LightningModule):
    """A victim, its loss, its metrics and its schedule. The network itself is ``victim``.

    Logged: ``train_loss``, ``train_accuracy``; ``val_`` and ``test_`` ``loss``, ``accuracy``, ``class_accuracy`` (mean
    over classes), and ``robust_accuracy`` in adversarial training.

    Args:
        architecture: a name of ``si_adv.models.VICTIMS``.
        num_classes: of the data; kept in the checkpoint, as are the next three.
        class_names: in the order of the labels.
        num_points: points of a cloud.
        with_normals: whether the victim takes normals.
        optimizer: adam, adamw or sgd.
        learning_rate: the largest one of the schedule.
        weight_decay: as torch means it.
        momentum: of sgd.
        schedule: the learning rate over the training: ``constant``; ``step``, times ``step_factor`` every
            ``step_epochs``; ``cosine`` down to ``final_learning_rate``; ``one_cycle`` up to the learning rate and down
            again, a step a batch.
        step_epochs: of the schedule ``step``.
        step_factor: of the schedule ``step``.
        final_learning_rate: of the schedule ``cosine``.
        label_smoothing: of the cross entropy.
        transform_weight: weight of the mean ||A A^T - I|| of PointNet's feature transform.
        adversarial: ``{"name": attack, **options}`` of ``si_adv.attacks.build_attack``: train on the equal mean of the
            losses of clean and attacked clouds, and report robust accuracy beside the clean one; None: clean only. The
            attack sees points alone, so it is for victims without normals.

    Raises:
        UserError: an unknown architecture or attack, a wrong number of class names, a transform weight for a victim
            without that transform, and adversarial training with normals.
    """

    train_accuracy: MulticlassAccuracy

    def __init__(
        self,
        architecture: str = "pointnet",
        num_classes: int = 40,
        class_names: Sequence[str] | None = None,
        num_points: int = 1024,
        with_normals: bool = False,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        momentum: float = 0.9,
        schedule: Literal["constant", "step", "cosine", "one_cycle"] = "step",
        step_epochs: int = 20,
        step_factor: float = 0.7,
        final_learning_rate: float = 1e-5,
        label_smoothing: float = 0.0,
        transform_weight: float = 0.0,
        adversarial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        class_names = [str(name) for name in class_names or (f"class_{number}" for number in range(num_classes))]
        if len(class_names) != num_classes:
            raise UserError(f"{len(class_names)} class names for {num_classes} classes")
        self.save_hyperparameters()
        self.victim = build_victim(architecture, num_classes, with_normals)
        if transform_weight and not isinstance(self.victim, PointNet):
            raise UserError(
                f"model.transform_weight is for pointnet; {architecture} has no feature transform: set it to 0"
            )
        if adversarial is not None:
            if with_normals:
                raise UserError(
                    "adversarial training moves points, to which stored normals would not fit: set with_normals to false"
                )
            self._attack()  # an unknown name or option is an error now, not after the first epoch
        for stage in ("train", "val", "test"):
            setattr(self, f"{stage}_accuracy", MulticlassAccuracy(num_classes, average="micro"))
        for stage in ("val", "test"):
            setattr(self, f"{stage}_class_accuracy", MulticlassAccuracy(num_classes, average="macro"))
            if adversarial is not None:
                setattr(self, f"{stage}_robust_accuracy", MulticlassAccuracy(num_classes, average="micro"))

    def forward(self, clouds: Tensor) -> Tensor:
        """(B, 3, N), or (B, 6, N) with normals -> logits or log-probabilities (B, C)."""
        return self.victim(clouds)

    def loss(self, output: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy; log-probabilities and logits give the same value."""
        return F.cross_entropy(output.float(), labels, label_smoothing=self.hparams["label_smoothing"])

    def _classify(self, batch: Batch) -> Tensor:
        clouds = torch.cat((batch.points, batch.normals), 2) if self.hparams["with_normals"] else batch.points
        return self.victim(clouds.transpose(1, 2).contiguous())

    def _attack(self) -> Attack:
        options = dict(self.hparams["adversarial"])
        if "name" not in options:
            raise UserError("model.adversarial needs the attack's name, such as {name: si_ifgm, steps: 5}")
        return build_attack(options.pop("name"), self.victim, **options)

    def attacked(self, batch: Batch) -> Tensor:
        """The batch's clouds (B, N, 3) after the attack of adversarial training; normals are used where there are any."""
        normals = batch.normals if batch.normals.shape == batch.points.shape else None
        return self._attack()(batch.points, batch.label, normals)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        regulariser = None
        if self.hparams["transform_weight"] and isinstance(self.victim, PointNet):
            regulariser = _FeatureTransform(self.victim)
        output = self._classify(batch)
        loss = self.loss(output, batch.label)
        if regulariser is not None:
            loss = loss + self.hparams["transform_weight"] * transform_regulariser(regulariser.take())
        if self.hparams["adversarial"] is not None:
            attacked = batch._replace(points=self.attacked(batch))
            loss = (loss + self.loss(self._classify(attacked), batch.label)) / 2
        self.train_accuracy(output.detach(), batch.label)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.label))
        self.log("train_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss

    def _evaluate(self, batch: Batch, stage: str) -> None:
        output = self._classify(batch)
        metrics = {f"{stage}_loss": self.loss(output, batch.label)}
        for name in ("accuracy", "class_accuracy"):
            metric = getattr(self, f"{stage}_{name}")
            metric(output, batch.label)
            metrics[f"{stage}_{name}"] = metric
        if self.hparams["adversarial"] is not None:
            metric = getattr(self, f"{stage}_robust_accuracy")
            metric(self._classify(batch._replace(points=self.attacked(batch))), batch.label)
            metrics[f"{stage}_robust_accuracy"] = metric
        shown = (f"{stage}_accuracy", f"{stage}_robust_accuracy")
        for name, value in metrics.items():
            size = len(batch.label)
            self.log(name, value, prog_bar=name in shown, on_step=False, on_epoch=True, sync_dist=True, batch_size=size)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch, "test")

    def configure_optimizers(self) -> Any:
        options = self.hparams
        shared = {"lr": options["learning_rate"], "weight_decay": options["weight_decay"]}
        if options["optimizer"] == "sgd":
            optimizer = torch.optim.SGD(self.victim.parameters(), momentum=options["momentum"], **shared)
        else:
            kind = torch.optim.AdamW if options["optimizer"] == "adamw" else torch.optim.Adam
            optimizer = kind(self.victim.parameters(), **shared)
        if options["schedule"] == "constant":
            return optimizer
        schedulers = torch.optim.lr_scheduler
        if options["schedule"] == "step":
            schedule = schedulers.StepLR(optimizer, options["step_epochs"], options["step_factor"])
        elif options["schedule"] == "cosine":
            epochs = self.trainer.max_epochs
            assert epochs is not None  # a trainer that trains has set it
            schedule = schedulers.CosineAnnealingLR(optimizer, epochs, options["final_learning_rate"])
        else:
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = schedulers.OneCycleLR(optimizer, options["learning_rate"], total_steps=steps)
        interval = "step" if options["schedule"] == "one_cycle" else "epoch"
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}


class UpsamplingModule(LightningModule):
    """The up-sampler of DUP-Net, trained without labels: from a random part of a dense cloud back to all of it.

    The learning rate falls to nothing by a cosine. Logged: ``train_loss``; ``val_chamfer``, and ``val_chamfer_copy``,
    that of giving every input point ``up_ratio`` times.

    Args:
        num_points: of the dense clouds; PU-Net sees ``num_points / up_ratio`` of them.
        up_ratio: points out for a point in.
        learning_rate: at the start.
        repulsion_weight: see ``models.punet.punet_losses``.
    """

    def __init__(
        self, num_points: int = 4096, up_ratio: int = 4, learning_rate: float = 1e-3, repulsion_weight: float = 0.01
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.punet = PUNet(num_points // up_ratio, up_ratio)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        sparse = sparse_input(batch.points, self.hparams["up_ratio"])
        loss = punet_losses(self.punet(sparse), batch.points, self.hparams["repulsion_weight"])["loss"]
        self.log("train_loss", loss, prog_bar=True, batch_size=len(sparse))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        sparse = sparse_input(batch.points, self.hparams["up_ratio"], torch.Generator().manual_seed(batch_index))
        for name, points in (("val_chamfer", self.punet(sparse)), ("val_chamfer_copy", sparse)):
            value = punet_losses(points, batch.points)["chamfer"]
            self.log(name, value, on_epoch=True, prog_bar=True, batch_size=len(sparse), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return _falling_by_a_cosine(self)


class AutoencoderModule(LightningModule):
    """The autoencoder of AdvPC, trained without labels on the Chamfer distance.

    The learning rate falls to nothing by a cosine. Logged: ``train_loss``, ``val_chamfer``.

    Args:
        num_points: of the clouds that come out.
        learning_rate: at the start.
    """

    def __init__(self, num_points: int = 1024, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.autoencoder = PointAutoencoder(num_points)

    def _chamfer(self, batch: Batch) -> Tensor:
        return chamfer_distance(self.autoencoder(batch.points), batch.points).mean()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self._chamfer(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.points))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.log("val_chamfer", self._chamfer(batch), prog_bar=True, batch_size=len(batch.points), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return _falling_by_a_cosine(self)


def _falling_by_a_cosine(module: LightningModule) -> dict[str, Any]:
    """Adam with a learning rate that falls from the module's to nothing over the training, a step a batch."""
    optimizer = torch.optim.Adam(module.parameters(), module.hparams["learning_rate"])
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _FeatureTransform:
    """Catches what PointNet's feature T-net returns in the next forward."""

    def __init__(self, victim: PointNet) -> None:
        self._caught: Tensor | None = None
        self._handle = victim.feat.fstn.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self._caught = output

    def take(self) -> Tensor:
        self._handle.remove()
        assert self._caught is not None, "no forward since"
        return self._caught
