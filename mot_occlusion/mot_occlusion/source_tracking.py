"""Track a source frame by frame without losing anything: its state is on disk, and an interrupted run goes on from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mot_occlusion.annotation import Annotator
from mot_occlusion.data.detection_files import FileDetections
from mot_occlusion.data.result_files import RecordedTracks, ResultTexts, details, last_written, read_tracks
from mot_occlusion.detections import Detections
from mot_occlusion.source_report import count_tracks, draw_tracks
from mot_occlusion.tracking import Tracker
from mot_occlusion.tracking.camera import CameraMotion
from shared_utils import UserError, files
from shared_utils import logging as reporting
from shared_utils.video import Source, Writer
from shared_utils.work import Work

log = logging.getLogger(__name__)

Mode = Literal["private", "public", "provided"]
Observe = Callable[[int, np.ndarray | None], tuple[Detections, np.ndarray | None]]
"""What is seen in frame number f (its image may be missing): detections, and public ones under the public protocol."""

SAVE_EVERY = 50
"""Frames between two savings of the tracker's state, from which an interrupted run goes on."""
_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))


def observer(mode: Mode, detector: Any | None, given: FileDetections | None, embedder: Any | None = None) -> Observe:
    """How frames are looked at.

    Args:
        mode: ``private``: the detector alone. ``public``: the detector, with ``given`` deciding which detections may
            start a track. ``provided``: ``given`` are the detections, with the detector's embeddings where there is one.
        detector: what finds and describes people, or None.
        given: the detections of a file, or None.
        embedder: what describes the people that another detector has found, or None.
    """

    if mode == "provided" and given is not None:

        def provided(frame: int, image: np.ndarray | None) -> tuple[Detections, np.ndarray | None]:
            return _described(given.of_frame(frame), image, detector), None

        return provided
    if detector is None:
        raise ValueError(f"mode {mode} needs a detector")

    def detected(frame: int, image: np.ndarray | None) -> tuple[Detections, np.ndarray | None]:
        found = _NOTHING if image is None else _described(detector(image), image, embedder)
        return found, given.of_frame(frame).boxes if given is not None else None

    return detected


def _described(found: Detections, image: np.ndarray | None, embedder: Any | None) -> Detections:
    if embedder is None or image is None or not len(found.boxes):
        return found
    return found._replace(embeddings=embedder.embed(image, found.boxes.astype(np.float32)))


def track_source(
    source: Source,
    out: Path,
    observe: Observe,
    options: dict[str, Any],
    job: Work,
    *,
    video: bool = True,
    limit: int | None = None,
    max_unreadable: int = 100,
    camera_motion: bool = False,
) -> dict[str, Any]:
    """Track one source from its first frame to its last.

    Args:
        source: where the frames come from.
        out: folder for ``<name>.txt`` (results, written frame by frame), ``<name>.mp4`` (annotated), two figures, and
            ``details/``.
        observe: how frames are looked at, see ``observer``.
        options: of ``Tracker``.
        job: keeps the tracker's state. Where it is resumed the source goes on where it was, to the results of an
            unbroken run, and a finished source is not tracked again.
        video: write the annotated video.
        limit: stop after that many frames.
        max_unreadable: more frames that cannot be read are an error.
        camera_motion: estimate how the camera moves and let the tracks follow it.

    Returns:
        What is known of the run afterwards: the content of ``details/<name>.json``.

    Raises:
        UserError: no frames, or too many that cannot be read.
    """
    name, statistics = source.name, details(out) / f"{source.name}.json"
    if job.has(name):
        log.info("%s is finished: nothing to do", name)
        return files.read_json(statistics, "statistics of a tracked source")
    texts = ResultTexts(out, name)
    tracker = _begin(source, options, texts, job)
    begun = tracker.frame
    canvas = _Canvas(out, source, texts.results if begun else None) if video else None
    texts.open()
    camera = CameraMotion() if camera_motion else None
    seen, spent, started = 0, 0.0, time.monotonic()
    unreadable: list[int] = []
    blank = np.zeros((*source.size, 3), np.uint8)
    try:
        for read in reporting.progress(source.frames(), name, limit or source.length):
            seen += 1
            frame, image = seen + (begun if source.live else 0), read.image
            if image is not None and image.shape[:2] != tuple(source.size):
                log.warning("frame %d is %s, not %s as the first: skipped", frame, image.shape[:2], source.size)
                image = None
            if image is None:
                unreadable.append(frame)
            if len(unreadable) > max_unreadable:
                raise UserError(
                    f"{name}: more than {max_unreadable} frames cannot be read (the last is {frame}): copy the source again, "
                    "or allow more with --max_unreadable"
                )
            blank = blank if image is None else image
            shown_at = None if source.live else read.time
            if frame <= tracker.frame:
                if canvas:
                    canvas.repeat(frame, blank, shown_at)
                if camera is not None and frame == tracker.frame:
                    camera(image)
                continue
            moment = time.perf_counter()
            detections, public = observe(frame, image)
            motion = None if camera is None else camera(image, detections.boxes)
            tracks = tracker.update(detections, public, motion)
            spent += time.perf_counter() - moment
            texts.write(frame, tracks)
            if canvas:
                canvas.draw(blank, tracks, detections.centres, shown_at)
            if frame % SAVE_EVERY == 0:
                job.write(_state(name), **tracker.state_dict())
            if limit and seen >= limit:
                break
    finally:
        # Whatever ends the run: what it has done stays, the video plays, and --resume goes on.
        texts.close()
        job.write(_state(name), **tracker.state_dict())
        if canvas:
            canvas.close()
    if not seen:
        raise UserError(f"{name} has no frames: check the source")
    stats = {
        "sequence": name,
        "frames": tracker.frame,
        "image_size": list(map(int, source.size)),
        "frame_rate": source.frame_rate,
        "unreadable_frames": len(unreadable),
        "unreadable": unreadable,
        "missing_frames": _missing(source, seen, limit),
        **count_tracks(texts.results, tracker.frame),
        "seconds": round(time.monotonic() - started, 3),
        "frames_per_second_without_video": round((tracker.frame - begun) / max(spent, 1e-9), 2),
    }
    draw_tracks(texts.results, source.size, blank)
    files.write_json(stats, statistics)
    job.mark(name)
    (job.place(name) / "state.npz").unlink(missing_ok=True)
    return stats


