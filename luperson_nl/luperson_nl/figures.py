"""Pictures of retrieval, of feature spaces and of noisy labels (matplotlib, without a display); they take plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from shared_utils.logging import save_figure

_INK, _GREY = "#1d2430", "#8d99ae"
_LINES = ("#d1495b", "#1d2430", "#17a589", "#e08e45", "#4a90c2", "#7b6cd9", "#8d99ae")
_MARKERS = "os^Dv<>Pp*"
_PERSONS = (*_LINES[:6], "#b5a642", "#a0522d", "#ff7fb0", "#5f9e5f")


RIGHT, WRONG, SPLIT = "#17a589", "#d1495b", "#e08e45"


class Strip(NamedTuple):
    """A row of crops: ``title`` at its left, (h, w, 3) uint8 ``images``, ``colours`` of their frames, ``notes`` below them."""

    title: str
    images: Sequence[np.ndarray]
    colours: Sequence[str]
    notes: Sequence[str]


def cmc(path: Path, curves: Mapping[str, np.ndarray]) -> None:
    """Cumulative matching characteristics.

    Args:
        path: of the picture.
        curves: title -> (seeds, ranks) shares; the mean is drawn, and the span over the seeds.
    """
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for (title, values), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        shares, ranks = 100 * np.atleast_2d(values), np.arange(1, np.shape(values)[-1] + 1)
        axes.fill_between(ranks, shares.min(0), shares.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.plot(ranks, shares.mean(0), color=colour, label=title)
    axes.set(xlabel="rank", ylabel="queries found (%)", ylim=(0, 100), xlim=(1, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)
    save_figure(figure, path)


def over_noise(path: Path, noise: Sequence[float], curves: Mapping[str, np.ndarray]) -> None:
    """mAP over the noise of the labels.

    Args:
        path: of the picture.
        noise: (k,) shares of the crops with a wrong or a second id.
        curves: title -> (k, seeds) mAP in 0..1.
    """
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    places = 100 * np.array(noise)
    for (title, values), colour in zip(curves.items(), _colours(len(curves)), strict=True):
        scores = 100 * np.asarray(values)
        axes.plot(places, scores, ".", color=colour, alpha=0.5)
        axes.plot(places, scores.mean(1), "o-", color=colour, label=title)
    axes.set(xlabel="crops with a wrong or a second id (%)", ylabel="test mAP (%)", ylim=(0, None))
    axes.legend(frameon=False)
    _plain(axes)
    save_figure(figure, path)


def maps(path: Path, places: Mapping[str, np.ndarray], persons: np.ndarray, cameras: np.ndarray) -> None:
    """Feature spaces as maps, a panel each: the colour is the person, the mark the camera.

    Args:
        path: of the picture.
        places: title -> (n, 2).
        persons: (n,).
        cameras: (n,).
    """
    figure = Figure(figsize=(0.6 + 4.0 * len(places), 4.2), layout="constrained")
    known, seen = np.unique(persons), np.unique(cameras)
    for axes, (title, where) in zip(figure.subplots(1, len(places), squeeze=False)[0], places.items(), strict=True):
        for number, person in enumerate(known):
            colour = _PERSONS[number % len(_PERSONS)]
            for mark, camera in enumerate(seen):
                own = (persons == person) & (cameras == camera)
                axes.scatter(*where[own].T, s=16, color=colour, marker=_MARKERS[mark % len(_MARKERS)], linewidth=0)
        axes.set_title(title, fontsize=10, color=_INK)
        axes.set(xticks=[], yticks=[])
    marks = [
        figure.axes[0].scatter(
            [], [], s=16, color=_GREY, marker=_MARKERS[mark % len(_MARKERS)], label=f"camera {camera}"
        )
        for mark, camera in enumerate(seen)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=8)
    save_figure(figure, path)


def strips(path: Path, lines: Sequence[Strip]) -> None:
    """Rows of crops, framed by what they are.

    Args:
        path: of the picture.
        lines: from top to bottom.
    """
    longest = max(len(line.images) for line in lines)
    height, width = lines[0].images[0].shape[:2]
    figure = Figure(
        figsize=(1.6 + 0.42 * longest, 0.25 + 1.05 * len(lines) * height / (2 * width)), layout="constrained"
    )
    for axes, line in zip(figure.subplots(len(lines), 1, squeeze=False)[:, 0], lines, strict=True):
        canvas = np.full((height + 4, longest * (width + 4), 3), 255, np.uint8)
        for place, image in enumerate(line.images):
            canvas[2 : 2 + height, place * (width + 4) + 2 : place * (width + 4) + 2 + width] = image
        axes.imshow(canvas, interpolation="nearest")
        for place, (colour, note) in enumerate(zip(line.colours, line.notes, strict=True)):
            left = place * (width + 4)
            axes.add_patch(Rectangle((left, 0), width + 3, height + 3, fill=False, edgecolor=colour, linewidth=1.6))
            axes.text(left + width / 2 + 2, height + 5, note, ha="center", va="top", fontsize=5.5, color=colour)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(line.title, fontsize=7, color=_INK, rotation=0, ha="right", va="center")
    save_figure(figure, path)


def corrections(
    path: Path,
    read: Callable[[int], np.ndarray],
    labels: np.ndarray,
    corrected: np.ndarray,
    owner: np.ndarray | None = None,
    true: np.ndarray | None = None,
    groups: int = 4,
    longest: int = 14,
) -> None:
    """Groups of crops under a noisy id, and the same id after the correction, one line below the other.

    Those ids are shown into and out of which most crops went. Where the persons are known, a frame is green if the id's
    owner is who is seen, else red; where not, grey, and what the correction moved is orange.

    Args:
        path: of the picture.
        read: the crop of a row, (h, w, 3) uint8, all of one size.
        labels, corrected: (n,) ids.
        owner: (C,) person of each id.
        true: (n,) persons.
        groups: ids shown.
        longest: crops a line.
    """
    count = int(max(labels.max(), corrected.max())) + 1
    moved = labels != corrected
    out, into = (np.bincount(ids[moved], minlength=count) for ids in (labels, corrected))
    chosen = np.argsort(-np.minimum(out, 4) - np.minimum(into, 4), kind="stable")[:groups]
    lines = []
    for label in chosen:
        before, after = np.flatnonzero(labels == label), np.flatnonzero(corrected == label)
        for title, rows in ((f"id {label}", before), ("corrected", after)):
            # What moved first, so that a short line shows it.
            rows = rows[np.argsort(~moved[rows], kind="stable")][:longest]
            if not len(rows):
                continue
            if owner is not None and true is not None:
                colours = [RIGHT if owner[label] == true[row] else WRONG for row in rows]
            else:
                colours = [SPLIT if moved[row] else _GREY for row in rows]
            if title == "corrected":
                notes = [f"from {labels[row]}" if moved[row] else "" for row in rows]
            else:
                notes = [f"to {corrected[row]}" if moved[row] else "" for row in rows]
            lines.append(Strip(title, [read(row) for row in rows.tolist()], colours, notes))
    strips(path, lines)


def tracks(
    path: Path,
    read: Callable[[int], np.ndarray],
    groups: Mapping[str, np.ndarray],
    notes: Callable[[int], str],
    wrong: np.ndarray | None = None,
    second: np.ndarray | None = None,
) -> None:
    """Crops in the order in which they were tracked, a group a line: green right, orange a second id, red another person.

    Args:
        path: of the picture.
        read: the crop of a row, (h, w, 3) uint8, all of one size.
        groups: title -> rows.
        notes: what stands below the crop of a row.
        wrong: (n,) bool, whether the id is another person's; None where the persons are not known: frames are grey.
        second: (n,) bool, whether it is not the main id of the person.
    """

    def colour(row: int) -> str:
        if wrong is None or second is None:
            return _GREY
        return WRONG if wrong[row] else SPLIT if second[row] else RIGHT

    lines = [
        Strip(title, [read(row) for row in rows], [colour(row) for row in rows], [notes(row) for row in rows])
        for title, rows in ((title, rows.tolist()) for title, rows in groups.items())
    ]
    strips(path, lines)


def _colours(count: int) -> list[str]:
    return [_LINES[number % len(_LINES)] for number in range(count)]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
