"""A folder, picture or video to rows and crops on disk, part by part, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ict_deepfake import faces
from ict_deepfake.faces.tracks import Tracker, thumbnail
from ict_deepfake.prediction.predictor import Predictor, Seen
from ict_deepfake.prediction.rows import Face, Summary, summarise
from ict_deepfake.prediction.sources import Collection, Part, parts, shots
from ict_deepfake.references import ReferenceSet, hash_file
from shared_utils import UserError, files
from shared_utils.work import Work

CROPS = "crops"
PAGE_SIDE, CROP_SIDE = 360, 224


@dataclass(frozen=True)
class Results:
    """Every row, in the order of the files and frames, a summary a file, and the names of the job's parts."""

    rows: list[Face]
    summaries: list[Summary]
    parts: list[str]

    @property
    def failures(self) -> list[Summary]:
        """The files of which nothing could be used."""
        return [one for one in self.summaries if one.status in ("unreadable", "no_landmarks", "not_square")]

    def raise_failures(self, out: str | None) -> None:
        """Raise UserError where files could not be used: it names them, and says where the others are."""
        failed = self.failures
        if failed:
            first = "; ".join(self.why(one.source) for one in failed[:3])
            more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
            place = f"in {out}" if out else "above"
            raise UserError(
                f"{len(failed)} of {len(self.summaries)} files could not be used ({first}{more}); the other "
                f"{len(self.summaries) - len(failed)} are {place}"
            )

    def why(self, source: str) -> str:
        """What the first row of a file notes."""
        return next(row.note for row in self.rows if row.source == source)


def run(
    collection: Collection, predictor: Predictor, job: Work, every: int, limit: int | None, crops: bool = True
) -> Results:
    """Look at everything and keep it in the folder of the job.

    Args:
        collection: the files.
        predictor: what is asked.
        job: of ``shared_utils.work``; finished parts of it are not computed again.
        every: each so many frames of a video.
        limit: at most so many frames of a video.
        crops: keep the crop of every face in ``crops``, and a small picture of every file for the page.
    """
    todo = parts(collection, every, limit)
    by_name = {part.name: part for part in todo}

    def compute(name: str) -> dict[str, Any]:
        return _compute(collection, by_name[name], predictor, job.folder if crops else None)

    job.finish(list(by_name), compute, "looking at faces")
    rows = _in_order(list(_tracked(job, todo)), collection)
    return Results(rows, summarise(rows), list(by_name))


def page_pictures(job: Work, results: Results, sources: Container[str]) -> dict[str, bytes]:
    """The small JPEG of each of some files that was kept for the page; of a video, that of its most suspicious frame."""
    found: dict[str, tuple[float, bytes]] = {}
    for name in results.parts:
        kept = job.read(name)
        for key in kept:
            source = key.removeprefix("picture ")
            if source == key or source not in sources:
                continue
            score = float(kept[f"score {source}"])
            if source not in found or score > found[source][0]:
                found[source] = score, kept[key].tobytes()
    return {source: content for source, (_, content) in found.items()}


def digest(known: ReferenceSet | None) -> str:
    """16 hex digits of a reference set: rows and names."""
    if known is None:
        return ""
    content = hashlib.sha256(json.dumps([known.names, known.sources, known.model]).encode())
    for rows in (known.inner, known.outer):
        content.update(np.ascontiguousarray(rows.numpy()).tobytes())
    return content.hexdigest()[:16]


def _compute(collection: Collection, part: Part, predictor: Predictor, out: Path | None) -> dict[str, Any]:
    rows: list[Face] = []
    kept: dict[str, Any] = {}
    thumbnails, best = [], -np.inf
    for seen in predictor.see(shots(collection, part)):
        shot = seen.shot
        rows += seen.rows
        if part.every is not None:
            thumbnails.append(np.zeros((18, 32, 3), np.uint8) if shot.image is None else thumbnail(shot.image))
        elif seen.crops and predictor.references is not None:
            _name_leak(collection.path(shot.source), seen, predictor.references)
        if out is None or shot.image is None:
            continue
        _write_crops(seen, out)
        highest = max((row.score for row in seen.rows if row.score is not None), default=-1.0)
        if part.every is None or highest > best:
            best = max(best, highest)
            kept[f"picture {shot.source}"] = np.frombuffer(_drawn(seen), np.uint8)
            kept[f"score {shot.source}"] = highest
    if thumbnails:
        kept["thumbnails"] = np.stack(thumbnails)
    return {**kept, "rows": np.array([json.dumps(row.as_dict()) for row in rows])}


def _tracked(job: Work, todo: list[Part]) -> Iterator[Face]:
    """The rows of all parts, those of videos with their tracks."""
    tracker, video = Tracker(), None
    for part in todo:
        kept = job.read(part.name)
        rows = [Face.from_dict(json.loads(str(line))) for line in kept["rows"]]
        if part.every is None:
            yield from rows
            continue
        if part.sources[0] != video:
            tracker, video = Tracker(), part.sources[0]
        by_frame: dict[int | None, list[Face]] = {}
        for row in rows:
            by_frame.setdefault(row.frame, []).append(row)
        for small, own in zip(kept.get("thumbnails", []), by_frame.values(), strict=False):
            scored = [row for row in own if row.status == "ok"]
            boxes = np.array([row.box for row in scored], np.float32).reshape(-1, 4)
            found = faces.Faces(boxes, np.ones(len(boxes), np.float32), np.zeros((len(boxes), 5, 2), np.float32))
            image = small if own[0].status != "unreadable" else None
            for row, number in zip(scored, tracker.update(found, image), strict=True):
                row.track = int(number)
        yield from rows


def _in_order(rows: list[Face], collection: Collection) -> list[Face]:
    place = {name: number for number, name in enumerate(collection.names)}
    return sorted(rows, key=lambda row: place[row.source])


def _name_leak(path: Path, seen: Seen, known: ReferenceSet) -> None:
    """Note of a picture that is one of the references: its scores say nothing."""
    for row, crop in zip(seen.rows, seen.crops, strict=True):
        found = known.leaks({row.source: hash_file(path, crop)})
        for number in found.values():
            row.leak = known.names[number]
            row.note = "; ".join(filter(None, [row.note, f"this picture is a reference of {row.leak}: no evidence"]))


def _write_crops(seen: Seen, out: Path) -> None:
    for row, crop in zip(seen.rows, seen.crops, strict=False):
        frame = "" if row.frame is None else f".{row.frame:06d}"
        row.crop = f"{CROPS}/{row.source}{frame}.{row.face}.jpg"
        with files.replacing(out / row.crop) as temporary:
            temporary.write_bytes(jpeg(_at_most(crop, CROP_SIDE)))


def _at_most(crop: np.ndarray, side: int) -> np.ndarray:
    """A crop no larger than a side."""
    if crop.shape[0] <= side:
        return crop
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)


def _drawn(seen: Seen) -> bytes:
    """A small picture with numbered boxes around its faces."""
    image = seen.shot.image
    assert image is not None
    scale = min(1.0, PAGE_SIDE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for row in seen.rows:
        if row.box is None:
            continue
        x0, y0, x1, y1 = (round(value * scale) for value in row.box)
        for colour, width in (((0, 0, 0), 3), ((255, 220, 0), 1)):
            cv2.rectangle(small, (x0, y0), (x1, y1), colour, width, cv2.LINE_AA)
            cv2.putText(
                small, str(row.face), (x0 + 3, y0 + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA
            )
    return jpeg(small)


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """An RGB picture as the bytes of a JPEG file."""
    _, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return content.tobytes()
