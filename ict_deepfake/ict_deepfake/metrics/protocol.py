"""The published evaluation, on request only: sampled thresholds, curves averaged over folds.

It is wrong on small or ordered data: a fold without fakes contributes fpr = 0 everywhere, and the averaged curve never
reaches (1, 1). Numbers made by it compare with the authors' ones; ``auc`` is the exact value.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ict_deepfake.metrics.curves import check_classes
from shared_utils import UserError


class PublishedCurve(NamedTuple):
    """In the published sense, distance < threshold means real, and real is the positive class.

    tpr, fpr: (thresholds,) averaged over the folds. accuracy: (folds,) of each fold at the threshold that is best on
    the others. best_threshold: (folds,). auc: trapezoid under the averaged curve.
    """

    tpr: np.ndarray
    fpr: np.ndarray
    accuracy: np.ndarray
    best_threshold: np.ndarray
    auc: float


def published_curve(
    scores: ArrayLike,
    labels: ArrayLike,
    largest: float = 4.0,
    step: float = 0.01,
    folds: int = 5,
    shuffle_seed: int | None = None,
) -> PublishedCurve:
    """The ROC of the published evaluation.

    Args:
        scores: (n,), larger means fake.
        labels: (n,), 1 = fake.
        largest, step: of the thresholds, 0, step, ... below ``largest``; 4 for ICT, 10 for ICT-Ref.
        folds: how many.
        shuffle_seed: None: the folds follow the order of the data (ICT); a number: they are drawn (ICT-Ref; the published
            code draws them anew each time).

    Raises:
        UserError: one class only, or fewer rows than folds.
    """
    values, fake = check_classes(scores, labels)
    if not 2 <= folds <= len(values):
        raise UserError(f"{len(values)} scores cannot be cut into {folds} folds: choose 2 to {len(values)}")
    real = ~fake
    thresholds = np.arange(0, largest, step)
    order = np.arange(len(values))
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(order)
    tprs, fprs, accuracies, best = [], [], [], []
    for fold in np.array_split(order, folds):
        inside = np.zeros(len(values), bool)
        inside[fold] = True
        at = _accuracies(values[~inside], real[~inside], thresholds)
        chosen = int(np.argmax(at))
        best.append(thresholds[chosen])
        called = np.searchsorted(np.sort(values[inside & real]), thresholds)  # real ones below each threshold
        wrong = np.searchsorted(np.sort(values[inside & fake]), thresholds)
        tprs.append(_share(called, int((inside & real).sum())))
        fprs.append(_share(wrong, int((inside & fake).sum())))
        accuracies.append(_accuracies(values[inside], real[inside], thresholds[chosen : chosen + 1])[0])
    tpr, fpr = np.mean(tprs, axis=0), np.mean(fprs, axis=0)
    area = float(np.trapezoid(tpr, fpr))
    return PublishedCurve(tpr, fpr, np.array(accuracies), np.array(best), area)


def _accuracies(values: np.ndarray, real: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    below_real = np.searchsorted(np.sort(values[real]), thresholds)
    below_fake = np.searchsorted(np.sort(values[~real]), thresholds)
    return (below_real + (~real).sum() - below_fake) / len(values)


def _share(counts: np.ndarray, total: int) -> np.ndarray:
    return counts / total if total else np.zeros(len(counts))
