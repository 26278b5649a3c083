"""The online tracker of the paper (section 3.4): re-identification first, IoU second, occlusion for what stays lost.

Live tracks are rows of arrays, so that a frame costs a few array operations however many tracks there are, and tracks
that end leave nothing behind.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.tracking import admission, association, kalman, occlusion
from mot_occlusion.tracking.live_tracks import LiveTracks
from shared_utils import UserError

TRACKED, LOST = 1, 2
"""States of a reported track: seen in this frame, or hidden and recovered through an occlusion centre."""

UNCONFIRMED_LIMIT, DUPLICATE = 0.7, 0.15
MOMENTUM = 0.9
CENTRAL, COVERED = 0.05, 0.2
MAX_ASPECT = 1.6
REFINEMENT_NOISE = 4.0
"""A refined box is a guess from one point: its measurement noise is that many times a detection's."""
_NEVER = -(1 << 40)
_NOBODY = np.empty(0, dtype=np.int64)

PUBLISHED: dict[str, Any] = {
    "fair_iou": False,
    "iou_threshold": 0.5,
    "recovery_window": 1,
    "refine_lost_box": "none",
    "published_bounds": True,
}
"""Options of ``Tracker`` that make it the published one in frame, id and state."""


class Tracks(NamedTuple):
    """The tracks reported for one frame.

    ids: (T,) from 1; boxes: (T, 4) float64 x1, y1, x2, y2 pixels; scores: (T,) of the last detection that updated it;
    states: (T,) 1 for TRACKED, 2 for LOST but recovered.
    """

    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    states: np.ndarray


