"""Before a training on the procedural default: its own dense model, pre-trained upstream."""

from __future__ import annotations

import copy
import logging

import pytorch_lightning as pl
import torch

from rmoe import stages
from rmoe.building import load_dense
from rmoe.models import Backbone
from rmoe.moe import to_dense
from shared_utils import UserError

log = logging.getLogger(__name__)


class DensePretraining(pl.Callback):
    """Pre-train the dense form of the backbone on the upstream images, and begin the training from it.

    The mixture's cores become the dense layers, its experts start from them: the converted backbone computes what the dense
    one does, and the largest difference is printed. A training that goes on from a checkpoint is left as it is.

    Args:
        steps: of pre-training; 0: none.
        learning_rate: the largest.
        images: upstream images.
    """

    def __init__(self, steps: int = 400, learning_rate: float = 8e-3, images: int = 4096) -> None:
        self.steps, self.learning_rate, self.images = steps, learning_rate, images

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.steps < 1 or trainer.ckpt_path is not None:
            return
        data = getattr(trainer, "datamodule", None)
        mosaic = getattr(data, "mosaic", None)
        if data is None or mosaic is None or data.root is not None:
            raise UserError(
                "DensePretraining is for the procedural default: give model.weights with data of your own, and "
                "--trainer.callbacks null"
            )
        backbone = pl_module.get_submodule("model.backbone")
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(mosaic.seed)  # every process trains the same
            dense = to_dense(copy.deepcopy(backbone)).cpu()
            assert isinstance(dense, Backbone)
            classifier = stages.classifier(dense, mosaic)
            tensors = stages.upstream_tensors(mosaic, "train", self.images)
            fit = stages.Fit(self.steps, self.learning_rate, mosaic.seed)
            stages.train(classifier, tensors, stages.classification_loss, fit)
        images, _, classes = stages.upstream_tensors(mosaic, "val", 256)
        accuracy = stages.class_accuracy(classifier, images, classes)
        load_dense(backbone, dense.state_dict())
        error = _difference(dense, backbone, images[:32])
        log.info("dense model: %.0f %% of upstream classes; converted: outputs differ by %.1e", 100 * accuracy, error)
        pl_module.train()


@torch.no_grad()
def _difference(dense: torch.nn.Module, converted: torch.nn.Module, images: torch.Tensor) -> float:
    device = next(converted.parameters()).device
    pairs = zip(dense.eval()(images), converted.eval()(images.to(device)), strict=True)
    return max(float((first - second.cpu()).abs().max()) for first, second in pairs)
