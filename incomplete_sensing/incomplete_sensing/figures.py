"""Pictures (matplotlib, without a display), in the format that the ending of the file's name says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shared_utils.logging import save_figure

if TYPE_CHECKING:
    from incomplete_sensing.phase_diagrams.diagram import Diagram
    from incomplete_sensing.phase_diagrams.rates import Rates

_INK = "#1d2430"
_THEORY = {"necessary": ("#e08e45", (0, (4, 2))), "exact": ("#17a589", "solid"), "sufficient": ("#d1495b", (0, (1, 1)))}


# Phase diagrams -----------------------------------------------------------------------------------------------------


def phase_diagram(path: str | Path, rates: Rates) -> None:
    """The measured probability of success over m and the second axis, a panel a solver, with the theory's curves.

    A curve is drawn at its value of m in every row; what is promised holds for the cells whose centre is right of it.
    """
    diagram = rates.diagram
    panels = len(diagram.solvers)
    figure = Figure(figsize=(1.2 + 3.7 * panels, 4.3), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    edges = _edges(diagram.m)
    curves = list(rates.curves().values())
    for panel, solver, plane in zip(axes, diagram.solvers, rates.rates, strict=True):
        drawn = panel.pcolormesh(edges, np.arange(len(diagram.rows) + 1) - 0.5, plane, cmap="gray", vmin=0, vmax=1)
        for name in curves[0]:
            colour, style = _THEORY[name]
            places = np.repeat([curve[name] for curve in curves], 2)
            heights = np.ravel([(row - 0.5, row + 0.5) for row in range(len(curves))])
            panel.plot(places, heights, color=colour, linestyle=style, linewidth=2, label=_label(diagram, name))
        panel.set(xlim=(edges[0], edges[-1]), xlabel="rows m of an operator")
        panel.set_title(solver.replace("_", " "), fontsize=10, color=_INK)
        panel.set_yticks(range(len(diagram.rows)), diagram.rows)
    axes[0].set_ylabel({"G": "operators G", "k": "dimension k of the model"}[diagram.axis])
    if diagram.family == "invariant" and diagram.axis == "G":
        axes[0].set_ylabel("order |G| of the group")
    figure.colorbar(drawn, ax=axes, label=f"share of {diagram.trials} trials that succeed", shrink=0.85)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    fixed = f"k = {diagram.k[0]}" if diagram.axis == "G" else f"G = {diagram.G[0]}"
    figure.suptitle(
        f"{diagram.family.replace('_', ' ')}, {diagram.operators}: n = {diagram.n}, {fixed}, N = {diagram.samples}",
        fontsize=11,
        color=_INK,
    )
    save_figure(figure, path)


def _label(diagram: Diagram, name: str) -> str:
    if diagram.family == "invariant":
        return {"necessary": "necessary n/|G|", "exact": "exact", "sufficient": "sufficient 2k + n/|G| + 1"}[name]
    generic = " (were they generic)" if diagram.operators == "masks" and name != "necessary" else ""
    return {"necessary": "necessary n/G", "exact": "exact k + (n-k)/G", "sufficient": "sufficient k + n/G"}[
        name
    ] + generic


def _edges(values: Sequence[int]) -> np.ndarray:
    """Cell edges half-way between the values, and as far outside the first and the last."""
    centres = np.asarray(values, dtype=float)
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def sensing_map(
    path: str | Path, values: Mapping[str, np.ndarray], m: Sequence[int], G: Sequence[int], n: int, k: float | None
) -> None:
    """Test PSNR over m and G, a panel a method (its values (G, m)), with the curves of C1 and C2 where k is known."""
    figure = Figure(figsize=(1.2 + 4.1 * len(values), 4.0), layout="constrained")
    axes = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
    edges = _edges(m)
    low, high = min(plane.min() for plane in values.values()), max(plane.max() for plane in values.values())
    for panel, (method, plane) in zip(axes, values.items(), strict=True):
        drawn = panel.pcolormesh(edges, np.arange(len(G) + 1) - 0.5, plane, cmap="viridis", vmin=low, vmax=high)
        for row, line in enumerate(plane):
            for column, value in enumerate(line):
                colour = "white" if value < (low + high) / 2 else _INK
                panel.text(m[column], row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour)
        bounds = [("necessary", "necessary n/G", 0.0)]
        if k is not None:
            bounds.append(("sufficient", f"sufficient k + n/G, k = {k:g}", k))
        heights = np.ravel([(row - 0.5, row + 0.5) for row in range(len(G))])
        for name, label, beyond in bounds:
            colour, style = _THEORY[name]
            places = np.repeat([beyond + n / count for count in G], 2)
            panel.plot(places, heights, color=colour, linestyle=style, linewidth=2, label=label)
        panel.set(xlim=(edges[0], edges[-1]), xlabel="rows m of an operator")
        panel.set_title(method, fontsize=10, color=_INK)
        panel.set_xticks(m)
        panel.set_yticks(range(len(G)), [str(count) for count in G])
    axes[0].set_ylabel("operators G")
    figure.colorbar(drawn, ax=axes, label="test PSNR (dB)", shrink=0.85)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    save_figure(figure, path)


def dimension_estimates(
    path: str | Path, rows: Sequence[tuple[str, float, float]], k: float, low: float, high: float
) -> None:
    """Dimension estimates (name, estimate, standard error) with 95 % bars, and the interval that covers them."""
    figure = Figure(figsize=(6.2, 0.9 + 0.45 * len(rows)), layout="constrained")
    axes: Axes = figure.subplots()
    axes.axvspan(low, high, color="#17a589", alpha=0.15, label=f"k = {k:.1f} in [{low:.1f}, {high:.1f}]")
    axes.axvline(k, color="#17a589", linewidth=2)
    for place, (_, estimate, error) in enumerate(rows):
        axes.errorbar(estimate, place, xerr=1.96 * error, fmt="o", color=_INK, capsize=3)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set(xlabel="intrinsic dimension", ylim=(len(rows) - 0.5, -0.5))
    _finish(axes)
    save_figure(figure, path)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


# Reconstructions ----------------------------------------------------------------------------------------------------


def panels(path: str | Path, columns: dict[str, np.ndarray], scores: Mapping[str, Sequence[str]] | None = None) -> None:
    """Images side by side: a row an image, a column a kind; ``scores`` (kind -> a text a row) stand under the images.

    columns: kind -> (rows, H, W) grey or (rows, H, W, 3), shown from 0 to 1; kinds that begin with | from 0 to 0.3.
    """
    rows = len(next(iter(columns.values())))
    figure = Figure(figsize=(1.5 * len(columns) + 0.1, 1.7 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for column, (name, images) in enumerate(columns.items()):
        for row, image in enumerate(images):
            panel = axes[row, column]
            error = name.startswith("|")
            panel.imshow(np.clip(image, 0, 1), cmap="magma" if error else "gray", vmin=0, vmax=0.3 if error else 1)
            panel.set_xticks([])
            panel.set_yticks([])
            if row == 0:
                panel.set_title(textwrap.fill(name, 16), fontsize=9, color=_INK)
            if scores and name in scores:
                panel.set_xlabel(scores[name][row], fontsize=8, color=_INK)
    save_figure(figure, path)


def learning_curves(path: str | Path, curves: dict[str, tuple[Sequence[int], Sequence[float]]]) -> None:
    """Terms of a training loss over the epochs, by name, on a logarithmic axis."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes: Axes = figure.subplots()
    for name, (epochs, values) in curves.items():
        axes.semilogy(epochs, np.maximum(values, 1e-12), label=name, linewidth=1.6)
    axes.set(xlabel="epoch", ylabel="training loss")
    _finish(axes)
    save_figure(figure, path)


