"""From the videos of a set to the logits of their clips, kept video by video."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from av_deepfake import metrics
from av_deepfake.evaluation.suspects import CLEAN, Suspect, Suspects
from shared_utils import UserError

TOGETHER = 16
"""Clips in the network at once."""


class Scorer(Protocol):
    """What a ``MouthModel`` does."""

    def score(self, clips: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Logits (n,) of clips (n, t, h, w) uint8 with their valid frames (n, t)."""
        ...


def compute(
    suspects: Suspects, number: int, models: Sequence[Scorer], changes: Sequence[str] = (CLEAN,)
) -> dict[str, Any]:
    """Arrays of a video: ``logits CHANGE`` (models, clips) for each change, and what was seen as JSON.

    Args:
        suspects: the set.
        number: of the video.
        models: that score it.
        changes: ``CLEAN``, and degradations.
    """
    found: dict[str, Any] = {}
    notes, cues, trimmed = {}, {}, 0.0
    for change in changes:
        try:
            seen = suspects.look(number, change)
        except UserError as error:
            notes[change], pictures, valid = (
                f"unreadable: {error}",
                np.zeros((0, 1, 1, 1), np.uint8),
                np.zeros((0, 1), bool),
            )
        else:
            pictures, valid = seen.pictures, seen.valid
            if seen.note:
                notes[change] = seen.note
            if change == CLEAN:
                cues, trimmed = seen.cues, seen.trimmed
        found[f"logits {change}"] = np.stack([_logits(model, pictures, valid) for model in models])
    return {**found, "seen": json.dumps({"notes": notes, "cues": cues, "trimmed": trimmed})}


def _logits(model: Scorer, pictures: np.ndarray, valid: np.ndarray) -> np.ndarray:
    parts = [
        model.score(pictures[start : start + TOGETHER], valid[start : start + TOGETHER])
        for start in range(0, len(pictures), TOGETHER)
    ]
    return np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)


@dataclass(frozen=True)
class Scored:
    """Clips of one group, by one model under one change. logits, labels: (n,). keys: (n,) of their videos."""

    logits: np.ndarray
    labels: np.ndarray
    keys: list[tuple[str, str]]

    def only(self, methods: Sequence[str]) -> Scored:
        """Genuine clips and those of some methods."""
        kept = [
            row
            for row, (key, label) in enumerate(zip(self.keys, self.labels, strict=True))
            if not label or key[0] in methods
        ]
        return Scored(self.logits[kept], self.labels[kept], [self.keys[row] for row in kept])

    def videos(self) -> metrics.Videos:
        """A logit a video."""
        return metrics.video_level(self.logits, self.keys, self.labels)


def gathered(
    parts: Mapping[int, dict[str, np.ndarray]],
    items: Sequence[Suspect],
    group: str,
    model: int = 0,
    change: str = CLEAN,
) -> Scored:
    """The clips of a group.

    Args:
        parts: of ``compute``, by number of the video.
        items: the videos.
        group: see there.
        model: number of the model.
        change: see ``compute``.

    Raises:
        UserError: no clip of it could be scored.
    """
    logits, labels, keys = [], [], []
    for number, part in parts.items():
        item = items[number]
        if item.group != group:
            continue
        found = part[f"logits {change}"][model]
        logits.append(found)
        labels += [item.label] * len(found)
        keys += [item.key] * len(found)
    if not keys:
        raise UserError(f"no mouth was found in any video of {group}: nothing can be measured")
    return Scored(np.concatenate(logits), np.array(labels), keys)


def seen(part: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What ``compute`` noted: ``notes`` by change, ``cues``, and the seconds that were ``trimmed``."""
    return json.loads(str(part["seen"]))
