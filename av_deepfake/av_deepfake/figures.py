"""Pictures of trainings, scores and similarities (matplotlib, without a display); they take plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from av_deepfake import metrics
from shared_utils.logging import read_metrics, save_figure

_INK, _GREY = "#1d2430", "#8d99ae"
_LINES = ("#d1495b", "#17a589", "#4a90c2", "#e08e45", "#7b6cd9", "#b5a642", "#a0522d", "#ff7fb0", "#1d2430", "#8d99ae")


def curves(run: Path, loss: str, measured: Sequence[str], label: str) -> None:
    """Loss and validation of a run over its steps, from its metrics.csv, as RUN/figures/curves.png.

    Args:
        run: its folder.
        loss: column of the loss.
        measured: columns of the validation.
        label: of their axis.
    """
    rows = read_metrics(run)
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, names in ((left, [loss]), (right, measured)):
        for name, colour in zip(names, _LINES, strict=False):
            points = np.array(
                [(float(row["step"]), float(row[name])) for row in rows if row.get(name) and row.get("step")]
            )
            if len(points):
                axes.plot(*points.T, ".-", color=colour, label=name)
        axes.set(xlabel="step")
        _plain(axes)
    left.set_ylabel("loss")
    right.set(ylabel=label, ylim=(0, 1.02))
    if len(right.lines) > 1:
        right.legend(frameon=False, fontsize=8)
    save_figure(figure, run / "figures" / "curves.png")


def roc(path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Exact ROC curves of videos.

    Args:
        path: of the picture.
        curves: title -> logits (m,) and labels (m,), 1 = fake.
    """
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (title, (logits, labels)) in enumerate(curves.items()):
        false, true, _ = metrics.roc(logits, labels)
        colour, style = _LINES[number % len(_LINES)], "-" if number < len(_LINES) else "--"
        axes.step(
            *(false, true), style, where="post", color=colour, label=f"{title}: {metrics.auc(logits, labels):.3f}"
        )
    axes.plot([0, 1], [0, 1], ":", color=_GREY, linewidth=0.8)
    axes.set(xlabel="genuine videos called fake", ylabel="fakes found", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(frameon=False, fontsize=7, title="AUC", title_fontsize=8, loc="lower right")
    _plain(axes)
    save_figure(figure, path)


def histograms(path: Path, logits: Mapping[str, np.ndarray]) -> None:
    """Logits of videos by method, a row of dots each.

    Args:
        path: of the picture.
        logits: title -> (m,).
    """
    figure = Figure(figsize=(5.6, 0.5 + 0.32 * len(logits)), layout="constrained")
    axes = figure.subplots()
    for row, (title, values) in enumerate(logits.items()):
        colour = _GREY if title.startswith("real") else _LINES[0]
        height = np.random.default_rng(row).uniform(-0.25, 0.25, len(values))
        axes.plot(values, row + height, ".", color=colour, markersize=3, alpha=0.6)
        axes.plot([float(np.mean(values))] * 2, [row - 0.35, row + 0.35], color=_INK, linewidth=1.5)
    axes.axvline(0, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(logits)), list(logits), fontsize=8)
    axes.set(xlabel="logit of the video (larger: more suspicious); the bar is the mean")
    axes.invert_yaxis()
    _plain(axes)
    save_figure(figure, path)


def severity(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """AUC over the level of each degradation, a panel each; level 0 is the clean set.

    Args:
        path: of the picture.
        rows: model, set, degradation, level, AUC.
    """
    kinds = list(dict.fromkeys(row["degradation"] for row in rows))
    columns = min(4, len(kinds))
    figure = Figure(figsize=(2.6 * columns, 2.2 * -(-len(kinds) // columns)), layout="constrained")
    panels = figure.subplots(-(-len(kinds) // columns), columns, squeeze=False, sharex=True, sharey=True).ravel()
    curves = list(dict.fromkeys((row["model"], row["set"]) for row in rows))
    for axes, kind in zip(panels, kinds, strict=False):
        for number, (model, name) in enumerate(curves):
            own = [row for row in rows if (row["model"], row["set"], row["degradation"]) == (model, name, kind)]
            axes.plot(
                [row["level"] for row in own],
                [row["AUC"] for row in own],
                *("o-",),
                **{"markersize": 3, "color": _LINES[number % len(_LINES)], "label": f"{model}, {name}"},
            )
        axes.axhline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
        axes.set_title(kind.replace("_", " "), fontsize=9)
        axes.set_xticks(range(6))
        _plain(axes)
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    panels[0].legend(frameon=False, fontsize=6)
    figure.supxlabel("level", fontsize=9)
    figure.supylabel("AUC", fontsize=9)
    save_figure(figure, path)


def leave_one_out(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """AUC of methods that a model was not trained on, beside those that it was, a panel a set.

    Args:
        path: of the picture.
        rows: model, set, "left out", AUC, "AUC, seen".
    """
    sets = list(dict.fromkeys(row["set"] for row in rows))
    figure = Figure(figsize=(3.6 * len(sets), 3.0), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for axes, name in zip(panels, sets, strict=True):
        own = [row for row in rows if row["set"] == name]
        places = np.arange(len(own))
        for shift, key, colour in ((-0.2, "AUC", _LINES[0]), (0.2, "AUC, seen", _GREY)):
            label = "left out" if key == "AUC" else "trained on"
            axes.bar(places + shift, [row[key] - 0.5 for row in own], 0.36, bottom=0.5, color=colour, label=label)
        axes.axhline(0.5, color=_INK, linewidth=0.8)
        axes.set_xticks(places, [row["left out"] for row in own], fontsize=8)
        axes.set_title(name, fontsize=9)
        axes.set(ylim=(0.3, 1.02))
        _plain(axes)
    panels[0].set_ylabel("AUC of videos")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left")
    save_figure(figure, path)


def strips(path: Path, clips: Mapping[str, np.ndarray]) -> None:
    """The frames of clips, a row each.

    Args:
        path: of the picture.
        clips: title -> (t, h, w) uint8.
    """
    longest = max(len(clip) for clip in clips.values())
    figure = Figure(figsize=(0.36 * longest, 0.62 * len(clips)), layout="constrained")
    for axes, (title, clip) in zip(figure.subplots(len(clips), 1, squeeze=False)[:, 0], clips.items(), strict=True):
        axes.imshow(np.concatenate(list(clip), axis=1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=7, loc="left", pad=2)
        axes.set_axis_off()
    save_figure(figure, path)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
