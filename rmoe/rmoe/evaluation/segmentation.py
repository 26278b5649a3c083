"""mIoU over a whole set, and predictions at the original resolution: whole image, several scales and flip, or windows.

Published code: mmseg 0.x ``eval_metrics``, ``MultiScaleFlipAug``, ``slide_inference``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rmoe.models.upernet import resize
from shared_utils import UserError
from shared_utils.distributed import gather_objects

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
MULTI_SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class SegmentationScores:
    """What a confusion matrix tells; shares between 0 and 1, nan where there is nothing to count.

    Attributes:
        iou: (K,) intersection over union; nan of a class that neither truth nor prediction has.
        accuracy: (K,) share of the class's pixels that were found; nan of a class that the truth has not.
        pixels: (K,) of each class in the truth.
        pixel_accuracy: share of all pixels (aAcc).
    """

    iou: np.ndarray
    accuracy: np.ndarray
    pixels: np.ndarray
    pixel_accuracy: float

    @property
    def mean_iou(self) -> float:
        """Over the classes that occur (mIoU); nan where none does."""
        return _mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """Over the classes of the truth (mAcc); nan where there is none."""
        return _mean(self.accuracy)

    def summary(self) -> dict[str, float]:
        """mIoU, aAcc, mAcc in per cent, and how many classes count."""
        counted = int(np.isfinite(self.iou).sum())
        values = {"mIoU": self.mean_iou, "aAcc": self.pixel_accuracy, "mAcc": self.mean_accuracy}
        return {**{name: 100 * value for name, value in values.items()}, "classes": counted}

    def rows(self, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A row a class: name, IoU and accuracy in per cent (nan: does not occur), pixels."""
        names = names or [str(number) for number in range(len(self.iou))]
        if len(names) != len(self.iou):
            raise UserError(f"{len(names)} class names for {len(self.iou)} classes")
        columns = zip(names, self.iou, self.accuracy, self.pixels, strict=True)
        return [
            {"class": name, "IoU": 100 * float(iou), "accuracy": 100 * float(accuracy), "pixels": int(pixels)}
            for name, iou, accuracy, pixels in columns
        ]


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


class ConfusionMatrix:
    """Counts of (truth, prediction) over a set, on the device of what is counted.

    Args:
        num_classes: K.
        ignore_index: label of pixels that do not count.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.counts = torch.zeros((num_classes, num_classes), dtype=torch.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count pixels.

        Args:
            prediction: integers 0..K-1 of any shape.
            truth: of the same shape, ``ignore_index`` where a pixel does not count.

        Raises:
            UserError: the shapes differ, or a value is not a class.
        """
        if prediction.shape != truth.shape:
            raise UserError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} differ in size")
        counted = truth != self.ignore_index
        truth, prediction = truth[counted].long(), prediction[counted].long()
        pairs = truth * self.num_classes + prediction
        # One wrong value would be counted under another pair, or make the table longer.
        for values, what in ((truth, "truth"), (prediction, "prediction")):
            if values.numel() and (int(values.min()) < 0 or int(values.max()) >= self.num_classes):
                raise UserError(
                    f"the {what} has the value {int(values.min()) if int(values.min()) < 0 else int(values.max())}: "
                    f"there are classes 0 to {self.num_classes - 1}, and {self.ignore_index} does not count"
                )
        found = pairs.bincount(minlength=self.num_classes**2).view(self.num_classes, self.num_classes)
        self.counts = self.counts.to(found.device) + found

    def reset(self) -> None:
        """Begin anew."""
        self.counts.zero_()

    def scores(self) -> SegmentationScores:
        """Of everything counted so far, on all ranks."""
        # By objects: a rank without images has its counts on the CPU, where GPUs' collectives do not reach.
        counts = torch.stack(gather_objects(self.counts.cpu())).double().sum(0).numpy()
        hit, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
        union = truth + predicted - hit
        nothing = np.full(self.num_classes, np.nan)
        return SegmentationScores(
            iou=np.divide(hit, union, out=nothing.copy(), where=union > 0),
            accuracy=np.divide(hit, truth, out=nothing.copy(), where=truth > 0),
            pixels=truth.astype(np.int64),
            pixel_accuracy=float(hit.sum() / truth.sum()) if truth.sum() else float("nan"),
        )


