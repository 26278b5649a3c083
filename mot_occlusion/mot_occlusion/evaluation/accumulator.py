"""The numbers of py-motmetrics and of the published evaluator, where they differ from the official kit's.

Both keep a correspondence for as long as it holds (not only from the frame before), count an identity as mostly tracked
from 80 % on (not above), and count fragments inside an identity's tracked span. The published evaluator (FairMOT's and
OUTrack's) moreover walks only the frames in which the tracker reported something, so that empty frames cost nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from mot_occlusion.data.mot_format import Rows
from mot_occlusion.evaluation.identity import identity, identity_scores
from mot_occlusion.evaluation.pairs import Pairs, overlapping_pairs
from mot_occlusion.evaluation.preprocess import DISTRACTORS, PEDESTRIAN, Preset, Sequence

Convention = Literal["motmetrics", "published"]


def evaluate_like(
    convention: Convention, gt: Rows, results: Rows, num_frames: int, preset: Preset = "mot17"
) -> dict[str, float]:
    """py-motmetrics' table of a sequence by its names, e.g. ``mota``, ``idf1``, ``num_switches``, ``mostly_tracked``.

    ``motp`` is a mean distance (1 - IoU). ``published`` matches distractors apart from the other ground truth and leaves
    out frames without results.
    """
    starts = gt.starts(num_frames), results.starts(num_frames)
    pairs = overlapping_pairs(gt.boxes, starts[0], results.boxes, starts[1])
    pairs = pairs.select(1 - pairs.iou <= 0.5)
    kept_gt, kept = np.ones(len(gt.frames), dtype=bool), np.ones(len(results.frames), dtype=bool)
    walked = np.union1d(gt.frames, results.frames)
    if preset != "mot15":
        known = np.isin(gt.classes, DISTRACTORS["mot17"]) | (gt.visibility < 0)
        near = pairs if convention == "motmetrics" else pairs.select(known[pairs.gt])
        matched = near.select(_by_frame(near, gt.frames))
        kept[matched.results[known[matched.gt]]] = False
        kept_gt = (gt.classes == PEDESTRIAN) & (gt.scores >= 0.99 if convention == "motmetrics" else gt.scores != 0)
    if convention == "published":
        walked = np.unique(results.frames)
        kept_gt &= np.isin(gt.frames, walked)
    pairs = pairs.select(kept_gt[pairs.gt] & kept[pairs.results])
    pairs = Pairs((np.cumsum(kept_gt) - 1)[pairs.gt], (np.cumsum(kept) - 1)[pairs.results], pairs.iou)
    gt, results = gt.select(kept_gt), results.select(kept)
    counts = _events(gt, results, pairs)
    return _summary(counts, gt, results, pairs, len(walked))


def _by_frame(pairs: Pairs, frames: np.ndarray) -> np.ndarray:
    """Positions of the pairs matched in every frame: as many as possible, then with the least total distance."""
    bounds = np.flatnonzero(np.diff(frames[pairs.gt])) + 1
    matched = [part[_most(pairs.select(part))] for part in np.split(np.arange(len(pairs.gt)), bounds) if len(part)]
    return np.concatenate(matched) if matched else np.empty(0, dtype=np.int64)


def _most(pairs: Pairs) -> np.ndarray:
    """Positions of the matching with the most pairs and, of those, the least total distance."""
    rows, i = np.unique(pairs.gt, return_inverse=True)
    columns, j = np.unique(pairs.results, return_inverse=True)
    # A pair that is not allowed costs more than all allowed ones together could save.
    cost = np.full((len(rows), len(columns)), 2.0 * (min(len(rows), len(columns)) + 1))
    cost[i, j] = 1 - pairs.iou
    matched = np.zeros(cost.shape, dtype=bool)
    matched[linear_sum_assignment(cost)] = True
    return np.flatnonzero(matched[i, j])


def _events(gt: Rows, results: Rows, pairs: Pairs) -> dict[str, Any]:
    """Count what happens frame by frame, and mark the ground-truth rows that are matched (``matched_rows``)."""
    last: dict[int, int] = {}
    owner: dict[int, int] = {}
    seen: set[int] = set()
    counts = dict.fromkeys(("num_matches", "num_switches", "num_transfer", "num_ascend", "num_migrate"), 0)
    matched_rows = np.zeros(len(gt.frames), dtype=bool)
    distance = 0.0
    bounds = np.flatnonzero(np.diff(gt.frames[pairs.gt])) + 1
    for part in np.split(np.arange(len(pairs.gt)), bounds) if len(pairs.gt) else ():
        rows, columns = pairs.gt[part], pairs.results[part]
        objects, hypotheses = gt.ids[rows].tolist(), results.ids[columns].tolist()
        taken, given = set(), set()
        for position in np.argsort(rows, kind="stable"):
            o, h = objects[position], hypotheses[position]
            if last.get(o) == h and o not in taken and h not in given:
                taken.add(o)
                given.add(h)
                seen.add(h)
                counts["num_matches"] += 1
                distance += 1 - pairs.iou[part[position]]
                matched_rows[rows[position]] = True
        left = np.array(
            [o not in taken and h not in given for o, h in zip(objects, hypotheses, strict=True)], dtype=bool
        )
        for position in np.flatnonzero(left)[_most(pairs.select(part[left]))] if left.any() else ():
            o, h = objects[position], hypotheses[position]
            switch = o in last and last[o] != h
            counts["num_switches" if switch else "num_matches"] += 1
            counts["num_ascend"] += switch and h not in seen
            if owner.get(h, o) != o:
                counts["num_transfer"] += 1
                counts["num_migrate"] += o not in last
            last[o], owner[h] = h, o
            seen.add(h)
            distance += 1 - pairs.iou[part[position]]
            matched_rows[rows[position]] = True
    return counts | {"distance": distance, "matched_rows": matched_rows}


def _summary(counts: dict, gt: Rows, results: Rows, pairs: Pairs, num_frames: int) -> dict[str, float]:
    matched = counts.pop("matched_rows")
    distance = counts.pop("distance")
    detections = counts["num_matches"] + counts["num_switches"]
    objects, predictions = len(gt.frames), len(results.frames)
    owners = np.unique(gt.ids, return_inverse=True)[1]
    num_ids = int(owners.max(initial=-1)) + 1
    ratio = np.bincount(owners, matched, minlength=num_ids) / np.maximum(1, np.bincount(owners, minlength=num_ids))
    # Rows of an identity in order of the frames; a fragment begins where a match is followed by a miss and later by a match.
    order = np.lexsort((gt.frames, owners))
    hit, owner = matched[order], owners[order]
    lost = hit[:-1] & ~hit[1:] & (owner[:-1] == owner[1:])
    last_hit = np.full(num_ids, -1)
    np.maximum.at(last_hit, owner[hit], np.flatnonzero(hit))
    fragments = int((lost & (np.arange(len(lost)) < last_hit[owner[:-1]])).sum()) if objects else 0
    sequence = Sequence(
        gt.frames - 1, owners, results.frames - 1, np.unique(results.ids, return_inverse=True)[1], pairs, num_frames
    )
    trajectories = identity(sequence)
    found = identity_scores(trajectories)
    misses, false = objects - detections, predictions - detections
    return {
        "num_frames": num_frames,
        "idf1": found["IDF1"],
        "idp": found["IDP"],
        "idr": found["IDR"],
        "recall": detections / max(1, objects),
        "precision": detections / max(1, predictions),
        "num_unique_objects": num_ids,
        "mostly_tracked": int((ratio >= 0.8).sum()),
        "partially_tracked": int(((ratio >= 0.2) & (ratio < 0.8)).sum()),
        "mostly_lost": int((ratio < 0.2).sum()),
        "num_false_positives": false,
        "num_misses": misses,
        "num_fragmentations": fragments,
        "mota": 1 - (misses + false + counts["num_switches"]) / max(1, objects),
        "motp": distance / max(1, detections),
        "idtp": trajectories["IDTP"],
        "idfp": trajectories["IDFP"],
        "idfn": trajectories["IDFN"],
        "num_objects": objects,
        "num_predictions": predictions,
        "num_detections": detections,
    } | counts
