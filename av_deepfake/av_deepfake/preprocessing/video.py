"""From a video to the mouths in it, frame by frame: decoded once, followed, cut; nothing of it is held but a second."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby, tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from av_deepfake.degradations import degradation, degrade
from av_deepfake.landmarks import files as landmark_files
from av_deepfake.landmarks.found import Detector
from av_deepfake.preprocessing.clock import FPS, Ticks, ticks
from av_deepfake.preprocessing.following import Followed, Looks, follow, given
from av_deepfake.preprocessing.mouth_crop import SIDE, Variant, placements, sample
from shared_utils import UserError
from shared_utils.video import Frame, open_source

log = logging.getLogger(__name__)
MEASURED = 3000
"""Frames whose scale and sharpness go into the facts: two minutes tell enough, and memory stays flat."""


@dataclass(frozen=True)
class Settings:
    """How mouths are cut.

    Args:
        detector: mtcnn (five points), dlib (68, extra, not for commercial use) or mesh (68 of 468, extra and ``model``).
        model: ``face_landmark.tflite`` of the mesh.
        every: frames between two looks of MTCNN; the points between are interpolated.
        face: of several people, whom a stretch begins with: 0 the largest face, n the n-th from the left.
        variant: subpixel, or as published: 2020 (LipForensics), 2021 (lip-reading, RealForensics).
        landmarks: a file or folder of landmarks instead of a detector.
        aligned: the frames are mouth crops already; nothing is looked for.
        sound: read it where there is one.
        degrade: a perturbation before detection, "blur:3".
        device: where the networks of the detector run.
    """

    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn"
    model: str | None = None
    every: int = 5
    variant: Variant = "subpixel"
    landmarks: str | None = None
    aligned: bool = False
    sound: bool = True
    degrade: str | None = None
    device: str = "cpu"
    face: int = 0

    def check(self) -> None:
        """Raise UserError for what cannot be meant, before any work."""
        if self.every < 1 or self.every > FPS:
            raise UserError(f"--every must be 1 to {FPS} frames, got {self.every}")
        if self.face < 0:
            raise UserError(f"--face is 0 (the largest) or the n-th from the left, got {self.face}")
        if self.degrade is not None:
            degradation(self.degrade)
        if self.aligned and self.landmarks is not None:
            raise UserError("--aligned and --landmarks exclude each other: mouth crops need no landmarks")
        if self.variant == "2021" and self.detector == "mtcnn" and not (self.landmarks or self.aligned):
            raise UserError(
                "--variant 2021 needs 68 points, MTCNN finds five: add --detector dlib or mesh, or --landmarks"
            )
        if self.detector == "mesh" and not (self.model or self.landmarks or self.aligned):
            raise UserError("--detector mesh needs --mesh face_landmark.tflite, of the wheel of mediapipe 0.10.21")
        if self.landmarks is not None and not Path(self.landmarks).exists():
            raise UserError(f"{self.landmarks} not found: --landmarks is a file, or a folder with a file a video")

    def describe(self) -> dict[str, Any]:
        """Plain values that the mouths depend on."""
        described = asdict(self)
        del described["device"]
        return described


class Mouth(NamedTuple):
    """A tick of the clock: the crop (96, 96) uint8 grey, whether there is a face, its uncut stretch, and its frame."""

    picture: np.ndarray
    valid: bool
    segment: int
    index: int


class MouthVideo:
    """A video whose mouths are read one by one.

    Args:
        path: the video.
        settings: how they are cut.
        name: what files of landmarks call it; the file's name where None.

    Attributes:
        facts: what is known of the video, complete once ``mouths`` is exhausted.

    Raises:
        UserError: it cannot be read, or its landmarks cannot.
    """

    def __init__(self, path: str | Path, settings: Settings, name: str | None = None) -> None:
        settings.check()
        self.path, self.settings, self.name = Path(path), settings, name or Path(path).name
        self._source = open_source(path)
        self._points = None
        if settings.landmarks is not None:
            self._landmarks, self._points = landmark_files.landmarks_of(self.name, settings.landmarks)
        self._met, self._looks = Ticks(), Looks()
        self._scales: list[float] = []
        self._places: list[np.ndarray] = []
        self._sharpness: list[float] = []

    @property
    def first(self) -> float:
        """The time stamp at which the clock starts; known after the first mouth."""
        return self._met.first

    def mouths(self) -> Iterator[Mouth]:
        """A mouth every 1/25 s.

        Raises:
            UserError: the landmarks are of another video.
        """
        settings = self.settings
        shown = ticks(self._frames(), self._met)
        if settings.aligned:
            for one in shown:
                yield self._measured(Mouth(_aligned(one.image), True, 0, one.index))
            return
        if self._points is not None:
            followed = given(shown, self._points, self._looks)
        else:
            detector = _detector(settings.detector, settings.model, settings.every, settings.device)
            followed = follow(shown, detector, self._looks, settings.face)
        # A run has a face in every frame and no cut, so that nothing is averaged over either.
        for (valid, segment), run in groupby(followed, lambda one: (one.points is not None, one.segment)):
            if not valid:
                yield from (Mouth(np.zeros((SIDE, SIDE), np.uint8), False, segment, one.shown.index) for one in run)
            else:
                yield from self._cut(run)
        self._check_length()

    def _cut(self, run: Iterable[Followed]) -> Iterator[Mouth]:
        frames, points = tee(run)
        variant = self.settings.variant
        try:
            for one, place in placements(frames, (item.points for item in points), variant):  # pyright: ignore
                picture = sample(one.shown.image, place, variant)
                if len(self._scales) < MEASURED:
                    self._scales.append(place.scale)
                    self._places.append(_square(place.to_crop))
                yield self._measured(Mouth(_grey(picture), True, one.segment, one.shown.index))
        except ValueError as error:
            raise UserError(f"{self.name}: {error}: give landmarks of 68 points, or another --variant") from None

    def _measured(self, mouth: Mouth) -> Mouth:
        if len(self._sharpness) < MEASURED:
            self._sharpness.append(sharpness(mouth.picture))
        return mouth

    def _frames(self) -> Iterator[Frame]:
        if self.settings.degrade is None:
            yield from self._source.frames()
            return
        kind, level = degradation(self.settings.degrade)
        frames, images = tee(frame for frame in self._source.frames() if frame.image is not None)
        rate = self._source.frame_rate if 1 <= self._source.frame_rate <= 240 else FPS
        images = (frame.image for frame in images if frame.image is not None)
        worse = degrade(images, kind, level, frame_rate=rate)
        for frame, image in zip(frames, worse, strict=True):
            yield replace(frame, image=image)

    def _check_length(self) -> None:
        """The decoded length counts; landmarks of another length by more than a second belong to another video."""
        if self._points is None:
            return
        frames = self._met.frames + self._source.unreadable
        if abs(len(self._points) - frames) > max(2, round(self._met.fps)):
            raise UserError(
                f"{self._landmarks} has landmarks of {len(self._points)} frames, {self.name} has {frames}: they are of "
                "another video or frame rate; make them again"
            )
        if len(self._points) != frames:
            log.warning(
                "%s: %d frames are decoded, %s has %d; the decoded ones count",
                self.name,
                frames,
                self._landmarks,
                len(self._points),
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the video and its crops, plain values."""
        met, looks, source = self._met, self._looks, self._source
        height, width = source.size
        bits = 8 * self.path.stat().st_size if self.path.is_file() else None
        facts = {
            "video": self.name,
            "kind": self.path.suffix.lower().removeprefix(".") or "frames",
            "height": height,
            "width": width,
            "rotation": source.rotation,
            "fps": round(met.fps, 3),
            "start": round(met.first, 6),
            "frames": met.ticks,
            "seconds": round(met.ticks / FPS, 3),
            "decoded": met.frames,
            "unreadable": source.unreadable,
            "repeated": met.repeated,
            "bits_per_pixel": round(bits / (met.frames * height * width), 5) if bits and met.frames else None,
            "variant": None if self.settings.aligned else self.settings.variant,
            "degrade": self.settings.degrade,
            "sharpness": _median(self._sharpness),
            "crop_scale": _median(self._scales),
            "box": np.round(np.median(self._places, axis=0), 1).tolist() if self._places else None,
            **self._origin(),
        }
        if not self.settings.aligned:
            facts |= asdict(looks)
        return facts

    def _origin(self) -> dict[str, Any]:
        """Where the points come from, and under which licence."""
        if self.settings.aligned:
            return {"landmarks": "aligned", "licence": None}
        if self._points is not None:
            count = next(len(points) for points in self._points if points is not None)
            return {"landmarks": f"given{count}", "licence": "that of your landmarks"}
        detector = _detector(self.settings.detector, self.settings.model, self.settings.every, self.settings.device)
        return {"landmarks": detector.source, "licence": detector.licence}


