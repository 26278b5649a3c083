"""Whether the sound of videos is in time: what the verb ``synchrony`` answers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from av_deepfake.prediction.scoring import heard
from av_deepfake.prediction.sources import Videos
from av_deepfake.preprocessing import Mouths, Settings, store
from av_deepfake.synchrony import LEAST_CONFIDENCE, NEAR
from shared_utils import UserError
from shared_utils.logging import progress

if TYPE_CHECKING:
    from av_deepfake.pretrained import MouthModel

log = logging.getLogger(__name__)
#: What the confidence can be: both rows have unit length, so distances lie in 0..2.
CONFIDENCE = (
    f"confidence: median less smallest distance of unit rows, 0 to 2; below {LEAST_CONFIDENCE}, or where a shift more than "
    f"{NEAR} frames away fits almost as well, no offset is given"
)


@dataclass(frozen=True)
class Timing:
    """The synchrony of one video.

    status: ok: there is an offset. undetermined: it can not be said, ``text`` says why. no_sound, no_mouth, unreadable:
    nothing could be compared, ``text`` says why. offset: frames at 25 a second that the sound is late. shifts, distances:
    the curve, where there is one. crop: how the mouths were cut. faces: the most at once.
    """

    file: str
    status: Literal["ok", "undetermined", "no_sound", "no_mouth", "unreadable"]
    text: str
    offset: int | None = None
    confidence: float | None = None
    shifts: tuple[int, ...] = ()
    distances: tuple[float, ...] = ()
    crop: str = ""
    faces: int = 1

    @property
    def failed(self) -> bool:
        """Nothing could be compared."""
        return self.status not in ("ok", "undetermined")

    def row(self) -> dict[str, str | int | float | None]:
        """Of a table."""
        milliseconds = None if self.offset is None else 40 * self.offset
        return {
            **{"file": self.file, "status": self.status, "sound": self.text, "offset (frames)": self.offset},
            **{"offset (ms)": milliseconds, "confidence": self.confidence, "crop": self.crop, "faces": self.faces},
        }


def timings(videos: Videos, settings: Settings, model: MouthModel) -> list[Timing]:
    """The synchrony of videos, one after the other; what fails is a row too.

    Args:
        videos: files, or the output of preprocess.
        settings: how mouths are cut.
        model: with an audio branch.

    Raises:
        UserError: the model has none.
    """
    if model.audio is None:
        raise UserError("the model has no audio branch: give one of the pre-training (train), or the bundled one")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in progress(videos.names, "listening"):
            try:
                found.append(timing(_mouths(videos, name, settings, model, Path(folder)), model))
            except UserError as error:
                log.warning("%s", error)
                found.append(Timing(name, "unreadable", str(error)))
    return found


def timing(mouths: Mouths, model: MouthModel) -> Timing:
    """The synchrony of the mouths of one video."""
    crop = f"{mouths.facts.get('variant', '')} by {mouths.facts.get('landmarks', '')}"
    faces = int(mouths.facts.get("most_faces", 1))
    if mouths.sound is None:
        why = str(mouths.facts.get("sound") or "has no sound")
        return Timing(mouths.name, "no_sound", f"{mouths.name} {why}", crop=crop, faces=faces)
    if not mouths.valid.any():
        return Timing(
            mouths.name, "no_mouth", f"{mouths.name} shows no face: try --detector, or --landmarks", crop=crop
        )
    result = heard(mouths, model)
    known = np.isfinite(result.distances)
    return Timing(
        *(mouths.name, "undetermined" if result.offset is None else "ok", result.text),
        *(result.offset, None if result.confidence is None else round(result.confidence, 4)),
        tuple(int(value) for value in result.shifts[known]),
        tuple(round(float(value), 5) for value in result.distances[known]),
        crop,
        faces,
    )


def curves(rows: Sequence[Timing]) -> dict[str, list[list[float]]]:
    """The curves of all videos that have one: shifts in frames and mean distances."""
    return {row.file: [list(row.shifts), list(row.distances)] for row in rows if row.shifts}


def _mouths(videos: Videos, name: str, settings: Settings, model: MouthModel, folder: Path) -> Mouths:
    if videos.stored:
        return store.read_entry(videos.root, name)
    # On disk as they are read, so that the length of the video does not matter.
    store.write(folder, name, videos.path(name), replace(settings, device=str(model.device), sound=True))
    return store.read_entry(folder, name)
