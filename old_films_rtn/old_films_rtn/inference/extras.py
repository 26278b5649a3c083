"""What restoring writes beside the film: its masks, a comparison, and a report of the defects."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from old_films_rtn.inference.plan import Plan
from old_films_rtn.video.folder import FolderWriter
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.io import Film, check_output, open_output, rehearse
from old_films_rtn.video.shots import write_cuts
from old_films_rtn.video.writer import VideoWriter
from shared_utils import files

if TYPE_CHECKING:
    from old_films_rtn.inference.kept import KeptFilm


@dataclass(frozen=True)
class Extras:
    """Where they go; None leaves one out.

    masks, side_by_side: videos or folders. report: a CSV; the cuts go beside it.
    """

    masks: str | None = None
    side_by_side: str | None = None
    report: str | None = None

    def check(self, film: Film, overwrite: bool) -> None:
        """Raise UserError where one may not be written."""
        for path in (self.masks, self.side_by_side):
            if path is not None:
                check_output(Path(path), film, overwrite)
        if self.report is not None:
            files.refuse_existing(self.report, overwrite)

    def rehearse(self, film: Film, first: Frame, plan: Plan) -> None:
        """Raise UserError where one cannot be written; first: the first frame of the film."""
        if self.masks is not None:
            rehearse(self.masks, film, Frame(0, np.zeros(first.size, np.uint8), first.pts, first.name), **plan.beside)
        if self.side_by_side is not None:
            beside = np.concatenate([first.rgb(), first.rgb()], axis=1)
            rehearse(self.side_by_side, film, Frame(0, beside, first.pts, first.name), **plan.beside)
        if self.report is not None:
            files.check_writable(self.report)

    @contextmanager
    def open(self, kept: KeptFilm, plan: Plan) -> Iterator[OpenExtras]:
        """Write them for the length of the block; whole at its end."""
        with ExitStack() as stack:

            def writer(path: str | None) -> VideoWriter | FolderWriter | None:
                if path is None:
                    return None
                return stack.enter_context(open_output(path, kept.clip.film, overwrite=True, **plan.beside))

            extras = OpenExtras(kept, writer(self.masks), writer(self.side_by_side), self.report is not None)
            yield extras
        if self.report is not None:
            write_report(extras.rows, kept, self.report)
            write_cuts(kept.shots, Path(self.report).with_suffix(".cuts.csv"))


class OpenExtras:
    """The extras while the film is being written."""

    def __init__(
        self,
        kept: KeptFilm,
        masks: VideoWriter | FolderWriter | None,
        side_by_side: VideoWriter | FolderWriter | None,
        reported: bool,
    ) -> None:
        self.kept, self.masks, self.side_by_side, self.reported = kept, masks, side_by_side, reported
        self.rows: list[dict[str, Any]] = []

    def before(self, frame: Frame) -> np.ndarray | None:
        """What a comparison needs of a frame before it is changed."""
        return None if self.side_by_side is None else frame.rgb()

    def add(self, index: int, before: np.ndarray | None, after: Frame) -> None:
        """Write what belongs to a frame. before: of ``before``, since changing a frame changes it in place."""
        if self.side_by_side is not None and before is not None:
            beside = np.concatenate([before, after.rgb()], axis=1)
            self.side_by_side.write(Frame(after.index, beside, after.pts, after.name))
        if self.masks is not None:
            self.masks.write(Frame(after.index, self.kept.image("mask", index), after.pts, after.name))
        if self.reported:
            seconds = round(float(after.pts * self.kept.clip.film.time_base), 4)
            self.rows.append({"frame": after.index, "seconds": seconds} | self.kept.report(index))


def write_report(rows: Sequence[dict[str, Any]], kept: KeptFilm, path: str | Path) -> None:
    """The defect report as CSV, with the shot of every frame and the frame that it repeats."""
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, ["frame", "seconds", "shot", "repeats", *list(rows[0])[2:]])
        table.writeheader()
        for index, row in enumerate(rows):
            original = kept.shots.repeats[index]
            row = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in row.items()}
            repeats = "" if original == index else original + kept.clip.first
            table.writerow(row | {"shot": kept.shot_of(index), "repeats": repeats})
