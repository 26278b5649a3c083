"""From clips to videos, and what is measured of them. A positive is a fake; a larger logit means fake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shared_utils import UserError


class Videos(NamedTuple):
    """Videos in the order of their first clip.

    keys: (method, id) of each, so that fakes of several methods with one id stay apart. logits: (m,) mean of the clips'.
    labels: (m,) 1 = fake. clips: (m,) how many clips.
    """

    keys: list[Hashable]
    logits: np.ndarray
    labels: np.ndarray
    clips: np.ndarray


class Interval(NamedTuple):
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def clip_counts(frames: ArrayLike, clip: int = 25, most_frames: int | None = None) -> np.ndarray:
    """How many whole clips videos have, without overlap, in their first ``most_frames`` frames."""
    counts = np.asarray(frames, np.int64)
    return (counts if most_frames is None else np.minimum(counts, most_frames)) // clip


def video_level(logits: ArrayLike, videos: Sequence[Hashable], labels: ArrayLike) -> Videos:
    """A logit a video: the mean of its clips' logits (not of their probabilities).

    Args:
        logits: (n,) of clips.
        videos: (n,) whose clip each is, as (method, id).
        labels: (n,) of clips, 1 = fake.

    Raises:
        UserError: the counts differ, or a video has real and fake clips.
    """
    values, fake = np.asarray(logits, np.float64).reshape(-1), np.asarray(labels).reshape(-1)
    if not len(values) == len(videos) == len(fake):
        raise UserError(f"{len(values)} logits, {len(videos)} videos and {len(fake)} labels: one each is needed")
    number: dict[Hashable, int] = {}
    group = np.array([number.setdefault(video, len(number)) for video in videos], np.int64)
    clips = np.bincount(group, minlength=len(number))
    fakes = np.bincount(group, weights=fake, minlength=len(number))
    if (mixed := (fakes > 0) & (fakes < clips)).any():
        raise UserError(f"video {list(number)[int(mixed.argmax())]} has real and fake clips: give the two other names")
    means = np.bincount(group, weights=values, minlength=len(number)) / np.maximum(clips, 1)
    return Videos(list(number), means, (fakes > 0).astype(np.int64), clips)


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, fake = np.asarray(logits, np.float64).reshape(-1), np.asarray(labels).reshape(-1).astype(np.int64)
    count = Counter(fake.tolist())
    if not count[0] or not count[1]:
        raise UserError(f"{count[0]} real and {count[1]} fake: both are needed to tell them apart")
    if not np.isfinite(values).all():
        raise UserError(f"{int((~np.isfinite(values)).sum())} of {len(values)} logits are not finite")
    return values, fake


def auc(logits: ArrayLike, labels: ArrayLike) -> float:
    """Area under the exact ROC, ties counting half: the share of pairs of a real and a fake one that are in order."""
    from scipy.stats import rankdata

    values, fake = _checked(logits, labels)
    fakes = int(fake.sum())
    above = rankdata(values)[fake == 1].sum() - fakes * (fakes + 1) / 2
    return float(above / (fakes * (len(fake) - fakes)))


def average_precision(logits: ArrayLike, labels: ArrayLike) -> float:
    """Precision averaged over recall, without interpolation."""
    from sklearn.metrics import average_precision_score

    values, fake = _checked(logits, labels)
    return float(average_precision_score(fake, values))


def roc(logits: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positive rates, true positive rates and thresholds of the exact ROC."""
    from sklearn.metrics import roc_curve

    values, fake = _checked(logits, labels)
    return roc_curve(fake, values, drop_intermediate=False)


def eer(logits: ArrayLike, labels: ArrayLike) -> float:
    """The rate at which as many real ones are called fake as fakes real, linear between the points of the ROC."""
    fpr, tpr, _ = roc(logits, labels)
    difference = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(difference >= 0))
    share = -difference[after - 1] / (difference[after] - difference[after - 1])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def tpr_at_fpr(logits: ArrayLike, labels: ArrayLike, fpr: float) -> float:
    """The share of fakes that is found while at most a share ``fpr`` of the real ones is called fake."""
    found, caught, _ = roc(logits, labels)
    return float(caught[found <= fpr].max())


def best_threshold(logits: ArrayLike, labels: ArrayLike) -> float:
    """Where the mean of the two classes' accuracies is highest: to be set on validation videos."""
    fpr, tpr, thresholds = roc(logits, labels)
    best = int(np.argmax(tpr - fpr))
    # Halfway to the next point, so that it does not hang on one video.
    lower = thresholds[best + 1] if best + 1 < len(thresholds) else thresholds[best]
    upper = thresholds[best] if np.isfinite(thresholds[best]) else lower
    return float((upper + lower) / 2)


def bootstrap(
    measure: Callable[[np.ndarray, np.ndarray], float],
    logits: ArrayLike,
    labels: ArrayLike,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A measure of videos with its 95 % interval over the choice of videos, drawn within each class.

    Args:
        measure: of logits (m,) and labels (m,), as ``auc``.
        logits: (m,) of videos.
        labels: (m,), 1 = fake.
        draws: how often.
        seed: of the draws.
    """
    values, fake = _checked(logits, labels)
    rng = np.random.default_rng(seed)
    classes = [np.flatnonzero(fake == label) for label in (0, 1)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([same[rng.integers(len(same), size=len(same))] for same in classes])
        found.append(measure(values[rows], fake[rows]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(measure(values, fake), float(low), float(high))
