"""What is evaluated: procedural clips, or the videos of a labelled set, each as clips of mouths."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple
from typing import Protocol as Interface

import numpy as np

from av_deepfake.data.clips import padded
from av_deepfake.data.videos import FAKE, REAL, Video, VideoSet
from av_deepfake.evaluation.cues import Cue, cues_of, leading_silence
from av_deepfake.prediction.scoring import cut
from av_deepfake.preprocessing import Mouths, Settings, read_video, store
from av_deepfake.procedural import METHODS
from av_deepfake.procedural import Mouths as Drawn
from shared_utils import UserError

CLEAN = "clean"
"""The name of videos as they are, beside those that are degraded ("blur:3")."""
PUBLISHED_FRAMES = 110
"""First frames of a test video that LipForensics uses."""
FPS = 25

Protocol = Literal["exact", "lipforensics"]
"""exact: all whole clips, a short video padded to one. lipforensics: those of the first 110 frames, shorter videos dropped."""


class Suspect(NamedTuple):
    """A video. key: (method, id). label: 1 = fake. group: what has a table of its own, a compression."""

    key: tuple[str, str]
    label: int
    group: str


@dataclass
class Seen:
    """The clips of a video. pictures: (n, t, h, w) uint8. valid: (n, t) bool. note: why there is none. trimmed: seconds."""

    pictures: np.ndarray
    valid: np.ndarray
    cues: dict[str, Cue] = field(default_factory=dict)
    note: str = ""
    trimmed: float = 0.0


class Suspects(Interface):
    """A set."""

    name: str
    items: list[Suspect]

    def look(self, number: int, change: str) -> Seen:
        """The clips of a video, degraded or ``CLEAN``."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the result depends on, plain values."""
        ...


class DrawnSuspects:
    """Procedural clips of speakers that no training has: genuine ones and four methods, clean and compressed.

    Args:
        size: side of the pictures.
        seed: of the drawing, the same as that of the training.
        split: val or test.
        per_class: clips of each class.
        cache: folder of what was drawn.
    """

    name = "procedural fakes"

    def __init__(
        self,
        size: int,
        seed: int = 0,
        split: Literal["val", "test"] = "test",
        per_class: int = 40,
        cache: str | None = "~/.cache/av_deepfake",
    ) -> None:
        self._made = {"size": size, "seed": seed, "split": split, "per_class": per_class}
        drawn = Drawn(seed, size, cache)
        shares = {CLEAN: 0.0, "compressed": 1.0}
        found = {name: drawn.detection(split, per_class, "".join(METHODS), share) for name, share in shares.items()}
        self._pictures = np.concatenate([each.pictures for each in found.values()])
        self.items = [
            Suspect((str(method), f"{method}{video}"), int(label), group)
            for group, each in found.items()
            for method, video, label in zip(each.method, each.video, each.label, strict=True)
        ]

    def look(self, number: int, change: str) -> Seen:
        assert change == CLEAN, "a degradation comes before the mouths are cut out"
        clip = self._pictures[number]
        return Seen(clip[None], np.ones((1, len(clip)), bool))

    def facts(self) -> dict[str, Any]:
        return {"set": self.name, **self._made}


