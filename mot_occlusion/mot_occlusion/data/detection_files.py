"""Detections from files, of any detector, by frame of a video."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mot_occlusion.data import mot_format
from mot_occlusion.detections import Detections
from mot_occlusion.tracking.admission import LARGEST_SCORE
from shared_utils import UserError


class FileDetections:
    """The detections of a file, by frame; x1, y1, x2, y2 in pixels of the video.

    Args:
        path: lines of frame, id (ignored), x, y, w, h, score.
        size: (height, width) of the video.
        length: its number of frames, where that is known.
        made_at: (width, height) for which the file was made, if another.

    Raises:
        UserError: the boxes cannot belong to the video.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], length: int | None, made_at: tuple[int, int] | None = None
    ) -> None:
        rows = mot_format.read_detections(path)
        height, width = size
        boxes = rows.xyxy()
        if made_at is not None:
            boxes = boxes * np.tile([width / made_at[0], height / made_at[1]], 2)
        if len(boxes) and np.abs(rows.boxes).max() <= 2 and max(size) > 4:
            raise UserError(
                f"{path}: no value in columns 3 to 6 is above 2: boxes are x,y,w,h in pixels; multiply shares of the image "
                "by its width and height"
            )
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        outside = np.any((centres < 0) | (centres > [width, height]), axis=1)
        if len(rows.frames) and outside.mean() > 1 / 3:
            raise UserError(
                f"{path}: {outside.sum()} of {len(outside)} boxes lie outside of the {width} x {height} video: if they were "
                "made at another resolution, give it, as in --detections_size 1920x1080"
            )
        if length is not None and len(rows.frames) and rows.frames[-1] > length:
            raise UserError(
                f"{path} has frame {rows.frames[-1]}, but the source has {length} frames: the lengths disagree; "
                "check that the files belong together"
            )
        self.path, self.last = path, int(rows.frames[-1]) if len(rows.frames) else 0
        if len(rows.scores) and rows.scores.max() > LARGEST_SCORE:
            raise UserError(
                f"{path}: a score of {rows.scores.max():g} in column 7: scores are shares in 0 to 1: divide percents by 100"
            )
        self.boxes, self.scores = boxes, rows.scores
        self.classes = rows.classes if (rows.classes >= 0).any() else None
        self._starts = rows.starts(self.last)

    def check_end(self, name: str, frames: int) -> None:
        """Raise UserError if the file goes on after the source, whose length may be known only now."""
        if self.last > frames:
            raise UserError(
                f"{self.path} has frame {self.last}, but {name} ended after {frames}: the lengths disagree; the results are "
                "kept, check that the files belong together"
            )

    def of_frame(self, frame: int) -> Detections:
        """The detections of a frame, the surest first; none where the file has none."""
        part = slice(*self._starts[frame - 1 : frame + 1]) if frame < len(self._starts) else slice(0)
        order = np.argsort(-self.scores[part], kind="stable")
        classes = None if self.classes is None else self.classes[part][order]
        return Detections(self.boxes[part][order], self.scores[part][order], classes=classes)

    def check_scores(self, threshold: float) -> None:
        """Raise UserError if no detection scores above the threshold, so that nothing would be tracked."""
        if len(self.scores) and self.scores.max() <= threshold:
            raise UserError(
                f"{self.path}: no detection scores above {threshold:g}, the highest has {self.scores.max():g}: "
                "lower --conf_threshold"
            )


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``"768x576"`` -> (768, 576)."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"a size is WIDTHxHEIGHT, as in 768x576, got {text}")
    return int(width), int(height)


class GivenDetections:
    """The files of detections of one or several sources.

    Args:
        sources: the sources to track.
        pattern: a path, in which ``{sequence}`` stands for the name of a source; ``det/det.txt`` of its folder where None.
        made_at: (width, height) for which they were made, if another than the video's.

    Raises:
        UserError: a file is missing.
    """

    def __init__(
        self, sources: Sequence[str], pattern: str | None = None, made_at: tuple[int, int] | None = None
    ) -> None:
        self.made_at = made_at
        self.files: dict[str, Path] = {}
        for source in sources:
            folder = Path(source)
            name = folder.name if folder.is_dir() else folder.stem
            path = Path(pattern.replace("{sequence}", name)) if pattern else folder / "det" / "det.txt"
            if not path.is_file():
                raise UserError(f"{path} not found: give --detections, a file of lines frame,-1,x,y,w,h,score")
            self.files[source] = path

    def of(self, source: str, size: tuple[int, int], length: int | None) -> FileDetections:
        """The detections of a source of (height, width) and a number of frames, where that is known."""
        return FileDetections(self.files[source], size, length, self.made_at)

    def digest(self) -> str:
        """16 hex digits of the files and of the size they were made for."""
        content = hashlib.sha256(repr(self.made_at).encode())
        for path in self.files.values():
            content.update(hashlib.sha256(path.read_bytes()).digest())
        return content.hexdigest()[:16]
