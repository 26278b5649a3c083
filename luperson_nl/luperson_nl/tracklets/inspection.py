"""Looking at a finished store: counts, who is mixed up where that is known, and contact sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from luperson_nl.data.store import Store, open_store, parts
from luperson_nl.tracklets import box_files, boxes, purity, reports, sheets
from shared_utils import UserError, files, logging

IDENTITIES, CROPS = 48, 12  # on the sheets: so many identities, with so many crops each


def inspect(path: str, out: str | None, gt: str | None, det_size: str | None, overwrite: bool) -> str:
    """Write contact sheets and tables of a store; what to print.

    Args:
        path: the store.
        out: where to; ``inspection`` in the store where None.
        gt: true people, a file or a folder; those that the store knows where None.
        det_size: WIDTHxHEIGHT of the pictures that they were marked on, where it is not the video's.
        overwrite: replace what is in ``out``.

    Raises:
        UserError: the store has no boxes to find people by.
    """
    store = open_store(path)
    folder = Path(out) if out is not None else store.path / "inspection"
    files.refuse_existing(folder, overwrite)
    person = store.index.true if gt is None else _people(store, gt, det_size)
    counts = np.bincount(store.index.label, minlength=store.num_classes)
    lines = [reports.of_store(store), logging.table(_histogram(counts), "identities by their number of crops")]
    if person is not None:
        row = purity.of_labels(store.index.label, np.asarray(person)).row("crops")
        logging.write_table([row], folder / "purity")
        lines.append(logging.table([row], "purity of the crops"))
    for old in folder.glob("sheet_*.jpg"):
        old.unlink()
    written = sheets.write(_rows(store, person), folder, str(store.path.name))
    lines.append(f"wrote {len(written)} contact sheets, {written[0]} is the first")
    return "\n".join(lines)


def _histogram(counts: np.ndarray) -> list[dict]:
    """Identities with 1, 2-3, 4-7, ... crops."""
    bins = np.floor(np.log2(np.maximum(counts, 1))).astype(int)
    rows = []
    for each, number in enumerate(np.bincount(bins).tolist()):
        low, high = 2**each, 2 ** (each + 1) - 1
        rows.append({"crops": str(low) if low == high else f"{low}-{high}", "identities": number})
    return rows


def _people(store: Store, gt: str, det_size: str | None) -> np.ndarray:
    """(n,) int64: the true person of every crop by its box; those of different videos are different people."""
    index = store.index
    if index.box is None:
        raise UserError(f"{store.path} does not know the boxes of its crops: build it from its videos with --gt")
    names = index.summary["videos"]
    found = np.full(len(store), -1, np.int64)
    size = box_files.parse_size(det_size)
    for video in np.unique(index.video).tolist():
        path = box_files.find(gt, names[video], len(names) > 1, "gt")
        if path is None:
            continue
        rows = np.flatnonzero(index.video == video)
        crops = boxes.make(
            index.frame[rows], index.box[rows], np.ones(len(rows)), index.label[rows], np.arange(len(rows))
        )
        truth = box_files.read(path, truth=True)
        if size is not None:
            width, height = _size(store, names[video])
            truth = truth.scaled(width / size[0], height / size[1])
        person = purity.people(crops, truth)
        found[rows[crops.number]] = np.where(person >= 0, (video << 32) | person, -1)
    return found


def _size(store: Store, video: str) -> tuple[int, int]:
    part = parts.read(store.path, video)
    if part is None:
        raise UserError(
            f"{store.path / 'parts' / video}.npz is missing or damaged: it has the size of the video; build it again"
        )
    return tuple(json.loads(str(part["report"]))["size"])


def _rows(store: Store, person: np.ndarray | None) -> list[sheets.Row]:
    """Identities evenly spread over the store, each with evenly spread crops in the order of their frames."""
    index = store.index
    chosen = np.unique(np.linspace(0, store.num_classes - 1, min(store.num_classes, IDENTITIES)).astype(int))
    order = np.argsort(index.label, kind="stable")
    starts = np.searchsorted(index.label[order], np.stack([chosen, chosen + 1]))
    names = index.summary["videos"]
    rows = []
    for label, start, stop in zip(chosen.tolist(), *starts.tolist(), strict=True):
        members = order[start:stop]
        members = members[np.argsort(index.frame[members], kind="stable")]
        shown = members[np.unique(np.linspace(0, len(members) - 1, min(len(members), CROPS)).astype(int))]
        frames = index.frame[members]
        video = int(index.video[members[0]])
        text = [
            f"identity {label}",
            (names[video] if video < len(names) else f"video {video}")[-24:],
            f"frames {frames[0]} to {frames[-1]}",
            f"{len(members)} crops",
        ]
        right = None
        if person is not None:
            known = person[members][person[members] >= 0]
            main = np.bincount(np.unique(known, return_inverse=True)[1]).argmax() if len(known) else 0
            main = np.unique(known)[main] if len(known) else -2
            right = (person[shown] == main).tolist()
            text.append(f"{(person[members] == main).mean():.0%} one person")
        rows.append(sheets.Row([store.image(int(i)) for i in shown], text, right))
    return rows
