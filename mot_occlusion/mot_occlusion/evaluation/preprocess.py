"""What is evaluated of a sequence: the official preprocessing of MOTChallenge, and the pairs that overlap."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mot_occlusion.data.mot_format import Rows
from mot_occlusion.evaluation.pairs import EPS, Pairs, heaviest_matching, overlapping_pairs
from shared_utils import UserError

Preset = Literal["mot15", "mot16", "mot17", "mot20"]
PEDESTRIAN = 1
# Person on a vehicle, static person, distractor, reflection; MOT20 adds the non-motorised vehicle.
DISTRACTORS = {"mot16": (2, 7, 8, 12), "mot17": (2, 7, 8, 12), "mot20": (2, 6, 7, 8, 12)}


class Sequence(NamedTuple):
    """Ground truth and results of a sequence as the metrics take them.

    gt_frames, gt_ids (N,); frames, ids (M,): frames from 0, ids from 0 without gaps, rows in order of the frames.
    pairs: rows of the same frame that overlap. num_frames: all frames of the sequence.
    """

    gt_frames: np.ndarray
    gt_ids: np.ndarray
    frames: np.ndarray
    ids: np.ndarray
    pairs: Pairs
    num_frames: int

    @property
    def gt_counts(self) -> np.ndarray:
        """Boxes of every ground-truth identity."""
        return np.bincount(self.gt_ids)

    @property
    def counts(self) -> np.ndarray:
        """Boxes of every identity of the results."""
        return np.bincount(self.ids)


def preset_of(name: str, gt: Rows) -> Preset:
    """The benchmark that a sequence belongs to, by its name, else by whether its ground truth has classes."""
    for preset in ("mot15", "mot16", "mot17", "mot20"):
        if name.upper().startswith(preset.upper()):
            return preset
    return "mot17" if (gt.classes != 1).any() or (gt.visibility != 1).any() else "mot15"


def prepare(gt: Rows, results: Rows, num_frames: int, preset: Preset = "mot17", name: str = "results") -> Sequence:
    """The sequence to evaluate, after the official preprocessing.

    MOT16, 17 and 20: results that are matched (IoU at least 0.5, Hungarian over all ground truth) to a distractor class
    are taken out, then ground truth of class 1 with flag 1 is kept. MOT15: only the flag counts.
    Frames without results count as misses. Raises UserError where a row lies outside of the ``num_frames`` frames.
    """
    for what, rows in (("ground truth", gt), ("results", results)):
        if len(rows.frames) and rows.frames[-1] > num_frames:
            raise UserError(
                f"{name}: {what} has frame {rows.frames[-1]}, but the sequence has {num_frames}: "
                "the lengths disagree; check seqinfo.ini and that the files belong together"
            )
    pairs = overlapping_pairs(gt.boxes, gt.starts(num_frames), results.boxes, results.starts(num_frames))
    kept_gt, kept = gt.scores != 0, np.ones(len(results.frames), dtype=bool)
    if preset != "mot15":
        near = pairs.select(pairs.iou >= 0.5 - EPS)
        matched = near.select(heaviest_matching(near.gt, near.results, near.iou, gt.frames[near.gt]))
        kept[matched.results[np.isin(gt.classes[matched.gt], DISTRACTORS[preset])]] = False
        kept_gt &= gt.classes == PEDESTRIAN
    pairs = pairs.select(kept_gt[pairs.gt] & kept[pairs.results])
    # Row numbers among those that are kept.
    pairs = Pairs((np.cumsum(kept_gt) - 1)[pairs.gt], (np.cumsum(kept) - 1)[pairs.results], pairs.iou)
    return Sequence(
        gt.frames[kept_gt] - 1,
        np.unique(gt.ids[kept_gt], return_inverse=True)[1],
        results.frames[kept] - 1,
        np.unique(results.ids[kept], return_inverse=True)[1],
        pairs,
        num_frames,
    )
