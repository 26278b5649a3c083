"""From videos and boxes to a store of crops with noisy identities, a video at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from luperson_nl.data.store import Crop, Store, create, open_store
from luperson_nl.data.store.writing import Format, StoreWriter
from luperson_nl.tracklets import box_files, purity
from luperson_nl.tracklets.boxes import Boxes
from luperson_nl.tracklets.crops import crops
from luperson_nl.tracklets.filters import Filters
from luperson_nl.tracklets.plan import Plan, Task
from luperson_nl.tracklets.purity import Purity
from luperson_nl.tracklets.tracker import Tracker
from luperson_nl.tracklets.videos import Frames
from shared_utils import UserError, distributed
from shared_utils.logging import progress

log = logging.getLogger(__name__)
_PURITY = "purity "  # before the names of its counts in the report of a part


@dataclass(frozen=True)
class Built:
    """A finished store. filters: boxes that came in, that each limit dropped, and that were kept. purity: rows of the
    report, by video and over all, where true people are known."""

    store: Store
    filters: dict[str, int]
    purity: list[dict]


def build(
    out: str | Path,
    plan: Plan,
    filters: Filters,
    tracker: Tracker,
    format: Format = "lmdb",
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Built:
    """Track where the boxes have no tracks, choose, cut and store.

    Args:
        out: folder of the store.
        plan: the videos and their boxes.
        filters: which boxes become crops.
        tracker: joins boxes without tracks.
        format: of the store.
        resume: continue the same build.
        overwrite: begin again.

    Raises:
        UserError: boxes don't fit their video, or nothing is left to store.
    """
    _check_first(plan)
    names = [task.video.name for task in plan.tasks]
    job = {"filters": filters.plain(), "tracker": asdict(tracker), "source": plan.digest()}
    with create(out, format, job, names, resume=resume, overwrite=overwrite) as writer:
        if writer.finished:
            return Built(open_store(out), *_reports(writer))
        by_name = {name: (number, task) for number, (name, task) in enumerate(zip(names, plan.tasks, strict=True))}
        for name in progress(writer.missing(), "cutting crops"):
            _add(writer, *by_name[name], filters, tracker, alone=len(names) == 1)
        distributed.barrier()
        counts, rows = _reports(writer)
        if not counts.get("kept"):
            raise UserError(_nothing_left(out, counts))
        return Built(writer.finish(), counts, rows)


def _check_first(plan: Plan) -> None:
    """Refuse boxes of another size before anything is written; those of later videos are checked when it is their turn."""
    task = plan.tasks[0]
    try:
        size = Frames.open(task.video).size
    except UserError:
        if len(plan.tasks) == 1:
            raise
        return
    _read(task, size)


def _read(task: Task, size: tuple[int, int]) -> tuple[Boxes, Boxes | None]:
    """The boxes and the true people of a video, in its pixels."""
    boxes = box_files.fitted(box_files.read(task.boxes), task.boxes, size, task.made_at)
    if task.truth is None:
        return boxes, None
    return boxes, box_files.fitted(box_files.read(task.truth, truth=True), task.truth, size, task.made_at)


def _add(writer: StoreWriter, number: int, task: Task, filters: Filters, tracker: Tracker, alone: bool) -> None:
    counts: dict[str, Any] = {}
    try:
        frames = Frames.open(task.video)
    except UserError as error:
        if alone:
            raise
        log.warning("%s: skipped", error)
        writer.add(task.video.name, [], {"unreadable videos": 1})
        return
    boxes, truth = _read(task, frames.size)
    if not len(boxes):
        log.warning("%s has no boxes: %s gives no crops", task.boxes, task.video.name)
        counts["videos without boxes"] = 1
    boxes = tracked(boxes, tracker)
    person = None
    if truth is not None:
        counts |= {_PURITY + name: value for name, value in asdict(purity.of_tracks(boxes, truth)).items()}
        person = purity.people(boxes, truth)
    rows, dropped = filters.select(boxes, frames.size)
    counts |= dropped
    made = crops(frames, boxes[rows], None if person is None else person[rows], number, counts)
    counts["size"] = frames.size
    counts["kept"] = 0  # in the end, what was really cut
    writer.add(task.video.name, _counted(made, counts), counts)


def _counted(made: Iterator[Crop], counts: dict[str, Any]) -> Iterator[Crop]:
    for crop in made:
        counts["kept"] += 1
        yield crop


def tracked(boxes: Boxes, tracker: Tracker) -> Boxes:
    """Boxes with tracks: their own where any has one."""
    return boxes if boxes.tracked or not len(boxes) else boxes.with_tracks(tracker.track(boxes))


def _reports(writer: StoreWriter) -> tuple[dict[str, int], list[dict]]:
    total: dict[str, int] = {}
    found: dict[str, Purity] = {}
    for name, counts in writer.reports().items():
        for key, number in counts.items():
            if not key.startswith(_PURITY) and key != "size":
                total[key] = total.get(key, 0) + int(number)
        if f"{_PURITY}boxes" in counts:
            found[name] = _purity(counts)
    return total, purity_rows(found)


def _purity(counts: Mapping[str, Any]) -> Purity:
    return Purity(**{each.name: int(counts[_PURITY + each.name]) for each in fields(Purity)})


def purity_rows(found: Mapping[str, Purity]) -> list[dict]:
    """A row for every video, and one over all where they are several."""
    rows = [each.row(name) for name, each in found.items()]
    if len(found) > 1:
        rows.append(sum(found.values(), Purity()).row("all"))
    return rows


def _nothing_left(out: str | Path, counts: Mapping[str, int]) -> str:
    boxes = counts.get("boxes", 0)
    if not boxes:
        return f"{out}: the files of boxes are empty: check the output of the detector or tracker"
    why = {name: number for name, number in counts.items() if number and name not in ("boxes", "kept")}
    most = max(why, key=lambda name: why[name])
    listed = ", ".join(f"{name} {number}" for name, number in why.items())
    fixes = {
        "short track": "--min-frames", "height": "--min-height", "confidence": "--confidence", "shape": "--keep-all",
        "overlap": "--max-overlap", "partly outside the frame": "--inside",
    }  # fmt: skip
    return (
        f"{out}: no crop is left of {boxes} boxes (dropped: {listed}): relax {fixes.get(most, 'what dropped most')} and "
        "begin again with --overwrite"
    )