class SegmentationPredictor:
    """From an image as it is on disk to the class of each of its pixels.

    Args:
        model: images (B, 3, h, w), size -> logits (B, K, *size), such as ``Segmenter``; in evaluation mode.
        scale: (long, short) sides that the image is resized to, keeping its ratio; None: it keeps its size.
        ratios: the scale is multiplied by each, and the probabilities are averaged (see ``MULTI_SCALE``).
        flip: also average over the mirrored image.
        window: side of square windows that the resized image is cut into; None: the whole image at once.
        stride: between windows; None: two thirds of the window, as published (512 -> 341).
        mean: of the channels, 0..255.
        std: of the channels, 0..255.
    """

    def __init__(
        self,
        model: nn.Module,
        scale: tuple[int, int] | None = (2048, 512),
        ratios: Sequence[float] = (1.0,),
        flip: bool = False,
        window: int | None = None,
        stride: int | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        if window is not None and not 0 < (stride or 1) <= window:
            raise UserError(f"a stride of {stride} leaves gaps between windows of {window}")
        self.model, self.scale, self.ratios, self.flip = model, scale, tuple(ratios), flip
        self.window = window
        self.stride = stride or max(1, (window or 1) * 2 // 3)
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def resized(self, height: int, width: int, ratio: float) -> tuple[int, int]:
        """Sides of the model's input."""
        if self.scale is None:
            return max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))
        long, short = (int(side * ratio) for side in self.scale)
        factor = min(long / max(height, width), short / min(height, width))
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    @torch.inference_mode()
    def probabilities(self, image: Tensor) -> Tensor:
        """Softmax of every pixel, averaged over scales and flips.

        Args:
            image: (3, H, W) RGB in 0..255, any dtype.

        Returns:
            (K, H, W) float32 on the model's device.
        """
        device = next(self.model.parameters()).device
        height, width = image.shape[1:]
        image = image.to(device).float()
        total: Tensor | None = None
        passes = 0
        for ratio in self.ratios:
            size = self.resized(height, width, ratio)
            scaled = image if size == (height, width) else resize(image[None], size)[0]
            scaled = ((scaled - self.mean.to(device)) / self.std.to(device))[None]
            for mirrored in (False, True) if self.flip else (False,):
                logits = self._logits(scaled.flip(3) if mirrored else scaled)
                found = resize(logits, (height, width)).softmax(dim=1)[0]
                found = found.flip(2) if mirrored else found
                total, passes = found if total is None else total + found, passes + 1
        assert total is not None  # there is a ratio
        return total / passes

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) RGB in 0..255 -> (H, W) classes, int64, on the model's device."""
        return self.probabilities(image).argmax(dim=0)

    def _logits(self, image: Tensor) -> Tensor:
        window = self.window
        if window is None:
            return self.model(image)
        height, width = image.shape[2:]
        total = weight = image.new_zeros(())
        for top in _starts(height, window, self.stride):
            for left in _starts(width, window, self.stride):
                rows, columns = slice(top, top + window), slice(left, left + window)
                logits = self.model(image[:, :, rows, columns])
                if total.ndim == 0:
                    total = logits.new_zeros((1, logits.shape[1], height, width))
                    weight = logits.new_zeros((1, 1, height, width))
                total[:, :, rows, columns] += logits
                weight[:, :, rows, columns] += 1
        return total / weight


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin so that they cover the length; the last one ends at the end."""
    count = max(0, -(-(length - window) // stride)) + 1
    return sorted({max(0, min(i * stride, length - window)) for i in range(count)})


def evaluate(
    predictor: SegmentationPredictor, items: Iterable[tuple[Tensor, Tensor]], num_classes: int, ignore_index: int = 255
) -> SegmentationScores:
    """Scores over items at their original resolution; under torchrun each rank gives its share of them.

    Args:
        predictor: of the model.
        items: image (3, H, W) RGB in 0..255, label (H, W), untouched.
        num_classes: K.
        ignore_index: label of pixels that do not count.
    """
    matrix = ConfusionMatrix(num_classes, ignore_index)
    for image, label in items:
        prediction = predictor(image)
        matrix.update(prediction, label.to(prediction.device))
    return matrix.scores()
