"""The built-in tracker: a Kalman filter and overlap, sure detections first, then the unsure ones (as ByteTrack does)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luperson_nl.tracklets.boxes import Boxes, assign, iou
from luperson_nl.tracklets.kalman import BoxFilters


@dataclass(frozen=True)
class Tracker:
    """Joins the boxes of a video to tracks.

    sure: the score from which a box is matched first and may begin a track; the other ones may only go on with one.
    overlap, overlap_unsure: the least IoU of a box with where its track should be, in the first and in the second turn.
    patience: for so many frames a track that is not seen is looked for.
    """

    sure: float = 0.6
    overlap: float = 0.2
    overlap_unsure: float = 0.4
    patience: int = 30

    def track(self, boxes: Boxes) -> np.ndarray:
        """(n,) int64: the track of every box, numbered from 1 in the order in which they begin; -1 for none."""
        found = np.full(len(boxes), -1, np.int64)
        filters = BoxFilters()
        names, seen = (
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
        )  # of the live tracks, and the frame they were last seen
        previous, started = 0, 0
        for frame, rows in boxes.by_frame():
            alive = frame - seen <= self.patience + 1
            filters.keep(alive)
            names, seen = names[alive], seen[alive]
            filters.predict(frame - previous)
            live = np.arange(len(names))
            sure = rows[boxes.score[rows] >= self.sure]
            unsure = rows[boxes.score[rows] < self.sure]
            free = sure
            for turn, least in ((sure, self.overlap), (unsure, self.overlap_unsure)):
                if turn is unsure:  # only with tracks that have just been seen
                    live = live[frame - seen[live] <= max(frame - previous, 1)]
                at, with_box = assign(iou(filters.boxes()[live], boxes.box[turn]), least)
                filters.update(live[at], boxes.box[turn[with_box]])
                found[turn[with_box]] = names[live[at]]
                seen[live[at]] = frame
                live = np.delete(live, at)
                if turn is sure:
                    free = np.delete(sure, with_box)
            filters.start(boxes.box[free])
            found[free] = started + 1 + np.arange(len(free))
            names, seen = np.concatenate([names, found[free]]), np.concatenate([seen, np.full(len(free), frame)])
            started += len(free)
            previous = frame
        return found
