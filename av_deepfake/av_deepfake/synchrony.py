"""Whether sound belongs to a picture, and by how many frames it is late or early.

    d(s) = mean over t of |v_t - a_(t+s)|,   offset = argmin d,   confidence = median d - min d

A positive offset is late sound. The published rule (SyncNet) gives the same number with the other sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

#: Below this confidence (on unit rows, whose distances lie in 0..2) a minimum is no better than chance [ours].
LEAST_CONFIDENCE = 0.02


@dataclass(frozen=True)
class Synchrony:
    """What was found.

    offset: frames that the sound is late (negative: early); None where it is undetermined. seconds: the same.
    confidence: median minus smallest distance; None where nothing could be compared. distances: (2 reach + 1,) mean
    distance at each of ``shifts``, the frames that the sound is taken to be late. undetermined: why there is no offset, or
    "". fps: frames a second.
    """

    offset: int | None
    confidence: float | None
    distances: np.ndarray
    shifts: np.ndarray
    undetermined: str = ""
    fps: float = 25.0

    @property
    def seconds(self) -> float | None:
        return None if self.offset is None else self.offset / self.fps

    @property
    def text(self) -> str:
        """In words, with unit and sign: "sound 3 frames (120 ms) late"."""
        if self.offset is None:
            return f"undetermined: {self.undetermined}"
        if self.offset == 0:
            return "sound in time (within half a frame)"
        count, milliseconds = abs(self.offset), round(1000 * abs(self.offset) / self.fps)
        side = "late" if self.offset > 0 else "early"
        return f"sound {count} frame{'s' if count > 1 else ''} ({milliseconds} ms) {side}"


def distances(video: Tensor, audio: Tensor, reach: int, edges: Literal["zero", "valid"] = "valid") -> Tensor:
    """The distance of every row of the picture to the row of the sound that is s later, for every s in -reach..reach.

    Args:
        video, audio: (T, d) rows at the same times.
        reach: the largest shift, in rows.
        edges: rows beyond the ends of the sound are zero, as published (which favours or punishes large shifts), or are
            left out.

    Returns:
        (2 reach + 1, T); with ``valid``, NaN where there is no sound to compare with.
    """
    rows = min(len(video), len(audio))
    video, audio = video[:rows].float(), audio[:rows].float()
    padded = pad(audio, (0, 0, reach, reach)).unfold(0, rows, 1).permute(0, 2, 1)
    # The published distance adds 1e-6 to every difference.
    found = (video - padded + 1e-6).square().sum(-1).sqrt()
    if edges == "valid":
        place = torch.arange(rows, device=video.device) + torch.arange(-reach, reach + 1, device=video.device)[:, None]
        found = found.masked_fill((place < 0) | (place >= rows), torch.nan)
    return found


@torch.no_grad()
def synchrony(
    video: Tensor, audio: Tensor, reach: int = 15, edges: Literal["zero", "valid"] = "valid", fps: float = 25.0
) -> Synchrony:
    """How late the sound is.

    Args:
        video, audio: (T, d) rows at the same times; unit rows where ``valid`` edges judge the confidence.
        reach: the largest shift that is tried, in frames; smaller where the video is too short for it.
        edges: ``zero`` is the published rule, which always gives an offset; ``valid`` compares what overlaps, over at
            least a third of the rows, and says where there is none.
        fps: rows a second.

    Returns:
        Offset, confidence and the curve.
    """
    rows = min(len(video), len(audio))
    if edges == "valid":
        reach = min(reach, rows - max(rows // 3, 3))
    shifts = np.arange(-reach, reach + 1)
    if reach < 1:
        return _undetermined(f"only {rows} rows to compare", np.full(1, np.nan), np.zeros(1, int), None, fps)
    mean = distances(video, audio, reach, edges).nanmean(1)
    curve = mean.cpu().numpy()
    best = int(curve.argmin())
    confidence = float(mean.median() - mean.min())
    if edges == "valid":
        if confidence < LEAST_CONFIDENCE:
            reason = f"no shift fits better than the others (confidence {confidence:.3f}, at least {LEAST_CONFIDENCE} needed)"
            return _undetermined(reason, curve, shifts, confidence, fps)
        if best in (0, len(curve) - 1):
            reason = f"the best shift lies at the edge of the range that was searched ({shifts[best]:+d} frames)"
            return _undetermined(reason, curve, shifts, confidence, fps)
    return Synchrony(int(shifts[best]), confidence, curve, shifts, "", fps)


def _undetermined(
    reason: str, curve: np.ndarray, shifts: np.ndarray, confidence: float | None, fps: float
) -> Synchrony:
    return Synchrony(None, confidence, curve, shifts, reason, fps)
