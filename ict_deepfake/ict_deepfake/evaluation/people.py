"""Parametric people as a test set: every picture of a kind is a frame, the pictures of a person a clip."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ict_deepfake.data.test_sets import Clip
from ict_deepfake.evaluation.looking import Look
from ict_deepfake.faces import Alignment, align, five_of_68
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.pretrained import Detector
from ict_deepfake.procedural import FaceSet, Population, TestFaces
from ict_deepfake.references import PictureHash, ReferenceSet

_CLOSE = 0.05
_CONTROLS = ("self_blend", "reenact")


class PeopleSuspects:
    """The validation or test people.

    Args:
        people: the population.
        split: validation or test.
        alignment: of the network; pictures that lie so already are taken as they are.
    """

    def __init__(self, people: Population, split: str, alignment: Alignment) -> None:
        self.people, self.split, self.alignment = people, split, alignment
        found: dict[str, Clip] = {}
        for kind, faces in self._kinds.items():
            for person in np.unique(faces.outer).tolist():
                # A control is no swap, but it stands where fakes stand: its AUC is to be near 0.5.
                found[f"clips/{kind}_{person:06d}"] = Clip(f"{kind}/{person}", int(kind != "genuine"), kind)
        self.clips = found

    @property
    def name(self) -> str:
        return f"parametric people, {self.split}"

    @cached_property
    def _faces(self) -> TestFaces:
        return self.people.validation() if self.split == "validation" else self.people.test()

    @cached_property
    def _kinds(self) -> dict[str, FaceSet]:
        return {"genuine": self._faces.genuine, **self._faces.fakes}

    def facts(self) -> dict[str, object]:
        """What a result depends on."""
        people = self.people
        facts = {"set": self.name, "seed": people.seed, "size": people.size, "private": people.private}
        return {**facts, "counts": people.counts, "alignment": self.alignment.as_dict()}

    def look(self, part: str) -> Look:
        """At the pictures of one person and kind."""
        kind, _, person = part.removeprefix("clips/").rpartition("_")
        faces = self._kinds[kind]
        rows = np.flatnonzero(faces.outer == int(person))
        crops = self._crops(faces, rows)
        size = len(rows)
        look = Look(crops, list(range(size)), [0] * size, [np.zeros(4)] * size, [PictureHash("")] * size)
        look.cues, look.frames_seen = [{}] * size, size
        return look

    def _crops(self, faces: FaceSet, rows: np.ndarray) -> list[np.ndarray]:
        five = five_of_68(faces.points)
        template, side = np.array(self.alignment.template), faces.images.shape[1]
        if self.alignment.crop == side and np.abs(five.mean(0) - template).max() < _CLOSE * side:
            return list(faces.images[rows])
        return [align(faces.images[row], five[row], self.alignment) for row in rows]

    def references(self, detector: Detector) -> ReferenceSet:
        """Of the test people and distractors, with the people's numbers as names."""
        faces = self.people.references()
        rows: Embeddings = detector.embed(self._crops(faces, np.arange(len(faces))))
        names = [str(identity) for identity in faces.identity.tolist()]
        return ReferenceSet(names, rows.inner, rows.outer, model=detector.digest)


def is_control(method: str) -> bool:
    """Whether a kind of suspect is no swap."""
    return method in _CONTROLS
