"""AUC bookkeeping and reference search against the published ways on the same scores: ratios of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/bookkeeping.py

One process, one thread, ``time.process_time``, median of several, ours and theirs one after the other; where both compute
the same, the results have to agree before anything is timed. The published way is written here from what it does: for each
of five folds and each threshold it compares every score, and averages the rates over the folds; the k nearest references
are sorted out of all distances. The forward pass of the published network is timed beside, for the share that is left.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from torch.nn.functional import normalize

from ict_deepfake import metrics, scores
from ict_deepfake.models.ict import ICT
from shared_utils import logging

FRAMES, FACES, REFERENCES = 20_000, 64, 20_000


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Median of the CPU seconds of a call."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def published_rates(distances: np.ndarray, real: np.ndarray, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """True and false positive rates averaged over folds, a pass over the scores for every fold and threshold."""
    thresholds = np.arange(0, largest, 0.01)
    tprs, fprs = np.zeros((5, len(thresholds))), np.zeros((5, len(thresholds)))
    parts = np.array_split(np.arange(len(distances)), 5)
    for fold, test in enumerate(parts):
        train = np.concatenate([part for other, part in enumerate(parts) if other != fold])
        accuracies = np.zeros(len(thresholds))
        for index, threshold in enumerate(thresholds):
            accuracies[index] = (np.less(distances[train], threshold) == real[train]).mean()
        for index, threshold in enumerate(thresholds):
            called, true = np.less(distances[test], threshold), real[test]
            hits, alarms = np.logical_and(called, true).sum(), np.logical_and(called, ~true).sum()
            tprs[fold, index] = hits / max(true.sum(), 1)
            fprs[fold, index] = alarms / max((~true).sum(), 1)
        np.argmax(accuracies)
    return tprs.mean(0), fprs.mean(0)


def roc() -> None:
    """The exact AUC, and the published curve our way, of 20,000 frames."""
    draw = np.random.default_rng(0)
    fake = draw.random(FRAMES) < 0.5
    values = np.clip(draw.normal(0.8 + 0.6 * fake, 0.4), 0, 3.99)
    ours = metrics.published_curve(values, fake)
    theirs = published_rates(values, ~fake, 4.0)
    assert np.allclose(ours.tpr, theirs[0]) and np.allclose(ours.fpr, theirs[1])
    slow = seconds(lambda: published_rates(values, ~fake, 4.0), 3)
    rows = [
        {"what": "published curve, their way", "CPU ms": 1e3 * slow, "ratio": 1.0},
        *(
            {"what": name, "CPU ms": 1e3 * (taken := seconds(run)), "ratio": slow / taken}
            for name, run in (
                ("published curve, ours", lambda: metrics.published_curve(values, fake)),
                ("exact AUC", lambda: metrics.auc(values, fake)),
                ("AUC, EER, AP and TPR at 1 %", lambda: everything(values, fake)),
            )
        ),
    ]
    print(logging.table(rows, f"AUC bookkeeping, {FRAMES} frames"))


def everything(values: np.ndarray, fake: np.ndarray) -> tuple[float, ...]:
    """What an evaluation reports of a set of scores."""
    found = metrics.auc(values, fake), metrics.eer(values, fake), metrics.average_precision(values, fake)
    return *found, metrics.tpr_at_fpr(values, fake, 0.01)


def search() -> None:
    """ICT-Ref of 64 faces against 20,000 references, beside the forward pass that made the faces."""
    draw = torch.Generator().manual_seed(0)
    inner, outer = (normalize(torch.randn(FACES, 384, generator=draw)) for _ in range(2))
    references = [normalize(torch.randn(REFERENCES, 384, generator=draw)) for _ in range(2)]

    def theirs() -> list[torch.Tensor]:
        return [
            torch.cdist(rows, known).sort(1).indices[:, :1]
            for rows, known in zip((inner, outer), references, strict=True)
        ]

    def ours() -> scores.ReferenceScores:
        return scores.reference_scores(inner, outer, *references)

    made, sorted_out = ours(), theirs()
    assert torch.equal(made.inner_match, sorted_out[0]) and torch.equal(made.outer_match, sorted_out[1])
    slow, fast = seconds(theirs, 3), seconds(ours, 3)
    model = ICT().eval()
    with torch.no_grad():
        pictures = torch.zeros(4, 3, 112, 112)
        forward = seconds(lambda: model(pictures), 3) / 4
    rows = [
        {"what": "matches by sorting all distances", "CPU ms a face": 1e3 * slow / FACES, "ratio": 1.0},
        {"what": "ICT-Ref, all of it", "CPU ms a face": 1e3 * fast / FACES, "ratio": slow / fast},
        {"what": "forward pass of the published network", "CPU ms a face": 1e3 * forward, "ratio": float("nan")},
    ]
    print(logging.table(rows, f"Search in {REFERENCES} references"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    roc()
    print()
    search()
