"""Detection models of torchvision as detectors of the tracker: COCO's people, and cars, dogs, ... as well."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from mot_occlusion.detections import Detections
from shared_utils import UserError, distributed
from shared_utils.checkpoint import load_tensors, weights_digest


class TorchvisionDetector:
    """A model of ``torchvision.models.detection`` applied to whole frames.

    Args:
        name: such as ``fasterrcnn_resnet50_fpn_v2``, ``ssdlite320_mobilenet_v3_large``.
        weights: a file of its ``state_dict``; torchvision's own, which it downloads once, where None.
        classes: names of COCO's categories with commas between, or ``all``.
        device: ``auto`` or a torch device.
        min_score: of boxes that are returned.

    Raises:
        UserError: no such model or category, weights of another model, or weights that cannot be downloaded.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        classes: str = "person",
        device: str = "auto",
        min_score: float = 0.1,
    ) -> None:
        known = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in known:
            raise UserError(f"no detection model {name} in torchvision: there are {', '.join(known)}")
        self.categories: list[str] = next(iter(torchvision.models.get_model_weights(name))).meta["categories"]
        self.labels = self._labels(classes)
        self.name, self.min_score = name, min_score
        self.device = distributed.choose_device(device)
        self.model = _build(name, weights).to(self.device).eval()

    def _labels(self, classes: str) -> np.ndarray | None:
        if classes == "all":
            return None
        wanted = [part.strip() for part in classes.split(",") if part.strip()]
        known = [category for category in self.categories if category not in ("__background__", "N/A")]
        if unknown := [part for part in wanted if part not in known] or ([] if wanted else [classes]):
            raise UserError(f"no category {', '.join(unknown)}: there are {', '.join(known)}, or all of them by 'all'")
        return np.array([self.categories.index(part) for part in wanted])

    def describe(self) -> dict[str, Any]:
        """Everything that its detections depend on, besides the frame."""
        labels = None if self.labels is None else self.labels.tolist()
        return {"detector": self.name, "weights": weights_digest(self.model), "labels": labels}

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> Detections:
        """The detections of a frame (H0, W0, 3) uint8 RGB, by falling score, with COCO's numbers as classes."""
        image = torch.from_numpy(np.ascontiguousarray(frame)).to(self.device).permute(2, 0, 1).float() / 255
        (found,) = self.model([image])
        boxes, scores, labels = (found[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
        keep = scores >= self.min_score
        if self.labels is not None:
            keep &= np.isin(labels, self.labels)
        order = np.flatnonzero(keep)[np.argsort(-scores[keep], kind="stable")]
        return Detections(boxes[order], scores[order], classes=labels[order])


def _build(name: str, weights: str | None) -> nn.Module:
    if weights is None:
        try:
            return torchvision.models.get_model(name, weights="DEFAULT")
        except OSError as error:  # no network
            raise UserError(
                f"the weights of {name} cannot be downloaded ({error}): download them elsewhere and give the file "
                "as --detector_weights"
            ) from None
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(load_tensors(weights))
    except RuntimeError:
        raise UserError(f"{weights} is not a state_dict of torchvision's {name}: give the model's own file") from None
    return model
