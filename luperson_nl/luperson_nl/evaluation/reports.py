"""What an evaluation leaves: tables, a curve, and a page of the worst queries."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from luperson_nl import figures, retrieval
from luperson_nl.evaluation.scoring import Options, Result
from luperson_nl.ranking_page import RIGHT, WRONG, Ranking, Shown, write
from shared_utils import files, logging


def save(result: Result, options: Options, out: str | Path) -> None:
    """Write metrics.json, table.csv and .md, queries.csv (the average precision of each) and cmc.png."""
    out = Path(out)
    content = [
        {"ranked by": title, "queries": scores.queries, "cmc": scores.cmc.tolist()} | scores.row()
        for title, scores in result.rows.items()
    ]
    files.write_json({"options": options.job(), "scores": content}, out / "metrics.json")
    logging.write_table(result.table(), out / "table")
    with files.replacing(out / "queries.csv") as temporary, temporary.open("w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["query", "pid", "camera", *(f"AP, {title}" for title in result.rows)])
        for row in range(len(result.query)):
            values = [scores.ap[row] for scores in result.rows.values()]
            shown = ["" if np.isnan(value) else f"{value:.6f}" for value in values]
            lines.writerow([result.query.name(row), result.query.pid[row], result.query.camera[row], *shown])
    figures.cmc(out / "cmc.png", {title: scores.cmc for title, scores in result.rows.items()})


def rankings(result: Result, read: Callable[[int], np.ndarray], worst: int = 30, top: int = 10) -> Iterator[Ranking]:
    """The queries with the lowest average precision, worst first, with what is nearest to each.

    Args:
        result: of ``run``, not of re-association.
        read: the picture of a row of the table that query and gallery come from.
        worst: how many queries.
        top: how many pictures of each.
    """
    assert result.ready is not None
    scores = list(result.rows.values())[-1]
    order = np.argsort(scores.ap, kind="stable")[: min(worst, scores.valid)]  # NaN, without a match, is sorted last
    for query in order.tolist():
        distances = result.ready.distances.of(np.array([query]))
        right, dropped = result.ready.matches.of(query)
        distances[0, dropped] = np.inf
        column, distance = retrieval.nearest(distances, min(top, distances.shape[1] - len(dropped)))
        camera = int(result.query.camera[query])
        shown = [
            _shown(result, read, int(row), float(value), int(row) in right, camera)
            for row, value in zip(column[0], distance[0], strict=True)
        ]
        name = result.query.name(query)
        title = f"{name}: AP {100 * scores.ap[query]:.1f}, {len(right)} right pictures in the gallery"
        note = _who(int(result.query.pid[query]), camera)
        yield Ranking(title, Shown(read(int(result.query_rows[query])), name, note), shown)


def _shown(
    result: Result, read: Callable[[int], np.ndarray], row: int, distance: float, right: bool, camera: int
) -> Shown:
    assert result.ready is not None
    place = int(result.ready.gallery_rows[row])
    its = int(result.gallery.camera[place])
    note = f"{distance:.3f}, {_who(int(result.gallery.pid[place]), its)}"
    image = read(int(result.gallery_rows[place]))
    return Shown(image, result.gallery.name(place), note, RIGHT if right else WRONG, right and its != camera)


def _who(pid: int, camera: int) -> str:
    return f"person {pid}" + (f", camera {camera}" if camera != -1 else "")


def write_page(
    result: Result, read: Callable[[int], np.ndarray], path: str | Path, worst: int = 30, top: int = 10
) -> None:
    """The page of the worst queries (see ``rankings``)."""
    title, scores = list(result.rows.items())[-1]
    count = min(worst, scores.valid)
    text = (
        f"The {count} worst of {scores.valid} queries, worst first, ranked by: {title}. Green frame: the right person, double "
        "where another camera saw it; red: another person. mAP "
        f"{100 * scores.mAP:.1f}, rank-1 {100 * scores.cmc[0]:.1f}."
    )
    write(path, "Ranked galleries", text, rankings(result, read, worst, top))
