"""How good a restoration is: fidelity in both published variants, steadiness in time, and the mask against the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from old_films_rtn.models.rtn import warp
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict


def to_uint8(frame: Tensor) -> np.ndarray:
    """(3, h, w) RGB in [0, 1] -> (h, w, 3) BGR uint8, rounded half to even."""
    return (frame.clamp(0, 1).flip(0).permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()


# Fidelity, script variant: uint8, all channels -------------------------------------------------------------------------


def psnr(restored: np.ndarray, target: np.ndarray, crop: int = 0) -> float:
    """dB between two images (h, w[, c]) in 0..255; ``crop`` border pixels are left out; infinite where equal."""
    if crop:
        restored, target = (image[crop:-crop, crop:-crop] for image in (restored, target))
    error = np.mean((restored.astype(np.float64) - target.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(20 * np.log10(255 / np.sqrt(error)))


def ssim(restored: np.ndarray, target: np.ndarray, crop: int = 0) -> float:
    """Structural similarity of two images (h, w[, c]) in 0..255: Gaussian window 11, sigma 1.5, inside the border only."""
    import cv2

    if crop:
        restored, target = (image[crop:-crop, crop:-crop] for image in (restored, target))
    if restored.ndim == 3:
        channels = range(restored.shape[2])
        return float(np.mean([ssim(restored[..., channel], target[..., channel]) for channel in channels]))
    x, y = restored.astype(np.float64), target.astype(np.float64)
    kernel = cv2.getGaussianKernel(11, 1.5)

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(image, -1, kernel, kernel)[5:-5, 5:-5]

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean())


# Fidelity, protocol variant: grey, [0, 1] ------------------------------------------------------------------------------


def grey_unit(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) BGR uint8 (or grey) -> Pillow's luma (h, w) float64 in [0, 1]."""
    from PIL import Image

    if image.ndim == 3:
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image[..., ::-1])).convert("L"))
    return image.astype(np.float64) / 255


def protocol_psnr(restored: np.ndarray, target: np.ndarray) -> float:
    """dB of the grey images, data range 1."""
    error = np.mean((grey_unit(restored) - grey_unit(target)) ** 2)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def protocol_ssim(restored: np.ndarray, target: np.ndarray) -> float:
    """Structural similarity of the grey images: uniform window 21, data range 1."""
    from skimage.metrics import structural_similarity

    similarity: Any = structural_similarity(grey_unit(restored), grey_unit(target), win_size=21, data_range=1.0)
    return float(similarity)


# Both variants, over clips -----------------------------------------------------------------------------------------------


def clip_scores(restored: Tensor, target: Tensor, protocol: str = "script") -> dict[str, float]:
    """Mean PSNR and SSIM over the frames of clips (t, 3, h, w) in [-1, 1]. protocol: ``script`` (8-bit colour, Gaussian
    window 11) or ``paper`` (grey, uniform window 21)."""
    pairs = [(to_uint8((a + 1) / 2), to_uint8((b + 1) / 2)) for a, b in zip(restored, target, strict=True)]
    return image_scores(pairs, protocol)


def image_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]], protocol: str) -> dict[str, float]:
    """Mean PSNR and SSIM of pairs of images (h, w, 3) BGR uint8."""
    functions = {
        "script": (psnr, ssim),
        "paper": (protocol_psnr, protocol_ssim),
    }[protocol]
    scores = np.array([[function(*pair) for function in functions] for pair in pairs])
    return dict(zip(("psnr", "ssim"), map(float, scores.mean(0)), strict=True))


# Inside and outside of defects ------------------------------------------------------------------------------------------

DEFECT = 0.1
"""A pixel of which a contaminant hides more than this share is a true defect."""


def mean_squared(restored: Tensor, target: Tensor, where: Tensor) -> Tensor:
    """Mean squared error over the pixels ``where`` (..., 1, h, w) bool, in units of [0, 1]; of clips in [-1, 1]."""
    error = ((restored.clamp(-1, 1) - target) / 2).square().mean(dim=-3, keepdim=True)
    return (error * where).sum() / where.sum().clamp(min=1)


# Steadiness in time ------------------------------------------------------------------------------------------------------


def flow_valid(flow: Tensor, back: Tensor) -> Tensor:
    """(n, 1, h, w) bool: where ``flow`` (n, 2, h, w) is confirmed by the flow back, away from motion boundaries.

    Ruder, Dosovitskiy and Brox, "Artistic style transfer for videos" (2016), equations 5 and 6, as Lai et al. (ECCV 2018).
    """
    returned = warp(back, flow)
    square = flow.square().sum(1, keepdim=True)
    closed = (flow + returned).square().sum(1, keepdim=True) <= 0.01 * (
        square + returned.square().sum(1, keepdim=True)
    ) + 0.5
    steps_x, steps_y = torch.zeros_like(square), torch.zeros_like(square)
    steps_x[..., :-1] = (flow[..., 1:] - flow[..., :-1]).square().sum(1, keepdim=True)
    steps_y[..., :-1, :] = (flow[..., 1:, :] - flow[..., :-1, :]).square().sum(1, keepdim=True)
    inside = warp(torch.ones_like(square), flow) > 0.999
    return closed & (steps_x + steps_y <= 0.01 * square + 0.002) & inside


