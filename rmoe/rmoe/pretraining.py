"""Before a training on the procedural default: its own dense model, pre-trained upstream."""

from __future__ import annotations

import copy
import logging

import pytorch_lightning as pl
import torch

from rmoe import stages
from rmoe.building import load_dense
from rmoe.data.mosaic import CONTRAST, GREY, Mosaic
from rmoe.models import Backbone
from rmoe.models.detection import Detector
from rmoe.moe import to_dense
from shared_utils import UserError

log = logging.getLogger(__name__)


class DensePretraining(pl.Callback):
    """Pre-train the dense form of the backbone on the upstream images, then on scenes, and begin the training from it.

    The mixture's cores become the dense layers, its experts start from them: the converted backbone computes what the dense
    one does, and the largest difference is printed. A training that goes on from a checkpoint is left as it is.

    Args:
        steps: of pre-training; 0: none.
        learning_rate: the largest.
        images: upstream images.
        scene_steps: of segmenting scenes after it, for detection: an object is seen among others there, not alone; 0: none.
        scene_learning_rate: the largest of these.
        scenes: of them.
    """

    def __init__(
        self,
        steps: int = 400,
        learning_rate: float = 8e-3,
        images: int = 4096,
        scene_steps: int = 0,
        scene_learning_rate: float = 3.2e-2,
        scenes: int = 512,
    ) -> None:
        self.steps, self.learning_rate, self.images = steps, learning_rate, images
        self.scene_steps, self.scene_learning_rate, self.scenes = scene_steps, scene_learning_rate, scenes

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
        _check_units(pl_module.get_submodule("model"))
        backbone = pl_module.get_submodule("model.backbone")
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            dense = to_dense(copy.deepcopy(backbone)).cpu()
            assert isinstance(dense, Backbone)
            torch.manual_seed(mosaic.seed)  # every process trains the same, and with experts the same as without
            classifier = stages.classifier(dense, mosaic)
            tensors = stages.upstream_tensors(mosaic, "train", self.images)
            fit = stages.Fit(self.steps, self.learning_rate, mosaic.seed)
            stages.train(classifier, tensors, stages.classification_loss, fit)
            images, _, classes = stages.upstream_tensors(mosaic, "val", 256)
            accuracy = stages.class_accuracy(classifier, images, classes)
            if self.scene_steps:
                self._segment(dense, mosaic)
        load_dense(backbone, dense.state_dict())
        error = _difference(dense, backbone, images[:32])
        log.info("dense model: %.0f %% of upstream classes; converted: outputs differ by %.1e", 100 * accuracy, error)
        pl_module.train()

    def _segment(self, dense: Backbone, mosaic: Mosaic) -> None:
        segmenter = stages.segmenter(dense, mosaic)
        images, labels, *_ = stages.scene_tensors(mosaic, "train", self.scenes)
        fit = stages.Fit(self.scene_steps, self.scene_learning_rate, mosaic.seed)
        stages.train(segmenter, (images, labels), stages.segmentation_loss, fit)
        images, labels, *_ = stages.scene_tensors(mosaic, "val", 256)
        miou = stages.patch_miou(stages.predicted_patches(segmenter, images, labels), labels, mosaic.classes)
        log.info("dense model on scenes: mIoU %.0f", 100 * miou)


def _check_units(model: torch.nn.Module) -> None:
    """Pre-training sees the values that are drawn, a detector pictures of them: it has to turn them back."""
    if not isinstance(model, Detector):
        return
    found = [torch.tensor(unit) * 255 for unit in (model.transform.image_mean, model.transform.image_std)]
    mean, std = (torch.full_like(each, value) for each, value in zip(found, (GREY, CONTRAST), strict=True))
    if not (torch.allclose(found[0], mean) and torch.allclose(found[1], std)):
        raise UserError(
            "the detector's normalisation is not that of the procedural default, so that its backbone would see other "
            f"colours than in pre-training: set model.detector_options mean: [{GREY}, {GREY}, {GREY}], "
            f"std: [{CONTRAST}, {CONTRAST}, {CONTRAST}]"
        )


@torch.no_grad()
def _difference(dense: torch.nn.Module, converted: torch.nn.Module, images: torch.Tensor) -> float:
    device = next(converted.parameters()).device
    pairs = zip(dense.eval()(images), converted.eval()(images.to(device)), strict=True)
    return max(float((first - second.cpu()).abs().max()) for first, second in pairs)
