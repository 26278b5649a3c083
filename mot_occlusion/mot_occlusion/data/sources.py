"""Where frames come from: what ``shared_utils.video`` reads, and the sequences of MOTChallenge."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from mot_occlusion.data.mot_format import find_sequences, read_seqinfo
from shared_utils import UserError, video


def list_sources(source: str) -> list[str]:
    """One source, or the sequences of a folder of them."""
    folder = Path(source)
    if not folder.is_dir() or (folder / "seqinfo.ini").is_file() or (folder / "img1").is_dir():
        return [source]
    try:
        return [str(path) for path in find_sequences(folder)]
    except UserError:
        return [source]  # a folder of images


def open_source(source: str | Path, frame_rate: float | None = None, reconnect: int = 5) -> video.Source:
    """A video file, a folder of images, a sequence of MOTChallenge, the number of a camera, or an address (rtsp://...).

    Args:
        source: the source.
        frame_rate: of a folder of images without ``seqinfo.ini`` (25 where not given); of anything else, instead of its
            own.
        reconnect: how often in a row a camera or stream that stops is opened again before it counts as ended.

    Raises:
        UserError: it cannot be read; the message names the source and the fix.
    """
    if frame_rate is not None and not 0 < frame_rate < float("inf"):
        raise UserError(f"a frame rate of {frame_rate:g} is not possible: give one above 0")
    folder = Path(source)
    if (folder / "seqinfo.ini").is_file():
        info = read_seqinfo(folder)
        opened = video.open_source(folder / info.im_dir, frame_rate or info.frame_rate)
        if opened.length != info.length:
            raise UserError(
                f"{folder / 'seqinfo.ini'} says {info.length} frames, but {folder / info.im_dir} has {opened.length} images: "
                "fix seqLength or the folder"
            )
        opened.name = info.name
    elif (folder / "img1").is_dir():
        opened = video.open_source(folder / "img1", frame_rate)
        opened.name = folder.name
    else:
        opened = video.open_source(source, frame_rate, reconnect)
    return opened


def num_bytes(source: str) -> int | None:
    """The size of a source on disk, which tells it from another one under the same name; None of a live one."""
    path = Path(source)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else None


def frames_of(source: str, *numbers: int) -> list[np.ndarray]:
    """The frames of a source by their numbers from 1.

    Raises:
        UserError: one of them is not there or cannot be read.
    """
    found = {}
    for number, frame in enumerate(islice(open_source(source).frames(), max(numbers)), 1):
        if number in numbers and frame.image is not None:
            found[number] = frame.image
    for number in numbers:
        if number not in found:
            raise UserError(f"{source} has no readable frame {number}: choose another with --frame")
    return [found[number] for number in numbers]
