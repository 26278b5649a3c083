"""Pictures (matplotlib, without a display), of the kind that a path ends with. Windows are fixed: pictures can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from mrf_unroll.epg import fisp_atoms
from shared_utils.logging import read_metrics, save_figure

if TYPE_CHECKING:
    from mrf_unroll.reconstructor import Reconstructor

# (name, unit, factor from the network's units, largest value shown, largest error shown)
WINDOWS = (("T1", "ms", 1000, 2000, 400), ("T2", "ms", 1000, 200, 60), ("PD", "", 1, 1.0, 0.2))
# Of a PNG: enough for two colour maps and grey.
_PALETTE = 256
_COLOURS = ("#1f77b4", "#d1495b", "#17a589", "#e08e45", "#7d5ba6", "#8a8d91")


def map_grid(
    path: str | Path, truth: Tensor | None, mask: Tensor | None, results: Mapping[str, Tensor], columns: int = 12
) -> None:
    """Maps of every method, and below each the error inside the mask where a truth is known.

    Args:
        truth: (3, H, W), T1 [s], T2 [s], PD.
        results: name -> (3, H, W); nothing is shown outside the mask (H, W).
    """
    shown = {name: maps if mask is None else maps * mask for name, maps in list(results.items())[:columns]}
    if truth is not None:
        shown = {"truth": truth, **shown}
    height, width = next(iter(shown.values())).shape[-2:]
    step = 2 if truth is not None else 1
    figure = Figure(figsize=(1.35 * len(shown) + 1.1, 1.42 * 3 * step * height / width), layout="constrained")
    axes = figure.subplots(3 * step, len(shown), squeeze=False)
    for row, (name, unit, factor, largest, largest_error) in enumerate(WINDOWS):
        if name == "PD":
            # Its unit is the scan's: a window of 1 where that fits, else up to what is there.
            top = float(torch.quantile(next(iter(shown.values()))[row].flatten().float(), 0.995))
            if not 0.5 < top < 1.1 and top > 0:
                largest, largest_error = 1.1 * top, 0.22 * top
        for column, (method, maps) in enumerate(shown.items()):
            panel = axes[step * row, column]
            drawn = panel.imshow(
                factor * maps[row].numpy(),
                interpolation="nearest",
                cmap="magma" if row < 2 else "gray",
                vmin=0,
                vmax=largest,
            )
            if row == 0:
                panel.set_title(
                    method.replace(", ", ",\n").replace(" + ", "\n+ ").replace(" without ", "\nwithout "), fontsize=7
                )
            if truth is None:
                continue
            below = axes[step * row + 1, column]
            error = factor * (maps[row] - truth[row])
            if column:
                wrong = below.imshow(
                    error.numpy(), interpolation="nearest", cmap="RdBu_r", vmin=-largest_error, vmax=largest_error
                )
        label = f"{name} [{unit}]" if unit else name
        figure.colorbar(drawn, ax=axes[step * row, -1], shrink=0.9).ax.tick_params(labelsize=6)
        axes[step * row, 0].set_ylabel(label, fontsize=8)
        if truth is not None:
            figure.colorbar(wrong, ax=axes[step * row + 1, -1], shrink=0.9).ax.tick_params(labelsize=6)
            axes[step * row + 1, 0].set_ylabel("error", fontsize=8)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        for spine in panel.spines.values():
            spine.set_visible(False)
    save_figure(figure, path, colours=_PALETTE)


def uncertainty(path: str | Path, maps: Tensor, deviations: Tensor, truth: Tensor | None, mask: Tensor) -> None:
    """Maps, their standard deviations, and where a truth is known the size of their errors; all (3, H, W), s; mask (H, W)."""
    columns = {"map": maps * mask, "standard deviation": deviations * mask}
    if truth is not None:
        columns["|error|"] = (maps - truth).abs() * mask
    figure = Figure(figsize=(1.9 * len(columns) + 1, 5.2), layout=ConstrainedLayoutEngine(w_pad=0.12))
    axes = figure.subplots(3, len(columns), squeeze=False)
    for row, (name, unit, factor, largest, largest_error) in enumerate(WINDOWS):
        if name == "PD":
            scale = float(torch.quantile(columns["map"][row].flatten().float(), 0.995)) or 1.0
            largest, largest_error = 1.1 * scale, 0.2 * scale
        for column, (title, value) in enumerate(columns.items()):
            panel = axes[row, column]
            shades = ("magma" if row < 2 else "gray") if column == 0 else "viridis"
            top = largest if column == 0 else largest_error
            drawn = panel.imshow(factor * value[row].numpy(), interpolation="nearest", cmap=shades, vmin=0, vmax=top)
            figure.colorbar(drawn, ax=panel, shrink=0.85).ax.tick_params(labelsize=6)
            panel.set(xticks=[], yticks=[], title=title if row == 0 else "")
            panel.title.set_fontsize(8)
        axes[row, 0].set_ylabel(f"{name} [{unit}]" if unit else name, fontsize=8)
    save_figure(figure, path, colours=_PALETTE)


def _curves(folder: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The metrics of a run's folder: name -> (steps, values)."""
    rows = read_metrics(folder)
    return {
        name: (
            np.array([float(row["step"]) + 1 for row in rows if row[name]]),
            np.array([float(row[name]) for row in rows if row[name]]),
        )
        for name in (rows[0] if rows else {})
        if name not in ("step", "epoch")
    }


