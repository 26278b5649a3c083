"""What the commands do: track sources frame by frame without losing anything, and read what was written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.drawing import Annotator
from mot_occlusion.io import mot_format
from mot_occlusion.io.mot_format import Rows
from mot_occlusion.io.video import Source, VideoWriter
from mot_occlusion.tracking import LOST, Tracker, Tracks
from shared_utils import UserError, checkpoint
from shared_utils import logging as reporting

log = logging.getLogger(__name__)

Mode = Literal["private", "public", "provided"]
Observe = Callable[[int, np.ndarray | None], tuple[Detections, np.ndarray | None]]
"""What is seen in frame number f (its image may be missing): detections, and public ones under the public protocol."""

SAVE_EVERY = 50
"""Frames between two savings of the tracker's state, from which an interrupted run goes on."""
_NOTHING = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))


class FileDetections:
    """The detections of a file, by frame; x1, y1, x2, y2 in pixels of the video.

    size: (height, width) of the video; made_at: (width, height) for which the file was made, if another.
    Raises UserError where the boxes cannot belong to the video.
    """

    def __init__(
        self, path: str | Path, size: tuple[int, int], length: int | None, made_at: tuple[int, int] | None = None
    ) -> None:
        rows = mot_format.read_detections(path)
        height, width = size
        boxes = rows.xyxy()
        if made_at is not None:
            boxes = boxes * np.tile([width / made_at[0], height / made_at[1]], 2)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        outside = ((centres < 0) | (centres > [width, height])).any(1)
        if len(rows.frames) and outside.mean() > 1 / 3:
            raise UserError(
                f"{path}: {outside.sum()} of {len(outside)} boxes lie outside of the {width} x {height} video: if they were "
                "made at another resolution, give it, as in --detections_size 1920x1080"
            )
        if length is not None and len(rows.frames) and rows.frames[-1] > length:
            raise UserError(
                f"{path} has frame {rows.frames[-1]}, but the source has {length} frames: the lengths disagree; "
                "check that the files belong together"
            )
        self.path, self.last = path, int(rows.frames[-1]) if len(rows.frames) else 0
        self.boxes, self.scores = boxes, rows.scores
        self._starts = rows.starts(self.last)

    def check_end(self, name: str, frames: int) -> None:
        """Raise UserError if the file goes on after the source, whose length may be known only now."""
        if self.last > frames:
            raise UserError(
                f"{self.path} has frame {self.last}, but {name} ended after {frames}: the lengths disagree; the results are "
                "kept, check that the files belong together"
            )

    def of_frame(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) and scores (n,) of a frame, the surest first; none where the file has none."""
        if frame >= len(self._starts):
            return self.boxes[:0], self.scores[:0]
        part = slice(self._starts[frame - 1], self._starts[frame])
        order = np.argsort(-self.scores[part], kind="stable")
        return self.boxes[part][order], self.scores[part][order]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``"768x576"`` -> (768, 576)."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise UserError(f"a size is WIDTHxHEIGHT, as in 768x576, got {text}")
    return int(width), int(height)


def list_sources(source: str) -> list[str]:
    """One source, or the sequences of a folder of them."""
    folder = Path(source)
    if not folder.is_dir() or (folder / "seqinfo.ini").is_file() or (folder / "img1").is_dir():
        return [source]
    try:
        return [str(path) for path in mot_format.find_sequences(folder)]
    except UserError:
        return [source]  # a folder of images


def detection_file(given: str | None, source: str) -> Path:
    """The file of detections of a source. Raises UserError where there is none."""
    folder = Path(source)
    name = folder.name if folder.is_dir() else folder.stem
    path = Path(given.replace("{sequence}", name)) if given else folder / "det" / "det.txt"
    if not path.is_file():
        raise UserError(f"{path} not found: give --detections, a file of lines frame,-1,x,y,w,h,score")
    return path


def observer(mode: Mode, detector: Any | None, given: FileDetections | None) -> Observe:
    """How frames are looked at.

    private: the detector alone. public: the detector, with ``given`` deciding which detections may start a track.
    provided: ``given`` are the detections, with the detector's embeddings where there is one.
    """

    def observe(frame: int, image: np.ndarray | None) -> tuple[Detections, np.ndarray | None]:
        if mode == "provided":
            boxes, scores = given.of_frame(frame)
            embeddings = None
            if detector is not None and image is not None and len(boxes):
                embeddings = detector.embed(image, boxes.astype(np.float32))
            return Detections(boxes, scores, embeddings), None
        found = _NOTHING if image is None else detector(image)
        return found, given.of_frame(frame)[0] if mode == "public" else None

    return observe


class _Texts:
    """The results of a source while they are written: a line is on its way to the disk when its frame is done."""

    def __init__(self, out: Path, name: str) -> None:
        self.results, self.recovered = out / f"{name}.txt", details(out) / f"{name}.recovered.txt"
        self._open: list[TextIO] = []

    def cut(self, frame: int) -> None:
        """Leave out what comes after ``frame``."""
        for path in (self.results, self.recovered):
            if path.is_file():
                kept = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
                with checkpoint.replacing(path) as temporary:
                    temporary.write_text("".join(line for line in kept if int(line.split(",")[0]) <= frame))

    def open(self) -> None:
        for path in (self.results, self.recovered):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open.append(path.open("a"))

    def write(self, frame: int, tracks: Tracks) -> None:
        results, recovered = self._open
        sizes = tracks.boxes[:, 2:] - tracks.boxes[:, :2]
        for identity, (x, y), (w, h), score in zip(tracks.ids, tracks.boxes[:, :2], sizes, tracks.scores, strict=True):
            results.write(mot_format.result_line(frame, identity, (x, y, w, h), score))
        recovered.writelines(f"{frame},{identity}\n" for identity in tracks.ids[tracks.states == LOST])
        results.flush()
        recovered.flush()

    def close(self) -> None:
        for stream in self._open:
            stream.close()


def details(out: Path) -> Path:
    """Where a run keeps what is not a result: recovered boxes, states to go on from, numbers of every sequence."""
    return out / "details"


def read_tracks(path: str | Path) -> tuple[Rows, np.ndarray]:
    """Results and which rows (N,) were recovered while hidden (none where the run did not keep that)."""
    path = Path(path)
    rows = mot_format.read_results(path)
    beside = details(path.parent) / f"{path.stem}.recovered.txt"
    recovered = np.zeros(len(rows.frames), dtype=bool)
    if beside.is_file() and beside.stat().st_size:
        pairs = np.loadtxt(beside, delimiter=",", dtype=np.int64, ndmin=2)
        width = int(max(rows.ids.max(initial=0), pairs[:, 1].max())) + 1
        recovered = np.isin(rows.frames * width + rows.ids, pairs[:, 0] * width + pairs[:, 1])
    return rows, recovered


def track_source(
    source: Source,
    out: Path,
    observe: Observe,
    options: dict[str, Any],
    *,
    video: bool = True,
    resume: bool = False,
    limit: int | None = None,
    max_unreadable: int = 100,
    job: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Track one source from its first frame to its last; what is known of the run afterwards.

    out: folder for ``<name>.txt`` (results, written frame by frame), ``<name>.mp4`` (annotated), two figures, and
        ``details/``. resume: go on where an interrupted run was; with the same options the results are those of an
        unbroken run. limit: stop after that many frames. max_unreadable: more frames that cannot be read are an error.
    job: kept beside the state, so that a run only goes on with the options it was begun with.
    """
    name = source.name
    texts, state_file, done_file = _Texts(out, name), details(out) / f"{name}.npz", details(out) / f"{name}.json"
    job = {"options": options, "limit": limit} | (job or {})
    if not resume and texts.results.is_file():
        raise UserError(f"{texts.results} exists: give --resume to go on with it, or another --out")
    if resume and done_file.is_file():
        log.info("%s is finished: nothing to do", name)
        return read_json(done_file)
    tracker = Tracker(source.size, source.frame_rate, **options)
    if resume:
        _restore(tracker, state_file, job)
        if source.live:  # what was seen live cannot be seen again: nothing is cut, both counts go on
            last_frame, last_id = _last(texts.results)
            tracker.frame, tracker.next_id = max(tracker.frame, last_frame), max(tracker.next_id, last_id + 1)
        else:
            texts.cut(tracker.frame)
    begun = tracker.frame
    before = _Replay(*read_tracks(texts.results)) if begun and video and not source.live else None
    texts.open()
    writer = VideoWriter(_video_path(out, name, source.live), source.size, source.frame_rate) if video else None
    annotator, unreadable, seen, spent = Annotator(), 0, 0, 0.0
    started = time.monotonic()
    blank = np.zeros((*source.size, 3), np.uint8)
    try:
        for image in reporting.progress(source.frames(), name, limit or source.length):
            seen += 1
            frame = seen + (begun if source.live else 0)
            if image is not None and image.shape[:2] != tuple(source.size):
                log.warning("frame %d is %s, not %s as the first: passed over", frame, image.shape[:2], source.size)
                image = None
            unreadable += image is None
            if unreadable > max_unreadable:
                raise UserError(
                    f"{name}: more than {max_unreadable} frames cannot be read (the last is {frame}): copy the source again, "
                    "or allow more with --max_unreadable"
                )
            blank = blank if image is None else image
            if frame <= tracker.frame:
                if writer:
                    writer.write(annotator.draw(blank, before.of_frame(frame)))
                continue
            moment = time.perf_counter()
            detections, public = observe(frame, image)
            tracks = tracker.update(detections, public)
            spent += time.perf_counter() - moment
            texts.write(frame, tracks)
            if writer:
                writer.write(annotator.draw(blank, tracks, detections.centres))
            if frame % SAVE_EVERY == 0:
                _keep(tracker, state_file, job)
            if limit and seen >= limit:
                break
    finally:
        # Whatever ends the run: what it has done stays, the video plays, and --resume goes on.
        texts.close()
        _keep(tracker, state_file, job)
        if writer:
            writer.close()
    if not seen:
        raise UserError(f"{name} has no frames: check the source")
    stats = _statistics(texts.results, tracker, source, unreadable, time.monotonic() - started, spent, begun)
    _figures(out, name, source, texts.results, blank)
    checkpoint.write_json(stats, done_file)
    state_file.unlink(missing_ok=True)
    return stats


