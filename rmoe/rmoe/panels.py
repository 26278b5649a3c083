"""Pictures of what a model sees, answers and routes: class maps, overlays, expert maps, scores by class."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rmoe.evaluation.experts import colours as expert_colours
from shared_utils.logging import save_figure

_INK = "#1d2430"
_UNLABELLED = 255


def class_palette(count: int) -> np.ndarray:
    """(256 or more, 3) uint8: a colour a class, neighbours far apart; grey for what has no class."""
    hues = [(0.02 + 0.618034 * number) % 1 for number in range(count)]
    rows = [colorsys.hsv_to_rgb(hue, 0.55 + 0.3 * (n % 3) / 2, 0.95 - 0.25 * (n % 2)) for n, hue in enumerate(hues)]
    palette = np.full((max(256, count), 3), 128, np.uint8)
    palette[:count] = np.round(255 * np.array(rows))
    return palette


def class_image(classes: Tensor | np.ndarray, count: int) -> np.ndarray:
    """(H, W) classes, 255 for none -> (H, W, 3) uint8."""
    return class_palette(count)[np.asarray(classes)]


def as_pixels(image: Tensor) -> np.ndarray:
    """(3, H, W) of 0..255 -> (H, W, 3) uint8."""
    return image.float().round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def blended(image: np.ndarray, colour: np.ndarray, share: float = 0.55) -> np.ndarray:
    """A colour map over an image, (H, W, 3) uint8 both."""
    return np.round((1 - share) * image + share * colour).astype(np.uint8)


def expert_image(image: Tensor, experts: Tensor, num_experts: int) -> np.ndarray:
    """An expert map over its image: (H, W, 3) uint8."""
    return blended(as_pixels(image), expert_colours(experts, num_experts), 0.7)


def overlay(image: Tensor, detection: Mapping[str, Tensor], names: Sequence[str], path: Path) -> None:
    """Draw boxes, masks and scores over an image and save it.

    Args:
        image: (3, H, W) of 0..255.
        detection: what is drawn: boxes, labels from 1, scores, masks.
        names: of the classes.
        path: of the picture, kind by its ending.
    """
    pixels, palette = as_pixels(image), class_palette(len(names))
    for mask, label in zip(detection["masks"].bool().numpy(), detection["labels"].tolist(), strict=True):
        pixels[mask] = blended(pixels[mask], palette[label - 1])
    height, width = pixels.shape[:2]
    scale = max(1.0, 480 / max(height, width))
    figure = Figure(figsize=(scale * width / 100, scale * height / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels, interpolation="nearest")
    axes.axis("off")
    boxes = zip(detection["boxes"].tolist(), detection["labels"].tolist(), detection["scores"].tolist(), strict=True)
    for (left, top, right, bottom), label, score in boxes:
        colour = palette[label - 1] / 255
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=colour, linewidth=1.2)
        text = f"{names[label - 1]} {score:.2f}"
        axes.text(left, top, text, fontsize=6, color="white", va="bottom", clip_on=True, bbox=_label_box(colour))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    save_figure(figure, path, dpi=150)


def _label_box(colour: np.ndarray) -> dict[str, Any]:
    return {"facecolor": colour, "edgecolor": "none", "pad": 0.8}


def grid(path: Path, rows: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Pictures side by side, a row an image, titles from the keys.

    Args:
        path: of the picture.
        rows: title -> (H, W, 3); all rows with the same titles.
    """
    titles = list(rows[0])
    figure = Figure(figsize=(2.4 * len(titles), 2.0 * len(rows) + 0.3), layout="constrained")
    for number, (line, row) in enumerate(
        zip(figure.subplots(len(rows), len(titles), squeeze=False), rows, strict=True)
    ):
        for axes, title in zip(line, titles, strict=True):
            axes.imshow(row[title], interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if number == 0:
                axes.set_title(title, fontsize=8, color=_INK)
    save_figure(figure, path, colours=256)


def scores_by_class(path: Path, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """Bars of a score by class, best first; classes that do not occur are left out."""
    known = sorted((row for row in rows if np.isfinite(row[key])), key=lambda row: -row[key])
    figure = Figure(figsize=(6.0, 0.6 + 0.22 * max(3, len(known))), layout="constrained")
    axes = figure.subplots()
    axes.barh([str(row["class"]) for row in known], [row[key] for row in known], color="#4a90c2")
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set_xlabel(f"{key} (%)", color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def loads_and_residuals(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Share of the tokens and size of the residual of every expert, a panel a layer.

    Args:
        path: of the picture.
        rows: of ``ExpertStatistics.expert_rows``.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure = Figure(figsize=(8.0, 0.4 + 1.9 * len(layers)), layout="constrained")
    for line, layer in zip(figure.subplots(len(layers), 2, squeeze=False), layers, strict=True):
        own = [row for row in rows if row["layer"] == layer]
        for axes, key in zip(line, ("load", "residual / core"), strict=True):
            colours = expert_colours(np.arange(len(own)), len(own)) / 255
            axes.bar([row["expert"] for row in own], [row[key] for row in own], color=colours)
            axes.set_ylabel(key, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        line[0].axhline(1 / len(own), color=_INK, linewidth=0.8, linestyle=":")
        line[0].set_title(layer, fontsize=8, color=_INK, loc="left")
    for axes in line:
        axes.set_xlabel("expert")
    save_figure(figure, path)
