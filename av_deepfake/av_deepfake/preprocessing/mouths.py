"""The mouths of one video with their sound: what is trained on, scored and shown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from av_deepfake.preprocessing.clock import FPS, RATE, SAMPLES, sound_between
from av_deepfake.preprocessing.video import MouthVideo, Settings
from shared_utils import UserError

log = logging.getLogger(__name__)
MISMATCH = 0.1
"""Seconds by which picture and sound may differ in length before it is logged."""


def resized(pictures: np.ndarray, side: int) -> np.ndarray:
    """Crops uint8 (..., h, w) -> (..., side, side); as they are where they have that size."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    kind = cv2.INTER_AREA if pictures.shape[-1] > side else cv2.INTER_LINEAR
    flat = pictures.reshape(-1, *pictures.shape[-2:])
    found = np.empty((len(flat), side, side), np.uint8)
    for row, picture in enumerate(flat):
        cv2.resize(np.ascontiguousarray(picture), (side, side), dst=found[row], interpolation=kind)
    return found.reshape(*pictures.shape[:-2], side, side)


@dataclass(frozen=True, eq=False)
class Mouths:
    """The mouths of a video, 25 a second.

    Args:
        name: of the video.
        pictures: (T, 96, 96) uint8 grey; black where there is no face. A memory map where they lie in a store.
        valid: (T,) bool: there is a face.
        segment: (T,) int: frames of one number are one uncut stretch of one face.
        sound: (T * 640,) at 16 kHz on the clock of the pictures, float32 or int16; None where there is none.
        facts: what is known of the video and its crops, plain values; see ``MouthVideo.facts``.
    """

    name: str
    pictures: np.ndarray
    valid: np.ndarray
    segment: np.ndarray
    sound: np.ndarray | None
    facts: dict[str, Any]

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.pictures)

    @property
    def times(self) -> np.ndarray:
        """(T,) seconds on the clock of the file."""
        return float(self.facts["start"]) + np.arange(len(self)) / FPS

    def samples(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """The sound of frames ``first`` to before ``last``, (n * 640,) float32.

        Raises:
            UserError: the video has none.
        """
        if self.sound is None:
            raise UserError(f"{self.name} has no sound ({self.facts.get('sound', 'not read')}): it is needed here")
        part = self.sound[first * SAMPLES : None if last is None else last * SAMPLES]
        return part.astype(np.float32) / 32768 if part.dtype == np.int16 else np.asarray(part, np.float32)


def read_video(path: str | Path, settings: Settings | None = None, name: str | None = None) -> Mouths:
    """The mouths of a video and its sound, in memory; for long videos write them into a store.

    Args:
        path: the video.
        settings: how mouths are cut.
        name: what files of landmarks call it.

    Raises:
        UserError: it cannot be read, or its landmarks cannot. A video without a face is none of these: then no frame is
            valid.
    """
    video = MouthVideo(path, settings or Settings(), name)
    mouths = list(video.mouths())
    pictures = np.stack([mouth.picture for mouth in mouths])
    sound, told = None, {}
    if video.settings.sound:
        try:
            sound, begin, end = sound_between(path, video.first, 0.0, len(mouths) / FPS)
            told = sound_facts(video.name, len(mouths) / FPS, begin, end)
        except UserError as error:
            told = {"sound": str(error).removeprefix(f"{path} ")}
    return Mouths(
        video.name,
        pictures,
        np.array([mouth.valid for mouth in mouths]),
        np.array([mouth.segment for mouth in mouths]),
        sound,
        video.facts | told,
    )


def sound_facts(name: str, seconds: float, begin: float, end: float) -> dict[str, Any]:
    """When the sound begins and ends on the clock of the pictures; a length that differs from theirs is logged.

    Args:
        name: of the video.
        seconds: of the picture.
        begin, end: of the sound.
    """
    if abs(begin) > MISMATCH or seconds - end > MISMATCH:
        log.warning("%s: the picture lasts %.2f s, its sound goes from %.2f s to %.2f s", name, seconds, begin, end)
    return {
        "sound": "",
        "sound_rate": RATE,
        "sound_start": round(begin, 6),
        "sound_seconds": round(end - begin, 3),
        "sound_missing": round(max(0.0, begin) + max(0.0, seconds - end), 3),
    }