class _Replay:
    """Tracks read back from results, frame by frame."""

    def __init__(self, rows: Rows, recovered: np.ndarray) -> None:
        self.rows, self.states = rows, np.where(recovered, LOST, 1)
        self._starts = rows.starts(int(rows.frames[-1]) if len(rows.frames) else 0)

    def of_frame(self, frame: int) -> Tracks:
        part = slice(0, 0)
        if frame < len(self._starts):
            part = slice(self._starts[frame - 1], self._starts[frame])
        return Tracks(self.rows.ids[part], self.rows.xyxy()[part], self.rows.scores[part], self.states[part])


def _last(results: Path) -> tuple[int, int]:
    """The last frame and the highest identity that were written; 0, 0 where nothing was."""
    rows = mot_format.read_results(results) if results.is_file() else None
    return (int(rows.frames[-1]), int(rows.ids.max())) if rows is not None and len(rows.frames) else (0, 0)


def _video_path(out: Path, name: str, live: bool) -> Path:
    """The first name that is free: of a camera, what was recorded before is kept."""
    path, number = out / f"{name}.mp4", 2
    while live and path.is_file():
        path, number = out / f"{name}_{number}.mp4", number + 1
    return path


def _keep(tracker: Tracker, path: Path, job: dict[str, Any]) -> None:
    with checkpoint.replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, job=np.array(_as_json(job)), **tracker.state_dict())