def warping_error(clip: Tensor, backward_flow: Tensor, forward_flow: Tensor) -> float:
    """Mean over pairs of the mean squared difference between y_t and y_{t+1} brought to it, where the flow is valid.

    clip: (t, c, h, w) in [-1, 1], measured in units of [0, 1]. Flows (t - 1, 2, h, w) as ``RTN`` takes them, of the clean
    clip, the same for all methods that are compared. Read it beside a fidelity: blurring lowers it.
    """
    frames = (clip.clamp(-1, 1) + 1) / 2
    valid = flow_valid(backward_flow, forward_flow)
    error = (frames[:-1] - warp(frames[1:], backward_flow)).square().mean(1, keepdim=True)
    return float(((error * valid).sum((1, 2, 3)) / valid.sum((1, 2, 3)).clamp(min=1)).mean())


# Defect masks --------------------------------------------------------------------------------------------------------


class MaskScores(NamedTuple):
    """How well a map of scores finds the true defects."""

    auroc: float
    average_precision: float
    best_iou: float


def mask_scores(scores: np.ndarray, truth: np.ndarray) -> MaskScores:
    """Area under the ROC curve, average precision and the best intersection over union of any threshold.

    scores: any shape, larger means defect; truth: bool of the same shape. Ties count as half, as they should. NaN where
    one of the two classes is missing.
    """
    scores, truth = np.ravel(scores).astype(np.float64), np.ravel(truth).astype(bool)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return MaskScores(float("nan"), float("nan"), float("nan"))
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(truth[order])[ends]
    false = ends + 1 - hits
    recall, fallout = np.append(0, hits / positives), np.append(0, false / negatives)
    precision = hits / (ends + 1)
    iou = hits / (positives + false)
    return MaskScores(
        float(np.trapezoid(recall, fallout)),
        float(np.sum(np.diff(recall) * precision)),
        float(iou.max()),
    )


# Colour --------------------------------------------------------------------------------------------------------------


def colour_consistency(clip: np.ndarray, distances: tuple[int, ...] = (1, 2, 4)) -> float:
    """Colour distribution consistency: mean Jensen-Shannon divergence of the channels' histograms, frames apart.

    clip: (t, h, w, 3) uint8. Mean over ``distances`` that the clip is long enough for; lower is steadier.
    """
    histograms = np.stack(
        [[np.bincount(frame[..., channel].ravel(), minlength=256) for channel in range(3)] for frame in clip]
    ).astype(np.float64)
    histograms /= histograms.sum(-1, keepdims=True)

    def entropy(p: np.ndarray) -> np.ndarray:
        return -np.sum(p * np.log(np.where(p > 0, p, 1)), axis=-1)

    values = []
    for distance in distances:
        if distance < len(clip):
            a, b = histograms[:-distance], histograms[distance:]
            values.append(np.mean(entropy((a + b) / 2) - (entropy(a) + entropy(b)) / 2))
    return float(np.mean(values)) if values else float("nan")


def colourfulness(rgb: np.ndarray) -> float:
    """Of a picture (h, w, 3) in 0..255: the spread of the opponent colours and .3 of the distance of their mean from grey
    (Hasler and Suesstrunk, "Measuring colourfulness in natural images", 2003). Too low where colour washes out."""
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    opponents = np.stack((red - green, (red + green) / 2 - blue))
    return float(np.linalg.norm(opponents.std((1, 2))) + 0.3 * np.linalg.norm(opponents.mean((1, 2))))


# Perceptual distance -----------------------------------------------------------------------------------------------------


class LPIPS(torch.nn.Module):
    """Learned perceptual distance (Zhang et al., CVPR 2018), version 0.1 on AlexNet; lower is nearer.

    alexnet: torchvision's state dict (``alexnet-owt-7be5be79.pth``); linear: the learned weights of the layers
    (``alex.pth`` of the lpips package). Raises UserError where either is not that.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, alexnet: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        super().__init__()
        relu, conv = torch.nn.ReLU, torch.nn.Conv2d
        self.features = torch.nn.Sequential(
            *(conv(3, 64, 11, stride=4, padding=2), relu(), torch.nn.MaxPool2d(3, 2)),
            *(conv(64, 192, 5, padding=2), relu(), torch.nn.MaxPool2d(3, 2)),
            *(conv(192, 384, 3, padding=1), relu(), conv(384, 256, 3, padding=1), relu()),
            *(conv(256, 256, 3, padding=1), relu()),
        )
        wanted = {
            name.removeprefix("features."): value for name, value in alexnet.items() if name.startswith("features.")
        }
        import_state_dict(self.features, wanted, source="AlexNet's weights")
        names = [f"lin{number}.model.1.weight" for number in range(5)]
        if missing := [name for name in names if name not in linear]:
            raise UserError(f"the weights of LPIPS lack {', '.join(missing)}: give alex.pth of lpips, version 0.1")
        for number, name in enumerate(names):
            self.register_buffer(f"linear{number}", linear[name])
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """(n, 3, h, w) in [-1, 1], at least 32 pixels -> distances (n,)."""
        a, b = ((images - self.shift) / self.scale for images in (restored, target))
        total, number = torch.zeros(len(restored), device=restored.device), 0
        for layer in self.features:
            a, b = layer(a), layer(b)
            if isinstance(layer, torch.nn.ReLU):
                unit_a, unit_b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
                weight = getattr(self, f"linear{number}")
                total = total + torch.nn.functional.conv2d((unit_a - unit_b).square(), weight).mean((1, 2, 3))
                number += 1
        return total