class Tracker:
    """Track detections of one video, a call of ``update`` per frame.

    Boxes alone are enough; embeddings make lost people recognisable, occlusion centres keep hidden ones in sight.
    ``Tracker(..., **PUBLISHED)`` is the published tracker in frame, id and state.

    Args:
        image_size: (height, width) pixels.
        frame_rate: frames per second; a lost track is kept for ``track_buffer`` frames at 30 per second, or for as long.
        conf_threshold: detections must score above it. 0.4; 0.5 for MOT20.
        reid_threshold: limit of the first association's cost. 0.4; 0.5 in the published test commands.
        iou_threshold: limit of the second association's cost, 1 - IoU. None: 0.5, as published, after a first association
            by embeddings, and 0.7 for boxes alone.
        reid: use embeddings where they are given.
        occlusion: use occlusion centres where they are given.
        fair_iou: whether lost tracks may be found again by IoU alone. None: where no embeddings are given; always off in
            the published code, which makes its IoU-only mode a crippled baseline.
        track_buffer: see ``frame_rate``.
        occlusion_threshold: centres must score at least that.
        recovery_window: for how many frames after it was last seen overlapping another one a lost track can be recovered
            (at most one frame more than that); below 1 it is seconds. 1 in the published code, which leaves most of the
            gain unused; with good boxes 30 are better still, with poor ones they cost false positives (see RESULTS.md).
        refine_lost_box: what an agreeing centre does to the box of a recovered track: ``none`` (published in effect),
            ``output`` reports the moved box, ``kalman`` also corrects the track by it.
        min_box_area: smaller boxes, and those wider than 1.6 times their height, are tracked but not reported.
        clip_boxes: report boxes clipped to the image.
        published_bounds: compare y with the image's width, as the published code does.

    Raises:
        UserError: a size or rate that is not positive, or another ``refine_lost_box``.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        frame_rate: float = 30.0,
        *,
        conf_threshold: float = 0.4,
        reid_threshold: float = 0.4,
        iou_threshold: float | None = None,
        reid: bool = True,
        occlusion: bool = True,
        fair_iou: bool | None = None,
        track_buffer: int = 30,
        occlusion_threshold: float = 0.1,
        recovery_window: float = 10,
        refine_lost_box: Literal["none", "output", "kalman"] = "none",
        min_box_area: float = 100.0,
        clip_boxes: bool = False,
        published_bounds: bool = False,
    ) -> None:
        height, width = image_size
        if not (height > 0 and width > 0 and frame_rate > 0):
            raise UserError(f"image size {height} x {width} at {frame_rate} frames per second: all must be positive")
        if refine_lost_box not in ("none", "output", "kalman"):
            raise UserError(f"refine_lost_box is none, output or kalman, got {refine_lost_box}")
        self.height, self.width = height, width
        self.conf_threshold, self.reid_threshold = conf_threshold, reid_threshold
        self.iou_threshold = iou_threshold
        self.reid, self.occlusion, self.fair_iou = reid, occlusion, fair_iou
        self.max_time_lost = int(frame_rate / 30 * track_buffer)
        self.occlusion_threshold = occlusion_threshold
        self.recovery_window = (
            int(recovery_window) if recovery_window >= 1 else max(1, int(recovery_window * frame_rate))
        )
        self.refine_lost_box = refine_lost_box
        self.min_box_area, self.clip_boxes = min_box_area, clip_boxes
        self.last_row = width if published_bounds else height
        self.frame = 0
        self.next_id = 1
        # Which rows are tracked (seen in the last frame, confirmed or not) and lost, in the published order of lists.
        self.tracked = np.empty(0, dtype=np.int64)
        self.lost = np.empty(0, dtype=np.int64)
        self._rows = LiveTracks()

    def update(self, detections: Detections, public: np.ndarray | None = None) -> Tracks:
        """Go on by one frame.

        Args:
            detections: of this frame; none at all is an empty (0, 4) array of boxes.
            public: (P, 4) x1, y1, x2, y2 public detections; only detections that one of them claims may start a track.

        Returns:
            The confirmed tracks of this frame, then the recovered ones.

        Raises:
            UserError: arrays that do not fit.
        """
        rows = self._rows
        boxes, scores, embeddings, centres = admission.admit(
            detections,
            f"frame {self.frame + 1}",
            conf_threshold=self.conf_threshold,
            occlusion_threshold=self.occlusion_threshold,
            last_column=self.width,
            last_row=self.last_row,
            reid=self.reid,
            occlusion=self.occlusion,
            dimension=rows.features.shape[1],
        )
        self.frame += 1
        if embeddings is not None:
            rows.widen(embeddings.shape[1])
        confirmed = rows.confirmed[self.tracked]
        candidates, unconfirmed = self.tracked[confirmed], self.tracked[~confirmed]
        pool = np.concatenate([candidates, self.lost])
        in_sight = np.arange(len(pool)) < len(candidates)
        rows.mean[self.lost, 7] = 0
        rows.mean[pool], rows.blocks[pool] = kalman.predict(rows.mean[pool], rows.blocks[pool])
        measurements = kalman.to_measurements(boxes)

        matched_rows, matched = [], []
        free = np.arange(len(boxes))
        if embeddings is not None and len(pool) and len(free):
            cost = association.fuse_motion(
                association.embedding_distance(rows.features[pool], embeddings),
                kalman.gating_distance(rows.mean[pool], rows.blocks[pool], measurements),
            )
            i, j = association.assign(cost, self.reid_threshold)
            matched_rows.append(pool[i])
            matched.append(j)
            left = _all_but(i, len(pool))
            pool, in_sight, free = pool[left], in_sight[left], free[_all_but(j, len(free))]
        alone = embeddings is None
        by_iou = self.fair_iou if self.fair_iou is not None else alone
        waiting = pool if by_iou else pool[in_sight]
        limit = self.iou_threshold if self.iou_threshold is not None else 0.7 if alone else 0.5
        i, j = self._by_iou(waiting, boxes[free], limit)
        matched_rows.append(waiting[i])
        matched.append(free[j])
        free = free[_all_but(j, len(free))]
        i, j = self._by_iou(unconfirmed, boxes[free], UNCONFIRMED_LIMIT)
        matched_rows.append(unconfirmed[i])
        matched.append(free[j])
        free = free[_all_but(j, len(free))]
        abandoned = unconfirmed[_all_but(i, len(unconfirmed))]

        found, used = np.concatenate(matched_rows), np.concatenate(matched)
        was_lost = rows.among(found, self.lost)
        self._correct(found, measurements[used], None if embeddings is None else embeddings[used])
        rows.score[found[~was_lost]] = scores[used[~was_lost]]
        newly_lost = candidates[~rows.among(candidates, found)]
        if public is not None:
            free = free[association.claimed_by_public(boxes[free], np.asarray(public, dtype=np.float64).reshape(-1, 4))]
        started = self._start(measurements[free], scores[free], None if embeddings is None else embeddings[free])

        gone = np.concatenate([newly_lost, abandoned])
        self.tracked = np.concatenate([self.tracked[~rows.among(self.tracked, gone)], started, found[was_lost]])
        lost = np.concatenate([self.lost[~rows.among(self.lost, found)], newly_lost])
        lost = lost[~rows.expired[lost]]
        # Takes effect in the next frame, in which the track can still be matched; lost again, it ends at once.
        rows.expired[lost[self.frame - rows.last_frame[lost] > self.max_time_lost]] = True
        self.lost = lost
        self._drop_duplicates()
        rows.release(np.concatenate([self.tracked, self.lost]))
        return self._report(centres)

    def _by_iou(self, waiting: np.ndarray, boxes: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
        if not (len(waiting) and len(boxes)):
            return _NOBODY, _NOBODY
        return association.assign(association.iou_distance(self._boxes(waiting), boxes), limit)

    def _boxes(self, rows: np.ndarray) -> np.ndarray:
        """The current boxes (n, 4) x1, y1, x2, y2 of rows."""
        return kalman.to_boxes(self._rows.mean[rows])

    def _correct(self, found: np.ndarray, measurements: np.ndarray, embeddings: np.ndarray | None) -> None:
        """Update rows by the detections they were matched with."""
        rows = self._rows
        rows.mean[found], rows.blocks[found] = kalman.update(rows.mean[found], rows.blocks[found], measurements)
        rows.last_frame[found] = self.frame
        rows.confirmed[found] = True
        if embeddings is not None and len(found):
            rows.features[found] = admission.normalised(MOMENTUM * rows.features[found] + (1 - MOMENTUM) * embeddings)

    def _start(self, measurements: np.ndarray, scores: np.ndarray, embeddings: np.ndarray | None) -> np.ndarray:
        """New tracks; those of the first frame are confirmed at once, others when they are seen again."""
        count, rows = len(measurements), self._rows
        if not count:
            return _NOBODY
        started = rows.take(count)
        rows.mean[started], rows.blocks[started] = kalman.initiate(measurements)
        rows.ids[started] = np.arange(self.next_id, self.next_id + count)
        self.next_id += count
        rows.score[started] = scores
        rows.first_frame[started] = rows.last_frame[started] = self.frame
        rows.overlapped[started] = _NEVER
        rows.confirmed[started] = self.frame == 1
        rows.expired[started] = False
        rows.features[started] = 0 if embeddings is None else embeddings
        return started

    def _drop_duplicates(self) -> None:
        """Of a tracked and a lost track in the same place the one that lived shorter goes; in a tie the tracked one."""
        if not (len(self.tracked) and len(self.lost)):
            return
        rows = self._rows
        near = association.iou_distance(self._boxes(self.tracked), self._boxes(self.lost)) < DUPLICATE
        age = rows.last_frame - rows.first_frame
        older = age[self.tracked][:, None] > age[self.lost]
        self.tracked, self.lost = (
            self.tracked[~(near & ~older).any(1)],
            self.lost[~(near & older).any(0)],
        )

    def _report(self, centres: np.ndarray | None) -> Tracks:
        """What this frame shows: confirmed tracks, then recovered ones; and the memory of who overlaps whom."""
        rows = self._rows
        seen = self.tracked[rows.confirmed[self.tracked]]
        boxes = self._boxes(seen)
        shown, states = seen, np.full(len(seen), TRACKED)
        if self.occlusion:
            hidden, hidden_boxes = self._recovered(boxes, centres)
            self._remember(seen, boxes)
            shown = np.concatenate([seen, hidden])
            boxes = np.concatenate([boxes, hidden_boxes])
            states = np.concatenate([states, np.full(len(hidden), LOST)])
        if self.clip_boxes:
            boxes = boxes.clip(0, [self.width - 1, self.height - 1] * 2)
        size = boxes[:, 2:] - boxes[:, :2]
        keep = (size > 0).all(1) & (size[:, 0] * size[:, 1] > self.min_box_area)
        keep &= size[:, 0] <= MAX_ASPECT * size[:, 1]
        shown = shown[keep]
        return Tracks(rows.ids[shown], boxes[keep], rows.score[shown], states[keep])

    def _recovered(self, known: np.ndarray, centres: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Lost tracks that overlapped someone a short time ago and that an occlusion centre brings back: rows, boxes."""
        rows = self._rows
        hidden = self.lost[self.frame - rows.overlapped[self.lost] <= self.recovery_window + 1]
        if centres is None or not len(hidden):
            return _NOBODY, np.empty((0, 4))
        boxes = self._boxes(hidden)
        recovered, refined, moved = occlusion.recover(known, boxes, centres)
        if self.refine_lost_box == "kalman" and moved.any():
            chosen = hidden[moved]
            rows.mean[chosen], rows.blocks[chosen] = kalman.update(
                rows.mean[chosen], rows.blocks[chosen], kalman.to_measurements(refined[moved]), noise=REFINEMENT_NOISE
            )
            boxes = self._boxes(hidden)
        elif self.refine_lost_box == "output":
            boxes = refined
        return hidden[recovered], boxes[recovered]

    def _remember(self, seen: np.ndarray, boxes: np.ndarray) -> None:
        """Note the frame in which a track was partly covered, away from the border of the image."""
        border = np.array([self.width, self.height])
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).clip(0, border - 1)
        inside = ((centres > CENTRAL * border) & (centres < (1 - CENTRAL) * border)).all(1)
        covered = inside & (occlusion.overlap_of_own(boxes) > COVERED)
        self._rows.overlapped[seen[covered]] = self.frame

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes from frame to frame, as arrays: a tracker that loads it goes on as this one would."""
        live = np.concatenate([self.tracked, self.lost])
        arrays = {name: getattr(self._rows, name)[live].copy() for name in LiveTracks.FIELDS}
        return arrays | {"frame": self.frame, "next_id": self.next_id, "num_tracked": len(self.tracked)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a tracker with the same options."""
        self.frame, self.next_id = int(state["frame"]), int(state["next_id"])
        self._rows = LiveTracks()
        self._rows.widen(state["features"].shape[1])
        live = self._rows.take(len(state["ids"]))
        for name in LiveTracks.FIELDS:
            getattr(self._rows, name)[live] = state[name]
        self.tracked, self.lost = np.split(live, [int(state["num_tracked"])])


def _all_but(taken: np.ndarray, count: int) -> np.ndarray:
    """A mask (count,) of the positions that are not taken."""
    left = np.ones(count, dtype=bool)
    left[taken] = False
    return left
