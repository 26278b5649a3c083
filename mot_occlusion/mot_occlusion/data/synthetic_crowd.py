"""A procedural crowd with exact ground truth, in the layout of MOT17, so that every tool for the real thing works on it.

Walkers of many clothes (some nearly alike) walk, stop, turn, go in groups, enter and leave at the borders, and pass
behind one another, poles and cars; depth follows the foot's place on the ground. The light drifts in strength and in
colour, shade lies on the ground, the camera is noisy. Boxes are whole (amodal) and exact; visibility is counted in
rendered pixels. Everything follows from the seed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mot_occlusion.data.crowd_scene import Frame, Scene
from mot_occlusion.data.mot_format import FIRST_PIXEL
from shared_utils import UserError, logging

#: Of the drawing: the same seed draws the same pixels as long as it stays.
VERSION = 1
#: Frames a second of a sequence: walkers move as people do at this rate.
FRAME_RATE = 25


def render_crowd(
    seed: int, num_frames: int, size: tuple[int, int] = (192, 320), num_people: tuple[int, int] = (10, 25)
) -> Iterator[Frame]:
    """The frames of one sequence.

    Args:
        seed: the same seed gives the same frames.
        num_frames: how many.
        size: (height, width) in pixels.
        num_people: the range from which the size of the crowd is drawn.
    """
    scene = Scene(np.random.default_rng(seed), size, num_people)
    for number in range(num_frames):
        yield scene.render(number)
        scene.step()


def write_crowd(
    out: str | Path,
    num_sequences: int = 4,
    num_frames: int = 150,
    seed: int = 0,
    size: tuple[int, int] = (192, 320),
    num_people: tuple[int, int] = (10, 25),
    replace: bool = False,
) -> list[Path]:
    """Write sequences ``CROWD-01``, ... in the MOT17 layout. Each appears under its name when it is whole.

    Args:
        out: the folder of the sequences.
        num_sequences: how many.
        num_frames: frames of each.
        seed: of the drawing.
        size: (height, width) in pixels, multiples of 32.
        num_people: the range from which the size of a crowd is drawn.
        replace: draw again what is there; otherwise it stays as it is.

    Returns:
        The folders of the sequences.

    Raises:
        UserError: counts below 1, or sides that are not multiples of 32.
    """
    out = Path(out)
    check(num_sequences, num_frames, size, num_people)
    folders = [out / f"CROWD-{number:02d}" for number in range(1, num_sequences + 1)]
    if replace:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    missing = [(number, folder) for number, folder in enumerate(folders) if not folder.exists()]
    for number, folder in logging.progress(missing, "drawing the crowd") if missing else ():
        _write_sequence(folder, render_crowd(seed * 1000 + number, num_frames, size, num_people), num_frames, size)
    return folders


def check(num_sequences: int, num_frames: int, size: tuple[int, int], num_people: tuple[int, int]) -> None:
    """Raise UserError for a crowd that cannot be drawn; arguments as of ``write_crowd``."""
    if num_sequences < 1 or num_frames < 1 or num_people[0] < 1 or num_people[1] < num_people[0]:
        raise UserError("sequences, frames and people must be at least 1: give other numbers")
    if min(size) < 64 or size[0] % 32 or size[1] % 32:
        raise UserError(f"a crowd of {size[1]}x{size[0]} pixels: sides must be multiples of 32, from 64 on")


def _write_sequence(folder: Path, frames: Iterator[Frame], num_frames: int, size: tuple[int, int]) -> None:
    # In a folder of this process, so that two that draw the same crowd at once do not mix their files.
    building = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _fill(building, folder.name, frames, num_frames, size)
        if not folder.exists():
            building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(building: Path, name: str, frames: Iterator[Frame], num_frames: int, size: tuple[int, int]) -> None:
    shutil.rmtree(building, ignore_errors=True)
    (building / "img1").mkdir(parents=True)
    (building / "gt").mkdir()
    lines = []
    for number, frame in enumerate(frames, 1):
        bgr = np.ascontiguousarray(frame.image[..., ::-1])
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (building / "img1" / f"{number:06d}.jpg").write_bytes(encoded.tobytes())
        counted = frame.boxes + np.array([FIRST_PIXEL, FIRST_PIXEL, 0, 0])
        for person, box, visibility in zip(frame.ids, counted, frame.visibility, strict=True):
            place = ",".join(f"{value:.2f}" for value in box)
            lines.append(f"{number},{person},{place},1,1,{visibility:.4f}\n")
    (building / "gt" / "gt.txt").write_text("".join(lines))
    (building / "seqinfo.ini").write_text(
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={num_frames}\n"
        f"imWidth={size[1]}\nimHeight={size[0]}\nimExt=.jpg\n"
    )
