"""A run of the tracker over one or several sources: shared over processes, continued where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_occlusion.data.detection_files import GivenDetections
from mot_occlusion.data.sources import num_bytes, open_source
from mot_occlusion.source_tracking import Mode, observer, track_source
from mot_occlusion.tracking import Tracker
from shared_utils import UserError, distributed, files, work
from shared_utils.logging import run_folder

if TYPE_CHECKING:
    from mot_occlusion.detector import Detector
    from mot_occlusion.torchvision_detector import TorchvisionDetector


@dataclass(frozen=True)
class TrackingRun:
    """What is tracked, and how.

    source: as the user gave it; sources: those that it stands for. mode: see ``observer``. options: of ``Tracker``.
    detector, given: what finds people, where the mode asks for it; embedder: what describes them, where that is another
    network. frame_rate, reconnect: of ``open_source``. camera_motion, limit, max_unreadable, video: of ``track_source``.

    Raises:
        UserError: a count out of its range.
    """

    source: str
    sources: list[str]
    mode: Mode
    options: dict[str, Any]
    detector: Detector | TorchvisionDetector | None = None
    embedder: Detector | None = None
    given: GivenDetections | None = None
    frame_rate: float | None = None
    reconnect: int = 5
    limit: int | None = None
    max_unreadable: int = 100
    video: bool = True
    camera_motion: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("limit", self.limit, 1),
            ("reconnect", self.reconnect, 0),
            ("max_unreadable", self.max_unreadable, 0),
        ):
            if value is not None and value < least:
                raise UserError(f"--{name} {value}: give {least} or more")
        Tracker((1, 1), **self.options)  # refuses options that mean nothing, before anything is read

    def describe(self) -> dict[str, Any]:
        """Everything that the results depend on."""
        job = {
            "source": self.source,
            "bytes": num_bytes(self.source),
            "mode": self.mode,
            **self.options,
            "detections": self.given.digest() if self.given else None,
            "frame_rate": self.frame_rate,
            "limit": self.limit,
            "camera_motion": self.camera_motion,
        }
        for name, model in (("", self.detector), ("embedder_", self.embedder)):
            if model is not None:
                job |= {name + key: value for key, value in model.describe().items()}
        return job

    def start(self, out: str | None, resume: bool, overwrite: bool) -> tuple[Path, list[dict[str, Any]]]:
        """Track all sources, each process its share.

        Args:
            out: the folder of the results; a new ``runs/track/version_N`` where None.
            resume: continue an earlier run of the same description.
            overwrite: replace it.

        Returns:
            The folder, and the statistics of the sources on the first process (none on the others).

        Raises:
            UserError: a source cannot be read, or ``out`` holds something else (see ``shared_utils.work``).
        """
        with distributed.process_group():
            made = str(out or (run_folder("track") if distributed.rank() == 0 else ""))
            folder = Path(distributed.broadcast(made))
            with work.begin(folder, self.describe(), resume=resume, overwrite=overwrite) as job:
                rows = [self._track(source, folder, job) for source in distributed.share(self.sources)]
                rows = sorted(
                    (row for part in distributed.gather_objects(rows) for row in part), key=lambda row: row["sequence"]
                )
                if distributed.rank() > 0:
                    return folder, []
                content = {"source": self.source, "mode": self.mode, "options": self.options, "sequences": rows}
                files.write_json(content, folder / "stats.json")
                job.complete()
        return folder, rows

    def _track(self, source: str, folder: Path, job: work.Work) -> dict[str, Any]:
        opened = open_source(source, self.frame_rate, self.reconnect)
        given = self.given and self.given.of(source, opened.size, opened.length)
        if given is not None and self.mode == "provided":
            given.check_scores(self.options["conf_threshold"])
        stats = track_source(
            opened,
            folder,
            observer(self.mode, self.detector, given, self.embedder),
            self.options,
            job,
            video=self.video,
            limit=self.limit,
            max_unreadable=self.max_unreadable,
            camera_motion=self.camera_motion,
        )
        if given is not None and not opened.live and self.limit is None:
            given.check_end(opened.name, stats["frames"])
        return stats
