"""From what the user asked for to what can be run: cheap checks first, then models, references and the claim."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ict_deepfake import faces, pretrained, references
from ict_deepfake.enrolment import DLIB, Describer, DlibDescriber, ICTDescriber, enrol, portraits
from ict_deepfake.faces import FaceDetector, LandmarkFile
from ict_deepfake.prediction.claims import Backend, Claim, make_claim
from ict_deepfake.prediction.job import digest
from ict_deepfake.prediction.predictor import Predictor
from ict_deepfake.prediction.sources import Collection, collect, is_video
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError, distributed, files, work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """The arguments of ``predict``, which explains them."""

    data: str
    ckpt: str | None = None
    reference: str | None = None
    claim: str | None = None
    backend: Backend = "ict"
    faces: str = "mtcnn"
    retinaface: str | None = None
    landmarks: str | None = None
    aligned: bool = False
    min_size: int = 40
    every: int = 15
    limit: int | None = None
    device: str = "auto"

    def check(self) -> None:
        """Raise UserError for what cannot be meant."""
        if self.claim is not None and self.reference is None:
            raise UserError(f"--claim {self.claim} needs pictures of {self.claim}: give --reference")
        if self.backend == "dlib" and self.claim is None:
            raise UserError("--backend dlib answers claims only: give --claim NAME, or leave it out")
        if self.aligned and self.landmarks is not None:
            raise UserError("--aligned and --landmarks exclude each other: aligned crops need no landmarks")
        for name, value, least in (
            ("every", self.every, 1),
            ("limit", self.limit, 1),
            ("min_size", self.min_size, 12),
        ):
            if value is not None and value < least:
                raise UserError(f"--{name} must be at least {least}, got {value}")

    def settings(self) -> str:
        """How the faces were found and the frames were chosen, in words."""
        by = (
            f"landmarks of {Path(self.landmarks).name}"
            if self.landmarks
            else f"{self.faces}, {self.min_size} px and more"
        )
        return f"Faces: {'the pictures are aligned crops' if self.aligned else by}; of videos one frame in {self.every}"


@dataclass(frozen=True)
class Opened:
    """A request made ready. job: everything that the result depends on, in plain values."""

    collection: Collection
    predictor: Predictor
    job: dict[str, Any]

    @contextmanager
    def begin(self, out: str | None, resume: bool, overwrite: bool) -> Iterator[work.Work]:
        """The job in the folder ``out``, or in one that is deleted at the end of the block."""
        if out is not None:
            with work.begin(out, self.job, resume=resume, overwrite=overwrite) as job:
                yield job
            return
        with tempfile.TemporaryDirectory() as scratch, work.begin(scratch, self.job) as job:
            yield job


def open_request(request: Request, out: str | None = None, resume: bool = False, overwrite: bool = False) -> Opened:
    """Check a request and load what it needs.

    Raises:
        UserError: something is missing or does not fit; before anything that takes time where possible.
    """
    request.check()
    if out is not None:
        files.refuse_existing(out, overwrite or resume, resume_possible=True)
    collection = collect(request.data, request.limit, leave_out=out)
    device = distributed.choose_device(request.device)
    finder = open_finder(request, collection, device)
    detector = pretrained.load(request.ckpt, device)
    # References are pictures even where the suspects are aligned crops or have landmarks of their own.
    known, claim = None, None
    if request.reference is not None:
        known, claim = _references(request, detector, device)
    predictor = Predictor(detector, finder, known, claim)
    job = asdict(request) | {
        "data": hashlib.sha256(repr(collection.facts()).encode()).hexdigest()[:16],
        "ckpt": detector.digest,
        "reference": digest(known),
        "claim": None if claim is None else [claim.name, claim.threshold],
        "landmarks": request.landmarks and hashlib.sha256(Path(request.landmarks).read_bytes()).hexdigest()[:16],
    }
    del job["device"]
    return Opened(collection, predictor, job)


def open_finder(request: Request, collection: Collection, device: Any) -> FaceDetector | LandmarkFile | None:
    """What finds the faces: a detector, a file of landmarks, or nothing for aligned crops.

    Raises:
        UserError: videos are never aligned crops; a detector or file cannot be opened.
    """
    if request.aligned:
        videos = [name for name in collection.names if is_video(name)]
        if videos:
            raise UserError(f"--aligned takes pictures, and {videos[0]} is a video: leave --aligned out")
        return None
    if request.landmarks is not None:
        return faces.landmark_file(request.landmarks, collection.names)
    return faces.detector(request.faces, request.min_size, request.retinaface, device)


def _references(
    request: Request, detector: pretrained.Detector, device: Any
) -> tuple[ReferenceSet | None, Claim | None]:
    """The set that ICT-Ref uses, and the claim; of a folder one is made for each of the two that answer."""
    assert request.reference is not None
    describers = {"ict": ICTDescriber(detector), "dlib": DlibDescriber()}
    describer = describers[request.backend]
    if Path(request.reference).is_dir():
        finder = faces.detector(request.faces, request.min_size, request.retinaface, device)
        known = _enrolled(request.reference, describers["ict"], finder)
        asked = known if request.backend == "ict" else _enrolled(request.reference, describer, finder)
    else:
        asked = references.load_references(request.reference)
        known = None if asked.model == DLIB else asked
    if request.claim is None:
        if known is None:
            raise UserError(f"{request.reference} holds descriptors of dlib: they answer claims, give --claim NAME")
        return known, None
    return known, make_claim(request.claim, asked, request.backend, describer)


def _enrolled(folder: str, describer: Describer, finder: FaceDetector) -> ReferenceSet:
    done = enrol(portraits(folder), references.empty(describer.model), describer, finder)
    for problem in done.problems:
        log.warning("no reference: %s", problem)
    return done.references
