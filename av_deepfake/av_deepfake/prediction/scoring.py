"""The mouths of one video through the model: clips, their logits, the sound, and the pictures of the page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from av_deepfake.prediction.appearance import appearance
from av_deepfake.prediction.outside import outside
from av_deepfake.prediction.rows import Clip, Row
from av_deepfake.preprocessing import FPS, Mouths

if TYPE_CHECKING:
    from av_deepfake.pretrained import MouthModel
    from av_deepfake.synchrony import Synchrony

TOGETHER = 16
"""Clips in the network at once."""
SHORTEST = 5
"""Frames: a stretch with fewer shows no motion."""
_LONG = ("index", "runs", "settings", "video", "status")
"""Facts that are not for the reader."""
HEARD = 500
"""Frames (20 s) of which the synchrony is measured at most."""


class Stretch(NamedTuple):
    """Frames first..stop that show one face without a break."""

    first: int
    stop: int

    @property
    def length(self) -> int:
        """In frames."""
        return self.stop - self.first


@dataclass(frozen=True)
class Seen:
    """A row and its pictures as JPEG: mouths from the whole video, and every frame of the most suspicious clip."""

    row: Row
    strip: bytes = b""
    worst: bytes = b""


def stretches(mouths: Mouths) -> list[Stretch]:
    """The uncut stretches with a face."""
    state = np.where(mouths.valid, mouths.segment, -1)
    borders = [0, *(np.flatnonzero(np.diff(state)) + 1).tolist(), len(state)]
    return [Stretch(first, stop) for first, stop in itertools.pairwise(borders) if stop > first and state[first] >= 0]


def cut(mouths: Mouths, frames: int) -> list[Stretch]:
    """The clips of a video: as many whole ones as fit, and where none fits, the longest stretch, to be padded."""
    found = stretches(mouths)
    whole = [
        Stretch(first, first + frames)
        for stretch in found
        for first in range(stretch.first, stretch.stop - frames + 1, frames)
    ]
    longest = max(found, key=lambda stretch: stretch.length, default=None)
    if whole or longest is None or longest.length < SHORTEST:
        return whole
    return [longest]


def score_mouths(mouths: Mouths, model: MouthModel, missing: float = 0.5, listen: bool = True) -> Seen:
    """Everything that is said of one video.

    Args:
        mouths: of the video; memory-mapped pictures are read clip by clip.
        model: with a detector.
        missing: above this share of frames without a face, the video has no score.
        listen: measure the synchrony of the sound.
    """
    row = Row(mouths.name, facts={name: value for name, value in mouths.facts.items() if name not in _LONG})
    absent = 1 - float(np.mean(mouths.valid)) if len(mouths.valid) else 1.0
    clips = cut(mouths, model.preprocessing["frames"])
    if absent > missing or absent == 1:
        row.status, row.note = "no_mouth", f"{absent:.0%} of its frames show no face (at most {missing:.0%} may)"
        return Seen(row)
    if not clips:
        row.status, row.note = "too_short", f"no stretch of {SHORTEST} frames shows one face"
        return Seen(row)
    logits, looks = [], []
    for pictures, valid in _batches(mouths, clips, model.preprocessing["frames"]):
        logits.append(model.score(pictures, valid))
        seen = model.prepared(pictures)
        looks += [appearance(clip[real]) for clip, real in zip(seen, valid, strict=True)]
    logits = np.concatenate(logits)
    row.facts["appearance"] = {name: round(float(np.median([look[name] for look in looks])), 4) for name in looks[0]}
    row.clips = [
        Clip(_second(mouths, clip.first), _second(mouths, clip.stop), clip.length, float(logit))
        for clip, logit in zip(clips, logits, strict=True)
    ]
    row.score = float(logits.mean())
    if model.calibration is not None:
        row.probability = float(model.calibration(row.score))
    row.outside = outside(row.facts, model.training_data, model.preprocessing)
    row.remarks = _remarks(mouths, clips, model.preprocessing["frames"], absent)
    if listen:
        _listen(row, mouths, model)
    worst = clips[int(logits.argmax())]
    return Seen(row, _strip(mouths, _spread(mouths)), _strip(mouths, list(range(worst.first, worst.stop))))


def _batches(mouths: Mouths, clips: list[Stretch], frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures (n, frames, 96, 96) and which of them are real (n, frames), some clips at a time."""
    for start in range(0, len(clips), TOGETHER):
        part = clips[start : start + TOGETHER]
        pictures = np.zeros((len(part), frames, *mouths.pictures.shape[1:]), np.uint8)
        valid = np.zeros((len(part), frames), bool)
        for number, clip in enumerate(part):
            pictures[number, : clip.length] = mouths.pictures[clip.first : clip.stop]
            # What is padded shows the last mouth again, so that nothing moves where nothing is counted.
            pictures[number, clip.length :] = mouths.pictures[clip.stop - 1]
            valid[number, : clip.length] = True
        yield pictures, valid