class VideoSuspects:
    """The videos of labelled sets.

    Args:
        sets: group -> set; a table each, as of the compressions of FaceForensics++.
        settings: how mouths are cut.
        frames: of a clip.
        protocol: which clips count.
        trim_silence: what lies before the first sound is left out.
        mouths: the folder that ``preprocess`` wrote of the set, in place of looking for faces again.
    """

    def __init__(
        self,
        sets: dict[str, VideoSet],
        settings: Settings = Settings(),  # noqa: B008 (frozen)
        frames: int = 25,
        protocol: Protocol = "exact",
        trim_silence: bool = False,
        mouths: str | None = None,
    ) -> None:
        settings.check()
        self.name = ", ".join(dict.fromkeys(each.name for each in sets.values()))
        self.settings, self.frames, self.protocol, self.trim_silence = settings, frames, protocol, trim_silence
        self._videos = [(group, video) for group, each in sets.items() for video in each.videos]
        self.items = [Suspect(video.key, video.label, group) for group, video in self._videos]
        self._roots = {group: each.root for group, each in sets.items()}
        self._store = None if mouths is None else store.open(mouths)

    def limited(self, count: int | None) -> VideoSuspects:
        """At most so many videos of each method (and of the real ones) in every group."""
        if count is None:
            return self
        if count < 1:
            raise UserError(f"--limit must be 1 or more, got {count}")
        kept: dict[tuple[str, str], int] = {}
        chosen = []
        for group, video in self._videos:
            kept[group, video.method] = kept.get((group, video.method), 0) + 1
            if kept[group, video.method] <= count:
                chosen.append((group, video))
        self._videos, self.items = chosen, [Suspect(video.key, video.label, group) for group, video in chosen]
        return self

    def look(self, number: int, change: str) -> Seen:
        """Raises: UserError: the video cannot be read, or its landmarks cannot."""
        group, video = self._videos[number]
        if self._store is not None:
            return self._seen(video, self._stored(self._store, video, self._roots[group]))
        settings = replace(self.settings, degrade=None if change == CLEAN else change)
        if video.landmarks is not None:
            settings = replace(settings, landmarks=str(video.landmarks))
        if video.path.parent.name == "cropped_mouths":
            settings = replace(settings, aligned=True, landmarks=None)
        mouths = read_video(video.path, settings, video.id)
        return self._seen(video, mouths)

    def _stored(self, stored: store.Store, video: Video, root: Path) -> Mouths:
        path = video.path.relative_to(root) if video.path.is_relative_to(root) else Path(video.path.name)
        name = next((name for name in (path.as_posix(), path.with_suffix("").as_posix()) if name in stored.names), None)
        if name is None:
            raise UserError(f"{path} has no mouths in {stored.folder}: preprocess found none, or was of another folder")
        return stored[name]

    def _seen(self, video: Video, mouths: Mouths) -> Seen:
        silence = None if mouths.sound is None else leading_silence(mouths.samples(0, len(mouths.valid)))
        cues = cues_of(video.path, mouths.facts, silence)
        first = round(FPS * silence) if self.trim_silence and silence is not None else 0
        trimmed = first if first < len(mouths.valid) else 0  # silent to its end: nothing would be left
        if trimmed:
            mouths = replace(mouths, valid=mouths.valid & (np.arange(len(mouths.valid)) >= trimmed))
        clips = cut(mouths, self.frames)
        if self.protocol == "lipforensics":
            last = trimmed + PUBLISHED_FRAMES
            clips = [clip for clip in clips if clip.length == self.frames and clip.stop <= last]
        if not clips:
            note = "no whole clip" if self.protocol == "lipforensics" and mouths.valid.any() else "no mouth"
            empty = np.zeros((0, self.frames, *mouths.pictures.shape[1:]), np.uint8)
            return Seen(empty, np.zeros((0, self.frames), bool), cues, note, trimmed / FPS)
        made = [padded(np.asarray(mouths.pictures[clip.first : clip.stop]), self.frames) for clip in clips]
        pictures, valid = (np.stack(part) for part in zip(*made, strict=True))
        return Seen(pictures, valid, cues, "", trimmed / FPS)

    def facts(self) -> dict[str, Any]:
        return {
            "set": self.name,
            "videos": self._digest,
            **{"protocol": self.protocol, "trim_silence": self.trim_silence, "frames": self.frames},
            "settings": self.settings.describe() if self._store is None else {"mouths": str(self._store.folder)},
        }

    @cached_property
    def _digest(self) -> str:
        listed = [f"{group} {video.label} {video.path}" for group, video in self._videos]
        return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


def methods_of(items: Sequence[Suspect]) -> list[str]:
    """The methods of the fakes, in their order."""
    return list(dict.fromkeys(item.key[0] for item in items if item.label == FAKE))


def groups_of(items: Sequence[Suspect]) -> list[str]:
    """The groups, in their order."""
    return list(dict.fromkeys(item.group for item in items))


def check_classes(suspects: Suspects) -> None:
    """Raise UserError where a group has videos of one class only."""
    for group in groups_of(suspects.items):
        labels = {item.label for item in suspects.items if item.group == group}
        if labels != {REAL, FAKE}:
            raise UserError(f"{suspects.name} {group}: both real and fake videos are needed")
