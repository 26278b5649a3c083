"""Frames in, rows out: detection, alignment, embedding and every score, some frames at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ict_deepfake import faces
from ict_deepfake.faces import Faces, LandmarkFile
from ict_deepfake.faces.found import FaceDetector
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.prediction.claims import Claim
from ict_deepfake.prediction.rows import Face, Status
from ict_deepfake.prediction.sources import Shot
from ict_deepfake.pretrained import Detector
from ict_deepfake.references import ReferenceSet

SHOTS, PIXELS = 16, 16_000_000
"""How many frames go through the networks at once: both hold, so that memory does not grow with their size."""
TIGHT = 0.8


@dataclass(eq=False)
class Seen:
    """A frame, the rows of its faces, their crops (uint8 RGB) and embeddings; one row and no crop where there is none."""

    shot: Shot
    rows: list[Face]
    crops: list[np.ndarray]


class Predictor:
    """Answers the three questions for every face of pictures and frames.

    Args:
        detector: ICT with its alignment.
        finder: finds the faces: a face detector, or a file of landmarks; None: pictures are crops that are aligned
            already.
        references: of known persons; then ICT-Ref, and whom the inner and the outer face look like.
        claim: the person whom the faces are said to be.
        batch_size: crops in the network at once.
    """

    def __init__(
        self,
        detector: Detector,
        finder: FaceDetector | LandmarkFile | None,
        references: ReferenceSet | None = None,
        claim: Claim | None = None,
        batch_size: int = 64,
    ) -> None:
        self.detector, self.finder, self.references, self.claim = detector, finder, references, claim
        self.batch_size = batch_size
        if references is not None:
            detector.check_references(references)
        self._known = _known_distances(references)

    def questions(self) -> list[str]:
        """Which questions are answered, in words."""
        asked = ["consistency: do the inner and the outer face belong to one person? (no references needed)"]
        if self.references is not None:
            count = len(self.references.persons)
            asked.append(f"open set: whom of the {count} persons of the reference set do the two faces look like?")
        if self.claim is not None:
            by = "the inner face of ICT" if self.claim.backend == "ict" else "dlib's face recogniser"
            asked.append(f"claim: is this {self.claim.name}? (by {by})")
        return asked

    def see(self, shots: Iterable[Shot]) -> Iterator[Seen]:
        """Each frame with its rows, in order; only some frames are in memory at a time."""
        waiting: list[Shot] = []
        pixels = 0
        for shot in shots:
            waiting.append(shot)
            pixels += 0 if shot.image is None else shot.image.shape[0] * shot.image.shape[1]
            if len(waiting) == SHOTS or pixels >= PIXELS:
                yield from self._see(waiting)
                waiting, pixels = [], 0
        yield from self._see(waiting)

    def rows(self, shots: Iterable[Shot]) -> Iterator[Face]:
        """The rows of all frames."""
        for seen in self.see(shots):
            yield from seen.rows

    def _see(self, shots: list[Shot]) -> list[Seen]:
        found = self._find(shots)
        every = [
            Seen(shot, *self._cut(shot, one)) if isinstance(one, Faces) else Seen(shot, [_failure(shot, *one)], [])
            for shot, one in zip(shots, found, strict=True)
        ]
        crops = [crop for seen in every for crop in seen.crops]
        if not crops:
            return every
        rows = [row for seen in every if seen.crops for row in seen.rows]
        embeddings = self.detector.embed(crops, self.batch_size)
        self._score(rows, embeddings)
        if self.claim is not None:
            self._ask_claim(every, embeddings)
        return every

    def _find(self, shots: list[Shot]) -> list[Faces | tuple[Status, str]]:
        if self.finder is not None:
            return find_faces(self.finder, shots)
        return [("unreadable", shot.why) if shot.image is None else self._aligned(shot) for shot in shots]

    def _aligned(self, shot: Shot) -> Faces | tuple[Status, str]:
        assert shot.image is not None
        height, width = shot.image.shape[:2]
        if height != width:
            return (
                "not_square",
                f"{shot.source} has {width}x{height} pixels and is no aligned crop, which is square: leave --aligned out",
            )
        return aligned_face(shot.image, self.detector.alignment)

    def _cut(self, shot: Shot, found: Faces) -> tuple[list[Face], list[np.ndarray]]:
        image, alignment = shot.image, self.detector.alignment
        assert image is not None
        rows, crops = [], []
        for number, (box, score, points) in enumerate(zip(*found, strict=True)):
            # An aligned crop goes to the network as it is: sampling it again would blur it.
            crops.append(image if self.finder is None else faces.align(image, points, alignment))
            share = faces.visible(image.shape, points, alignment)
            rows.append(
                Face(
                    shot.source,
                    frame=shot.frame,
                    time=None if shot.time is None else round(shot.time, 4),
                    face=number,
                    box=tuple(round(float(value), 1) for value in box),
                    points=tuple((round(float(x), 1), round(float(y), 1)) for x, y in points),
                    detection=float(score),
                    visible=share,
                    note="" if self.finder is None else remark(image.shape, points, share, alignment),
                )
            )
        return rows, crops

    def _score(self, rows: list[Face], embeddings: Embeddings) -> None:
        found = self.detector.score_embeddings(embeddings, self.references)
        names = [name for name in ("consistency", "reference", "probability") if name in found]
        for number, row in enumerate(rows):
            for name in names:
                setattr(row, name, float(found[name][number]))
            if self.references is None:
                continue
            for face in ("inner", "outer"):
                name, distance = str(found[f"{face}_name"][number]), float(found[f"{face}_distance"][number])
                margin = float(found[f"{face}_margin"][number])
                setattr(row, f"{face}_name", name)
                setattr(row, f"{face}_distance", distance)
                setattr(row, f"{face}_margin", margin if np.isfinite(margin) else None)
                limit = self._known[face]
                setattr(row, f"{face}_known", None if limit is None else distance <= limit)

    def _ask_claim(self, every: list[Seen], embeddings: Embeddings) -> None:
        claim = self.claim
        assert claim is not None
        rows = [row for seen in every if seen.crops for row in seen.rows]
        if claim.backend == "ict":
            answers = [claim.ask(embeddings)]
        else:
            answers = []
            for seen in every:
                if seen.crops and seen.shot.image is not None:
                    places = np.array([row.points for row in seen.rows], np.float32)
                    boxes = np.array([row.box for row in seen.rows], np.float32)
                    found = Faces(boxes, np.ones(len(boxes), np.float32), places)
                    answers.append(claim.ask(claim.describer.describe(seen.shot.image, found)))
        distances = [float(distance) for answer, _ in answers for distance in answer]
        names = [name for _, answer in answers for name in answer]
        for row, distance, name in zip(rows, distances, names, strict=True):
            row.claim, row.claim_nearest = distance, name


def find_faces(finder: FaceDetector | LandmarkFile, shots: list[Shot]) -> list[Faces | tuple[Status, str]]:
    """The faces of every frame, or the reason why there are none."""
    found: list[Faces | tuple[Status, str]] = [("unreadable", shot.why) for shot in shots]
    seen = [number for number, shot in enumerate(shots) if shot.image is not None]
    if isinstance(finder, LandmarkFile):
        for number in seen:
            found[number] = _of_file(finder, shots[number])
        return found
    images = [image for shot in shots if (image := shot.image) is not None]
    for number, one in zip(seen, finder.detect(images), strict=True):
        found[number] = one if len(one) else ("no_face", "no face was found")
    return found


def remark(shape: tuple[int, ...], points: np.ndarray, share: float, alignment: faces.Alignment) -> str:
    """What the reader should know of how the face lies in its picture; empty where all of it is there."""
    height, width = shape[:2]
    if height == width:
        template = np.array(alignment.scaled(height).template)
        if np.linalg.norm(points - template, axis=1).max() < 0.03 * height:
            return "the picture is an aligned crop already"
    if share < TIGHT:
        return f"tight or cut: {share:.0%} of the crop lies inside the picture, the rest of the outer face is missing"
    return ""


def _of_file(known: LandmarkFile, shot: Shot) -> Faces | tuple[Status, str]:
    if not known.has(shot.name):
        return "no_landmarks", f"{known.source} has no landmarks of {shot.name}"
    found = known.of(shot.name)
    return found if len(found) else ("no_face", f"{known.source} has no face in {shot.name}")


def aligned_face(image: np.ndarray, alignment: faces.Alignment) -> Faces:
    """The face of a square picture that is a crop of an alignment already: where the template says."""
    side = image.shape[0]
    template = np.array(alignment.scaled(side).template, np.float32)[None]
    return Faces(np.array([[0, 0, side, side]], np.float32), np.ones(1, np.float32), template)


def _failure(shot: Shot, status: Status, why: str) -> Face:
    time = None if shot.time is None else round(shot.time, 4)
    return Face(shot.source, status, frame=shot.frame, time=time, note=why)


def _known_distances(references: ReferenceSet | None) -> dict[str, float | None]:
    """The squared distance that 95 % of the set's genuine pictures keep to their own person, by inner and by outer face."""
    found: dict[str, float | None] = {"inner": None, "outer": None}
    if references is None:
        return found
    for face in found:
        rows = references if face == "inner" else _turned(references)
        distances = rows.genuine_distances()
        if len(distances):
            found[face] = float(np.quantile(distances, 0.95, method="higher"))
    return found


def _turned(references: ReferenceSet) -> ReferenceSet:
    """With the outer rows in the place of the inner ones."""
    return ReferenceSet(references.names, references.outer, references.inner)
