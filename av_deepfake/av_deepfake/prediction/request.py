"""What the user asks for, checked before anything that takes time. Loads no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from av_deepfake.prediction.sources import Videos, collect
from av_deepfake.preprocessing import Settings
from shared_utils import UserError


@dataclass(frozen=True)
class Request:
    """What is asked for.

    videos, genuine: to score, and the user's own genuine ones that scores are compared with. settings: of the
    preprocessing; with ``sound``, the synchrony is measured. missing: above this share of frames without a face a video has
    no score.
    """

    videos: Videos
    genuine: Videos | None = None
    settings: Settings = field(default_factory=Settings)
    missing: float = 0.5

    def job(self, model: str) -> dict[str, Any]:
        """Everything that the results depend on, in plain values."""
        return {
            "videos": _digest(self.videos),
            "genuine": None if self.genuine is None else _digest(self.genuine),
            "settings": self.settings.describe(),
            "missing": self.missing,
            "ckpt": model,
        }

    def words(self) -> str:
        """How mouths are found and cut, for the reader."""
        settings = self.settings
        if self.videos.stored:
            return "Mouths: as preprocess has cut them"
        if settings.aligned:
            return "Mouths: the videos show crops already"
        by = f"landmarks of {Path(settings.landmarks).name}" if settings.landmarks else settings.detector
        return f"Mouths: {by}, crop {settings.variant}"


def request(
    data: str,
    genuine: str | None = None,
    out: str | None = None,
    limit: int | None = None,
    settings: Settings | None = None,
    missing: float = 0.5,
) -> Request:
    """Check what was asked for and find the videos.

    Raises:
        UserError: something is missing or cannot be meant.
    """
    if not 0 <= missing < 1:
        raise UserError(f"--missing is a share from 0 to below 1, got {missing:g}")
    settings = settings or Settings()
    settings.check()
    videos = collect(data, limit, leave_out=out)
    own = None if genuine is None else collect(genuine, leave_out=out)
    return Request(videos, own, settings, missing)


def _digest(videos: Videos) -> str:
    return hashlib.sha256(repr(videos.facts()).encode()).hexdigest()[:16]
