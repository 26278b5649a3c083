"""The identity metrics (Ristani et al. 2016): IDF1 from the best one-to-one assignment of whole trajectories."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from mot_occlusion.evaluation.preprocess import Sequence

COUNTS = ("IDTP", "IDFN", "IDFP")


def identity(sequence: Sequence, threshold: float = 0.5) -> dict[str, float]:
    """The counts of a sequence; ``identity_scores`` makes scores of them.

    Two trajectories share the frames in which their boxes have an IoU of at least ``threshold``; the assignment with the
    most shared frames has the fewest false positives and negatives.
    """
    num_gt, num_results = len(sequence.gt_ids), len(sequence.ids)
    true_positives = 0
    if num_gt and num_results:
        pairs = sequence.pairs.select(sequence.pairs.iou >= threshold)
        shape = len(sequence.gt_counts), len(sequence.counts)
        cells = sequence.gt_ids[pairs.gt] * shape[1] + sequence.ids[pairs.results]
        shared = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
        # Trajectories that meet no other one need no assignment.
        shared = shared[shared.any(1)][:, shared.any(0)]
        true_positives = int(shared[linear_sum_assignment(shared, maximize=True)].sum())
    return {
        "IDTP": float(true_positives),
        "IDFN": float(num_gt - true_positives),
        "IDFP": float(num_results - true_positives),
    }


def identity_scores(counts: dict[str, float]) -> dict[str, float]:
    """The scores of counts (of a sequence, or summed over several)."""
    tp, fn, fp = (counts[name] for name in COUNTS)
    return {
        "IDF1": tp / max(1.0, tp + 0.5 * fn + 0.5 * fp),
        "IDR": tp / max(1.0, tp + fn),
        "IDP": tp / max(1.0, tp + fp),
    }
