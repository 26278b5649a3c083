"""Mouths that ``preprocess`` has cut out, memory-mapped."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake.data.clips import ClipIndex
from av_deepfake.data.labelled import Labelled
from av_deepfake.data.mouths import CROP, FolderMouths, Mouths, crop_side, log_mel_of
from av_deepfake.data.videos import Video, VideoSet
from av_deepfake.preprocessing import resized, store
from shared_utils import UserError

_OPEN = 256


class StoredMouths:
    """Videos of a store.

    Args:
        stored: of ``preprocess``.
        names: of the videos that are used, in this order.
        sound: only those with sound.
        size: of what the network takes.
    """

    def __init__(self, stored: store.Store, names: list[str], sound: bool = False, size: int = 88) -> None:
        self.side = crop_side(size)
        self.facts = [stored.facts(name) for name in names]
        if sound:
            silent = [name for name, facts in zip(names, self.facts, strict=True) if facts.get("sound") != ""]
            if len(silent) > 0.05 * len(names):
                raise UserError(
                    f"{len(silent)} of {len(names)} videos in {stored.folder} have no sound (first {silent[0]}): pre-training "
                    "needs talking faces with theirs"
                )
            kept = [i for i, facts in enumerate(self.facts) if facts.get("sound") == ""]
            names, self.facts = [names[i] for i in kept], [self.facts[i] for i in kept]
        self.names = names
        self.frames = np.array([max(run[1] for run in facts["runs"]) for facts in self.facts])
        self._read = lru_cache(_OPEN)(lambda video: stored[names[video]])

    @classmethod
    def open(cls, folder: str | Path, sound: bool = False, size: int = 88) -> StoredMouths:
        """All videos of a folder that ``preprocess`` wrote."""
        if not Path(folder).is_dir():
            raise UserError(f"{folder} not found: give the folder that preprocess wrote")
        found = store.open(folder)
        return cls(found, found.names, sound, size)

    @property
    def crop(self) -> dict[str, Any]:
        """How its mouths are cut.

        Raises:
            UserError: not all alike.
        """
        kinds = Counter((facts.get("variant"), facts.get("landmarks")) for facts in self.facts)
        if len(kinds) > 1:
            shown = ", ".join(f"{variant} from {landmarks} ({count})" for (variant, landmarks), count in kinds.items())
            raise UserError(
                f"the mouths are cut in different ways: {shown}; run preprocess with one --variant and landmark source"
            )
        variant, landmarks = next(iter(kinds))
        return {"variant": variant, "landmarks": landmarks, "crop_size": self.side}

    def pictures(self, video: int, start: int, count: int) -> np.ndarray:
        return resized(np.asarray(self._read(video).pictures[start : start + count]), self.side)

    def mel(self, video: int, start: int, count: int) -> np.ndarray:
        return log_mel_of(self._read(video).samples(start, start + count), count)


def labelled(
    found: VideoSet, mouths: str | None, frames: int, most_frames: int, pad_short: bool = True, size: int = 88
) -> Labelled:
    """The clips of a labelled set.

    Args:
        found: the set.
        mouths: the folder that ``preprocess`` wrote of it; None: the set's own folders of crops.
        frames: of a clip.
        most_frames: of a video that are used.
        pad_short: shorter videos become a clip with a mask.
        size: of what the network takes.
    """
    if mouths is None:
        files = [video for video in found.videos if not video.is_folder]
        if files:
            raise UserError(
                f"{files[0].path} is a video: cut the mouths out with preprocess, and give its --out as data.mouths"
            )
        videos, source = found.videos, FolderMouths([video.path for video in found.videos], crop_side(size))
    else:
        stored = store.open(mouths)
        names = {name: name for name in stored.names} | {name.rsplit(".", 1)[0]: name for name in stored.names}
        pairs = [(video, names.get(_name(video, found.root))) for video in found.videos]
        videos = [video for video, name in pairs if name is not None]
        missing = [video.path.name for video, name in pairs if name is None]
        found = VideoSet(found.name, found.root, videos, missing, found.sparse).checked()
        source = StoredMouths(stored, [name for _, name in pairs if name is not None], size=size)
    index = ClipIndex.of(source.frames, frames, most_frames, pad_short)
    return Labelled(source, [video.key for video in videos], np.array([video.label for video in videos]), index)


def _name(video: Video, root: Path) -> str:
    return video.path.relative_to(root).as_posix() if video.path.is_relative_to(root) else video.path.name


def crop_of(mouths: Mouths) -> dict[str, Any]:
    """How mouths are cut, as far as it is known."""
    if isinstance(mouths, StoredMouths):
        return mouths.crop
    return {"variant": "given", "landmarks": "given", "crop_size": getattr(mouths, "side", CROP)}
