"""Which boxes go with which video, settled and checked before anything is decoded."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from luperson_nl.tracklets import box_files
from luperson_nl.tracklets.videos import Video, find_videos
from shared_utils import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A video with its files. made_at: (width, height) of the pictures that the boxes were made on, None unknown."""

    video: Video
    boxes: Path
    truth: Path | None
    made_at: tuple[int, int] | None


@dataclass(frozen=True)
class Plan:
    """All tasks, and the names of the videos without boxes."""

    tasks: list[Task]
    without: list[str]

    def digest(self) -> str:
        """16 hex digits of the videos (by name and size) and of what all files of boxes hold."""
        content = hashlib.sha256()
        for task in self.tasks:
            files = [box_files.digest(task.boxes), task.truth and box_files.digest(task.truth)]
            content.update(json.dumps([task.video.facts(), files, task.made_at]).encode())
        return content.hexdigest()[:16]


def make(data: str, boxes: str | None, truth: str | None, det_size: str | None) -> Plan:
    """Pair the videos at ``data`` with their files of boxes, and of true people where they are given.

    Args:
        data: a video, a folder of frames, or a folder of videos.
        boxes: a file, or a folder (``box_files.find``); None: det/det.txt in the folder of each sequence.
        truth: likewise, of true people.
        det_size: WIDTHxHEIGHT of the pictures that the boxes were made on; seqinfo.ini of a sequence where None.

    Raises:
        UserError: a video, or the boxes of every one, are not there.
    """
    videos = find_videos(data)
    several = len(videos) > 1
    made_at = box_files.parse_size(det_size)
    tasks, without = [], []
    for video in videos:
        beside = video.sequence / "det" / "det.txt"
        found = box_files.find(boxes, video.name, several) if boxes else beside if beside.is_file() else None
        if found is None:
            without.append(video.name)
            continue
        persons = box_files.find(truth, video.name, several, "gt") if truth else None
        tasks.append(Task(video, found, persons, made_at or box_files.sequence_size(video.sequence)))
    if not tasks:
        if boxes:
            raise UserError(f"{boxes} has no boxes for {videos[0].name}: expected {videos[0].name}.txt or .pkl in it")
        raise UserError(
            f"{data} has no boxes: run any detector or tracker that writes MOTChallenge text ({box_files.COLUMNS}) and give its "
            "file with --det, or with --tracks where it has ids"
        )
    if without:
        log.warning("%d videos have no boxes and are left out, the first is %s", len(without), without[0])
    return Plan(tasks, without)
