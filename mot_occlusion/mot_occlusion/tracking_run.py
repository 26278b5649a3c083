"""A run of the tracker over one or several sources: shared over processes, continued where it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mot_occlusion.data.detection_files import GivenDetections
from mot_occlusion.data.sources import num_bytes, open_source
from mot_occlusion.source_tracking import Mode, observer, track_source
from shared_utils import distributed, files, work
from shared_utils.logging import run_folder

if TYPE_CHECKING:
    from mot_occlusion.detector import Detector


@dataclass(frozen=True)
class TrackingRun:
    """What is tracked, and how.

    source: as the user gave it; sources: those that it stands for. mode: see ``observer``. options: of ``Tracker``.
    detector, given: what finds people, where the mode asks for it. frame_rate, reconnect: of ``open_source``. limit,
    max_unreadable, video: of ``track_source``.
    """

    source: str
    sources: list[str]
    mode: Mode
    options: dict[str, Any]
    detector: Detector | None = None
    given: GivenDetections | None = None
    frame_rate: float | None = None
    reconnect: int = 5
    limit: int | None = None
    max_unreadable: int = 100
    video: bool = True

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
        }
        if self.detector is not None:
            from shared_utils.checkpoint import weights_digest

            job |= {
                "weights": weights_digest(self.detector.model),
                "input_size": self.detector.input_size,
                "precision": self.detector.precision,
            }
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
        stats = track_source(
            opened,
            folder,
            observer(self.mode, self.detector, given),
            self.options,
            job,
            video=self.video,
            limit=self.limit,
            max_unreadable=self.max_unreadable,
        )
        if given is not None and not opened.live and self.limit is None:
            given.check_end(opened.name, stats["frames"])
        return stats
