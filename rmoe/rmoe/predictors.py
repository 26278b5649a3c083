"""From a picture as it is on disk to what is in it: a model with its own pre- and post-processing, apart from the model.

The model stays a function of tensors; a predictor knows how its inputs were prepared in training, and its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from rmoe.description import Description, experts_of
from rmoe.evaluation.experts import expert_maps
from rmoe.evaluation.segmentation import MEAN, STD, SegmentationPredictor
from rmoe.models.detection import Detector
from rmoe.models.segmenter import Segmenter
from rmoe.moe import moe_layers
from shared_utils import UserError, checkpoint, files

# Pictures of the procedural default hold 128 + 40 x value (``rmoe.data.mosaic.to_pixels``).
_MOSAIC_MEAN, _MOSAIC_STD = (128.0,) * 3, (40.0,) * 3


class Predictor:
    """A model in evaluation mode and what it is made of.

    Args:
        model: in any mode; put into evaluation.
        description: of it.
    """

    def __init__(self, model: nn.Module, description: Description) -> None:
        self.model, self.description = model.eval(), description

    @property
    def task(self) -> str:
        """segmentation, detection, classification, or backbone."""
        return self.description.task

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels."""
        return self.description.class_names

    @property
    def has_experts(self) -> bool:
        """Whether any layer is a mixture."""
        return any(True for _ in moe_layers(self.model))

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the channels, in 0..255."""
        if isinstance(self.model, Detector):
            transform = self.model.transform
            mean, std = (tuple(255 * each for each in unit) for unit in (transform.image_mean, transform.image_std))
            return mean, std
        of_mosaic = self.description.architecture == "mosaic_net"
        return (_MOSAIC_MEAN, _MOSAIC_STD) if of_mosaic else (MEAN, STD)

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the model; returns itself."""
        self.model.to(device)
        return self

    def with_model(self, model: nn.Module) -> Self:
        """Another model of the same network (merged, made dense, ...) behind the same processing."""
        now = Description(self.description.network, experts_of(model), self.description.mosaic)
        return type(self)(model, now)

    def with_class_names(self, path: str | Path) -> Self:
        """The same model with the names of a file, one a line, in the order of the labels.

        Raises:
            UserError: there are more or fewer than classes.
        """
        names = [line.strip() for line in Path(path).read_text().splitlines() if line.strip()]
        if len(names) != len(self.class_names):
            raise UserError(f"{path} has {len(names)} names, the model {len(self.class_names)} classes")
        now = replace(self.description, network={**self.description.network, "class_names": names})
        return type(self)(self.model, now)

    def __call__(self, image: Tensor) -> Any:
        """(3, H, W) RGB in 0..255 -> what the task gives."""
        raise NotImplementedError

    def expert_maps(self, image: Tensor) -> dict[str, Tensor]:
        """Which expert every pixel of an image goes to: layer name -> (H, W) int64.

        Raises:
            UserError: the model has no experts.
        """
        raise NotImplementedError

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` durably; ``pretrained.load`` takes the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.save_safetensors(self.model.state_dict(), folder / "model.safetensors", {"format": "pt"})
        files.write_json(self.description.plain(), folder / "config.json")

    def save(self, path: str | Path) -> None:
        """Write one file, {state_dict, network, rmoe}, that ``pretrained.load`` and ``model.weights`` of training take."""
        checkpoint.save({"state_dict": self.model.state_dict(), **self.description.plain()}, path)


class _OnGrid(SegmentationPredictor):
    """Sides of the model's input are whole patches."""

    patch = 4

    def resized(self, height: int, width: int, ratio: float) -> tuple[int, int]:
        height, width = (-(-side // self.patch) * self.patch for side in super().resized(height, width, ratio))
        return max(self.patch, height), max(self.patch, width)


class ImageSegmenter(Predictor):
    """The class of every pixel."""

    model: Segmenter

    def configured(
        self, ratios: Sequence[float] = (1.0,), flip: bool = False, window: int | None = None
    ) -> SegmentationPredictor:
        """The published way from image to classes.

        Args:
            ratios: scales whose probabilities are averaged.
            flip: average over the mirrored image too.
            window: side of sliding windows; None: the whole image.
        """
        mean, std = self.normalisation
        if self.description.architecture == "mosaic_net":
            return _OnGrid(self.model, None, ratios, flip, window, mean=mean, std=std)
        return SegmentationPredictor(self.model, (2048, 512), ratios, flip, window, mean=mean, std=std)

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) RGB in 0..255 -> (H, W) int64 classes, on the CPU."""
        return self.configured()(image).cpu()

    def expert_maps(self, image: Tensor) -> dict[str, Tensor]:
        """See ``Predictor``."""
        made = self.configured()
        made(image)
        height, width = image.shape[1:]
        size = made.resized(height, width, 1.0)
        return _to_image(expert_maps(self.model, size), size, image.shape[1:])


class ObjectDetector(Predictor):
    """Boxes, classes and masks of objects."""

    model: Detector

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """(3, H, W) RGB in 0..255 -> ``boxes`` (n, 4) xyxy pixels, ``labels`` from 1, ``scores``, ``masks`` (n, H, W)."""
        (found,) = self.model([image.to(self.device).float() / 255])
        return {name: value.cpu() for name, value in found.items()}

    @torch.inference_mode()
    def expert_maps(self, image: Tensor) -> dict[str, Tensor]:
        """See ``Predictor``."""
        batch, _ = self.model.transform([image.to(self.device).float() / 255])
        self.model.features(batch)
        height, width = batch.tensors.shape[2:]
        maps = expert_maps(self.model, (height, width))
        return _to_image(maps, batch.image_sizes[0], image.shape[1:])


class ImageClassifier(Predictor):
    """The class of an image."""

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> list[Tensor]:
        """(3, H, W) RGB in 0..255 -> probabilities (classes,) of each head, on the CPU."""
        logits = self.model(self.prepared(image))
        return [each.softmax(1)[0].cpu() for each in (logits if isinstance(logits, list) else [logits])]

    def prepared(self, image: Tensor) -> Tensor:
        """The model's input: (1, 3, S, S), the centre 7/8 of the shorter side; the mosaic's keeps its size."""
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in self.normalisation)
        image = image.to(self.device)
        if self.description.architecture != "mosaic_net":
            size = getattr(self.model, "image_size", 224)
            image = functional.resize(image, [round(size * 8 / 7)], interpolation=functional.InterpolationMode.BICUBIC)
            image = functional.center_crop(image, [size, size])
        return ((image.float() - mean) / std)[None]

    @torch.inference_mode()
    def expert_maps(self, image: Tensor) -> dict[str, Tensor]:
        """See ``Predictor``; of the part of the image that the model sees, spread over the whole."""
        prepared = self.prepared(image)
        self.model(prepared)
        height, width = prepared.shape[2:]
        return _to_image(expert_maps(self.model, (height, width)), (height, width), image.shape[1:])


class BareBackbone(Predictor):
    """A backbone without a head: it converts, and trains, but answers nothing."""

    def __call__(self, image: Tensor) -> Any:
        """Raises UserError."""
        raise UserError("this is a backbone without a head, which predicts nothing: train it with train.py first")

    expert_maps = __call__


KINDS = {
    "segmentation": ImageSegmenter,
    "detection": ObjectDetector,
    "classification": ImageClassifier,
    "backbone": BareBackbone,
}


def predictor(model: nn.Module, description: Description) -> Predictor:
    """The predictor of a model's task."""
    return KINDS[description.task](model, description)


def _to_image(maps: dict[str, Tensor], seen: Sequence[int], size: Sequence[int]) -> dict[str, Tensor]:
    """Maps of a batch of one, cut to what was seen of the image, in the image's pixels (nearest)."""
    made = {}
    for name, each in maps.items():
        part = each[:1, None, : seen[0], : seen[1]].float()
        made[name] = nn.functional.interpolate(part, size=tuple(size), mode="nearest")[0, 0].long().cpu()
    return made
