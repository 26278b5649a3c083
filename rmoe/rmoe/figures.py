"""Pictures of the pipelines and of what experts do (matplotlib, without a display)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rmoe.evaluation.experts import colours
from rmoe.pipelines import ROWS
from shared_utils.logging import save_figure

CAPTIONS = {
    "cost_quality.png": "test mIoU over the operations of the whole training, mean and every seed of each pipeline",
    "experts_by_domain.png": "which expert takes the patches of each domain, at the end of each pipeline",
    "expert_map.png": "scenes of four domains, what RMoE-D predicts, and which expert each patch went to",
    "load.png": "share of the patches that each expert gets, and the size of its residual over the core's",
}
_INK = "#1d2430"
_COLOURS = dict(zip(ROWS, ("#8d99ae", "#1d2430", "#d1495b", "#e08e45", "#17a589", "#7b6cd9", "#4a90c2"), strict=True))


def cost_quality(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """mIoU over training operations, a panel a budget of downstream steps.

    Args:
        path: of the picture.
        rows: of the results of ``rmoe.pipelines``, of the world ``rules``.
    """
    budgets = list(dict.fromkeys(row["steps"] for row in rows))
    figure = Figure(figsize=(1.5 + 4.2 * len(budgets), 4.0), layout="constrained")
    for axes, steps in zip(figure.subplots(1, len(budgets), squeeze=False)[0], budgets, strict=True):
        for row in (row for row in rows if row["steps"] == steps):
            spent, scores = sum(row["flops"].values()) / 1e9, 100 * np.array(row["miou"])
            colour = _COLOURS[row["row"]]
            axes.plot([spent] * len(scores), scores, ".", color=colour, alpha=0.5, markersize=5)
            axes.plot(spent, scores.mean(), "o", color=colour, markersize=9, label=ROWS[row["row"]].title)
        axes.set_title(f"{steps} downstream steps", fontsize=10, color=_INK)
        axes.set_xlabel("operations of the whole training (GFLOPs)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.1)
    figure.axes[0].set_ylabel("test mIoU of patches (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    save_figure(figure, path)


def experts_by_domain(path: Path, shares: Mapping[str, np.ndarray]) -> None:
    """How a domain's patches are spread over the experts.

    Args:
        path: of the picture.
        shares: title -> (E, D) counts.
    """
    figure = Figure(figsize=(1.0 + 2.9 * len(shares), 3.4), layout="constrained")
    panels = figure.subplots(1, len(shares), squeeze=False)[0]
    for axes, (title, counts) in zip(panels, shares.items(), strict=True):
        share = counts / np.maximum(1, counts.sum(0, keepdims=True))
        drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_title(title, fontsize=10, color=_INK)
        axes.set_xlabel("domain")
        axes.set_xticks(range(share.shape[1]))
        axes.set_yticks(range(share.shape[0]))
    panels[0].set_ylabel("expert")
    figure.colorbar(drawn, ax=list(panels), label="share of the domain's patches", shrink=0.9)
    save_figure(figure, path)


def expert_map(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    experts: np.ndarray,
    domains: Sequence[int],
    num_classes: int,
    num_experts: int,
) -> None:
    """Scenes with their truth, prediction and experts, a column a scene.

    Args:
        path: of the picture.
        images: (n, H, W, 3) of 0 to 1.
        labels: (n, h, w) classes.
        predicted: (n, h, w).
        experts: (n, h, w).
        domains: (n,).
        num_classes: K.
        num_experts: E.
    """
    rows = (("image", images), ("classes", labels), ("predicted", predicted), ("experts", experts))
    figure = Figure(figsize=(1.25 * len(images) + 0.6, 5.2), layout="constrained")
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (title, values) in zip(grid, rows, strict=True):
        for axes, value, domain in zip(line, values, domains, strict=True):
            if title == "image":
                axes.imshow(value, interpolation="nearest")
                axes.set_title(f"domain {domain}", fontsize=8, color=_INK)
            elif title == "experts":
                axes.imshow(colours(value, num_experts), interpolation="nearest")
            else:
                axes.imshow(value, cmap="tab10", vmin=0, vmax=max(9, num_classes - 1), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(title, fontsize=9, color=_INK)
    save_figure(figure, path)


def load(path: Path, loads: Mapping[str, Sequence[float]], residuals: Mapping[str, Sequence[float]]) -> None:
    """Bars of load and of residual norms, a colour a pipeline.

    Args:
        path: of the picture.
        loads: title -> share of each expert.
        residuals: title -> ||r_e|| / ||core||.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    for axes, (label, given) in zip(
        figure.subplots(1, 2), (("share of patches", loads), ("residual / core", residuals)), strict=True
    ):
        width = 0.8 / max(1, len(given))
        for place, (title, values) in enumerate(given.items()):
            name = next(name for name, row in ROWS.items() if row.title == title)
            where = np.arange(len(values)) + (place - (len(given) - 1) / 2) * width
            axes.bar(where, values, width, color=_COLOURS[name], label=title)
        if label == "share of patches" and given:
            axes.axhline(1 / len(next(iter(given.values()))), color=_INK, linewidth=0.8, linestyle=":")
        axes.set(xlabel="expert", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    save_figure(figure, path)
