"""Key-frames: the frames of a film that are given in colour, as a folder of images named by their numbers."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from old_films_rtn.colour.lab import to_lab
from old_films_rtn.flow import DIS
from old_films_rtn.models.rtn import warp
from old_films_rtn.video.folder import FrameFolder
from old_films_rtn.video.frame import Frame
from old_films_rtn.video.images import read_image
from shared_utils import UserError


class Keys:
    """The key-frames of a folder: the first number in a file's name is the frame's, counted from ``first_frame``.

    align: move the colours along the flow from the film's frame to the key-frame, for key-frames from another scan.
    Raises UserError where there are none, or one has no number, or two have the same.
    """

    def __init__(self, folder: str | Path, first_frame: int = 0, align: bool = False) -> None:
        self.files: dict[int, Path] = {}
        for file in FrameFolder(folder).files:
            found = re.search(r"\d+", file.stem)
            if found is None:
                raise UserError(f"{file} has no frame number in its name: name it 000874.png for frame 874")
            index = int(found[0]) - first_frame
            if index in self.files:
                raise UserError(f"{file} and {self.files[index]} are key-frames of the same frame {found[0]}")
            self.files[index] = file
        self.first_frame, self.align = first_frame, align

    def digests(self) -> dict[str, str]:
        """SHA-256 of every key-frame's file, by frame number."""
        return {str(index): hashlib.sha256(file.read_bytes()).hexdigest() for index, file in sorted(self.files.items())}

    def check(self, length: int) -> None:
        """Raise UserError for a key-frame outside a film of ``length`` frames."""
        for index, file in self.files.items():
            if not 0 <= index < length:
                last = self.first_frame + length - 1
                raise UserError(
                    f"{file} is frame {index + self.first_frame}, the film has {self.first_frame} to {last}: rename it, or "
                    "say with --first-frame which number the film's first frame has"
                )

    def ab(self, index: int, size: tuple[int, int], lightness: np.ndarray | None = None) -> np.ndarray | None:
        """(2, h, w) a and b of a frame, scaled to the film's size; None where no key-frame is given.

        lightness: (h, w) L - 50 of the film's frame, to align with.

        Raises UserError for another shape of picture, or a key-frame without any colour.
        """
        file = self.files.get(index)
        if file is None:
            return None
        rgb = Frame(index, read_image(file), index).rgb()
        height, width = size
        if abs(rgb.shape[1] / rgb.shape[0] - width / height) > 0.02 * width / height:
            raise UserError(f"{file} is {rgb.shape[1]}x{rgb.shape[0]}, the film {width}x{height}: give the same shape")
        if rgb.shape[:2] != size:
            shrinks = rgb.shape[0] > height
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        key, ab = np.split(to_lab(rgb), [1])
        if self.align and lightness is not None:
            film, key = (torch.from_numpy(image.reshape(1, 1, *size) / 50) for image in (lightness, key))
            source = DIS()
            flow = source.flow(source.features(_equalised(film)), source.features(_equalised(key)))
            ab = warp(torch.from_numpy(ab)[None], flow, "border")[0].numpy()
        if np.abs(ab).max() < 1:
            raise UserError(f"{file} has no colour in it: a key-frame is the frame in colour")
        return ab


def _equalised(image: Tensor) -> Tensor:
    """Mean 0 and the same contrast: another scan has another exposure."""
    return ((image - image.mean()) / image.std().clamp_min(1e-3) / 2.5).clamp(-1, 1)