def sharpness(picture: np.ndarray) -> float:
    """Variance of the Laplacian of a grey crop: what compression, blur and enlarging take away."""
    return float(cv2.Laplacian(picture, cv2.CV_32F).var())


@lru_cache(maxsize=2)
def _detector(name: str, model: str | None, every: int, device: str) -> Detector:
    if name == "dlib":
        from av_deepfake.landmarks.dlib68 import Dlib

        return Dlib()
    from av_deepfake.landmarks.mtcnn import MTCNN

    if name == "mtcnn":
        return MTCNN(every, device=device)
    from av_deepfake.landmarks.mesh import Mesh

    return Mesh(model, MTCNN(every, device=device))


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image


def _aligned(image: np.ndarray) -> np.ndarray:
    """A frame that is a mouth crop already, brought to 96 pixels."""
    grey = _grey(image)
    if grey.shape == (SIDE, SIDE):
        return grey
    shrunk = min(grey.shape) > SIDE
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_LINEAR)


def _square(to_crop: np.ndarray) -> np.ndarray:
    """x0 y0 x1 y1 in the frame around what the crop shows."""
    corners = np.array([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]], np.float64)
    inverse = cv2.invertAffineTransform(to_crop)
    moved = corners @ inverse[:, :2].T + inverse[:, 2]
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)])


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None
