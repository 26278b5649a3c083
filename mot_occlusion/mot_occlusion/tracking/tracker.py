"""The online tracker of the paper (section 3.4): re-identification first, IoU second, occlusion for what stays lost.

Live tracks are rows of arrays, so that a frame costs a few array operations however many tracks there are, and tracks
that end leave nothing behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.tracking import admission, association, kalman, occlusion
from mot_occlusion.tracking.live_tracks import LiveTracks
from mot_occlusion.tracking.noise import MeasurementNoise
from mot_occlusion.tracking.options import PUBLISHED as PUBLISHED
from mot_occlusion.tracking.options import check
from mot_occlusion.tracking.reported import LOST as LOST
from mot_occlusion.tracking.reported import TRACKED as TRACKED
from mot_occlusion.tracking.reported import LostTracks as LostTracks
from mot_occlusion.tracking.reported import Tracks as Tracks
from mot_occlusion.tracking.stages import Candidates, Stage, standard
from shared_utils import UserError

DUPLICATE = 0.15
MOMENTUM = 0.9
REFINEMENT_NOISE = 4.0
"""A refined box is a guess from one point: its measurement noise is that many times a detection's."""
_NEVER = -(1 << 40)
_NOBODY = np.empty(0, dtype=np.int64)
_SEEN, _LOST, _NEW = range(3)
_KINDS = {"seen": _SEEN, "lost": _LOST, "new": _NEW}