def _second(mouths: Mouths, frame: int) -> float:
    """The time of a frame, or of the end behind the last one, in seconds of the file."""
    return round(float(mouths.facts["start"]) + frame / FPS, 3)


def _remarks(mouths: Mouths, clips: list[Stretch], frames: int, absent: float) -> list[str]:
    facts, found = mouths.facts, []
    if clips[0].length < frames:
        found.append(f"shorter than a clip: {clips[0].length} of {frames} frames, the rest is padded")
    elif len(clips) < 3:
        found.append(f"a score of {len(clips)} clip{'s' if len(clips) > 1 else ''}: more footage would say more")
    if absent > 0.05:
        found.append(f"{absent:.0%} of the frames show no face and are left out")
    if facts.get("unreadable"):
        found.append(f"{facts['unreadable']} frames cannot be decoded")
    if facts.get("most_faces", 1) > 1:
        face = (facts.get("settings") or {}).get("face") or 0
        whose = f"number {face} from the left" if face else "the largest one"
        found.append(
            f"up to {facts['most_faces']} faces at once: {whose} where a stretch begins is followed; --face N takes the N-th"
        )
    repeated, ticks = facts.get("repeated") or 0, max(1, len(mouths.valid))
    if repeated / ticks > 0.1:
        found.append(f"{repeated / ticks:.0%} of the frames repeat the one before: fine motion is missing")
    return found


def heard(mouths: Mouths, model: MouthModel) -> Synchrony:
    """The synchrony of a video with sound: of the longest stretch with one face, 20 s of it at most.

    Args:
        mouths: with at least one frame that shows a face.
        model: with an audio branch.
    """
    longest = max(stretches(mouths), key=lambda stretch: stretch.length)
    stop = min(longest.stop, longest.first + HEARD)
    return model.synchrony(np.asarray(mouths.pictures[longest.first : stop]), mouths.samples(longest.first, stop))


def _listen(row: Row, mouths: Mouths, model: MouthModel) -> None:
    if mouths.sound is None:
        why = str(mouths.facts.get("sound") or "the sound was not read").split(":")[0].removeprefix("has ")
        row.sound = f"not checked: {why}"
        return
    if model.audio is None:
        row.sound = "not checked: the model has no audio branch"
        return
    found = heard(mouths, model)
    row.sound, row.offset, row.confidence = found.text, found.offset, found.confidence
    known = np.isfinite(found.distances)
    row.shifts = [int(value) for value in found.shifts[known]]
    row.distances = [round(float(value), 5) for value in found.distances[known]]


def _spread(mouths: Mouths, most: int = 26) -> list[int]:
    """Frames with a mouth, evenly over the video."""
    known = np.flatnonzero(mouths.valid)
    return [int(known[place]) for place in np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int)]


def _strip(mouths: Mouths, frames: list[int], a_row: int = 13, side: int = 72) -> bytes:
    """Mouths side by side as the bytes of a JPEG, in rows."""
    tiles = [
        cv2.resize(np.asarray(mouths.pictures[frame]), (side, side), interpolation=cv2.INTER_AREA) for frame in frames
    ]
    columns = min(a_row, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (side + 2), columns * (side + 2)), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (side + 2) * (number // columns), (side + 2) * (number % columns)
        sheet[y : y + side, x : x + side] = tile
    _, content = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return content.tobytes()
