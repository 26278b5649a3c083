"""From pictures of known persons to a reference set: one face of each picture, no copies, nothing of the test."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ict_deepfake import faces
from ict_deepfake.faces import FaceDetector, Faces, LandmarkFile
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.pretrained import Detector
from ict_deepfake.references import PictureHash, ReferenceSet, hash_file
from shared_utils import UserError, files
from shared_utils.logging import progress

log = logging.getLogger(__name__)
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


class Portrait(NamedTuple):
    """A picture of a known person."""

    person: str
    path: Path


@dataclass
class Enrolled:
    """references: the set. problems: pictures that gave no reference, each with the reason. crowded: pictures of several
    faces, of which the largest was taken. known: how many were in the set already."""

    references: ReferenceSet
    problems: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)
    known: int = 0


def portraits(folder: str | Path) -> list[Portrait]:
    """The pictures of ``folder/NAME/*.jpg``, persons in alphabetical order.

    Raises:
        UserError: there are none, or pictures stand beside the persons' folders: whose are they?
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give one with a folder of pictures for each person")
    stray = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in faces.IMAGES]
    if stray:
        raise UserError(
            f"{folder} holds {len(stray)} pictures without a person ({', '.join(stray[:3])}): put them into a folder with "
            "the person's name"
        )
    persons = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [Portrait(person.name, path) for person in persons for path in faces.pictures_in(person)]
    empty = sorted({person.name for person in persons} - {portrait.person for portrait in found})
    if not found:
        raise UserError(f"{folder} holds no pictures of persons: it should be NAME/picture.jpg")
    if empty:
        raise UserError(f"{folder}: no pictures of {', '.join(empty[:5])}: add some, or remove the folders")
    return found


def test_pictures(source: str | Path) -> list[Path]:
    """The pictures of a test: a folder, a JSON array of paths, or a text file with one a line.

    Relative paths of a list are looked for beside it. Paths that are missing are an error: they could be leaks.
    """
    source = Path(source)
    if source.is_dir():
        found = faces.pictures_in(source)
    elif source.suffix == ".json":
        content = files.read_json(source, "list of test pictures")
        if not isinstance(content, list) or not all(isinstance(path, str) for path in content):
            raise UserError(f"{source} is not a JSON array of paths: give one, a text file, or a folder")
        found = [source.parent / path for path in content]
    elif source.is_file():
        lines = source.read_text().splitlines()
        found = [source.parent / line.strip() for line in lines if line.strip()]
    else:
        raise UserError(f"{source} not found: give the folder of the test pictures, or a list of them")
    missing = [str(path) for path in found if not path.is_file()]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(found)} test pictures are missing ({missing[0]}): correct the list"
        )
    if not found:
        raise UserError(f"{source} holds no test pictures: check the path")
    return found


# pytest takes a function of this name for a test wherever it is imported.
test_pictures.__test__ = False  # type: ignore[attr-defined]


def enrol(
    pictures: Sequence[Portrait],
    known: ReferenceSet,
    describer: Describer,
    finder: FaceDetector | LandmarkFile,
    tests: Sequence[Path] = (),
) -> Enrolled:
    """Add pictures to a reference set; what is in it already is not computed again.

    Args:
        pictures: of ``portraits``.
        known: the set, empty or with rows of the same model.
        describer: what a row is.
        finder: finds the faces, or knows their landmarks.
        tests: pictures of the test, none of which may be in the set.

    Returns:
        The set and what did not get into it.

    Raises:
        UserError: a file is there twice, or of another person in the set; a test picture is among the references, as a
            file or nearly the same to look at; no picture gives a reference.
    """
    digests = {portrait: hash_file(portrait.path).digest for portrait in pictures}
    new = _without_known(digests, known)
    _refuse_files(new, tests)
    done = Enrolled(known, known=len(pictures) - len(new))
    for portrait in progress(new, "describing references"):
        face = _largest(portrait.path, finder)
        if isinstance(face, str):
            done.problems.append(face)
            continue
        image, found, several = face
        if several:
            done.crowded.append(str(portrait.path))
        picture = hash_file(portrait.path, faces.align(image, found.points[0]))
        done.references = done.references.add(portrait.person, describer.describe(image, found), [picture])
    if not len(done.references):
        raise UserError(f"none of the {len(pictures)} pictures gives a reference: {done.problems[0]}")
    done.references.refuse_leaks(_seen(tests, finder))
    return done


def _without_known(digests: Mapping[Portrait, str], known: ReferenceSet) -> list[Portrait]:
    """The pictures that are not in the set; a file that is there twice is refused before anything is computed."""
    in_set = dict(zip(known.sources, known.names, strict=True))
    first: dict[str, Portrait] = {}
    new = []
    for portrait, digest in digests.items():
        if digest in first:
            raise UserError(f"{portrait.path} is the same file as {first[digest].path}: remove one of them")
        first[digest] = portrait
        if (name := in_set.get(digest)) is None:
            new.append(portrait)
        elif name != portrait.person:
            raise UserError(f"{portrait.path} is in the set already, as {name}: correct one of the two names")
    return new


def _refuse_files(new: Sequence[Portrait], tests: Sequence[Path]) -> None:
    """The cheap part of the search for leaks, before anything is computed: files that are equal byte by byte."""
    sizes = {path.stat().st_size for path in tests}
    digests = {hash_file(path).digest: path for path in tests} if sizes else {}
    leaks = [
        f"{portrait.path} is {digests[digest]}"
        for portrait in new
        if portrait.path.stat().st_size in sizes and (digest := hash_file(portrait.path).digest) in digests
    ]
    if leaks:
        raise UserError(
            f"{len(leaks)} reference pictures are in the test, which would inflate every score: {', '.join(leaks[:3])}; "
            "take them out of the references or of the test"
        )


def _largest(path: Path, finder: FaceDetector | LandmarkFile) -> tuple[np.ndarray, Faces, bool] | str:
    """A picture, its largest face, and whether there are more; or why there is none."""
    try:
        image = faces.read_picture(path)
    except UserError as error:
        return str(error)
    found = finder.of(path) if isinstance(finder, LandmarkFile) else finder.detect([image])[0]
    if not len(found):
        return f"{path} shows no face"
    return image, found.take(slice(0, 1)), len(found) > 1


def _seen(tests: Sequence[Path], finder: FaceDetector | LandmarkFile) -> dict[str, PictureHash]:
    """Hashes of the test pictures and of the faces in them; those without a face are compared as files alone."""
    found = {}
    for path in progress(tests, "comparing with the test") if tests else []:
        face = _largest(path, finder)
        crop = None if isinstance(face, str) else faces.align(face[0], face[1].points[0])
        found[str(path)] = hash_file(path, crop)
    return found
