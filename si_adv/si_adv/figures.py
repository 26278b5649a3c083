"""Pictures of clouds, attacks and comparisons (matplotlib, without a display); the ending of the path decides the kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from shared_utils.logging import save_figure

_GREY, _INK = "#9aa4b1", "#1d2430"
# From grey, a point that stays, to red: what moved stands out of what did not.
_HEAT = LinearSegmentedColormap.from_list("heat", ["#c3cad3", "#e9b872", "#dd6e42", "#9d1c1c"])
COLOURS = {
    "si_ifgm": "#0f7b6c",
    "ifgm": "#d1495b",
    "mifgm": "#b5651d",
    "pgd": "#7b5ea7",
    "fgm": "#e08e45",
    "random_tangent": "#5b8db8",
    "random": "#9aa4b1",
    "si_query": "#0f7b6c",
    "simba": "#d1495b",
    "simba_pp": "#7b5ea7",
}


def _colour(name: str, position: int) -> str:
    spare = ("#2f4858", "#c06e52", "#4f6d7a", "#8a6d3b", "#6c757d")
    return COLOURS.get(name, spare[position % len(spare)])


def draw_cloud(
    axes: Axes, points: np.ndarray, values: np.ndarray | None = None, vmax: float | None = None, title: str = ""
):
    """A cloud seen from above its front, nearer points larger; y up where the cloud is flat in y, else z up.

    Args:
        axes: where to draw.
        points: (N, 3).
        values: (N,), which colour the points from 0 to ``vmax``.
        vmax: the value of the hottest colour.
        title: above it.

    Returns:
        What a colour bar can be made of.
    """
    turn, tilt = np.deg2rad(35), np.deg2rad(20)
    x, y, z = points.T
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    depth, height = np.cos(tilt) * y - np.sin(tilt) * z, np.sin(tilt) * y + np.cos(tilt) * z
    near = 1 - (depth - depth.min()) / (np.ptp(depth) + 1e-9)
    size = 2 + 7 * near
    if values is None:
        order = np.argsort(-depth)
        colour: dict[str, Any] = {"c": _GREY}
    else:
        heat = np.clip(values / (vmax or 1), 0, 1)
        order = np.lexsort((-depth, heat > 0.1))  # what is hot is drawn last, and larger
        size = size + 22 * heat
        colour = {"c": values[order], "cmap": _HEAT, "vmin": 0, "vmax": vmax}
    drawn = axes.scatter(x[order], height[order], s=size[order], linewidths=0, **colour)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, color=_INK)
    return drawn


def displacement(path: str | Path, examples: Sequence[dict[str, Any]]) -> None:
    """Clean clouds beside what each attack made of them, coloured by how far a point moved.

    Args:
        path: the picture.
        examples: per cloud ``clean`` (N, 3), ``title``, and ``attacks``: name -> (adv (N, 3), title).
    """
    names = list(examples[0]["attacks"])
    figure = Figure(figsize=(2.6 * (1 + len(names)) + 0.6, 2.5 * len(examples)), layout="constrained")
    axes = figure.subplots(len(examples), 1 + len(names), squeeze=False)
    lengths = [
        np.linalg.norm(adv - example["clean"], axis=1) for example in examples for adv, _ in example["attacks"].values()
    ]
    vmax = float(np.quantile(np.concatenate(lengths), 0.99)) or None
    for line, example in zip(axes, examples, strict=True):
        draw_cloud(line[0], example["clean"], title=example["title"])
        for cell, name in zip(line[1:], names, strict=True):
            adv, title = example["attacks"][name]
            drawn = draw_cloud(cell, adv, np.linalg.norm(adv - example["clean"], axis=1), vmax, f"{name}: {title}")
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="displacement (unit sphere)")
    save_figure(figure, path, colours=256)


def sensitivity(path: str | Path, points: np.ndarray, values: np.ndarray, title: str) -> None:
    """A cloud (N, 3) coloured by its sensitivity (N,), from two sides."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    vmax = float(np.quantile(values[values > 0], 0.98)) if (values > 0).any() else 1.0
    draw_cloud(axes[0], points, values, vmax, title)
    drawn = draw_cloud(axes[1], points * np.array([-1, -1, 1]), values, vmax, "from behind")
    figure.colorbar(drawn, ax=axes, shrink=0.7, label="sensitivity along the surface")
    save_figure(figure, path, colours=256)


def success_against_surface(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Success rate against out-of-surface motion, a mark a run; the corner to be in is the upper left."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for position, name in enumerate(dict.fromkeys(row["attack"] for row in rows)):
        chosen = [row for row in rows if row["attack"] == name]
        axes.scatter(
            [row["surface"] for row in chosen],
            [row["asr"] for row in chosen],
            s=70,
            color=_colour(name, position),
            edgecolor="white",
            label=name,
            zorder=3,
        )
    axes.set(
        xlabel="mean out-of-surface motion (unit sphere)",
        ylabel="attack success rate",
        xscale="log",
        ylim=(-0.05, 1.08),
    )
    _finish(axes)
    save_figure(figure, path, colours=256)


def curves(path: str | Path, lines: dict[str, tuple[np.ndarray, np.ndarray]], xlabel: str, log: bool = False) -> None:
    """Success rate over a budget (steps, queries, eps): name -> (budgets, rates)."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for position, (name, (budgets, rates)) in enumerate(lines.items()):
        axes.plot(
            budgets,
            rates,
            marker="o",
            markersize=3.5,
            linewidth=2,
            color=_colour(name.split()[0], position),
            label=name,
        )
    axes.set(xlabel=xlabel, ylabel="attack success rate", ylim=(-0.03, 1.05), xscale="log" if log else "linear")
    _finish(axes)
    save_figure(figure, path, colours=256)


def histogram(path: str | Path, values: dict[str, np.ndarray], xlabel: str) -> None:
    """Counts of a per-cloud number, one step line an attack, on common logarithmic bins."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(values.values()))
    bins = np.geomspace(max(1, everything.min()), max(2, everything.max() + 1), 25)
    for position, (name, numbers) in enumerate(values.items()):
        axes.hist(numbers, bins.tolist(), histtype="stepfilled", alpha=0.45, color=_colour(name, position), label=name)
    axes.set(xlabel=xlabel, ylabel="clouds", xscale="log")
    _finish(axes)
    save_figure(figure, path, colours=256)


def matrix(path: str | Path, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str) -> None:
    """Rates (R, C) as a coloured table: surrogates down, targets across."""
    figure = Figure(figsize=(1.7 + 1.15 * len(columns), 1.5 + 0.75 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="YlGnBu", vmin=0, vmax=1)
    for row in range(len(rows)):
        for column in range(len(columns)):
            value = values[row, column]
            colour = "white" if value > 0.55 else _INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=11)
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="target", ylabel="surrogate")
    axes.set_title(title, fontsize=10, color=_INK)
    save_figure(figure, path, colours=256)


def training(path: str | Path, rows: Sequence[dict[str, str]]) -> None:
    """Loss and accuracies over the epochs, from the rows of a run's metrics.csv."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for name, axes in (("loss", loss), ("accuracy", accuracy)):
        for position, column in enumerate(sorted({column for row in rows for column in row if column.endswith(name)})):
            values = [(int(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
            if values and not column.startswith("test"):
                axes.plot(*zip(*values, strict=True), label=column, linewidth=2, color=_colour("", position))
        axes.set(xlabel="epoch", title=name)
        _finish(axes)
    save_figure(figure, path, colours=256)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
