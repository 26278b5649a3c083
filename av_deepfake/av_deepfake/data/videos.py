"""What every layout is read into: a table of videos, and what of them was not found."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from shared_utils import UserError

log = logging.getLogger(__name__)
REAL, FAKE = 0, 1
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
_SHOWN = 5


@dataclass(frozen=True)
class Video:
    """One video.

    Args:
        path: the video file, or a folder of mouth crops (``cropped_mouths/000``).
        label: 0 real, 1 fake; of talking faces without labels 0.
        method: how it was made, "real" for what was not.
        id: of the video; unique together with ``method``.
        audio: a file with its sound, where that is another one.
        landmarks: a file or folder of its landmarks.
    """

    path: Path
    label: int
    method: str
    id: str
    audio: Path | None = None
    landmarks: Path | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(method, id): fakes of four methods share their ids."""
        return self.method, self.id

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of pictures."""
        return self.path.suffix.lower() not in VIDEO_ENDINGS


@dataclass(frozen=True)
class VideoSet:
    """Videos with labels.

    Args:
        name: of the set.
        root: what the paths begin at.
        videos: what is there.
        missing: names that the set lists and that are not there.
        sparse: its frames are far apart in time, and carry no motion.
    """

    name: str
    root: Path
    videos: list[Video]
    missing: list[str] = field(default_factory=list)
    sparse: bool = False

    def __post_init__(self) -> None:
        twice = [key for key, count in Counter(video.key for video in self.videos).items() if count > 1]
        if twice:
            raise UserError(f"{self.name} lists the video {'/'.join(twice[0])} twice: give each its own video_id")

    @property
    def methods(self) -> list[str]:
        """Of the fakes, in their order."""
        return list(dict.fromkeys(video.method for video in self.videos if video.label == FAKE))

    def checked(self) -> VideoSet:
        """Itself, where it has videos of both classes; what is missing is named in the log.

        Raises:
            UserError: a class has no video.
        """
        if self.missing:
            more = f", and {len(self.missing) - _SHOWN} more" if len(self.missing) > _SHOWN else ""
            log.warning(
                "%s: %d videos are missing: %s%s", self.name, len(self.missing), ", ".join(self.missing[:_SHOWN]), more
            )
        if self.sparse:
            log.warning(
                "%s has single frames far apart, which carry no mouth motion: its scores mean little; use the videos",
                self.name,
            )
        count = Counter(video.label for video in self.videos)
        for label, what in ((REAL, "real"), (FAKE, "fake")):
            if not count[label]:
                lost = f" ({len(self.missing)} listed ones are missing)" if self.missing else ""
                raise UserError(f"no {what} video in {self.root}{lost}: check the layout ({self.name})")
        return self

    def only(self, methods: list[str], real: bool = True) -> VideoSet:
        """The videos of some methods, with the real ones.

        Raises:
            UserError: there is no such method.
        """
        unknown = [method for method in methods if method not in self.methods]
        if unknown:
            raise UserError(f"no method {unknown[0]} in {self.name}; it has {', '.join(self.methods) or 'none'}")
        kept = [video for video in self.videos if (video.label == REAL and real) or video.method in methods]
        return VideoSet(self.name, self.root, kept, self.missing, self.sparse)
