"""The results of a tracked source on disk: written frame by frame, read back whole or by frame."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np

from mot_occlusion.data import mot_format
from mot_occlusion.data.mot_format import Rows
from mot_occlusion.tracking import LOST, TRACKED, Tracks
from shared_utils.files import replacing


class ResultTexts:
    """The results of a source while they are written: a line is on its way to the disk when its frame is done.

    Args:
        out: the folder of ``<name>.txt``; which boxes were recovered goes to ``details`` in it.
        name: of the source.
    """

    def __init__(self, out: Path, name: str) -> None:
        self.results, self.recovered = out / f"{name}.txt", details(out) / f"{name}.recovered.txt"
        self._open: list[TextIO] = []

    def cut(self, frame: int) -> None:
        """Leave out what comes after ``frame``."""
        for path in (self.results, self.recovered):
            if path.is_file():
                kept = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
                with replacing(path) as temporary:
                    temporary.write_text("".join(line for line in kept if int(line.split(",")[0]) <= frame))

    def open(self) -> None:
        """Go on behind what is there."""
        for path in (self.results, self.recovered):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open.append(path.open("a"))

    def write(self, frame: int, tracks: Tracks) -> None:
        """The tracks of a frame, numbered from 1."""
        results, recovered = self._open
        sizes = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
        labels = np.full(len(tracks.ids), -1) if tracks.classes is None else tracks.classes
        columns = zip(tracks.ids, tracks.boxes[:, :2], sizes, tracks.scores, labels, strict=True)
        for identity, (x, y), (w, h), score, label in columns:
            results.write(mot_format.result_line(frame, identity, (x, y, w, h), score, label))
        recovered.writelines(f"{frame},{identity}\n" for identity in tracks.ids[tracks.states == LOST])
        results.flush()
        recovered.flush()

    def close(self) -> None:
        """Close the files; both stay as they are."""
        for stream in self._open:
            stream.close()


def details(out: Path) -> Path:
    """Where a run keeps what is not a result: recovered boxes, and the statistics of every source."""
    return out / "details"


def read_tracks(path: str | Path) -> tuple[Rows, np.ndarray]:
    """The results of a file, and which rows (N,) were recovered while hidden (none where that was not kept)."""
    path = Path(path)
    rows = mot_format.read_results(path)
    beside = details(path.parent) / f"{path.stem}.recovered.txt"
    recovered = np.zeros(len(rows.frames), dtype=bool)
    if beside.is_file() and beside.stat().st_size:
        pairs = np.loadtxt(beside, delimiter=",", dtype=np.int64, ndmin=2)
        width = int(max(rows.ids.max(initial=0), pairs[:, 1].max())) + 1
        recovered = np.isin(rows.frames * width + rows.ids, pairs[:, 0] * width + pairs[:, 1])
    return rows, recovered


class RecordedTracks:
    """Tracks read back from results, frame by frame."""

    def __init__(self, rows: Rows, recovered: np.ndarray) -> None:
        self.rows, self.states = rows, np.where(recovered, LOST, TRACKED)
        self._starts = rows.starts(int(rows.frames[-1]) if len(rows.frames) else 0)

    def of_frame(self, frame: int) -> Tracks:
        """The tracks of a frame, numbered from 1."""
        part = slice(0, 0)
        if frame < len(self._starts):
            part = slice(self._starts[frame - 1], self._starts[frame])
        found = self.rows.select(np.arange(len(self.rows.ids))[part])
        return Tracks(found.ids, found.xyxy(), found.scores, self.states[part], found.classes)


def last_written(results: Path) -> tuple[int, int]:
    """The last frame and the highest identity that were written; 0, 0 where nothing was."""
    rows = mot_format.read_results(results) if results.is_file() else None
    return (int(rows.frames[-1]), int(rows.ids.max())) if rows is not None and len(rows.frames) else (0, 0)
