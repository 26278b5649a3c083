"""The stages of an association: which tracks are compared with which detections, by what cost, up to what limit.

``Tracker.update`` goes through a tuple of stages; each takes what earlier ones have left. Another tracker is another
tuple: ``Tracker(size, stages=(Stage(my_cost, 0.8, ("seen", "lost")), ...))``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mot_occlusion.tracking import association, kalman

Kind = Literal["seen", "lost", "new"]
UNCONFIRMED_LIMIT, WEAK_LIMIT = 0.7, 0.5
#: Of the fused cost: embeddings speak for a pair whose cosine distance lies below it, and whose boxes are not far apart.
FUSED_EMBEDDING, FUSED_IOU = 0.25, 0.9


class Candidates(NamedTuple):
    """What a stage compares: n tracks, predicted into this frame, and m detections.

    mean (n, 8), blocks (n, 3, 4): see ``kalman``; features (n, D): unit embeddings of the tracks. boxes (m, 4) x1, y1, x2,
    y2; scores (m,); embeddings (m, D), or None where this frame has none. noise: see ``kalman.project``.
    """

    mean: np.ndarray
    blocks: np.ndarray
    features: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None
    noise: float | np.ndarray = 1.0

    @property
    def track_boxes(self) -> np.ndarray:
        """(n, 4) x1, y1, x2, y2."""
        return kalman.to_boxes(self.mean)

    @property
    def gating(self) -> np.ndarray:
        """Squared Mahalanobis distances (n, m)."""
        return kalman.gating_distance(self.mean, self.blocks, kalman.to_measurements(self.boxes), noise=self.noise)


@dataclass(frozen=True)
class Stage:
    """One assignment.

    cost: of ``Candidates`` to (n, m), infinite where a pair is impossible. limit: pairs from that cost on stay apart.
    tracks: ``seen`` in the last frame, ``lost`` since, or ``new``: seen once and not yet confirmed.
    weak: of the detections below the tracker's ``conf_threshold``, otherwise of those above it.
    when: only in frames with ``embeddings``, or only in those with ``boxes`` alone.
    """

    cost: Callable[[Candidates], np.ndarray]
    limit: float
    tracks: tuple[Kind, ...] = ("seen",)
    weak: bool = False
    when: Literal["always", "embeddings", "boxes"] = "always"


def appearance(candidates: Candidates) -> np.ndarray:
    """1 - cosine of the embeddings with a little of the Mahalanobis distance, infinite outside its gate, as published."""
    assert candidates.embeddings is not None
    cosine = association.embedding_distance(candidates.features, candidates.embeddings)
    return association.fuse_motion(cosine, candidates.gating)


def overlap(candidates: Candidates) -> np.ndarray:
    """1 - IoU."""
    return association.iou_distance(candidates.track_boxes, candidates.boxes)


def fused(candidates: Candidates) -> np.ndarray:
    """1 - IoU, or the cosine distance where that is smaller, and sure, and the boxes are not far apart.

    So embeddings speak up where they recognise a person, and cannot take apart what overlaps.
    """
    assert candidates.embeddings is not None
    cost = overlap(candidates)
    cosine = association.embedding_distance(candidates.features, candidates.embeddings)
    sure = (cosine < FUSED_EMBEDDING) & ((candidates.gating <= kalman.GATE) | (cost < FUSED_IOU))
    return np.where(sure, np.minimum(cost, cosine), cost)


def standard(
    first: Literal["published", "fused"],
    reid_threshold: float,
    iou_threshold: float | None,
    fair_iou: bool | None,
    low_threshold: bool,
) -> tuple[Stage, ...]:
    """The stages of the paper, with what has been added to them; arguments as of ``Tracker``."""
    lost_too: tuple[Kind, ...] = ("seen", "lost")
    after = lost_too if fair_iou else ("seen",)
    alone: tuple[Kind, ...] = ("seen",) if fair_iou is False else lost_too
    after_limit = 0.5 if iou_threshold is None else iou_threshold
    alone_limit = 0.7 if iou_threshold is None else iou_threshold
    if first == "published":
        begin = Stage(appearance, reid_threshold, lost_too, when="embeddings")
    else:
        begin = Stage(fused, alone_limit, lost_too, when="embeddings")
    return (
        begin,
        Stage(overlap, after_limit, after, when="embeddings"),
        Stage(overlap, alone_limit, alone, when="boxes"),
        *([Stage(overlap, WEAK_LIMIT, weak=True)] if low_threshold else ()),
        Stage(overlap, UNCONFIRMED_LIMIT, ("new",)),
    )
