"""What people would rather look at than read (matplotlib, without a display); the kind of file by its ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mot_occlusion.annotation import colour_of
from shared_utils.logging import save_figure

COLOURS = ("#0f7b6c", "#d1495b", "#5b8db8", "#e08e45", "#7b5ea7", "#2f4858", "#8a6d3b", "#9aa4b1")
_INK = "#1d2430"


def _finish(axes: Axes) -> None:
    """A light grid, no box, a plain legend where there is something to tell apart."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


def trajectories(
    path: str | Path,
    frames: np.ndarray,
    ids: np.ndarray,
    boxes: np.ndarray,
    recovered: np.ndarray,
    size: tuple[int, int],
    image: np.ndarray | None = None,
    title: str = "",
) -> None:
    """Where people's feet went: a line an identity, dotted where it was recovered while hidden.

    frames, ids, recovered (N,); boxes (N, 4) x, y, w, h; size (height, width); image: RGB, drawn below, pale.
    """
    height, width = size
    figure = Figure(figsize=(7.5, 7.5 * height / width + 0.4), layout="constrained")
    axes = figure.subplots()
    if image is not None:
        axes.imshow(0.55 * (image / 255.0) + 0.45, extent=(0, width, height, 0))
    for identity in np.unique(ids):
        rows = np.flatnonzero(ids == identity)
        rows = rows[np.argsort(frames[rows])]
        # A gap in the frames is a gap in the line.
        place = np.column_stack([boxes[rows, 0] + boxes[rows, 2] / 2, boxes[rows, 1] + boxes[rows, 3]])
        place[1:][np.diff(frames[rows]) > 1] = np.nan
        colour = np.array(colour_of(int(identity))) / 255 * 0.85
        axes.plot(*place.T, color=colour, linewidth=1.6)
        hidden = rows[recovered[rows]]
        axes.plot(
            boxes[hidden, 0] + boxes[hidden, 2] / 2,
            boxes[hidden, 1] + boxes[hidden, 3],
            ".",
            color="white",
            markersize=3,
        )
        axes.text(place[0, 0], place[0, 1], str(identity), fontsize=8, color=colour, fontweight="bold")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.set_title(title, fontsize=10, color=_INK)
    save_figure(figure, path, colours=128 if image is None else None)


def timeline(path: str | Path, frames: np.ndarray, ids: np.ndarray, recovered: np.ndarray, title: str = "") -> None:
    """When people were there: a bar an identity, red where it was hidden and recovered, a thin line where it was lost."""
    names, line = np.unique(ids, return_inverse=True)
    figure = Figure(figsize=(9, float(np.clip(0.16 * len(names) + 1.2, 2.5, 14))), layout="constrained")
    axes = figure.subplots()
    for position in range(len(names)):
        rows = np.flatnonzero(line == position)
        rows = rows[np.argsort(frames[rows])]
        axes.hlines(position, frames[rows[0]], frames[rows[-1]], color="#9aa4b1", linewidth=0.8, zorder=0)
        for hidden, colour in ((False, COLOURS[0]), (True, COLOURS[1])):
            chosen = np.sort(frames[rows[recovered[rows] == hidden]])
            spans = np.split(chosen, np.flatnonzero(np.diff(chosen) > 1) + 1)
            bars = [(span[0] - 0.5, span[-1] - span[0] + 1) for span in spans if len(span)]
            axes.broken_barh(bars, (position - 0.36, 0.72), facecolors=colour)
    step = max(1, len(names) // 40)
    axes.set_yticks(range(0, len(names), step), names[::step], fontsize=7)
    axes.plot([], [], color=COLOURS[0], linewidth=5, label="tracked")
    axes.plot([], [], color=COLOURS[1], linewidth=5, label="hidden, recovered")
    axes.plot([], [], color="#9aa4b1", linewidth=0.8, label="lost")
    axes.set(xlabel="frame", ylabel="identity", ylim=(len(names) - 0.3, -0.7))
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2, axis="x")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    save_figure(figure, path, colours=128)


