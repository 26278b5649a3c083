"""Pictures of clouds, attacks and comparisons (matplotlib, without a display); the ending of the path decides the kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure

from shared_utils.logging import save_figure
from si_adv.surface import distance_to_triangles

_GREY, _INK = "#9aa4b1", "#1d2430"
_POINT, _SIZE = "#3f5873", 7
# How deep under a surface a point is still drawn: it lies on the surface, and pixels are coarse.
_THROUGH = 0.03
# From grey, a point that stays, to red: what moved stands out of what did not.
_HEAT = LinearSegmentedColormap.from_list("heat", ["#c3cad3", "#e9b872", "#dd6e42", "#9d1c1c"])
_HEAT_ON_GREY = LinearSegmentedColormap.from_list("heat_on_grey", [_POINT, "#e9b872", "#dd6e42", "#9d1c1c"])
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


def _seen(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) as (across, up, away from the viewer), from above the front; y up where a cloud is flat in y, else z."""
    turn, tilt = np.deg2rad(35), np.deg2rad(20)
    x, y, z = np.moveaxis(points, -1, 0)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    return np.stack((x, np.sin(tilt) * y + np.cos(tilt) * z, np.cos(tilt) * y - np.sin(tilt) * z), -1)


def shaded(triangles: np.ndarray, pixels: int = 400) -> tuple[np.ndarray, np.ndarray, float]:
    """The picture of a surface, and how deep it is.

    Args:
        triangles: (T, 3, 3).
        pixels: of a side.

    Returns:
        Brightness (pixels, pixels) in 0..1, NaN beside the surface; depth (pixels, pixels) of the nearest surface, infinite
        beside it; half the side of the square that is seen, whose middle is the origin. Rows go up.
    """
    corners = _seen(triangles.astype(float))
    half = 1.02 * float(np.abs(corners[..., :2]).max())
    places = (corners[..., :2] + half) * (pixels / (2 * half)) - 0.5
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    light = np.array([-0.35, 0.6, -0.72])
    bright = 0.45 + 0.5 * np.abs(normals @ light) / np.maximum(lengths * np.linalg.norm(light), 1e-12)
    picture, depth = np.full((pixels, pixels), np.nan), np.full((pixels, pixels), np.inf)
    for place, away, value in zip(places, corners[..., 2], bright, strict=True):
        low = np.clip(np.floor(place.min(0)), 0, pixels - 1).astype(int)
        high = np.clip(np.ceil(place.max(0)), 0, pixels - 1).astype(int)
        edges = place[1:] - place[0]
        area = edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]
        if abs(area) < 1e-9:
            continue
        column, row = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        x, y = column - place[0, 0], row - place[0, 1]
        second = (x * edges[1, 1] - y * edges[1, 0]) / area
        third = (y * edges[0, 0] - x * edges[0, 1]) / area
        here = away[0] + second * (away[1] - away[0]) + third * (away[2] - away[0])
        nearer = (second >= 0) & (third >= 0) & (second + third <= 1) & (here < depth[row, column])
        depth[row[nearer], column[nearer]] = here[nearer]
        picture[row[nearer], column[nearer]] = value
    return picture, depth, half


def draw_cloud(
    axes: Axes,
    points: np.ndarray,
    values: np.ndarray | None = None,
    norm: Normalize | None = None,
    title: str = "",
    surface: tuple[np.ndarray, np.ndarray, float] | None = None,
):
    """A cloud seen from above its front, all points of one size; before its surface, where that is known.

    Args:
        axes: where to draw.
        points: (N, 3).
        values: (N,), which colour the points.
        norm: of the colours.
        title: above it.
        surface: what ``shaded`` makes of it; points that lie behind it are not drawn.

    Returns:
        What a colour bar can be made of.
    """
    across, height, depth = _seen(points).T
    seen = np.ones(len(points), dtype=bool)
    if surface is not None:
        picture, behind, half = surface
        axes.imshow(picture, extent=(-half, half, -half, half), origin="lower", cmap="gray", vmin=0, vmax=1)
        places = ((np.stack((across, height), 1) + half) * (len(picture) / (2 * half))).astype(int)
        inside = ((places >= 0) & (places < len(picture))).all(1)
        column, row = np.clip(places, 0, len(picture) - 1).T
        seen = ~inside | (depth <= behind[row, column] + _THROUGH)
        axes.set(xlim=(-1.1 * half, 1.1 * half), ylim=(-1.1 * half, 1.1 * half))
    order = np.argsort(-depth if values is None else values)  # what is near, or what has moved, is drawn last
    order = order[seen[order]]
    colour: dict[str, Any] = {"c": _POINT if surface is not None else _GREY}
    if values is not None:
        colour = {"c": values[order], "cmap": _HEAT if surface is None else _HEAT_ON_GREY, "norm": norm}
    drawn = axes.scatter(across[order], height[order], s=_SIZE, linewidths=0, **colour)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, color=_INK)
    return drawn


def displacement(path: str | Path, examples: Sequence[dict[str, Any]]) -> None:
    """Clean clouds beside what each attack made of them, on their surfaces where those are known.

    Points are coloured by their distance from the surface, or else by how far they moved; the scale, a root, ends at the
    largest value.

    Args:
        path: the picture.
        examples: per cloud ``clean`` (N, 3), ``title``, ``surface`` (T, 3, 3) or None, and ``attacks``: name -> (adv (N, 3),
            title).
    """
    names = list(examples[0]["attacks"])
    figure = Figure(figsize=(2.6 * (1 + len(names)) + 0.6, 2.5 * len(examples)), layout="constrained")
    axes = figure.subplots(len(examples), 1 + len(names), squeeze=False)
    known = all(example["surface"] is not None for example in examples)

    def measured(example: dict[str, Any], points: np.ndarray) -> np.ndarray:
        if known:
            return distance_to_triangles(points, example["surface"])
        return np.linalg.norm(points - example["clean"], axis=1)

    values = [{name: measured(example, adv) for name, (adv, _) in example["attacks"].items()} for example in examples]
    largest = max(float(each.max()) for row in values for each in row.values())
    norm = PowerNorm(0.5, vmin=0, vmax=largest or 1.0)
    for line, example, row in zip(axes, examples, values, strict=True):
        surface = shaded(example["surface"]) if known else None
        draw_cloud(line[0], example["clean"], title=example["title"], surface=surface)
        for cell, name in zip(line[1:], names, strict=True):
            adv, title = example["attacks"][name]
            drawn = draw_cloud(cell, adv, row[name], norm, f"{name}: {title}", surface)
    label = "distance from the surface (unit sphere)" if known else "displacement (unit sphere)"
    figure.colorbar(drawn, ax=axes, shrink=0.6, label=label)
    save_figure(figure, path, colours=256)


def sensitivity(
    path: str | Path, points: np.ndarray, values: np.ndarray, title: str, triangles: np.ndarray | None = None
) -> None:
    """A cloud (N, 3) coloured by its sensitivity (N,), from two sides, before its surface (T, 3, 3) where that is known."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    vmax = float(np.quantile(values[values > 0], 0.98)) if (values > 0).any() else 1.0
    norm = Normalize(0, vmax, clip=True)
    for cell, turned, said in zip(axes, (1.0, -1.0), (title, "from behind"), strict=True):
        turn = np.array([turned, turned, 1])
        surface = None if triangles is None else shaded(triangles * turn)
        drawn = draw_cloud(cell, points * turn, values, norm, said, surface)
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
