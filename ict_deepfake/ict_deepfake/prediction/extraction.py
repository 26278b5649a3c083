"""Faces of pictures and videos as aligned crops on disk, with where they were found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ict_deepfake import faces, pretrained
from ict_deepfake.faces import FaceDetector, Faces, LandmarkFile
from ict_deepfake.faces.found import faces as faces_of
from ict_deepfake.prediction.job import Results
from ict_deepfake.prediction.predictor import SHOTS, find_faces, remark
from ict_deepfake.prediction.request import Request, open_finder
from ict_deepfake.prediction.rows import Face, summarise, write_rows
from ict_deepfake.prediction.sources import Collection, Part, Shot, collect, parts, shots
from shared_utils import distributed, files, work


def extract(
    request: Request,
    out: str,
    largest: bool = False,
    exact: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Results:
    """Cut every face out, part by part; a row a face.

    Args:
        request: what is looked at and how.
        out: the folder of the crops.
        largest: only the largest face of a picture or frame.
        exact: as of ``faces.align``.
        resume, overwrite: what to do with what is in ``out``.

    Raises:
        UserError: something is missing or does not fit; ``out`` exists.
    """
    request.check()
    files.refuse_existing(out, overwrite or resume, resume_possible=True)
    collection = collect(request.data, request.limit, leave_out=out)
    finder = open_finder(request, collection, distributed.choose_device(request.device))
    assert finder is not None, "faces of aligned crops are not looked for"
    alignment = faces.Alignment() if request.ckpt is None else pretrained.load(request.ckpt).alignment
    todo = {part.name: part for part in parts(collection, request.every, request.limit)}
    content = hashlib.sha256(repr(collection.facts()).encode()).hexdigest()[:16]
    description = asdict(request) | {
        "data": content,
        "alignment": alignment.as_dict(),
        "largest": largest,
        "exact": exact,
    }
    del description["ckpt"], description["device"]

    def compute(name: str) -> dict[str, Any]:
        rows = _rows(collection, todo[name], finder, alignment, largest, exact, Path(out))
        return {"rows": np.array([json.dumps(row.as_dict()) for row in rows])}

    with work.begin(out, description, resume=resume, overwrite=overwrite) as job:
        job.finish(list(todo), compute, "cutting faces out")
        rows = [Face.from_dict(json.loads(str(line))) for name in todo for line in job.read(name)["rows"]]
        results = Results(rows, summarise(rows), list(todo))
        if distributed.rank() == 0:
            write_rows(rows, Path(out) / "faces.csv")
            faces.write_landmarks(_by_picture(rows), Path(out) / "landmarks.json")
            job.complete()
    return results


def _rows(
    collection: Collection,
    part: Part,
    finder: FaceDetector | LandmarkFile,
    alignment: faces.Alignment,
    largest: bool,
    exact: bool,
    out: Path,
) -> Iterator[Face]:
    every = shots(collection, part)
    while True:
        waiting = [shot for _, shot in zip(range(SHOTS), every, strict=False)]
        if not waiting:
            return
        for shot, found in zip(waiting, find_faces(finder, waiting), strict=True):
            if not isinstance(found, Faces):
                yield Face(shot.source, found[0], shot.frame, shot.time, note=found[1])
                continue
            for number in range(1 if largest else len(found)):
                yield _cut(shot, found, number, alignment, exact, out)


def _cut(shot: Shot, found: Faces, number: int, alignment: faces.Alignment, exact: bool, out: Path) -> Face:
    assert shot.image is not None
    points = found.points[number]
    crop = faces.align(shot.image, points, alignment, exact)
    frame = "" if shot.frame is None else f".{shot.frame:06d}"
    name = f"{shot.source}{frame}.{number}.png"
    with files.replacing(out / name) as temporary:
        _, content = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        temporary.write_bytes(content.tobytes())
    share = faces.visible(shot.image.shape, points, alignment)
    return Face(
        shot.source,
        frame=shot.frame,
        time=shot.time,
        face=number,
        box=tuple(round(float(value), 2) for value in found.boxes[number]),
        points=tuple((round(float(x), 2), round(float(y), 2)) for x, y in points),
        detection=float(found.scores[number]),
        visible=share,
        crop=name,
        note=remark(shot.image.shape, points, share, alignment),
    )


def _by_picture(rows: list[Face]) -> dict[str, Faces]:
    """The faces of each picture or frame, for a file of landmarks; those without a face too."""
    by_name: dict[str, list[Face]] = {}
    for row in rows:
        name = row.source if row.frame is None else f"{row.source}#{row.frame}"
        if row.status in ("ok", "no_face"):
            by_name.setdefault(name, []).extend([row] if row.status == "ok" else [])
    return {
        name: faces_of([row.box for row in own], [row.detection for row in own], [row.points for row in own])
        for name, own in by_name.items()
    }