def method_comparison(path: str | Path, rows: Sequence[dict]) -> None:
    """Test PSNR over the number of operators, a line a method, every seed a dot; rows as ``MethodComparison`` has them."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes: Axes = figure.subplots()
    colours = {"mc": "#8d99ae", "moi": "#17a589", "sup": _INK, "ei": "#e08e45", "moei": "#d1495b", "split": "#6c5ce7"}
    colours |= {
        "mean": "#c9ada7",
        "gaussian": "#9a8c98",
        "stationary": "#2a9d8f",
        "mixture": "#457b9d",
        "splitmoi": "#1d9bf0",
        "linear": "#52525b",
    }
    counts = sorted({row["G"] for row in rows})
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["G"]: row for row in rows if row["method"] == method}
        places = [place for place, count in enumerate(counts) if count in own]
        reached = [float(own[counts[place]]["psnr"]) for place in places]
        # A method that was trained at one G alone has no line to show.
        style = "-" if len(places) > 1 else "_"
        axes.plot(places, reached, style, color=colours[method], label=method, markersize=14)
        for place in places:
            count = counts[place]
            seeds = [float(value) for value in own[count]["psnr by seed"].split()]
            axes.plot([place] * len(seeds), seeds, "o", color=colours[method], markersize=4)
    theory = {row["G"]: row["theory"] for row in rows if row["method"] not in ("sup", "linear")}
    ceilings = {row["G"]: float(row["ceiling"]) for row in rows if row["ceiling"] != "-"}
    for number, (count, ceiling) in enumerate(ceilings.items()):
        place, label = counts.index(count), None if number else "ceiling without truth"
        axes.plot([place - 0.15, place + 0.15], [ceiling] * 2, color="#d1495b", linestyle=(0, (3, 1)), label=label)
    axes.set_xticks(range(len(counts)), [f"{count}\n{theory.get(count, '')}" for count in counts])
    axes.set(xlabel="operators G, and what the conditions say", ylabel="test PSNR (dB)")
    _finish(axes)
    save_figure(figure, path)
