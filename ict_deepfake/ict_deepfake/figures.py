"""Pictures of scores, embeddings and faces (matplotlib, without a display); they take plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ict_deepfake import metrics
from shared_utils.logging import save_figure

_INK, _GREY = "#1d2430", "#8d99ae"
_LINES = ("#d1495b", "#17a589", "#4a90c2", "#e08e45", "#7b6cd9", "#1d2430", "#b5a642", "#8d99ae", "#a0522d", "#ff7fb0")


def roc(path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], logarithmic: bool = True) -> None:
    """Exact ROC curves.

    Args:
        path: of the picture.
        curves: title -> scores (n,) and labels (n,), 1 = fake.
        logarithmic: the false positive rate, where an operator works.
    """
    figure = Figure(figsize=(4.8, 4.0), layout="constrained")
    axes = figure.subplots()
    smallest = 1.0
    for (title, (scores, labels)), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        found = metrics.roc(scores, labels)
        smallest = min(smallest, 1 / max(1, int((np.asarray(labels) == 0).sum())))
        axes.step(found.fpr, found.tpr, where="post", color=colour, label=f"{title}: {metrics.auc(scores, labels):.3f}")
    if logarithmic:
        axes.set(xscale="log", xlim=(smallest, 1))
    axes.set(xlabel="genuine pictures called fake", ylabel="fakes caught", ylim=(0, 1.01))
    axes.legend(frameon=False, fontsize=8, title="AUC", loc="best")
    _plain(axes)
    save_figure(figure, path)


def histograms(
    path: Path, scores: Mapping[str, np.ndarray], label: str = "squared distance of inner and outer face"
) -> None:
    """Scores by kind of picture, as shares of each kind.

    Args:
        path: of the picture.
        scores: title -> (n,), the genuine ones first.
        label: of the axis.
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    everything = np.concatenate(list(scores.values()))
    edges = np.linspace(everything.min(), everything.max() + 1e-9, 30)
    for number, (title, values) in enumerate(scores.items()):
        colour = _GREY if number == 0 else _LINES[(number - 1) % len(_LINES)]
        weights = np.full(len(values), 1 / max(1, len(values)))
        kind = {"histtype": "stepfilled", "alpha": 0.5} if number == 0 else {"histtype": "step", "linewidth": 1.6}
        axes.hist(values, edges, weights=weights, color=colour, label=title, **kind)
    axes.set(xlabel=label, ylabel="share of the pictures")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    save_figure(figure, path)


