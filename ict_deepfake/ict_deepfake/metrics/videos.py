"""From frames to videos, and how sure a number is of the videos that happened to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shared_utils import UserError

How = Literal["mean", "median", "top"]
# Of the frames, for ``top``.
_TOP = 0.25


class Videos(NamedTuple):
    """Scores and labels (m,) of m videos, their names in the order of first appearance."""

    names: list[Hashable]
    scores: np.ndarray
    labels: np.ndarray


class Interval(NamedTuple):
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def by_video(scores: ArrayLike, labels: ArrayLike, videos: Sequence[Hashable], how: How = "mean") -> Videos:
    """One score a video.

    Args:
        scores: (n,) of frames; those that are not finite (no face) count as absent.
        labels: (n,), 1 = fake, the same within a video.
        videos: (n,) name of each frame's video.
        how: ``mean``, ``median`` or ``top`` (mean of the highest quarter) of its frames.

    Returns:
        A video without a scored frame has the score NaN: it is there, and the caller has to say so.

    Raises:
        UserError: a video has real and fake frames.
    """
    values, fake = np.asarray(scores, np.float64), np.asarray(labels)
    number: dict[Hashable, int] = {}
    group = np.array([number.setdefault(video, len(number)) for video in videos], np.int64)
    if not len(values) == len(fake) == len(group):
        raise UserError(
            f"{len(values)} scores, {len(fake)} labels and {len(group)} videos: there has to be one for each"
        )
    names, found, labelled = list(number), np.full(len(number), np.nan), np.zeros(len(number), np.int64)
    order = np.argsort(group, kind="stable")
    for frames in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []:
        video = group[frames[0]]
        if len(set(fake[frames].tolist())) > 1:
            raise UserError(f"video {names[video]} has real and fake frames: give the two different names")
        labelled[video] = fake[frames[0]]
        own = values[frames][np.isfinite(values[frames])]
        if len(own):
            found[video] = _one(own, how)
    return Videos(names, found, labelled)


def _one(values: np.ndarray, how: How) -> float:
    if how == "median":
        return float(np.median(values))
    if how == "top":
        values = np.sort(values)[-max(1, round(_TOP * len(values))) :]
    return float(values.mean())


def bootstrap(
    measure: Callable[[np.ndarray, np.ndarray], float],
    scores: ArrayLike,
    labels: ArrayLike,
    videos: Sequence[Hashable],
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """A measure with its 95 % interval over the choice of videos: whole videos are drawn, within their class.

    Args:
        measure: of scores (n,) and labels (n,), as ``auc``.
        scores, labels: (n,) of frames, or of videos.
        videos: (n,) name of each row's video.
        draws: how often.
        seed: of the draws.

    Raises:
        UserError: one class only (of ``measure``).
    """
    values, fake = np.asarray(scores, np.float64), np.asarray(labels)
    value = measure(values, fake)
    number: dict[tuple[Hashable, int], int] = {}
    pairs = zip(videos, fake.tolist(), strict=True)
    group = np.array([number.setdefault((video, int(label)), len(number)) for video, label in pairs], np.int64)
    order = np.argsort(group, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    of_class = [[frames for frames in rows if fake[frames[0]] == label] for label in (0, 1)]
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = [same[pick] for same in of_class for pick in random.integers(len(same), size=len(same))]
        chosen = np.concatenate(drawn)
        found.append(measure(values[chosen], fake[chosen]))
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(value, float(low), float(high))