def _restore(tracker: Tracker, path: Path, job: dict[str, Any]) -> None:
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as archive:
            state = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it to begin again") from None
    if str(state.pop("job")) != _as_json(job):
        raise UserError(f"{path} was begun with other options: go on with the same ones, or give another --out")
    tracker.load_state_dict(state)


def _as_json(job: dict[str, Any]) -> str:
    import json

    return json.dumps(job, sort_keys=True, default=str)


def read_json(path: Path) -> dict[str, Any]:
    import json

    return json.loads(path.read_text())


def _statistics(
    results: Path, tracker: Tracker, source: Source, unreadable: int, seconds: float, spent: float, begun: int
) -> dict[str, Any]:
    rows, recovered = read_tracks(results)
    lengths = np.unique(rows.ids, return_counts=True)[1]
    frames = tracker.frame
    return {
        "sequence": source.name,
        "frames": frames,
        "image_size": list(map(int, source.size)),
        "frame_rate": source.frame_rate,
        "unreadable_frames": int(unreadable),
        "identities": len(lengths),
        "boxes": len(rows.frames),
        "recovered_boxes": int(recovered.sum()),
        "people_per_frame": len(rows.frames) / max(1, frames),
        "median_track_length": float(np.median(lengths)) if len(lengths) else 0.0,
        "seconds": round(seconds, 3),
        "frames_per_second_without_video": round((frames - begun) / max(spent, 1e-9), 2),
    }


def _figures(out: Path, name: str, source: Source, results: Path, image: np.ndarray) -> None:
    from mot_occlusion import figures

    rows, recovered = read_tracks(results)
    if len(rows.frames):
        title = f"{name}: {len(np.unique(rows.ids))} identities"
        figures.trajectories(
            out / f"{name}_trajectories.png", rows.frames, rows.ids, rows.boxes, recovered, source.size, image, title
        )
        figures.timeline(out / f"{name}_timeline.png", rows.frames, rows.ids, recovered, title)
