"""What is answered: a row a video, and a row a clip."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from shared_utils import files

Status = Literal["ok", "unreadable", "no_landmarks", "no_mouth", "too_short"]
"""ok: scored. unreadable: no frame can be decoded, or not a video. no_landmarks: the given landmarks don't fit it. no_mouth:
too many frames show no face. too_short: no stretch with a face is long enough."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a video that was scored. start, stop: seconds on the video's clock. frames: with a mouth."""

    start: float
    stop: float
    frames: int
    logit: float


@dataclass
class Row:
    """What is said of a video.

    score: mean of the logits of its clips, larger is more suspicious; None where it has none, and ``note`` says why.
    probability: of being fake, where the model is calibrated. rank: the share of the user's genuine videos that score as
    high or higher, where some were given. sound: the synchrony in words; offset [frames, positive: the sound is late],
    confidence and the curve where it could be compared. outside: in what it differs from the training data. remarks: for
    the reader. facts: of the preprocessing.
    """

    file: str
    status: Status = "ok"
    score: float | None = None
    probability: float | None = None
    rank: float | None = None
    clips: list[Clip] = field(default_factory=list)
    sound: str = ""
    offset: int | None = None
    confidence: float | None = None
    shifts: list[int] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def worst(self) -> Clip | None:
        """The most suspicious clip."""
        return max(self.clips, key=lambda clip: clip.logit, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Row:
        """The inverse of ``as_dict``, also after JSON."""
        return cls(**{**values, "clips": [Clip(**clip) for clip in values["clips"]]})


_FACTS = ("seconds", "frames", "fps", "landmarks", "variant", "crop_scale", "sharpness", "missed", "most_faces")


def write_rows(rows: Sequence[Row], folder: str | Path) -> None:
    """Write scores.csv (a row a video) and clips.csv (a row a clip)."""
    folder = Path(folder)
    _write(folder / "scores.csv", (_flat(row) for row in rows), list(_flat(Row(""))))
    clips = (
        {"file": row.file, "start": clip.start, "stop": clip.stop, "frames": clip.frames, "logit": clip.logit}
        for row in rows
        for clip in row.clips
    )
    _write(folder / "clips.csv", clips, ["file", "start", "stop", "frames", "logit"])


def _flat(row: Row) -> dict[str, Any]:
    worst = row.worst
    plain = {
        "file": row.file,
        "status": row.status,
        "score": row.score,
        "probability": row.probability,
        "genuine_rank": row.rank,
        "clips": len(row.clips),
        "worst_start": worst and worst.start,
        "worst_logit": worst and worst.logit,
        "sound": row.sound,
        "offset_frames": row.offset,
        "offset_confidence": row.confidence,
        "outside_training": "; ".join(row.outside),
        "remarks": "; ".join(filter(None, [row.note, *row.remarks])),
    }
    return plain | {name: row.facts.get(name) for name in _FACTS}


def _write(path: Path, rows: Iterable[dict[str, Any]], columns: list[str]) -> None:
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
