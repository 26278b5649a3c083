"""Films by their names: a video file, a folder of frames or a single image, read or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from old_films_rtn.video.folder import FolderWriter, FrameFolder
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import IMAGE_SUFFIXES
from old_films_rtn.video.reader import VideoFile
from old_films_rtn.video.writer import CONTAINERS, VideoWriter
from shared_utils import UserError, files

Film = VideoFile | FrameFolder


def open_film(path: str | Path) -> VideoFile | FrameFolder:
    """A video file, a folder of frames or a single image.

    Raises UserError for what is missing, empty or of no known kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} not found: give a video file or a folder of frames")
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return FrameFolder(path)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    return VideoFile(path)


def open_output(path: str | Path, like: Film, *, overwrite: bool = False, **options: Any) -> VideoWriter | FolderWriter:
    """A writer of the kind that the name asks for: a video by its suffix, else a folder of frames.

    options: of ``VideoWriter``. Raises UserError where something is there already, or lies inside the input.
    """
    path = Path(path)
    check_output(path, like, overwrite)
    if path.suffix.lower() in CONTAINERS:
        return VideoWriter(path, like, **options)
    return FolderWriter(path, like if isinstance(like, FrameFolder) else None)


def rehearse(path: str | Path, like: Film, frame: Frame, **options: Any) -> None:
    """Write one frame as ``open_output`` would, and keep nothing. Raises UserError where that fails."""
    path = Path(path)
    if path.suffix.lower() in CONTAINERS:
        VideoWriter(path, like, **options).rehearse(frame)
    else:
        files.check_writable(path)


def check_output(path: Path, like: Film, overwrite: bool) -> None:
    """Raise UserError unless ``path`` may be written: known kind, nothing there (or ``overwrite``), not in the input."""
    suffix = path.suffix.lower()
    if suffix and suffix not in CONTAINERS and not path.is_dir():
        raise UserError(f"{path}: no known kind of video; name it {', '.join(CONTAINERS)}, or a folder without suffix")
    source, target = like.path.resolve(), path.resolve()
    if target == source or (source.is_dir() and source in target.parents):
        raise UserError(f"the output {path} lies in the input {like.path}: write it somewhere else")
    if overwrite:
        return
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"{path} exists: name another output, or give --overwrite")
