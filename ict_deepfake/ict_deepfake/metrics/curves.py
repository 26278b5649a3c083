"""The exact ROC and what is read off it. No thresholds are sampled, ties count half."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shared_utils import UserError


class Roc(NamedTuple):
    """False and true positive rates as the threshold falls, from (0, 0) to (1, 1); score >= threshold means fake."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def check_classes(scores: ArrayLike, labels: ArrayLike, what: str = "the test set") -> tuple[np.ndarray, np.ndarray]:
    """Scores as float64 and labels as truth values.

    Raises:
        UserError: there are none, they are of one class, not finite, or of different counts.
    """
    values, fake = np.asarray(scores, np.float64).reshape(-1), np.asarray(labels).reshape(-1)
    if len(values) != len(fake):
        raise UserError(f"{what} has {len(values)} scores and {len(fake)} labels: there has to be one for each")
    if not len(values):
        raise UserError(f"{what} has no scored pictures: nothing can be measured")
    if not np.isin(fake, (0, 1)).all():
        raise UserError(f"{what} has labels other than 0 (real) and 1 (fake): correct them")
    if not np.isfinite(values).all():
        raise UserError(
            f"{what} has {int((~np.isfinite(values)).sum())} scores that are not finite: leave them out first"
        )
    fake = fake.astype(bool)
    if fake.all() or not fake.any():
        only, other = ("fake", "real") if fake.all() else ("real", "fake")
        raise UserError(f"{what} holds only {only} pictures ({len(fake)}): AUC needs {other} ones too")
    return values, fake


def _counts(values: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false positives, true positives, threshold) at each distinct score, from the largest down."""
    order = np.argsort(-values, kind="stable")
    values, fake = values[order], fake[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    true = np.cumsum(fake)[last]
    return last + 1 - true, true, values[last]


def roc(scores: ArrayLike, labels: ArrayLike) -> Roc:
    """The exact ROC, a point for every distinct score and one before the first.

    Args:
        scores: (n,), larger means fake.
        labels: (n,), 1 = fake.

    Raises:
        UserError: one class only, or scores that are not finite.
    """
    values, fake = check_classes(scores, labels)
    false, true, thresholds = _counts(values, fake)
    start = np.zeros(1)
    return Roc(
        np.concatenate([start, false / (~fake).sum()]),
        np.concatenate([start, true / fake.sum()]),
        np.concatenate([[np.inf], thresholds]),
    )


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """The probability that a fake scores higher than a real one, ties counting half (Mann-Whitney).

    Args, Raises: as ``roc``.
    """
    values, fake = check_classes(scores, labels)
    false, true, _ = _counts(values, fake)
    # In whole numbers until the end: twice the area under the counts.
    twice = (np.diff(false, prepend=0) * (true + np.append(0, true[:-1]))).sum()
    return float(twice / 2 / (int(fake.sum()) * int((~fake).sum())))


def eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """The rate at which fpr = fnr, linear between the points of the exact ROC."""
    fpr, tpr, _ = roc(scores, labels)
    difference = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(difference >= 0))
    before = after - 1
    share = -difference[before] / (difference[after] - difference[before])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Precision averaged over recall, fake as the positive class, without interpolation."""
    values, fake = check_classes(scores, labels)
    false, true, _ = _counts(values, fake)
    return float((np.diff(true, prepend=0) * true / (true + false)).sum() / fake.sum())


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float) -> float:
    """The share of fakes that is caught while at most a share ``fpr`` of the real ones is called fake.

    Of the points of the exact ROC, without interpolation: what a threshold can really do.
    """
    curve = roc(scores, labels)
    return float(curve.tpr[curve.fpr <= fpr].max())