def _missing(source: Source, seen: int, limit: int | None) -> int:
    """How many frames a source lacks that its file announces, as one that was cut does."""
    if source.live or limit or source.length is None or source.length <= seen:
        return 0
    log.warning(
        "%s ends after frame %d, its file announces %d: it is cut or damaged at its end",
        source.name,
        seen,
        source.length,
    )
    return source.length - seen


def _state(name: str) -> str:
    return f"{name}/state"


def _begin(source: Source, options: dict[str, Any], texts: ResultTexts, job: Work) -> Tracker:
    """A tracker in the state that is on disk, and the results cut to what it knows."""
    tracker = Tracker(source.size, source.frame_rate, **options)
    if job.resumed and job.has(_state(source.name)):
        tracker.load_state_dict(job.read(_state(source.name)))
    if source.live and job.resumed:  # what was seen live cannot be seen again: nothing is cut, both counts go on
        last_frame, last_id = last_written(texts.results)
        tracker.frame, tracker.next_id = max(tracker.frame, last_frame), max(tracker.next_id, last_id + 1)
    else:
        texts.cut(tracker.frame)
    return tracker


class _Canvas:
    """The annotated video of a source.

    Args:
        out: its folder.
        source: what is drawn on.
        results: of the frames before those that are tracked now, which are drawn from it.
    """

    def __init__(self, out: Path, source: Source, results: Path | None) -> None:
        self.before = RecordedTracks(*read_tracks(results)) if results is not None and not source.live else None
        self.writer = Writer(_video_path(out, source.name, source.live), source.size, source.frame_rate)
        self.annotator = Annotator()

    def repeat(self, frame: int, image: np.ndarray, time: float | None) -> None:
        """A frame that an earlier run has tracked."""
        if self.before is not None:
            self.draw(image, self.before.of_frame(frame), None, time)

    def draw(self, image: np.ndarray, tracks: Any, centres: np.ndarray | None, time: float | None) -> None:
        """The next frame, at its second of the source; None: one frame after the one before."""
        self.writer.write(self.annotator.draw(image, tracks, centres), time)

    def close(self) -> None:
        """Finish the video and give it its name."""
        self.writer.close()


def _video_path(out: Path, name: str, live: bool) -> Path:
    """The first name that is free: of a camera, what was recorded before is kept."""
    path, number = out / f"{name}.mp4", 2
    while live and path.is_file():
        path, number = out / f"{name}_{number}.mp4", number + 1
    return path