class Tracker:
    """Track detections of one video, a call of ``update`` per frame.

    Boxes alone are enough; embeddings make lost people recognisable, occlusion centres keep hidden ones in sight.
    ``Tracker(..., **PUBLISHED)`` is the published tracker in frame, id and state.

    Args:
        image_size: (height, width) pixels.
        frame_rate: frames per second; a lost track is kept for ``track_buffer`` frames at 30 per second, or for as long.
        conf_threshold: detections that score above it are taken for sure. 0.4; 0.5 for MOT20.
        low_threshold: detections between it and ``conf_threshold`` may go on with a track that was seen in the last frame
            (ByteTrack's second association), and do nothing else. None: they are dropped, as published.
        new_threshold: detections must score above it to start a track. None: ``conf_threshold``.
        first: the first association, where there are embeddings: ``published`` by embeddings alone, ``fused`` by IoU or
            embeddings, whichever is surer.
        reid_threshold: limit of the published first association's cost. 0.4; 0.5 in the published test commands.
        iou_threshold: limit of the association by IoU, cost 1 - IoU. None: 0.5, as published, after a first association
            by embeddings, and 0.7 for boxes alone.
        reid: use embeddings where they are given.
        occlusion: use occlusion centres where they are given.
        fair_iou: whether lost tracks may be found again by IoU alone. None: where no embeddings are given; always off in
            the published code, which makes its IoU-only mode a crippled baseline.
        stages: the association, instead of the one that the options above describe (see ``stages``).
        measurement_noise: of the filter, in its published deviations (a twentieth of the height). None: it follows what
            the detector's boxes show.
        track_buffer: see ``frame_rate``.
        occlusion_threshold: centres must score at least that.
        recovery_window: for how many frames after it was last seen overlapping another one a lost track can be recovered
            (at most one frame more than that); below 1 it is seconds. 1, as published, gained with every network that was
            measured; with tight boxes 10 to 30 gain much more, with loose ones they cost MOTA (see RESULTS.md).
        recovered_overlap: a lost track whose box has a larger IoU with a tracked one is not recovered: it would double it.
        refine_lost_box: what an agreeing centre does to the box of a recovered track: ``none`` (published in effect),
            ``output`` reports the moved box, ``kalman`` also corrects the track by it, ``centre`` corrects the track by the
            centre as a measurement of the horizontal position.
        min_box_area: smaller boxes are tracked but not reported.
        max_aspect: boxes wider than so many heights are tracked but not reported. 1.6; None for other things than people.
        clip_boxes: report boxes clipped to the image.
        published_bounds: compare y with the image's width, as the published code does.
        published_aspect: the filter takes every measured aspect ratio for uncertain by 0.1, as published, and not by a
            twentieth of it, as the height: its boxes lag behind in width.

    Raises:
        UserError: an option out of its range.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        frame_rate: float = 30.0,
        *,
        conf_threshold: float = 0.4,
        low_threshold: float | None = 0.2,
        new_threshold: float | None = None,
        first: Literal["published", "fused"] = "published",
        reid_threshold: float = 0.4,
        iou_threshold: float | None = None,
        reid: bool = True,
        occlusion: bool = True,
        fair_iou: bool | None = None,
        stages: Sequence[Stage] | None = None,
        measurement_noise: float | None = 1.0,
        track_buffer: int = 30,
        occlusion_threshold: float = 0.1,
        recovery_window: float = 1,
        recovered_overlap: float = 0.5,
        refine_lost_box: Literal["none", "output", "kalman", "centre"] = "none",
        min_box_area: float = 100.0,
        max_aspect: float | None = 1.6,
        clip_boxes: bool = False,
        published_bounds: bool = False,
        published_aspect: bool = False,
    ) -> None:
        check({name: value for name, value in locals().items() if name not in ("self", "stages")})
        height, width = image_size
        self.height, self.width = height, width
        self.conf_threshold, self.new_threshold = conf_threshold, new_threshold
        self.low_threshold = conf_threshold if low_threshold is None else min(low_threshold, conf_threshold)
        self.reid, self.occlusion = reid, occlusion
        if stages is None:
            stages = standard(first, reid_threshold, iou_threshold, fair_iou, low_threshold is not None)
        self.stages = tuple(stages)
        kinds = np.arange(len(_KINDS))
        self._takes = [np.isin(kinds, [_KINDS[name] for name in stage.tracks]) for stage in self.stages]
        self.noise = MeasurementNoise(measurement_noise, relative=not published_aspect)
        self.max_time_lost = int(frame_rate / 30 * track_buffer)
        self.occlusion_threshold = occlusion_threshold
        self.recovery_window = (
            int(recovery_window) if recovery_window >= 1 else max(1, int(recovery_window * frame_rate))
        )
        self.recovered_overlap, self.refine_lost_box = recovered_overlap, refine_lost_box
        self.min_box_area, self.clip_boxes = min_box_area, clip_boxes
        self.max_aspect = np.inf if max_aspect is None else max_aspect
        self.last_row = width if published_bounds else height
        self.frame = 0
        self.next_id = 1
        # Which rows are tracked (seen in the last frame, confirmed or not) and lost, in the published order of lists.
        self.tracked = np.empty(0, dtype=np.int64)
        self.lost = np.empty(0, dtype=np.int64)
        self._rows = LiveTracks()
        self._below = 0  # detections that were below the threshold, until the first one above it

    def update(
        self, detections: Detections, public: np.ndarray | None = None, motion: np.ndarray | None = None
    ) -> Tracks:
        """Go on by one frame.

        Args:
            detections: of this frame; none at all is an empty (0, 4) array of boxes.
            public: (P, 4) x1, y1, x2, y2 public detections; only detections that one of them claims may start a track.
            motion: (2, 3) what the camera's motion does to points of the last frame (see ``tracking.camera``).

        Returns:
            The confirmed tracks of this frame, then the recovered ones.

        Raises:
            UserError: arrays that do not fit.
        """
        rows = self._rows
        found = admission.admit(
            detections,
            f"frame {self.frame + 1}",
            threshold=self.low_threshold,
            occlusion_threshold=self.occlusion_threshold,
            last_column=self.width,
            last_row=self.last_row,
            reid=self.reid,
            occlusion=self.occlusion,
            dimension=rows.features.shape[1],
        )
        self._below = admission.count_below(self._below, found, len(detections.boxes), self.conf_threshold)
        self.frame += 1
        if found.embeddings is not None:
            rows.widen(found.embeddings.shape[1])
        confirmed = rows.confirmed[self.tracked]
        seen, new = self.tracked[confirmed], self.tracked[~confirmed]
        pool = np.concatenate([seen, self.lost, new])
        kinds = np.repeat([_SEEN, _LOST, _NEW], [len(seen), len(self.lost), len(new)])
        self._predict(pool, kinds, motion)

        sure = found.scores > self.conf_threshold
        measurements = kalman.to_measurements(found.boxes)
        matched, used = self._associate(pool, kinds, found, sure)
        taken, was_lost = pool[matched], kinds[matched] == _LOST
        self._correct(taken, measurements[used], found, used, sure[used], was_lost)
        free = sure.copy()
        free[used] = False
        newly_lost, abandoned = (part[~rows.among(part, taken)] for part in (seen, new))
        if self.new_threshold is not None:
            free &= found.scores > self.new_threshold
        start = free.nonzero()[0]
        if public is not None:
            public = np.asarray(public, dtype=np.float64).reshape(-1, 4)
            start = start[association.claimed_by_public(found.boxes[start], public)]
        started = self._start(measurements, found, start)

        gone = np.concatenate([newly_lost, abandoned])
        self.tracked = np.concatenate([self.tracked[~rows.among(self.tracked, gone)], started, taken[was_lost]])
        lost = np.concatenate([self.lost[~rows.among(self.lost, taken)], newly_lost])
        lost = lost[~rows.expired[lost]]
        # Takes effect in the next frame, in which the track can still be matched; lost again, it ends at once.
        rows.expired[lost[self.frame - rows.last_frame[lost] > self.max_time_lost]] = True
        self.lost = lost
        self._drop_duplicates()
        rows.release(np.concatenate([self.tracked, self.lost]))
        return self._report(found.centres)

    def lost_tracks(self) -> LostTracks:
        """Who is out of sight now, and where the filter expects them."""
        rows, lost = self._rows, self.lost
        unseen = self.frame - rows.last_frame[lost]
        return LostTracks(rows.ids[lost], self._boxes(lost), rows.score[lost], rows.classes[lost], unseen)

    def _predict(self, pool: np.ndarray, kinds: np.ndarray, motion: np.ndarray | None) -> None:
        """All confirmed tracks into this frame; new ones stay where they were seen, as published."""
        rows = self._rows
        if motion is not None:
            motion = np.asarray(motion, dtype=np.float64)
            if motion.shape != (2, 3) or not np.isfinite(motion).all():
                raise UserError(f"frame {self.frame}: motion is a (2, 3) matrix of numbers, got shape {motion.shape}")
            rows.mean[pool], rows.blocks[pool] = kalman.move_camera(rows.mean[pool], rows.blocks[pool], motion)
        rows.mean[self.lost, 7] = 0
        moving = pool[kinds != _NEW]
        rows.mean[moving], rows.blocks[moving] = kalman.predict(
            rows.mean[moving], rows.blocks[moving], relative=self.noise.relative
        )

    def _associate(
        self, pool: np.ndarray, kinds: np.ndarray, found: admission.Admitted, sure: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Go through the stages; positions in the pool and of the detections that belong together."""
        rows, matched, used = self._rows, [_NOBODY], [_NOBODY]
        waiting, free = np.ones(len(pool), dtype=bool), np.ones(len(sure), dtype=bool)
        given = "boxes" if found.embeddings is None else "embeddings"
        for stage, takes in zip(self.stages, self._takes, strict=True):
            if stage.when not in ("always", given):
                continue
            i, j = (waiting & takes[kinds]).nonzero()[0], (free & (sure != stage.weak)).nonzero()[0]
            if not (len(i) and len(j)):
                continue
            tracks = pool[i]
            embeddings = None if found.embeddings is None else found.embeddings[j]
            candidates = Candidates(
                rows.mean[tracks],
                rows.blocks[tracks],
                rows.features[tracks],
                found.boxes[j],
                found.scores[j],
                embeddings,
                self.noise.factors,
            )
            cost = stage.cost(candidates)
            if found.classes is not None:
                known, seen = rows.classes[tracks][:, None], found.classes[j]
                cost = np.where((known == seen) | (known < 0), cost, np.inf)
            a, b = association.assign(cost, stage.limit)
            matched.append(i[a])
            used.append(j[b])
            waiting[i[a]] = free[j[b]] = False
        return np.concatenate(matched), np.concatenate(used)

    def _boxes(self, rows: np.ndarray) -> np.ndarray:
        """The current boxes (n, 4) x1, y1, x2, y2 of rows."""
        return kalman.to_boxes(self._rows.mean[rows])

    def _correct(
        self,
        taken: np.ndarray,
        measurements: np.ndarray,
        found: admission.Admitted,
        used: np.ndarray,
        sure: np.ndarray,
        was_lost: np.ndarray,
    ) -> None:
        """Update rows by the detections they were matched with; of weak ones, mostly covered, only the place is taken."""
        rows = self._rows
        steady = sure & ~was_lost & rows.confirmed[taken]
        self.noise.learn(rows.mean[taken[steady]], rows.blocks[taken[steady]], measurements[steady])
        rows.mean[taken], rows.blocks[taken] = kalman.update(
            rows.mean[taken], rows.blocks[taken], measurements, noise=self.noise.factors, relative=self.noise.relative
        )
        rows.last_frame[taken] = self.frame
        rows.confirmed[taken] = True
        rows.detection[:] = -1
        rows.detection[taken] = found.rows[used]
        rows.score[taken[~was_lost]] = found.scores[used[~was_lost]]
        if found.classes is not None:
            rows.classes[taken] = found.classes[used]
        if found.embeddings is not None and sure.any():
            known, looks = taken[sure], found.embeddings[used[sure]]
            rows.features[known] = admission.normalised(MOMENTUM * rows.features[known] + (1 - MOMENTUM) * looks)

    def _start(self, measurements: np.ndarray, found: admission.Admitted, chosen: np.ndarray) -> np.ndarray:
        """New tracks; those of the first frame are confirmed at once, others when they are seen again."""
        count, rows = len(chosen), self._rows
        if not count:
            return _NOBODY
        started = rows.take(count)
        rows.mean[started], rows.blocks[started] = kalman.initiate(measurements[chosen], relative=self.noise.relative)
        rows.ids[started] = np.arange(self.next_id, self.next_id + count)
        self.next_id += count
        rows.score[started] = found.scores[chosen]
        rows.first_frame[started] = rows.last_frame[started] = self.frame
        rows.overlapped[started] = _NEVER
        rows.confirmed[started] = self.frame == 1
        rows.expired[started] = False
        rows.classes[started] = -1 if found.classes is None else found.classes[chosen]
        rows.detection[started] = found.rows[chosen]
        rows.features[started] = 0 if found.embeddings is None else found.embeddings[chosen]
        return started

    def _drop_duplicates(self) -> None:
        """Of a tracked and a lost track in the same place the one that lived shorter goes; in a tie the tracked one."""
        if not (len(self.tracked) and len(self.lost)):
            return
        rows = self._rows
        near = association.iou_distance(self._boxes(self.tracked), self._boxes(self.lost)) < DUPLICATE
        if not near.any():
            return
        near &= rows.classes[self.tracked][:, None] == rows.classes[self.lost]
        age = rows.last_frame - rows.first_frame
        older = age[self.tracked][:, None] > age[self.lost]
        tracked, lost = ~(near & ~older).any(1), ~(near & older).any(0)
        self.tracked, self.lost = self.tracked[tracked], self.lost[lost]

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
        keep &= size[:, 0] <= self.max_aspect * size[:, 1]
        shown = shown[keep]
        return Tracks(
            rows.ids[shown], boxes[keep], rows.score[shown], states[keep], rows.classes[shown], rows.detection[shown]
        )

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
                rows.mean[chosen],
                rows.blocks[chosen],
                kalman.to_measurements(refined[moved]),
                noise=REFINEMENT_NOISE,
                relative=self.noise.relative,
            )
            boxes = self._boxes(hidden)
        elif self.refine_lost_box == "centre" and recovered.any():
            chosen = hidden[recovered]
            rows.mean[chosen], rows.blocks[chosen] = occlusion.follow_centres(
                rows.mean[chosen], rows.blocks[chosen], known, centres
            )
            boxes = self._boxes(hidden)
        elif self.refine_lost_box == "output":
            boxes = refined
        if self.recovered_overlap < 1 and len(known):
            recovered &= association.iou(boxes, known).max(1) <= self.recovered_overlap
        return hidden[recovered], boxes[recovered]

    def _remember(self, seen: np.ndarray, boxes: np.ndarray) -> None:
        """Note the frame in which a track was partly covered, away from the border of the image."""
        covered = occlusion.partly_covered(boxes, (self.width, self.height))
        self._rows.overlapped[seen[covered]] = self.frame

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes from frame to frame, as arrays: a tracker that loads it goes on as this one would."""
        live = np.concatenate([self.tracked, self.lost])
        arrays = {name: getattr(self._rows, name)[live].copy() for name in LiveTracks.FIELDS}
        return arrays | {
            "frame": self.frame,
            "next_id": self.next_id,
            "num_tracked": len(self.tracked),
            "noise": self.noise.factors.copy(),
            "below": self._below,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a tracker with the same options."""
        self.frame, self.next_id, self._below = int(state["frame"]), int(state["next_id"]), int(state["below"])
        self.noise.factors = np.array(state["noise"], dtype=np.float64)
        self._rows = LiveTracks()
        self._rows.widen(state["features"].shape[1])
        live = self._rows.take(len(state["ids"]))
        for name in LiveTracks.FIELDS:
            getattr(self._rows, name)[live] = state[name]
        self.tracked, self.lost = np.split(live, [int(state["num_tracked"])])
