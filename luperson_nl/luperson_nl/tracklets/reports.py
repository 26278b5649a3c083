"""What is printed of boxes, tracks and a finished store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from luperson_nl.data.store import Store
from luperson_nl.tracklets import box_files, purity
from luperson_nl.tracklets.building import Built, purity_rows, tracked
from luperson_nl.tracklets.plan import Plan
from luperson_nl.tracklets.tracker import Tracker
from shared_utils import UserError, cli, logging


def one_of(**given: str | None) -> str | None:
    """The one of several arguments that is given.

    Raises:
        UserError: more than one is.
    """
    there = [name for name, value in given.items() if value is not None]
    if len(there) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in there)
        raise UserError(f"{flags} name different boxes: give one of them")
    return given[there[0]] if there else None


def without_video(boxes: str | None, gt: str | None, tracker: Tracker) -> str:
    """Purity of tracks where there is no video: files of boxes and of true people with the same names.

    Raises:
        UserError: one of them is not given, or has no counterpart.
    """
    if boxes is None or gt is None:
        raise UserError(
            "give --data, a video or a folder of them (or, to measure tracks without a video, boxes and --gt)"
        )
    names = (
        sorted(path.name for path in Path(boxes).iterdir() if path.is_dir())
        if Path(boxes).is_dir()
        else [Path(boxes).stem]
    )
    found, several = {}, len(names) > 1
    for name in names:
        path, true = box_files.find(boxes, name, several), box_files.find(gt, name, several, "gt")
        if path is not None and true is not None:
            truth = box_files.read(true, truth=True)
            found[name] = purity.of_tracks(tracked(box_files.read(path), tracker), truth)
    if not found:
        raise UserError(f"{gt} has no true people for the boxes in {boxes}: expected NAME.txt or NAME/gt/gt.txt")
    return logging.table(purity_rows(found), "purity of the tracks")


def of_build(built: Built, plan: Plan) -> str:
    """Counts of the limits, purity, and what to type next."""
    store = built.store
    lines = [logging.table([{"of the boxes": name, "number": number} for name, number in built.filters.items()])]
    if plan.without:
        lines.append(
            f"{len(plan.without)} videos without a file of boxes were left out, the first is {plan.without[0]}"
        )
    if built.purity:
        stem = store.path / "purity"
        logging.write_table(built.purity, stem)
        lines.append(logging.table(built.purity, f"purity of the tracks, also in {stem}.csv"))
    lines.append(of_store(store))
    lines.append(f"look at it: {cli.command('build_dataset')} --inspect {store.path}")
    return "\n".join(lines)


def of_store(store: Store) -> str:
    """One paragraph of counts."""
    index = store.index
    each = np.bincount(index.label, minlength=store.num_classes)
    number = len(np.unique(index.video))
    videos = f"{number} video{'s' * (number > 1)}"
    single = int((each == 1).sum())
    lines = [
        f"{store.path}: {len(store)} crops of {store.num_classes} identities in {videos} ({store.format})",
        f"crops of an identity: {each.min()} to {each.max()}, median {np.median(each):g}",
        f"pixels: mean {_numbers(store.mean)}, std {_numbers(store.std)}",
    ]
    if single:
        lines.insert(2, f"{single} identities have one crop only: no other picture can be learnt to match them")
    return "\n".join(lines)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