def training(path: str | Path, folder: str | Path) -> None:
    """Training loss and validation error over the steps, of a run and of the baselines beside it."""
    folder = Path(folder)
    runs = {"unrolled": folder}
    runs |= {place.parent.name: place.parent for place in sorted(folder.glob("baselines/*/metrics.csv"))}
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    loss, error = figure.subplots(1, 2)
    for colour, (name, place) in zip(_COLOURS, runs.items(), strict=False):
        metrics = _curves(place)
        for panel, metric in ((loss, "train_maps"), (error, "val_error")):
            if metric in metrics:
                panel.plot(*metrics[metric], color=colour, label=name.replace("_", " "))
    loss.set(yscale="log", xlabel="steps", ylabel="training loss of the maps")
    error.set(yscale="log", xlabel="steps", ylabel="validation NRMSE, mean of T1 and T2")
    loss.legend(frameon=False, fontsize=8)
    save_figure(figure, path, colours=_PALETTE)


def steps(path: str | Path, folder: str | Path) -> None:
    """The learnt step (or penalty) of every iteration over the training, and where it ended."""
    metrics = _curves(folder)
    names = sorted(name for name in metrics if name.startswith("step_"))
    figure = Figure(figsize=(8.5, 3.0), layout="constrained")
    over, final = figure.subplots(1, 2)
    for colour, name in zip(_COLOURS, names, strict=False):
        over.plot(*metrics[name], color=colour, label=f"t = {name[5:]}")
        final.bar(int(name[5:]), metrics[name][1][-1], color=colour)
    over.set(xlabel="steps of training", ylabel="step, or penalty of cg")
    over.legend(frameon=False, fontsize=8)
    final.set(xlabel="iteration t", ylabel="learnt step, or penalty", xticks=range(len(names)))
    save_figure(figure, path, colours=_PALETTE)


def iterations(path: str | Path, errors: Mapping[str, Sequence[float]]) -> None:
    """NRMSE of each map after every iteration."""
    figure = Figure(figsize=(4.2, 3.0), layout="constrained")
    panel = figure.subplots()
    for colour, (name, values) in zip(_COLOURS, errors.items(), strict=False):
        panel.plot(range(1, len(values) + 1), values, "o-", color=colour, label=name)
    panel.set(xlabel="iterations", ylabel="NRMSE", xticks=range(1, len(values) + 1), ylim=(0, None))
    panel.legend(frameon=False)
    save_figure(figure, path, colours=_PALETTE)