def severity(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """AUC over the level of each degradation, a panel each; level 0 is the clean set.

    Args:
        path: of the picture.
        curves: degradation -> score -> AUC of the levels from 0.
    """
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (kind, by_score) in zip(panels, curves.items(), strict=False):
        for (score, values), colour in zip(by_score.items(), _colours(len(by_score)), strict=True):
            axes.plot(range(len(values)), values, "o-", markersize=3, color=colour, label=score)
        axes.axhline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
        axes.set_title(kind.replace("_", " "), fontsize=9)
        axes.set_xticks(range(6))
        _plain(axes)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    panels[0].legend(frameon=False, fontsize=7)
    figure.supxlabel("level", fontsize=9)
    figure.supylabel("AUC", fontsize=9)
    save_figure(figure, path)


def bars(path: Path, values: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """AUC of every method by kind of suspect: the mean over seeds, and a dot a seed.

    Args:
        path: of the picture.
        values: method -> kind -> AUC by seed.
    """
    kinds = list(next(iter(values.values())))
    figure = Figure(figsize=(1.2 + 1.5 * len(kinds), 3.8), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(values)
    for number, ((method, by_kind), colour) in enumerate(zip(values.items(), _colours(len(values)), strict=True)):
        places = np.arange(len(kinds)) + (number - (len(values) - 1) / 2) * width
        means = [float(np.mean(by_kind[kind])) for kind in kinds]
        axes.bar(places, np.array(means) - 0.5, width * 0.9, bottom=0.5, color=colour, alpha=0.75, label=method)
        for place, kind in zip(places, kinds, strict=True):
            axes.plot([place] * len(by_kind[kind]), by_kind[kind], ".", color=_INK, markersize=3)
    axes.axhline(0.5, color=_GREY, linewidth=0.8)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set(ylabel="AUC against genuine pictures", ylim=(0.4, 1.0))
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _plain(axes)
    save_figure(figure, path)


def lines(
    path: Path,
    places: Sequence[float],
    values: Mapping[str, Sequence[Sequence[float]]],
    xlabel: str,
    ylabel: str = "AUC",
) -> None:
    """Lines through means, and a dot a seed.

    Args:
        path: of the picture.
        places: (k,) on the x axis.
        values: title -> k lists of a value a seed.
        xlabel: of the axis, as ``ylabel``.
        ylabel: of the other axis.
    """
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.subplots()
    for (title, found), colour in zip(values.items(), _colours(len(values)), strict=True):
        for place, each in zip(places, found, strict=True):
            axes.plot([place] * len(each), each, ".", color=colour, alpha=0.5)
        axes.plot(places, [float(np.mean(each)) for each in found], "o-", color=colour, label=title)
    axes.axhline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    save_figure(figure, path)


def embeddings(path: Path, inner: np.ndarray, outer: np.ndarray, persons: np.ndarray) -> None:
    """Inner (dots) and outer (crosses) embeddings of some persons on their first two principal axes.

    Args:
        path: of the picture.
        inner: (n, d).
        outer: (n, d).
        persons: (n,).
    """
    both = np.concatenate([inner, outer])
    centred = both - both.mean(0)
    axes_of = np.linalg.svd(centred, full_matrices=False)[2][:2]
    place = centred @ axes_of.T
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, person in enumerate(np.unique(persons)):
        colour = _LINES[number % len(_LINES)]
        own = np.flatnonzero(persons == person)
        axes.plot(*place[own].T, "o", color=colour, markersize=4)
        axes.plot(*place[len(inner) + own].T, "x", color=colour, markersize=5)
    shares = (place**2).sum(0) / max((centred**2).sum(), 1e-12)
    axes.set(xlabel=f"first axis ({shares[0]:.0%} of the variance)", ylabel=f"second axis ({shares[1]:.0%})")
    axes.plot([], [], "o", color=_INK, markersize=4, label="inner face")
    axes.plot([], [], "x", color=_INK, markersize=5, label="outer face")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    save_figure(figure, path)


def attention(path: Path, images: Sequence[np.ndarray], maps: np.ndarray) -> None:
    """Where the two tokens look: the picture, and on it the map of the inner and of the outer token, a square a patch.

    Args:
        path: of the picture.
        images: n pictures (h, w, 3) uint8.
        maps: (n, 2, h', w') of ``models.ict.ICT.attention``.
    """
    figure = Figure(figsize=(1.3 * len(images), 4.0), layout="constrained")
    grid = figure.subplots(3, len(images), squeeze=False)
    for column, image in enumerate(images):
        height, width = image.shape[:2]
        for row, panel in enumerate(grid[:, column]):
            panel.imshow(image, extent=(0, width, height, 0))
            if row:
                shown = maps[column, row - 1]
                panel.imshow(shown, extent=(0, width, height, 0), cmap="inferno", alpha=0.6, interpolation="nearest")
    for panels, title in zip(grid, ("picture", "inner token", "outer token"), strict=True):
        panels[0].set_ylabel(title, fontsize=9)
    _bare(grid)
    save_figure(figure, path)


def sheet(
    path: Path, rows: Mapping[str, Sequence[np.ndarray]], notes: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Rows of pictures, with a note below each.

    Args:
        path: of the picture.
        rows: title -> pictures (h, w, 3) uint8.
        notes: title -> a text for each.
    """
    longest = max(len(images) for images in rows.values())
    figure = Figure(figsize=(1.2 * longest, 1.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), longest, squeeze=False)
    for panels, (title, images) in zip(grid, rows.items(), strict=True):
        panels[0].set_ylabel(title.replace("_", "-"), fontsize=8)
        for number, image in enumerate(images):
            panels[number].imshow(image)
            if notes:
                panels[number].set_xlabel(notes[title][number], fontsize=6)
        for panel in panels[len(images) :]:
            panel.set_visible(False)
    _bare(grid)
    save_figure(figure, path)


def _bare(grid: np.ndarray) -> None:
    for panel in grid.ravel():
        panel.xaxis.set_major_locator(NullLocator())
        panel.yaxis.set_major_locator(NullLocator())
        for spine in panel.spines.values():
            spine.set_visible(False)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _colours(count: int) -> list[str]:
    return [_LINES[number % len(_LINES)] for number in range(count)]
