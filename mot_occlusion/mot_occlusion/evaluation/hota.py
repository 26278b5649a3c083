"""HOTA (Luiten et al. 2021): detection and association weighed equally, over 19 thresholds of localisation."""

from __future__ import annotations

import numpy as np

from mot_occlusion.evaluation.pairs import EPS, heaviest_matching
from mot_occlusion.evaluation.preprocess import Sequence

ALPHAS = np.arange(0.05, 0.99, 0.05)
COUNTS = ("HOTA_TP", "HOTA_FN", "HOTA_FP")
WEIGHTED = ("AssA", "AssRe", "AssPr", "LocA")
"""Averages over the true positives: over several sequences they are weighted by HOTA_TP."""


def hota(sequence: Sequence) -> dict[str, np.ndarray]:
    """Counts and averages of a sequence, arrays (19,) over the thresholds; ``hota_scores`` makes scores of them.

    One matching serves all thresholds: that of the largest total of global alignment times IoU. The alignment of two
    trajectories is the Jaccard index of the frames they share, a frame counting by how much the two boxes prefer
    each other.
    """
    num_gt, num_results = len(sequence.gt_ids), len(sequence.ids)
    zeros = np.zeros(len(ALPHAS))
    if not (num_gt and num_results):
        averages = dict.fromkeys(("AssA", "AssRe", "AssPr"), zeros) | {"LocA": np.ones(len(ALPHAS))}
        return {"HOTA_TP": zeros, "HOTA_FN": zeros + num_gt, "HOTA_FP": zeros + num_results} | averages
    pairs = sequence.pairs
    gt_counts, counts = sequence.gt_counts, sequence.counts
    owners, identities = sequence.gt_ids[pairs.gt], sequence.ids[pairs.results]
    # Only pairs of trajectories that ever overlap matter.
    met, pair_of = np.unique(owners * len(counts) + identities, return_inverse=True)
    lengths = gt_counts[met // len(counts)] + counts[met % len(counts)]
    row_sums = np.bincount(pairs.gt, pairs.iou, minlength=num_gt)
    column_sums = np.bincount(pairs.results, pairs.iou, minlength=num_results)
    preference = pairs.iou / (row_sums[pairs.gt] + column_sums[pairs.results] - pairs.iou)
    shared = np.bincount(pair_of, preference, minlength=len(met))
    alignment = shared / (lengths - shared)
    chosen = heaviest_matching(pairs.gt, pairs.results, alignment[pair_of] * pairs.iou, sequence.gt_frames[pairs.gt])
    iou, pair_of = pairs.iou[chosen], pair_of[chosen]

    found = iou[:, None] >= ALPHAS - EPS
    true_positives = found.sum(0).astype(float)
    located = iou @ found
    # Matches of every pair of trajectories at every threshold.
    level = found.sum(1)
    matches = np.bincount(pair_of * (len(ALPHAS) + 1) + level, minlength=len(met) * (len(ALPHAS) + 1))
    matches = matches.reshape(len(met), -1)[:, ::-1].cumsum(1)[:, :-1][:, ::-1].astype(float)
    squared = matches**2

    def average(denominator: np.ndarray) -> np.ndarray:
        return (squared / np.maximum(1, denominator)).sum(0) / np.maximum(1, true_positives)

    return {
        "HOTA_TP": true_positives,
        "HOTA_FN": num_gt - true_positives,
        "HOTA_FP": num_results - true_positives,
        "AssA": average(lengths[:, None] - matches),
        "AssRe": average(gt_counts[met // len(counts)][:, None]),
        "AssPr": average(counts[met % len(counts)][:, None]),
        "LocA": np.maximum(1e-10, located) / np.maximum(1e-10, true_positives),
    }


def combine_hota(sequences: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Counts and averages over several sequences: sums, and means weighted by the true positives."""
    total = {name: np.sum([one[name] for one in sequences], axis=0) for name in COUNTS}
    for name in WEIGHTED:
        weighted = np.sum([one[name] * one["HOTA_TP"] for one in sequences], axis=0)
        least = 1e-10 if name == "LocA" else 1.0
        total[name] = (np.maximum(1e-10, weighted) if name == "LocA" else weighted) / np.maximum(
            least, total["HOTA_TP"]
        )
    return total


def hota_scores(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The curves (19,) of all scores, from counts and averages of a sequence or of several."""
    tp, fn, fp = (counts[name] for name in COUNTS)
    recall, detection = tp / np.maximum(1, tp + fn), tp / np.maximum(1, tp + fn + fp)
    return {
        "HOTA": np.sqrt(detection * counts["AssA"]),
        "DetA": detection,
        "AssA": counts["AssA"],
        "DetRe": recall,
        "DetPr": tp / np.maximum(1, tp + fp),
        "AssRe": counts["AssRe"],
        "AssPr": counts["AssPr"],
        "LocA": counts["LocA"],
        "OWTA": np.sqrt(recall * counts["AssA"]),
    }
