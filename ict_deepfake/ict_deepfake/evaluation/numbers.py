"""From embeddings to what is reported: frames and videos, exact, with intervals over videos."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ict_deepfake import metrics
from ict_deepfake.data.test_sets import Clip
from ict_deepfake.evaluation.embedding import CLEAN, embeddings_of
from ict_deepfake.pretrained import Detector
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError

Score = Literal["consistency", "reference"]
TITLES = {"consistency": "ICT", "reference": "ICT-Ref"}
DRAWS = 1000
"""Of the bootstrap over videos."""


@dataclass(frozen=True)
class Scored:
    """The scored frames of a set, by one score under one change: of each clip its highest track.

    scores, labels: (n,) of frames. videos: (n,) their clips' names. methods: (n,) of their clips.
    """

    scores: np.ndarray
    labels: np.ndarray
    videos: list[str]
    methods: np.ndarray

    def only(self, method: str) -> Scored:
        """Genuine frames and those of one method."""
        kept = (self.labels == 0) | (self.methods == method)
        rows = np.flatnonzero(kept)
        return Scored(self.scores[rows], self.labels[rows], [self.videos[row] for row in rows], self.methods[rows])


def score(
    parts: Mapping[str, dict[str, np.ndarray]],
    clips: Mapping[str, Clip],
    detector: Detector,
    references: ReferenceSet | None,
    which: Score,
    change: str = CLEAN,
    k: int = 1,
) -> Scored:
    """Score every clip; a clip with several tracks counts by the one with the highest mean, genuine clips alike.

    Args:
        parts: embeddings by clip.
        clips: labels and methods by clip.
        detector: that made the embeddings.
        references: of ICT-Ref.
        which: of the two scores.
        change: the degradation.
        k: references that are averaged.
    """
    scores, labels, videos, methods = [], [], [], []
    for name, part in parts.items():
        rows = embeddings_of(part, change)
        if not len(rows.inner):
            continue
        found = detector.score_embeddings(rows, references if which == "reference" else None, k)[which]
        tracks = part["tracks"]
        means = {track: float(found[tracks == track].mean()) for track in np.unique(tracks).tolist()}
        best = tracks == max(means, key=lambda track: means[track])
        clip = clips[name]
        scores.append(found[best])
        labels += [clip.label] * int(best.sum())
        videos += [clip.video] * int(best.sum())
        methods += [clip.method] * int(best.sum())
    if not scores:
        raise UserError("no face was found in any clip: nothing can be measured")
    return Scored(np.concatenate(scores), np.array(labels), videos, np.array(methods))


def measured(scored: Scored) -> dict[str, Any]:
    """Every number of frames and of videos."""
    s, y, v = scored.scores, scored.labels, scored.videos
    by_video = metrics.by_video(s, y, v)
    found: dict[str, Any] = {"frames": len(s), "videos": len(by_video.names), "AUC": metrics.auc(s, y)}
    found["video AUC"] = metrics.auc(by_video.scores, by_video.labels)
    found |= {"EER": metrics.eer(s, y), "AP": metrics.average_precision(s, y)}
    found |= {f"TPR at FPR {rate:g} %": metrics.tpr_at_fpr(s, y, rate / 100) for rate in (1, 0.1)}
    frame = metrics.bootstrap(metrics.auc, s, y, v, DRAWS)
    video = metrics.bootstrap(metrics.auc, by_video.scores, by_video.labels, by_video.names, DRAWS)
    return found | {"AUC interval": [frame.low, frame.high], "video AUC interval": [video.low, video.high]}


def published(scored: Scored, which: Score, seed: int) -> dict[str, float]:
    """The published protocol's AUC and accuracy; see ``metrics.published_curve`` for why it is not the exact one."""
    shuffle = None if which == "consistency" else seed
    largest = 4.0 if which == "consistency" else 10.0
    curve = metrics.published_curve(scored.scores, scored.labels, largest, shuffle_seed=shuffle)
    return {"published AUC": curve.auc, "published accuracy": float(curve.accuracy.mean())}


def accuracy(scored: Scored, calibration: metrics.Calibration) -> dict[str, float]:
    """What the model's calibration says at one half: its threshold was set on the validation set that it names."""
    probability = calibration(scored.scores)
    right = (probability >= 0.5) == (scored.labels == 1)
    return {"accuracy": float(right.mean()), "Brier": float(np.square(probability - scored.labels).mean())}


def cues(parts: Mapping[str, dict[str, np.ndarray]], clips: Mapping[str, Clip]) -> dict[str, float]:
    """AUC of what has nothing to do with faces, by cue: far from 0.5, a high AUC of the detector may come from there.

    Whichever way it points: 0.5 to 1.
    """
    values: dict[str, list[float]] = {}
    labels: dict[str, list[int]] = {}
    for name, part in parts.items():
        for row in json.loads(str(part["cues"])):
            for cue, value in row.items():
                values.setdefault(cue, []).append(value)
                labels.setdefault(cue, []).append(clips[name].label)
    found = {}
    for cue, given in values.items():
        if len(set(labels[cue])) == 2:
            area = metrics.auc(given, labels[cue])
            found[cue] = max(area, 1 - area)
    return found


def seen(parts: Mapping[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    """What was looked at: frames, those without a face, clips with several faces, files that could not be read."""
    unreadable: dict[str, str] = {}
    for part in parts.values():
        unreadable |= json.loads(str(part["unreadable"]))
    return {
        "clips": len(parts),
        "clips without a face": sum(not len(part["frames"]) for part in parts.values()),
        "frames": sum(int(part["frames_seen"]) for part in parts.values()),
        "frames without a face": sum(int(part["no_face"]) for part in parts.values()),
        "clips with several faces": sum(len(np.unique(part["tracks"])) > 1 for part in parts.values()),
        "unreadable": unreadable,
    }


def table(
    scored: Scored, which: Score, methods: Sequence[str], more: Callable[[Scored], dict[str, float]], together: bool
) -> list[dict[str, Any]]:
    """A row of all fakes ``together``, which makes no sense where some are controls; one a method against all genuine frames."""
    rows = []
    listed = [("all", scored)] if together and len(methods) > 1 else []
    for method, each in [*listed, *((method, scored.only(method)) for method in methods)]:
        rows.append({"score": TITLES[which], "fakes": method, **measured(each), **more(each)})
    return rows
