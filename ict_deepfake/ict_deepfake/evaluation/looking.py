"""What is seen of a clip: the aligned crops of its faces, and what was not seen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ict_deepfake.data.test_sets import Clip, TestSet
from ict_deepfake.faces import Alignment, FaceDetector, Faces, LandmarkFile, Tracker, align, no_faces, read_picture
from ict_deepfake.prediction.predictor import aligned_face
from ict_deepfake.prediction.sources import Shot, video_shots
from ict_deepfake.references import PictureHash, hash_file, near_hash
from shared_utils import UserError
from shared_utils.video import open_source

_TOUCHED = 0.05
"""Share of a face's box that a mask covers, above which the face is the changed one."""


@dataclass
class Look:
    """The faces of a clip.

    crops: uint8 RGB, of every face of every frame. frames, tracks: numbers of each crop's. boxes: (4,) in the frame. hashes: of
    each crop's picture. cues: of each crop's file, see ``of_file``. unreadable: what could not be read, by name, with the reason.
    no_face: frames without a face. frames_seen: frames that were looked at.
    """

    crops: list[np.ndarray] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    tracks: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    hashes: list[PictureHash] = field(default_factory=list)
    cues: list[dict[str, float]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    no_face: int = 0
    frames_seen: int = 0


class ClipSuspects:
    """The clips of a test set.

    Args:
        test_set: what.
        finder: finds faces; a file of landmarks; None: the pictures are aligned crops.
        alignment: of the network.
        frames: at most so many of a clip, evenly spread over it.
    """

    def __init__(
        self, test_set: TestSet, finder: FaceDetector | LandmarkFile | None, alignment: Alignment, frames: int
    ) -> None:
        self.test_set, self.finder, self.alignment, self.frames = test_set, finder, alignment, frames
        self.clips = {f"clips/{number:06d}": clip for number, clip in enumerate(test_set.clips)}

    @property
    def name(self) -> str:
        return self.test_set.name

    def facts(self) -> dict[str, object]:
        """What a result depends on."""
        sizes = [[c.video, c.label, len(c.frames), c.file.stat().st_size if c.file else 0] for c in self.test_set.clips]
        finder = self.finder.source if isinstance(self.finder, LandmarkFile) else type(self.finder).__name__
        facts = {"set": self.name, "clips": sizes, "frames": self.frames, "faces": finder}
        return {**facts, "alignment": self.alignment.as_dict()}

    def look(self, part: str) -> Look:
        """At one clip."""
        clip, look, tracker = self.clips[part], Look(), Tracker()
        for number, (shot, path) in enumerate(self._shots(clip)):
            look.frames_seen += 1
            if shot.image is None:
                look.unreadable[shot.name] = shot.why
                continue
            found = self._faces(shot)
            if not len(found):
                look.no_face += 1
                continue
            # Pictures of a list may be of any time; in a video faces are followed.
            moving = clip.file is not None or len(clip.frames) > 1
            tracks = tracker.update(found, shot.image) if moving else np.arange(len(found))
            for points, box, track in zip(found.points, found.boxes, tracks, strict=True):
                crop = shot.image if self.finder is None else align(shot.image, points, self.alignment)
                look.crops.append(crop)
                look.frames.append(number if shot.frame is None else shot.frame)
                look.tracks.append(int(track))
                look.boxes.append(box)
                picture = PictureHash("", near_hash(crop)) if path is None else hash_file(path, crop)
                look.hashes.append(picture)
                look.cues.append({} if path is None else of_file(path, shot.image))
        if clip.mask is not None:
            _keep_masked(look, clip.mask)
        return look

    def _shots(self, clip: Clip) -> Iterator[tuple[Shot, Path | None]]:
        if clip.file is None:
            for place in np.unique(np.linspace(0, len(clip.frames) - 1, min(self.frames, len(clip.frames))).round()):
                path = clip.frames[int(place)]
                try:
                    yield Shot(str(path), read_picture(path)), path
                except UserError as error:
                    yield Shot(str(path), None, why=str(error)), path
            return
        try:
            length = open_source(clip.file).length or 0
        except UserError as error:
            yield Shot(str(clip.file), None, why=str(error)), None
            return
        every = max(1, length // self.frames)
        for number, shot in enumerate(video_shots(str(clip.file), clip.file, every)):
            if number >= self.frames:
                break
            yield shot, None

    def _faces(self, shot: Shot) -> Faces:
        assert shot.image is not None
        if self.finder is None:
            return (
                aligned_face(shot.image, self.alignment) if shot.image.shape[0] == shot.image.shape[1] else no_faces()
            )
        if isinstance(self.finder, LandmarkFile):
            return self.finder.of(shot.name) if self.finder.has(shot.name) else no_faces()
        return self.finder.detect([shot.image])[0]


def of_file(path: Path, image: np.ndarray) -> dict[str, float]:
    """What has nothing to do with faces and yet may tell a test set's classes apart: type, size and compression of a file."""
    from PIL import Image

    content = path.read_bytes()
    found = {"bytes": float(len(content)), "bytes a pixel": len(content) / (image.shape[0] * image.shape[1])}
    found |= {"width": float(image.shape[1]), "height": float(image.shape[0])}
    found["type"] = float(sum(map(ord, path.suffix.lower())))
    try:
        with Image.open(io.BytesIO(content)) as opened:
            tables = getattr(opened, "quantization", None) or {}
            found["quantisation"] = float(sum(sum(table) for table in tables.values()))
    except OSError:
        found["quantisation"] = 0.0
    return found


def _keep_masked(look: Look, mask: Path) -> None:
    """Leave out the tracks that the mask of the changed face does not touch, where it touches one."""
    wanted, shares = dict.fromkeys(look.frames), {}
    for number, frame in enumerate(open_source(mask).frames()):
        if number in wanted and frame.image is not None:
            inside = frame.image.max(2) > 127
            for row in (row for row, at in enumerate(look.frames) if at == number):
                x0, y0, x1, y1 = (max(0, int(value)) for value in look.boxes[row])
                part = inside[y0:y1, x0:x1]
                shares.setdefault(look.tracks[row], []).append(float(part.mean()) if part.size else 0.0)
    touched = {track for track, found in shares.items() if np.mean(found) > _TOUCHED}
    if touched:
        rows = [row for row, track in enumerate(look.tracks) if track in touched]
        for name in ("crops", "frames", "tracks", "boxes", "hashes", "cues"):
            column = getattr(look, name)
            setattr(look, name, [column[row] for row in rows])
