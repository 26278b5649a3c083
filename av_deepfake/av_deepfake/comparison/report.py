"""The figures of a finished comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from av_deepfake import figures
from av_deepfake.comparison import measuring
from av_deepfake.comparison.grid import Comparison
from av_deepfake.comparison.plan import CHANGES, LEFT_OUT, STATISTICS, TITLES
from shared_utils.logging import save_figure

_BARS = ("pretrained", "gentle", "scratch", "random", "single", STATISTICS)
_CLIPS, _FRAMES = 64, 14
_COLOURS = ("#d1495b", "#17a589", "#4a90c2", "#e08e45", "#7b6cd9", "#8d99ae")


def draw(comparison: Comparison, results: dict[str, Any], folder: Path) -> None:
    """Write the figures of ``claim.CAPTIONS`` into a folder."""
    found = {row["row"]: row["auc"] for row in results["rows"]}
    values = {
        TITLES[row]: {f"{method}\n{c}": found[row][f"{c}/{method}"] for c in CHANGES for method in LEFT_OUT}
        for row in _BARS
        if row in found
    }
    _bars(folder / "auc.png", values)
    seed = comparison.plan.seeds[0]
    mouths = comparison.mouths(seed)
    easy, hard = mouths.retrieval("easy", _CLIPS), mouths.retrieval("hard", _CLIPS)
    maps = {
        title: measuring.similarities(comparison.branches(name, seed), clips)
        for title, name, clips in (
            ("random weights, easy set", "random", easy),
            ("pre-trained, easy set", "pretrained", easy),
            ("pre-trained, hard set", "pretrained", hard),
        )
    }
    _matrices(folder / "similarity.png", maps)
    test = mouths.detection("test", comparison.plan.test)
    shown = {kind: test.pictures[np.flatnonzero(test.method == kind)[0]][:_FRAMES] for kind in ("real", *LEFT_OUT)}
    figures.strips(folder / "mouths.png", {**shown, "hard set": hard.pictures[0][:_FRAMES]})


def _bars(path: Path, values: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """AUC of every row by case: the mean over seeds, and a dot a seed."""
    cases = list(next(iter(values.values())))
    figure = Figure(figsize=(1.4 + 1.1 * len(cases), 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(values)
    for number, ((title, by_case), colour) in enumerate(zip(values.items(), _COLOURS, strict=False)):
        places = np.arange(len(cases)) + (number - (len(values) - 1) / 2) * width
        means = np.array([np.mean(by_case[case]) for case in cases])
        axes.bar(places, means - 0.5, width * 0.9, bottom=0.5, color=colour, alpha=0.8, label=title)
        for place, case in zip(places, cases, strict=True):
            axes.plot([place] * len(by_case[case]), by_case[case], ".", color="#1d2430", markersize=3)
    axes.axhline(0.5, color="#8d99ae", linewidth=0.8)
    axes.set_xticks(range(len(cases)), cases)
    axes.set(ylabel="AUC, method left out", ylim=(0.2, 1.02))
    axes.legend(frameon=False, fontsize=8, loc="lower center", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _matrices(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Cosines of pictures and sounds less the means of their rows and columns, a panel each."""
    figure = Figure(figsize=(3.6 * len(maps), 3.4), layout="constrained")
    for axes, (title, cosines) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
        apart = cosines - cosines.mean(0) - cosines.mean(1, keepdims=True) + cosines.mean()
        spread = np.abs(apart).max()
        axes.imshow(apart, cmap="RdBu_r", vmin=-spread, vmax=spread, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="sound", ylabel="picture")
    save_figure(figure, path)
