"""A folder of videos to a store of mouths: resumable, shared over processes, one bad video never ends the others."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake.preprocessing import store
from av_deepfake.preprocessing.video import Settings
from shared_utils import UserError, distributed, files, work
from shared_utils.video import natural_order

VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"}
TABLE = "mouths.csv"
_COLUMNS = (
    *("video", "status", "why", "frames", "seconds", "fps", "decoded", "unreadable", "repeated", "rotation"),
    *("landmarks", "variant", "missed", "filled", "most_faces", "cuts", "covered"),
    *("crop_scale", "sharpness", "bits_per_pixel", "sound", "sound_start", "sound_seconds", "sound_missing"),
)


@dataclass(frozen=True)
class Done:
    """What became of each video: the facts of its sidecar, or status ``unreadable`` and why."""

    out: Path
    rows: list[dict[str, Any]]

    def summary(self) -> str:
        """Two lines for the reader."""
        counts = Counter(row["status"] for row in self.rows)
        ok = [row for row in self.rows if row["status"] == "ok"]
        seconds = sum(row["seconds"] for row in ok)
        silent = sum(row.get("sound") != "" for row in ok)
        text = f"{counts['ok']} of {len(self.rows)} videos in {self.out} ({seconds:.1f} s of mouths)"
        if counts["no_mouth"]:
            text += f"; {counts['no_mouth']} show a face in less than half of their frames"
        if silent:
            text += f"; {silent} without sound"
        licences = {row["licence"] for row in ok if row["licence"]}
        return (
            f"{text}\nlandmarks: {', '.join(sorted({row['landmarks'] for row in ok}))} ({'; '.join(sorted(licences))})"
        )

    def raise_failures(self) -> None:
        """Raise UserError where videos could not be used: it names them, and says where the others are."""
        failed = [row for row in self.rows if row["status"] == "unreadable"]
        if failed:
            first = "; ".join(f"{row['video']}: {row['why']}" for row in failed[:3])
            more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
            raise UserError(
                f"{len(failed)} of {len(self.rows)} videos could not be used ({first}{more}); the other "
                f"{len(self.rows) - len(failed)} are in {self.out}"
            )


def videos_of(data: str | Path, limit: int | None = None, leave_out: str | Path | None = None) -> dict[str, Path]:
    """The videos that are meant, by their names relative to the folder.

    Args:
        data: a video, or a folder with videos anywhere below it.
        limit: at most so many.
        leave_out: a folder below it that holds none: where the results go.

    Raises:
        UserError: there is nothing, or nothing of a known kind.
    """
    data = Path(data)
    kinds = ", ".join(sorted(VIDEOS))
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, got {limit}")
    if data.is_file():
        if data.suffix.lower() not in VIDEOS:
            raise UserError(f"{data} is not a video of a known kind: give one of {kinds}, or a folder of them")
        return {data.name: data}
    if not data.is_dir():
        raise UserError(f"{data} not found: give a video ({kinds}) or a folder of videos")
    own = Path(leave_out).resolve() if leave_out is not None else None
    found = [
        path
        for path in data.rglob("*")
        if path.suffix.lower() in VIDEOS
        and not any(part.startswith(".") for part in path.relative_to(data).parts)
        and not (own is not None and own != data.resolve() and path.resolve().is_relative_to(own))
    ]
    if not found:
        raise UserError(f"{data} holds no video: give a folder with {kinds}")
    found.sort(key=lambda path: (path.parent, natural_order(path)))
    return {path.relative_to(data).as_posix(): path for path in found[:limit]}


def cut_folder(
    videos: Mapping[str, Path],
    out: str | Path,
    settings: Settings,
    sounds: Mapping[str, Path] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Done:
    """Cut the mouths of every video into a store, and write mouths.csv.

    Args:
        videos: files by their names in the store, see ``videos_of``.
        out: the folder of the store.
        settings: how mouths are cut.
        sounds: files with the sound of some of them, where it is not in the video; both begin together.
        resume, overwrite: what to do with what is in ``out``.

    Raises:
        UserError: an argument cannot be meant, or ``out`` exists; before the work starts.
    """
    settings.check()
    files.refuse_existing(out, overwrite or resume, resume_possible=True)
    beside = sounds or {}
    sizes = json.dumps([[name, path.stat().st_size, str(beside.get(name, ""))] for name, path in videos.items()])
    job = settings.describe() | {"data": hashlib.sha256(sizes.encode()).hexdigest()[:16]}

    def compute(name: str) -> dict[str, Any]:
        try:
            facts = store.write(out, name, videos[name], settings, beside.get(name))
        except UserError as error:
            facts = {"video": name, "status": "unreadable", "why": str(error)}
        return {"facts": np.array(json.dumps({key: facts.get(key) for key in (*_COLUMNS, "licence")}))}

    with work.begin(out, job, resume=resume, overwrite=overwrite) as held:
        held.finish(list(videos), compute, "cutting mouths")
        done = Done(Path(out), [json.loads(str(held.read(name)["facts"])) for name in videos])
        if distributed.rank() == 0:
            with (
                files.replacing(done.out / TABLE) as temporary,
                temporary.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(done.rows)
            held.complete()
    return done
