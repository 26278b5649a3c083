"""CLEAR MOT (Bernardin and Stiefelhagen 2008) as the official kit computes it: MOTA, MOTP, IDSW, MT, ML, Frag."""

from __future__ import annotations

import math

import numpy as np

from mot_occlusion.evaluation.pairs import EPS, Pairs, solve
from mot_occlusion.evaluation.preprocess import Sequence

COUNTS = ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "MOTP_sum", "CLR_Frames")


def clear(sequence: Sequence, threshold: float = 0.5) -> dict[str, float]:
    """The counts of a sequence; ``clear_scores`` makes scores of them.

    In every frame the pairs with IoU of at least ``threshold`` are matched so that as many pairs as possible of the
    frame before stay, then with the largest total IoU.
    """
    num_gt, num_results = len(sequence.gt_ids), len(sequence.ids)
    counts = dict.fromkeys(COUNTS, 0.0)
    num_ids = len(sequence.gt_counts)
    if not (num_gt and num_results):
        return counts | {"CLR_FN": float(num_gt), "CLR_FP": float(num_results), "ML": float(num_ids)}
    pairs = sequence.pairs.select(sequence.pairs.iou >= threshold - EPS)
    # Frames in which one side is empty are skipped: "the frame before" is the last with both.
    both = np.zeros(sequence.num_frames, dtype=bool)
    both[sequence.gt_frames] = True
    has_results = np.zeros_like(both)
    has_results[sequence.frames] = True
    step = np.cumsum(both & has_results)[sequence.gt_frames]
    chosen = _matching(sequence, pairs, step)
    rows = pairs.gt[chosen]
    identities = sequence.ids[pairs.results[chosen]]

    order = np.lexsort((step[rows], sequence.gt_ids[rows]))
    rows, identities = rows[order], identities[order]
    owner = sequence.gt_ids[rows]
    same_owner = np.diff(owner) == 0
    switches = same_owner & (np.diff(identities) != 0)
    interrupted = same_owner & (np.diff(step[rows]) > 1)
    # An identity that is tracked for all but a fraction: counts are whole, so the ratio is exact enough to compare.
    ratio = np.bincount(owner, minlength=num_ids) / sequence.gt_counts
    tracked, partly = int((ratio > 0.8).sum()), int((ratio >= 0.2).sum())
    true_positives = len(rows)
    return counts | {
        "CLR_TP": float(true_positives),
        "CLR_FN": float(num_gt - true_positives),
        "CLR_FP": float(num_results - true_positives),
        "IDSW": float(switches.sum()),
        "MT": float(tracked),
        "PT": float(partly - tracked),
        "ML": float(num_ids - partly),
        "Frag": float(interrupted.sum()),
        "MOTP_sum": float(pairs.iou[chosen].sum()),
        "CLR_Frames": float(sequence.num_frames),
    }


def _matching(sequence: Sequence, pairs: Pairs, step: np.ndarray) -> np.ndarray:
    """Which pairs are matched. A pair whose two boxes meet nobody else needs no history; the others go frame by frame."""
    num_gt, num_results = len(sequence.gt_ids), len(sequence.ids)
    alone = np.bincount(pairs.gt, minlength=num_gt)[pairs.gt] == 1
    alone &= np.bincount(pairs.results, minlength=num_results)[pairs.results] == 1
    chosen = alone.copy()
    identity = np.full(num_gt, -1)
    identity[pairs.gt[alone]] = sequence.ids[pairs.results[alone]]
    # The row of the same identity in the frame before, where it is there.
    order = np.lexsort((step, sequence.gt_ids))
    before = np.full(num_gt, -1)
    follows = (np.diff(sequence.gt_ids[order]) == 0) & (np.diff(step[order]) == 1)
    before[order[1:][follows]] = order[:-1][follows]
    left = np.flatnonzero(~alone)
    frames = sequence.gt_frames[pairs.gt[left]]
    for part in np.split(left, np.flatnonzero(np.diff(frames)) + 1) if len(left) else ():
        rows, identities = pairs.gt[part], sequence.ids[pairs.results[part]]
        previous = np.where(before[rows] >= 0, identity[before[rows]], -1)
        matched = part[solve(rows, pairs.results[part], 1000.0 * (previous == identities) + pairs.iou[part])]
        chosen[matched] = True
        identity[pairs.gt[matched]] = sequence.ids[pairs.results[matched]]
    return chosen


SCORES = tuple(
    ["MOTA", "MOTP", "MODA", "CLR_Re", "CLR_Pr", "CLR_F1", "MTR", "PTR", "MLR", "sMOTA", "MOTAL", "FP_per_frame"]
)


def clear_scores(counts: dict[str, float]) -> dict[str, float]:
    """The scores of counts (of a sequence, or summed over several)."""
    tp, fn, fp, switches = (counts[name] for name in ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW"))
    num_ids = max(1.0, counts["MT"] + counts["PT"] + counts["ML"])
    if tp + fn == 0:  # nobody to be found, as after preprocessing: the official kit answers so whatever was reported
        return dict.fromkeys(SCORES, 0.0) | {"MLR": 1.0}
    num_gt = tp + fn
    return {
        "MOTA": (tp - fp - switches) / num_gt,
        "MOTP": counts["MOTP_sum"] / max(1.0, tp),
        "MODA": (tp - fp) / num_gt,
        "CLR_Re": tp / num_gt,
        "CLR_Pr": tp / max(1.0, tp + fp),
        "CLR_F1": tp / max(1.0, tp + 0.5 * fn + 0.5 * fp),
        "MTR": counts["MT"] / num_ids,
        "PTR": counts["PT"] / num_ids,
        "MLR": counts["ML"] / num_ids,
        "sMOTA": (counts["MOTP_sum"] - fp - switches) / num_gt,
        "MOTAL": (tp - fp - (math.log10(switches) if switches > 0 else 0.0)) / num_gt,
        "FP_per_frame": fp / max(1.0, counts["CLR_Frames"]),
    }
