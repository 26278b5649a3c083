"""One frame of a film before and after, at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from old_films_rtn.compositing import Compositing
from old_films_rtn.inference.source import Clip
from old_films_rtn.pretrained import Restorer
from old_films_rtn.video.frame import to_unit
from old_films_rtn.video.images import write_image
from old_films_rtn.video.shots import find_shots
from shared_utils import UserError, distributed, files

AROUND = 4
"""Frames on either side of the one that is shown; a shot is restored from as many at least."""


def preview(
    restorer: Restorer, clip: Clip, index: int, out: Path, how: Compositing, passes: int | None, flow: str, device: str
) -> str:
    """Write frame ``index`` of the film before, after, and its defect map, side by side, as one image; what to say of it.

    Only frames of its shot are looked at, ``AROUND`` on either side, so the film's own result may differ a little.

    Raises:
        UserError: there is no such frame, or ``out`` is not a PNG or TIFF that can be written.
    """
    if out.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise UserError(f"{out}: a preview is one image; name it .png or .tif")
    files.check_writable(out)
    first = max(0, index - AROUND)
    frames = list(replace(clip, first=first, end=index + AROUND + 1).frames())
    if len(frames) <= index - first:
        raise UserError(f"{clip.film.path} has no frame {index}: give --preview inside the film")
    black_white = frames[0].black_white
    lumas = np.stack([frame.luma for frame in frames])
    starts = find_shots((to_unit(luma, black_white) for luma in lumas), True, False).starts
    begin = max(start for start in starts if start <= index - first)
    end = min([start for start in starts if start > index - first], default=len(frames))
    place = distributed.choose_device(device)
    restored, defects = restorer(lumas[begin:end], how, passes=passes, flow=flow, black_white=black_white, device=place)
    at = index - first - begin
    depth = np.iinfo(lumas.dtype).max // 255
    shown = [lumas[begin:end][at], restored[at], defects[at].astype(lumas.dtype) * depth]
    if frames[0].bits in (10, 12):  # codes in the low bits: to the whole range of an image
        shown[:2] = [luma << (16 - frames[0].bits) for luma in shown[:2]]
    gap = np.full((len(shown[0]), 4), np.iinfo(lumas.dtype).max, lumas.dtype)
    write_image(cv2.hconcat([shown[0], gap, shown[1], gap, shown[2]]), out)
    return f"{out}: frame {index} before, after, and its defect map ({100 * (defects[at] > 0).mean():.1f} % of it)"