def occlusion(path: str | Path, image: np.ndarray, heatmap: np.ndarray, boxes: np.ndarray, centres: np.ndarray) -> None:
    """The occlusion map over its frame, with detected boxes and the centres that were read from it.

    image: (H, W, 3) RGB; heatmap: (H, W) in [0, 1]; boxes (N, 4) x1, y1, x2, y2; centres (M, 2).
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(10, 10 * height / width + 0.3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image)
    highest = max(0.1, float(heatmap.max()))
    drawn = axes.imshow(heatmap, cmap="inferno", vmin=0, vmax=highest, alpha=np.clip(1.5 * heatmap / highest, 0, 0.8))
    for x1, y1, x2, y2 in boxes:
        axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="white", linewidth=1)
    axes.plot(*np.asarray(centres).reshape(-1, 2).T, "x", color="#39ff88", markersize=9, markeredgewidth=2)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="occlusion")
    save_figure(figure, path)


def frames(path: str | Path, images: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """RGB frames side by side."""
    height, width = images[0].shape[:2]
    figure = Figure(figsize=(5.2 * len(images), 5.2 * height / width + 0.3), layout="constrained")
    for axes, image, title in zip(np.atleast_1d(figure.subplots(1, len(images))), images, titles, strict=True):
        axes.imshow(image, interpolation="bicubic")
        axes.set_title(title, fontsize=10, color=_INK)
        axes.set_axis_off()
    save_figure(figure, path)


def similarity(path: str | Path, values: np.ndarray, placeholder: float, num_first: int, title: str = "") -> None:
    """Cosines of the embeddings of two frames stacked, and the placeholder column that stands for "nobody".

    values: (N + M, N + M); num_first: N, how many belong to the first frame.
    """
    count = len(values)
    shown = np.column_stack([np.where(np.eye(count, dtype=bool), np.nan, values), np.full(count, placeholder)])
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shown, cmap="viridis", vmin=min(0.0, float(values.min())), vmax=1)
    for edge in (num_first - 0.5, count - 0.5):
        axes.axvline(edge, color="white", linewidth=1.5)
    axes.axhline(num_first - 0.5, color="white", linewidth=1.5)
    axes.set_xticks(
        [num_first / 2 - 0.5, (num_first + count) / 2 - 0.5, count], ["first frame", "second frame", "nobody"]
    )
    axes.set_yticks([num_first / 2 - 0.5, (num_first + count) / 2 - 0.5], ["first", "second"], rotation=90, va="center")
    axes.set_title(title, fontsize=10, color=_INK)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="cosine")
    save_figure(figure, path, colours=128)


def hota_curves(path: str | Path, curves: Mapping[str, Mapping[str, np.ndarray]], thresholds: np.ndarray) -> None:
    """HOTA, DetA and AssA over the thresholds (19,) of localisation: name -> curves (19,)."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3, sharey=True), ("HOTA", "DetA", "AssA"), strict=True):
        for position, (label, curve) in enumerate(curves.items()):
            colour = COLOURS[position % len(COLOURS)]
            axes.plot(thresholds, curve[name], color=colour, linewidth=2, label=f"{label} {np.mean(curve[name]):.3f}")
        axes.set(xlabel="IoU threshold", title=name, ylim=(0, 1), xlim=(0, 1))
        _finish(axes)
    save_figure(figure, path, colours=128)


def window_sweep(path: str | Path, rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """What the recovery window changes against no recovery, a line a sequence, with the range over the seeds.

    rows: ``sequence``, ``window`` (frames, 0: no recovery), ``seed``, ``MOTA``, ``IDF1``, ``HOTA``, ``CLR_FN``.
    """
    names = {"MOTA": "MOTA (points)", "IDF1": "IDF1 (points)", "HOTA": "HOTA (points)", "CLR_FN": "misses (per cent)"}
    figure = Figure(figsize=(12, 3.3), layout="constrained")
    windows = sorted({row["window"] for row in rows})
    for axes, (key, label) in zip(figure.subplots(1, 4), names.items(), strict=True):
        for position, sequence in enumerate(dict.fromkeys(row["sequence"] for row in rows)):
            of_sequence = [row for row in rows if row["sequence"] == sequence]
            values = np.array(
                [[row[key] for row in of_sequence if row["window"] == window] for window in windows], dtype=float
            )
            change = 100 * (values / values[0] - 1 if key == "CLR_FN" else values - values[0])
            colour = COLOURS[position % len(COLOURS)]
            axes.plot(range(len(windows)), change.mean(1), "o-", markersize=3.5, color=colour, label=sequence)
            axes.fill_between(range(len(windows)), change.min(1), change.max(1), color=colour, alpha=0.2)
        axes.set_xticks(range(len(windows)), ["none" if window == 0 else window for window in windows])
        axes.set(title=label, xlabel="recovery window (frames)")
        _finish(axes)
        if key != "MOTA":
            axes.get_legend().remove()
    figure.suptitle(title, fontsize=10, color=_INK)
    save_figure(figure, path, colours=128)


def training(path: str | Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Curves of a run's metrics.csv: losses, the terms of re-ID, validation."""
    panels = {
        "detection losses": ["train_hm", "train_wh", "train_reg", "train_occlusion"],
        "re-ID loss and its terms": ["train_id", "train_id_intra", "train_id_inter", "train_id_cycle"],
        "validation": ["val_ap50", "val_rank1"],
    }
    figure = Figure(figsize=(4 * len(panels), 3.3), layout="constrained")
    for axes, (title, columns) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        for position, column in enumerate(columns):
            points = [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
            if points:
                colour = COLOURS[position % len(COLOURS)]
                axes.plot(*zip(*points, strict=True), label=column, linewidth=1.8, color=colour)
        axes.set(xlabel="step", title=title)
        _finish(axes)
    save_figure(figure, path, colours=128)


def bars(path: str | Path, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], title: str = "") -> None:
    """An ablation: a group of bars a metric, a bar an arm from zero, a dot a seed. rows: ``arm``, ``seed``, the metrics."""
    names = list(dict.fromkeys(row["arm"] for row in rows))
    figure = Figure(figsize=(2.6 * len(metrics) + 2.6, 3.6), layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        for position, name in enumerate(names):
            values = [float(row[metric]) for row in rows if row["arm"] == name]
            colour = COLOURS[position % len(COLOURS)]
            axes.bar(position, np.mean(values), color=colour, alpha=0.55, label=name)
            axes.plot([position] * len(values), values, "o", color=colour, markersize=3)
            text = f"{np.mean(values):.1f}" if np.mean(values) < 1000 else f"{np.mean(values):.0f}"
            axes.annotate(text, (position, max(values)), (0, 3), textcoords="offset points", ha="center", fontsize=7)
        axes.set(title=metric, xticks=[])
        axes.margins(y=0.12)
        axes.grid(alpha=0.25, axis="y")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10, color=_INK)
    save_figure(figure, path, colours=128)
