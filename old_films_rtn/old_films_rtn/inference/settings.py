"""What the arguments of restoring commands mean, checked before anything heavy is loaded."""

from __future__ import annotations

import logging
from pathlib import Path

from old_films_rtn.video.io import CONTAINERS, FrameFolder, VideoFile, check_output
from shared_utils import UserError

log = logging.getLogger(__name__)


def check(mask_threshold: float | None = None, max_change: float | None = None, **shares: float) -> None:
    """Raise UserError for a share outside [0, 1]; a mask threshold above 1 is allowed: no pixel is a defect then."""
    for name, value in {**shares, "max_change": 0.0 if max_change is None else max_change}.items():
        if not 0 <= value <= 1:
            raise UserError(f"--{name} is a share between 0 and 1, got {value}")
    if mask_threshold is not None and mask_threshold < 0:
        raise UserError(f"--mask_threshold is at least 0, got {mask_threshold}")


def default_output(film: Path, suffix: str) -> Path:
    """``film_restored.mp4`` for ``film.mp4``; AVI becomes MKV, a folder a folder, an image a folder."""
    if film.is_dir():
        return film.resolve().with_name(f"{film.resolve().name}_{suffix}")
    container = film.suffix.lower() if film.suffix.lower() in CONTAINERS else ".mkv"
    if film.suffix.lower() in (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"):
        container = ""
    return film.with_name(f"{film.stem}_{suffix}{'.mkv' if container == '.avi' else container}")


def span(frames: str | None) -> tuple[int, int | None]:
    """(first, end) of ``"100:200"``, ``"100:"`` or ``":200"``."""
    if frames is None:
        return 0, None
    first, colon, end = frames.partition(":")
    try:
        pair = int(first or 0), int(end) if end else None
    except ValueError:
        pair = (-1, None)
    if not colon or pair[0] < 0 or (pair[1] is not None and pair[1] <= pair[0]):
        raise UserError(f"--frames is first:end, the end not included, got {frames}: for example 100:200")
    return pair


def nothing_to_do(out: Path, film: VideoFile | FrameFolder, resume: bool, overwrite: bool) -> bool:
    """Whether ``--resume`` finds the output finished. Raises UserError where the output may not be written."""
    there = out.is_file() or (out.is_dir() and any(out.iterdir()))
    if resume and there and not out.with_name(f".{out.name}.work").is_dir():
        log.info("%s is there already: nothing to resume", out)
        return True
    check_output(out, film, overwrite or (resume and there))
    return False