def sweep(
    path: str | Path, key: str, values: Sequence[float], curves: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    """NRMSE over an option of the measurement: curves: method -> map -> values."""
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for panel, name in zip(axes, ("T1", "T2"), strict=True):
        for number, (method, own) in enumerate(curves.items()):
            panel.plot(values, own[name], "o-", color=f"C{number}", label=method)
        panel.set(xlabel=key, ylabel=f"{name} NRMSE", yscale="log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=7, ncols=4)
    save_figure(figure, path, colours=_PALETTE)


def agreement(path: str | Path, truth: Tensor, maps: Tensor, mask: Tensor) -> None:
    """Bland-Altman of T1 and T2: difference over mean, a dot a voxel, with bias and 95 % limits.

    Voxels are coloured by their true T1.

    Args:
        truth, maps: (3, H, W), T1 [s], T2 [s], PD.
    """
    edges = (0.0, 0.6, 1.0, 1.6, float("inf"))
    names = ("T1 < 600 ms", "600 to 1000 ms", "1000 to 1600 ms", "> 1600 ms")
    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    for panel, (row, (name, unit, factor, *_)) in zip(figure.subplots(1, 2), enumerate(WINDOWS[:2]), strict=True):
        difference, mean = factor * (maps[row] - truth[row]), factor * (maps[row] + truth[row]) / 2
        for number, tissue in enumerate(names):
            own = mask.bool() & (truth[0] >= edges[number]) & (truth[0] < edges[number + 1])
            panel.plot(mean[own], difference[own], ".", markersize=3, color=_COLOURS[number], label=tissue)
        own = difference[mask.bool()].numpy()
        bias, limit = own.mean(), 1.96 * own.std()
        for height, style in ((bias, "-"), (bias + limit, "--"), (bias - limit, "--")):
            panel.axhline(height, color="#1d2430", linestyle=style, linewidth=1)
        panel.set(xscale="log", xlabel=f"mean of {name} and truth [{unit}]", ylabel=f"{name} - truth [{unit}]")
        low, high = panel.get_xlim()
        ticks = [tick for tick in (20, 50, 100, 200, 500, 1000, 2000, 4000) if low <= tick <= high]
        panel.set_xticks(ticks, ticks)
        panel.set_xticks([], minor=True)
    figure.axes[0].legend(frameon=False, fontsize=7, markerscale=3)
    save_figure(figure, path, colours=_PALETTE)


def fingerprints(path: str | Path, reconstructor: Reconstructor, tissues: Mapping[str, tuple[float, float]]) -> None:
    """The schedule, and the time series of tissues by EPG beside those that the decoder makes. tissues: (T1, T2) in ms."""
    sequence, network = reconstructor.sequence, reconstructor.network
    assert sequence is not None
    t1, t2 = (torch.tensor([value[place] for value in tissues.values()], dtype=torch.float64) for place in (0, 1))
    exact = fisp_atoms(t1, t2, sequence)
    with torch.no_grad():
        atoms = network.decoder.atoms(torch.stack([t1, t2], dim=1).float()[:, :, None, None] / 1000)[..., 0, 0]
    decoded = atoms @ reconstructor.basis.T
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    schedule, series = figure.subplots(1, 2)
    schedule.plot(sequence.fa_deg, color="#1d2430")
    schedule.set(xlabel="repetition", ylabel="flip angle [degrees]")
    for colour, name, one, other in zip(_COLOURS, tissues, exact, decoded, strict=False):
        series.plot(one, color=colour, label=f"{name}, EPG")
        series.plot(other, "--", color=colour, label="decoder")
    series.set(xlabel="repetition", ylabel="signal of PD = 1")
    figure.legend(*series.get_legend_handles_labels(), loc="outside lower right", frameon=False, fontsize=7, ncols=3)
    save_figure(figure, path, colours=_PALETTE)
