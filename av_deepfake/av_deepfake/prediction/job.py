"""A folder of videos to rows, video by video, so that an interrupted run goes on and one broken file costs nothing else."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from av_deepfake.landmarks import files as landmark_files
from av_deepfake.prediction.genuine import Genuine
from av_deepfake.prediction.request import Request
from av_deepfake.prediction.rows import Row
from av_deepfake.prediction.scoring import Seen, score_mouths
from av_deepfake.prediction.sources import Videos
from av_deepfake.preprocessing import store
from shared_utils import UserError, distributed, work
from shared_utils.work import Work

if TYPE_CHECKING:
    from av_deepfake.pretrained import MouthModel

log = logging.getLogger(__name__)
MOUTHS = "mouths"


@dataclass(frozen=True)
class Results:
    """A row a video in the order of their names; ``parts``: where the pictures of each lie in the job."""

    rows: list[Row]
    parts: dict[str, str]
    genuine: Genuine | None = None

    def raise_failures(self) -> None:
        """Raise UserError where a video has no score; every other one is in the results."""
        failed = [row for row in self.rows if row.status != "ok"]
        if failed:
            shown = "; ".join(f"{row.file}: {row.status}, {row.note}" for row in failed[:3])
            more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
            count = f"{len(failed)} of {len(self.rows)} videos have no score"
            raise UserError(f"{count} ({shown}{more}); the others are in the results")


@contextmanager
def begin(
    asked: Request, model: MouthModel, out: str | None = None, resume: bool = False, overwrite: bool = False
) -> Iterator[Work]:
    """The job in the folder ``out``, or in one that is deleted at the end of the block.

    Raises:
        UserError: the model has no detector; as of ``work.begin``.
    """
    if model.detector is None:
        raise UserError(
            "the model has no detector yet: fine-tune it with train.py --config detect.yaml, or leave --ckpt out"
        )
    job = asked.job(model.digest)
    if out is not None:
        with work.begin(out, job, resume=resume, overwrite=overwrite) as begun:
            yield begun
        return
    with tempfile.TemporaryDirectory() as scratch:
        shared = distributed.broadcast(scratch)  # the processes of one job work in one folder
        with work.begin(Path(shared) / "job", job) as begun:
            yield begun
            distributed.barrier()


def predict(asked: Request, model: MouthModel, job: Work) -> Results:
    """Score every video and keep its mouths in ``mouths/`` of the job's folder.

    Args:
        asked: the videos.
        model: with a detector.
        job: a begun job; what it has finished is not done again.

    Raises:
        UserError: too few genuine videos have a score.
    """
    rows, parts = _scored(asked, asked.videos, model, job, "videos")
    if asked.genuine is None:
        return Results(rows, parts)
    known, _ = _scored(asked, asked.genuine, model, job, "genuine")
    root = asked.genuine.root
    genuine = Genuine({_place(root, row.file): row.score for row in known if row.score is not None})
    for row in rows:
        if row.score is not None:
            row.rank = genuine.rank(row.score, _place(asked.videos.root, row.file))
    return Results(rows, parts, genuine)


def pictures(job: Work, part: str) -> tuple[bytes, bytes]:
    """The mouths of a scored video as JPEG: of the whole of it, and of its most suspicious clip."""
    kept = job.read(part)
    return kept["strip"].tobytes(), kept["worst"].tobytes()


def _scored(
    asked: Request, videos: Videos, model: MouthModel, job: Work, label: str
) -> tuple[list[Row], dict[str, str]]:
    parts = {name: f"{label}/{number:06d}" for number, name in enumerate(videos.names)}
    by_part = {part: name for name, part in parts.items()}

    def compute(part: str) -> Mapping[str, Any]:
        seen = _see(asked, videos, by_part[part], model, job.folder / MOUTHS / label)
        return {
            "row": np.array(json.dumps(seen.row.as_dict())),
            "strip": np.frombuffer(seen.strip, np.uint8),
            "worst": np.frombuffer(seen.worst, np.uint8),
        }

    job.finish(list(parts.values()), compute, "scoring" if label == "videos" else "scoring genuine videos")
    return [Row.from_dict(json.loads(str(job.read(part)["row"]))) for part in parts.values()], parts


def _see(asked: Request, videos: Videos, name: str, model: MouthModel, folder: Path) -> Seen:
    try:
        if videos.stored:
            mouths = store.read_entry(videos.root, name)
        else:
            if asked.settings.landmarks is not None:
                try:
                    landmark_files.landmarks_of(name, asked.settings.landmarks)
                except UserError as error:
                    return _failed(name, "no_landmarks", error)
            store.write(folder, name, videos.path(name), replace(asked.settings, device=str(model.device)))
            mouths = store.read_entry(folder, name)
    except UserError as error:
        return _failed(name, "unreadable", error)
    return score_mouths(mouths, model, asked.missing, asked.settings.sound)


def _failed(name: str, status: Any, error: UserError) -> Seen:
    log.warning("%s: %s", status, error)
    return Seen(Row(name, status=status, note=str(error)))


def _place(root: Path, name: str) -> str:
    return str((root / name).resolve())


def overview(rows: Sequence[Row]) -> list[dict[str, str | int | float | None]]:
    """A short row a video, the most suspicious first and those without a score last: what is printed."""
    ordered = sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0)))
    table = []
    for row in ordered:
        worst = row.worst
        table.append(
            {
                "file": row.file,
                "status": row.status,
                "score": row.score,
                "most suspicious": f"{worst.start:.1f}-{worst.stop:.1f} s" if worst else "",
                "sound": row.sound,
                "remark": row.note or (row.remarks or [""])[0],
            }
        )
    return table
