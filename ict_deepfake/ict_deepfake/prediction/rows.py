"""What is said of a face: one row of the result, the same for pictures, videos and the evaluation of test sets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shared_utils import files

Status = Literal["ok", "no_face", "no_landmarks", "not_square", "unreadable"]


@dataclass
class Face:
    """A face of a picture or of a frame, or why there is none. Distances are squared, larger means fake.

    source: the file. status: ok; no_face; no_landmarks (the file of landmarks does not know the picture); not_square
    (``aligned`` was given); unreadable. frame, time: of a video, counted from 0, seconds. face: number in the picture, the
    largest is 0. track: number in the video. box: x0 y0 x1 y1 in pixels. points: (5, 2). detection: score of the face
    detector. visible: share of the crop that lies inside the picture. consistency: ICT. reference: ICT-Ref. probability:
    of a swap, where the model is calibrated. inner_name, outer_name: the nearest persons of the reference set, with
    distance and margin to the next person; *_known: whether the distance is one of genuine pictures. claim: distance to
    the claimed person; claim_nearest: the person of the set who is nearest by the same comparison. leak: the person of
    the reference set whose picture this is. crop: the file of the crop. note: for the reader.
    """

    source: str
    status: Status = "ok"
    frame: int | None = None
    time: float | None = None
    face: int | None = None
    track: int | None = None
    box: tuple[float, ...] | None = None
    points: tuple[tuple[float, ...], ...] | None = None
    detection: float | None = None
    visible: float | None = None
    consistency: float | None = None
    reference: float | None = None
    probability: float | None = None
    inner_name: str | None = None
    inner_distance: float | None = None
    inner_margin: float | None = None
    inner_known: bool | None = None
    outer_name: str | None = None
    outer_distance: float | None = None
    outer_margin: float | None = None
    outer_known: bool | None = None
    claim: float | None = None
    claim_nearest: str | None = None
    leak: str | None = None
    crop: str | None = None
    note: str = ""

    @property
    def score(self) -> float | None:
        """The score of the strongest question that was asked without a name: ICT-Ref with references, else ICT."""
        return self.consistency if self.reference is None else self.reference

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Face:
        """The inverse of ``as_dict``, also after JSON."""
        values = dict(values)
        if values.get("box") is not None:
            values["box"] = tuple(values["box"])
        if values.get("points") is not None:
            values["points"] = tuple(tuple(point) for point in values["points"])
        return cls(**values)


@dataclass(frozen=True)
class Summary:
    """What is said of a whole file. score, claim: of the face (the track of a video) with the highest mean.

    faces: faces of a picture, tracks of a video. frames: sampled frames of a video, 1 of a picture. with_face: those of
    them that show a face. status: ok where a face was scored, else that of its rows.
    """

    source: str
    status: Status
    frames: int
    with_face: int
    faces: int
    track: int | None
    score: float | None
    claim: float | None
    probability: float | None


def summarise(rows: Iterable[Face]) -> list[Summary]:
    """A summary of each source, in the order of their first rows. A video takes the highest mean of its tracks.

    Tracks of fewer than three frames only count where there is no longer one: a detector's mistake is short.
    """
    by_source: dict[str, list[Face]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append(row)
    return [_summary(source, own) for source, own in by_source.items()]


def _summary(source: str, rows: Sequence[Face]) -> Summary:
    scored = [row for row in rows if row.status == "ok"]
    frames = len({row.frame for row in rows})
    if not scored:
        # Every frame without a face is a row; a file that breaks off has both kinds.
        status = rows[0].status if len({row.status for row in rows}) == 1 else "no_face"
        return Summary(source, status, frames, 0, 0, None, None, None, None)
    tracks: dict[int | None, list[Face]] = {}
    for row in scored:
        tracks.setdefault(row.face if row.track is None else row.track, []).append(row)
    long = {number: own for number, own in tracks.items() if len(own) >= 3} or tracks
    number, best = max(long.items(), key=lambda item: mean(row.score for row in item[1]) or 0.0)
    return Summary(
        source,
        "ok",
        frames,
        len({row.frame for row in scored}),
        len(tracks),
        number,
        mean(row.score for row in best),
        max((value for own in long.values() if (value := mean(row.claim for row in own)) is not None), default=None),
        mean(row.probability for row in best),
    )


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is known; None of nothing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def write_rows(rows: Iterable[Face], path: str | Path) -> None:
    """A CSV with a row a face; box and points in columns of their own, empty where unknown."""
    plain = [field.name for field in fields(Face) if field.name not in ("box", "points")]
    place = plain.index("detection")
    corners = ["x0", "y0", "x1", "y1"]
    spots = [f"{axis}{number}" for number in range(1, 6) for axis in ("point_x", "point_y")]
    columns = [*plain[:place], *corners, *spots, *plain[place:]]
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            values = {name: getattr(row, name) for name in plain}
            values |= dict(zip(corners, row.box or [None] * 4, strict=True))
            flat = [value for point in row.points for value in point] if row.points else [None] * 10
            values |= dict(zip(spots, flat, strict=True))
            writer.writerow({name: _cell(value) for name, value in values.items()})


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
