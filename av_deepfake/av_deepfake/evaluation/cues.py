"""What gives the label of a video away without a look at the mouth: a set where it does measures something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake import metrics

Cue = float | str
_RATE = 16_000
_WINDOW = 320
"""Samples: 20 ms."""
_BELOW = 40.0
"""dB below the loudest window: silence. In AV-Deepfake1M and FakeAVCeleb fakes begin with some 30 ms of it [AVH-Align]."""
SUSPICIOUS = 0.75


def leading_silence(samples: np.ndarray) -> float:
    """Seconds before the first window of 20 ms that is less than 40 dB below the loudest one.

    Args:
        samples: (n,) at 16 kHz.

    Returns:
        The whole length where there is no sound at all.
    """
    count = len(samples) // _WINDOW
    if not count:
        return len(samples) / _RATE
    windows = np.asarray(samples[: count * _WINDOW], np.float64).reshape(count, _WINDOW)
    loudness = np.sqrt(np.square(windows).mean(1))
    if loudness.max() <= 0:
        return len(samples) / _RATE
    return float(np.argmax(loudness >= loudness.max() * 10 ** (-_BELOW / 20))) * _WINDOW / _RATE


def cues_of(path: Path, facts: Mapping[str, Any], silence: float | None) -> dict[str, Cue]:
    """The cues of a video that are known.

    Args:
        path: of the file.
        facts: of its preprocessing.
        silence: leading silence in seconds; None: it has no sound.
    """
    seconds = float(facts.get("seconds") or 0)
    found: dict[str, Cue | None] = {
        "leading silence": silence,
        "has sound": float(silence is not None),
        "file type": str(facts.get("kind") or path.suffix),
        "resolution": float(facts["height"] * facts["width"]) if facts.get("height") and facts.get("width") else None,
        "duration": seconds or None,
        "bit rate": 8 * path.stat().st_size / seconds if path.is_file() and seconds else None,
        "frame count": float(facts["decoded"]) if facts.get("decoded") else None,
        "frame rate": float(facts["fps"]) if facts.get("fps") else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def areas(cues: Sequence[Mapping[str, Cue]], labels: Sequence[int]) -> dict[str, float]:
    """AUC of each cue alone, whichever way it points: 0.5 to 1.

    A cue that is a word (the file type) counts by the share of fakes among the other videos with that word. Cues that are
    known of one class only are left out.

    Args:
        cues: of each video.
        labels: 1 = fake.
    """
    found = {}
    for name in dict.fromkeys(name for each in cues for name in each):
        known = [(each[name], label) for each, label in zip(cues, labels, strict=True) if name in each]
        truth = np.array([label for _, label in known])
        if len(set(truth.tolist())) < 2:
            continue
        values = _numbers([value for value, _ in known], truth)
        area = metrics.auc(values, truth)
        found[name] = max(area, 0.5 if isinstance(known[0][0], str) else 1 - area)
    return found


def _numbers(values: Sequence[Cue], labels: np.ndarray) -> np.ndarray:
    if not any(isinstance(value, str) for value in values):
        return np.array(values, np.float64)
    words = np.array([str(value) for value in values])
    shares = np.full(len(words), 0.5)
    for word in np.unique(words):
        rows = np.flatnonzero(words == word)
        if len(rows) > 1:
            shares[rows] = (labels[rows].sum() - labels[rows]) / (len(rows) - 1)
    # Leaving a video out lowers its own share by its label; where one word has all videos, that would look like a cue.
    return np.full(len(words), 0.5) if len(set(words.tolist())) == 1 else shares
