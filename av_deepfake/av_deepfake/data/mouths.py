"""Where mouth crops are read from: arrays in memory, folders of pictures, or what ``preprocess`` has kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from av_deepfake import mel
from av_deepfake.preprocessing import resized
from shared_utils import UserError

PICTURES = (".png", ".jpg", ".jpeg")
SAMPLES = 640
"""Of sound at 16 kHz in a frame at 25 fps."""
CROP = 96
"""Side of the crops that ``preprocess`` and the published code cut out, of which networks see the middle 88."""


def crop_side(size: int) -> int:
    """To what side crops are brought for a network that takes ``size`` pixels, so that every network sees as much of them."""
    return min(CROP, round(size * CROP / 88))


class Mouths(Protocol):
    """Videos by number. ``frames``: (m,) how many each has."""

    frames: np.ndarray

    def pictures(self, video: int, start: int, count: int) -> np.ndarray:
        """(count, h, w) uint8 of grey."""
        ...

    def mel(self, video: int, start: int, count: int) -> np.ndarray:
        """Log-mel of the sound of these frames, (4 count, 80) float32."""
        ...


class ArrayMouths:
    """Videos of one length in memory.

    Args:
        pictures: (m, t, s, s) uint8.
        sound: (m, samples) float32 at 16 kHz, or None.
    """

    def __init__(self, pictures: np.ndarray, sound: np.ndarray | None = None) -> None:
        self._pictures = pictures
        self.frames = np.full(len(pictures), pictures.shape[1])
        self._mel = None if sound is None else _mel_of_all(sound, pictures.shape[1])

    def pictures(self, video: int, start: int, count: int) -> np.ndarray:
        return self._pictures[video, start : start + count]

    def mel(self, video: int, start: int, count: int) -> np.ndarray:
        if self._mel is None:
            raise UserError("these videos have no sound: pre-training needs talking faces with theirs")
        return window(self._mel[video], start, count)


def _mel_of_all(sound: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([log_mel_of(part, frames) for part in np.array_split(sound, -(-len(sound) // 64))])


def log_mel_of(samples: np.ndarray, frames: int) -> np.ndarray:
    """Log-mel (..., 4 frames, 80) of sound (..., samples) at 16 kHz."""
    import torch

    return mel.log_mel(torch.from_numpy(np.ascontiguousarray(samples, np.float32)), frames).squeeze(-3).numpy()


def window(rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """The log-mel of some frames out of that of a whole recording, as if it had been normalised alone.

    Normalised log-mel ends at 1 (its maximum) and -1 (80 dB below); a window is shifted so that its own maximum is 1.

    Args:
        rows: (4 T, 80) of the recording.
        start: first frame.
        count: frames.
    """
    part = rows[4 * start : 4 * (start + count)]
    return np.maximum(part - (part.max() - 1), -1).astype(np.float32)


class FolderMouths:
    """Folders of mouth crops, a picture a frame (``cropped_mouths/000/0000.png``), or of frames far apart.

    Args:
        folders: one a video.
        side: to which the pictures are brought.
    """

    def __init__(self, folders: Sequence[Path], side: int = CROP) -> None:
        self.side = side
        self._files = [
            sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES) for folder in folders
        ]
        self.frames = np.array([len(files) for files in self._files])

    def pictures(self, video: int, start: int, count: int) -> np.ndarray:
        found = []
        for path in self._files[video][start : start + count]:
            picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if picture is None:
                raise UserError(f"{path} cannot be read: make the crops again with preprocess")
            found.append(resized(picture, self.side))
        return np.stack(found)

    def mel(self, video: int, start: int, count: int) -> np.ndarray:
        raise UserError("folders of pictures have no sound: pre-train on videos, through preprocess")
