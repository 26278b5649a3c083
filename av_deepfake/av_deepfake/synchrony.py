"""Whether sound belongs to a picture, and by how many frames it is late or early.

    d(s) = mean over t of |v_t - a_(t+s)|,   offset = argmin d,   confidence = median d - min d

A positive offset is late sound. The published rule (SyncNet) gives the same number with the other sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from av_deepfake.models.audio import SAMPLES_PER_FRAME
from av_deepfake.models.branches import AudioVisual

Edges = Literal["zero", "valid"]

#: Least confidence, and least distance to all shifts that are more than ``NEAR`` frames away, for an offset [ours]; of unit
#: rows, whose distances lie in 0..2. With these, benchmarks/offsets.py gives no wrong offset, and few for another's sound.
LEAST_CONFIDENCE, LEAST_MARGIN, NEAR = 0.4, 0.15, 3
#: Sound whose loudest sample is below this (-60 dB) is silence [ours].
SILENCE = 1e-3
_FEWEST = 3  # rows that are compared at the largest shift


@dataclass(frozen=True, eq=False)
class Synchrony:
    """What was found.

    Args:
        offset: frames that the sound is late, negative where it is early; None where it is undetermined.
        confidence: median less smallest distance; None where nothing could be compared.
        distances: (2 reach + 1,), the mean distance at each of ``shifts``.
        shifts: frames that the sound is taken to be late.
        undetermined: why there is no offset; "" where there is one.
        fps: frames a second.
    """

    offset: int | None
    confidence: float | None
    distances: NDArray[np.float32]
    shifts: NDArray[np.int64]
    undetermined: str = ""
    fps: float = 25.0

    @property
    def seconds(self) -> float | None:
        """The offset in seconds."""
        return None if self.offset is None else self.offset / self.fps

    @property
    def text(self) -> str:
        """In words, with unit and sign: "sound 3 frames (120 ms) late"."""
        if self.offset is None:
            return f"undetermined: {self.undetermined}"
        if self.offset == 0:
            return f"sound in time (within half a frame, {500 / self.fps:.0f} ms)"
        count, side = abs(self.offset), "late" if self.offset > 0 else "early"
        return f"sound {count} frame{'s' if count > 1 else ''} ({1000 * count / self.fps:.0f} ms) {side}"


def undetermined(
    reason: str,
    fps: float = 25.0,
    confidence: float | None = None,
    distances: np.ndarray | None = None,
    shifts: np.ndarray | None = None,
) -> Synchrony:
    """No offset, and why; with the curve where there is one."""
    none = np.zeros(0, np.float32) if distances is None else distances
    return Synchrony(None, confidence, none, np.zeros(0, np.int64) if shifts is None else shifts, reason, fps)


def why_not(samples: np.ndarray, frames: int, window: int = 25) -> str:
    """Why no offset can be measured, from the sound and the length alone; "" where it can be tried.

    Args:
        samples: (s,) at 16 kHz, of the same stretch as the picture.
        frames: of the picture, at 25 a second.
        window: frames that are compared at once.
    """
    if frames < window + 2 * _FEWEST:
        return f"the picture has {frames} frames ({frames / 25:.1f} s), at least {window + 2 * _FEWEST} are needed"
    if len(samples) < 0.9 * frames * SAMPLES_PER_FRAME:
        return f"the sound lasts {len(samples) / 16000:.1f} s, the picture {frames / 25:.1f} s"
    if not np.isfinite(samples).all():
        return "the sound holds values that are not finite"
    return "the sound is silent" if np.abs(samples).max() < SILENCE else ""


@torch.no_grad()
def window_rows(
    model: AudioVisual, pictures: Tensor, sound: Tensor, window: int = 25, batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """A row for every window of a video: what pre-training compares, at every moment.

    The front-ends see the video once, and only the encoders see every window. (Rows of single frames behind the encoders
    would know their place in the clip, which favours an offset of 0.)

    Args:
        model: both branches, in evaluation mode.
        pictures: (1, 1, T, h, w) normalised grey.
        sound: (1, 1, 4 T, 80) log-mel.
        window: frames, as in pre-training.
        batch_size: windows in the encoders at once.

    Returns:
        video, audio: (T - window + 1, P) unit rows; row t begins at frame t.
    """
    seen, heard = model.video.features(pictures)[0], model.audio.features(sound)[0]
    frames = min(len(seen), len(heard))

    def rows(branch: nn.Module, projection: nn.Module, features: Tensor) -> Tensor:
        if frames < window:
            return features.new_zeros(
                0, model.video_projection.out_features * (window if model.compare == "frames" else 1)
            )
        windows = features[:frames].unfold(0, window, 1).transpose(1, 2).split(batch_size)
        return torch.cat([model.clip_rows(branch.encode(part), projection) for part in windows])  # type: ignore[operator]

    return rows(model.video, model.video_projection, seen), rows(model.audio, model.audio_projection, heard)


def distances(video: Tensor, audio: Tensor, reach: int, edges: Edges = "valid") -> Tensor:
    """The distance of every row of the picture to the row of the sound that is s later, for every s in -reach..reach.

    Args:
        video, audio: (T, d) rows at the same times.
        reach: the largest shift, in rows.
        edges: ``zero``: rows beyond the ends of the sound are zero, as published, which favours or punishes large shifts.
            ``valid``: they are left out.

    Returns:
        (2 reach + 1, T); with ``valid``, NaN where there is no sound to compare with.
    """
    rows = min(len(video), len(audio))
    video, audio = video[:rows].float(), audio[:rows].float()
    later = pad(audio, (0, 0, reach, reach)).unfold(0, rows, 1).transpose(1, 2)
    # The published distance adds 1e-6 to every difference.
    found = (video - later + 1e-6).square().sum(-1).sqrt()
    if edges == "valid":
        place = torch.arange(rows, device=video.device) + torch.arange(-reach, reach + 1, device=video.device)[:, None]
        found = found.masked_fill((place < 0) | (place >= rows), torch.nan)
    return found


@torch.no_grad()
def synchrony(video: Tensor, audio: Tensor, reach: int = 15, edges: Edges = "valid", fps: float = 25.0) -> Synchrony:
    """How late the sound is.

    Args:
        video, audio: (T, d) rows at the same times; of unit length, which the least confidence is made for.
        reach: the largest shift that is tried, in frames; less where the video is short: a third of the rows, and three,
            are compared at every shift.
        edges: ``zero`` is the published rule, which always gives an offset; ``valid`` compares what overlaps and says
            where no shift stands out.
        fps: rows a second.

    Returns:
        Offset, confidence and the curve.
    """
    rows = min(len(video), len(audio))
    if edges == "valid":
        reach = min(reach, rows - max(rows // 3, _FEWEST))
        if reach < 1:
            return undetermined(f"{rows} moments are too few to compare", fps)
    mean = distances(video, audio, reach, edges).nanmean(1)
    curve, shifts = mean.cpu().numpy(), np.arange(-reach, reach + 1)
    best, confidence = int(curve.argmin()), float(mean.median() - mean.min())
    if edges == "valid":
        if not confidence >= LEAST_CONFIDENCE:
            reason = f"no shift stands out (confidence {confidence:.2f}, at least {LEAST_CONFIDENCE:g} is needed)"
            return undetermined(reason, fps, confidence, curve, shifts)
        away = np.abs(shifts - shifts[best]) > NEAR
        margin = float(curve[away].min() - curve[best]) if away.any() else np.inf
        if margin < LEAST_MARGIN:
            other = int(shifts[away][curve[away].argmin()])
            reason = f"shifts of {shifts[best]:+d} and {other:+d} frames fit almost alike (confidence {confidence:.2f})"
            return undetermined(reason, fps, confidence, curve, shifts)
        if best in (0, len(curve) - 1):
            reason = f"the best shift ({shifts[best]:+d} frames) lies at the edge of the range that was searched"
            return undetermined(reason, fps, confidence, curve, shifts)
    return Synchrony(int(shifts[best]), confidence, curve, shifts, "", fps)
