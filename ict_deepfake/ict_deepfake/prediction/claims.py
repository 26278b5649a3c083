"""The third question: is this the person whom it is said to be? By ICT's inner face, or by dlib's plain recogniser."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from ict_deepfake import faces, references, scores
from ict_deepfake.faces import FaceDetector, Faces
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.pretrained import Detector
from ict_deepfake.references import ReferenceSet, hash_file
from shared_utils import UserError
from shared_utils.logging import progress

log = logging.getLogger(__name__)
Backend = Literal["ict", "dlib"]
DLIB = "dlib-resnet-v1"
"""What a reference set of dlib's descriptors has as its model; inner and outer rows are the same there."""


class Describer(Protocol):
    """Makes rows of a reference set of faces: ICT, or dlib's recogniser. model: what such a set is marked with."""

    @property
    def model(self) -> str: ...

    def describe(self, image: np.ndarray, found: Faces) -> Embeddings:
        """(n, dim) rows of the faces of a picture (uint8 RGB (h, w, 3))."""
        ...


class ICTDescriber:
    """Inner and outer embeddings of ICT."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    @property
    def model(self) -> str:
        return self.detector.digest

    def describe(self, image: np.ndarray, found: Faces) -> Embeddings:
        """(n, dim) inner and outer rows."""
        return self.detector.embed([faces.align(image, points, self.detector.alignment) for points in found.points])


class DlibDescriber:
    """dlib's descriptor of 128 numbers, as inner and as outer row: it knows no such difference."""

    model = DLIB

    def describe(self, image: np.ndarray, found: Faces) -> Embeddings:
        """(n, 128) rows, twice."""
        rows = torch.from_numpy(faces.descriptors(image, faces.points68(image, found)))
        return Embeddings(rows, rows)


@dataclass(frozen=True, eq=False)
class Claim:
    """A named person and how far the references of this person allow.

    name: the person. known: the references of this and of other persons. threshold: squared distance above which the
    claim is refused. of: whose genuine distances set it. count: how many of them.
    """

    name: str
    backend: Backend
    describer: Describer
    known: ReferenceSet
    threshold: float
    of: str
    count: int

    def ask(self, rows: Embeddings) -> tuple[np.ndarray, list[str]]:
        """Of faces: (n,) squared distances to the nearest reference of the person, and the nearest person of the set."""
        own = self.known.inner[self.known.rows(self.name)]
        return scores.claim(rows.inner, own).numpy(), self.known.who(rows).inner.names


def make_claim(name: str, known: ReferenceSet, backend: Backend, describer: Describer) -> Claim:
    """The claim that faces show a person of a reference set, with a threshold from the set's genuine pictures.

    Raises:
        UserError: no such person; nobody has two pictures; the set is of the other backend.
    """
    if (known.model == DLIB) != (backend == "dlib"):
        other = "dlib" if known.model == DLIB else "ict"
        raise UserError(
            f"the reference set was built by {other}: give --backend {other}, or references of {backend} (a folder of "
            "persons serves both)"
        )
    threshold = known.claim_threshold(name)
    return Claim(name, backend, describer, known, threshold.value, threshold.of, threshold.count)


def references_of_folder(folder: str | Path, describer: Describer, detector: FaceDetector) -> ReferenceSet:
    """A reference set of a folder of persons: ``folder/NAME/picture.jpg``, the largest face of each picture.

    Args:
        folder: with a folder a person.
        describer: what a row is.
        detector: finds the faces.

    Raises:
        UserError: no folders with pictures in it, pictures beside them, or no face in any picture.
    """
    folder = Path(folder)
    stray = [path.name for path in folder.iterdir() if path.suffix.lower() in faces.IMAGES]
    persons = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if stray:
        raise UserError(f"{folder} holds pictures without a person ({stray[0]}): a folder for each person, named so")
    pictures = [(person.name, path) for person in persons for path in faces.pictures_in(person)]
    if not pictures:
        raise UserError(f"{folder} holds no pictures of persons: it should be NAME/picture.jpg")
    known, skipped = references.empty(describer.model), []
    for name, path in progress(pictures, "describing references"):
        try:
            image = faces.read_picture(path)
        except UserError as error:
            skipped.append(str(error))
            continue
        found = detector.detect([image])[0]
        if not len(found):
            skipped.append(f"{path} shows no face")
            continue
        rows = describer.describe(image, found.take(slice(0, 1)))
        crop = faces.align(image, found.points[0])
        known = known.add(name, rows, [hash_file(path, crop)])
    for problem in skipped:
        log.warning("no reference: %s", problem)
    if not len(known):
        raise UserError(f"{folder}: none of the {len(pictures)} pictures gives a reference ({skipped[0]})")
    return known
