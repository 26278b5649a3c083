"""What training clips look like: kept with the model, so that ``predict`` can say which of a user's clips lie outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from av_deepfake.data.augmentation import centred
from av_deepfake.data.mouths import Mouths
from av_deepfake.prediction.appearance import appearance

_SAMPLE = 200
_MEASURED = ("fps", "crop_scale", "bits_per_pixel")
"""Of the sidecars that ``preprocess`` writes."""


def ranges(mouths: Mouths, size: int, frames: int, seed: int = 0) -> dict[str, list[float]]:
    """The range from the 1st to the 99th percentile of each number of ``appearance``, over a sample, and of sidecars.

    Args:
        mouths: the videos.
        size: side of the network's pictures.
        frames: of a clip.
        seed: of the sample.
    """
    usable = np.flatnonzero(np.asarray(mouths.frames) > 0)
    rows = np.random.default_rng([seed, 9]).permutation(usable)[:_SAMPLE]
    clips = (mouths.pictures(int(row), 0, min(frames, int(mouths.frames[row]))) for row in rows)
    found = [appearance(centred(clip, size)) for clip in clips]
    if not found:
        return {}
    values = {key: [each[key] for each in found] for key in found[0]}
    for facts in getattr(mouths, "facts", ()):
        for key in _MEASURED:
            if facts.get(key) is not None:
                values.setdefault(key, []).append(float(facts[key]))
    limits = {key: np.percentile(each, (1, 99)) for key, each in values.items()}
    return {key: [round(float(value), 4) for value in pair] for key, pair in limits.items()}


def description(name: str, mouths: Mouths, size: int, frames: int, seed: int, **more: Any) -> dict[str, Any]:
    """Plain values for a checkpoint: the set, its size, the ranges of its clips; see ``ranges`` for the arguments."""
    return {"set": name, "videos": len(mouths.frames), "ranges": ranges(mouths, size, frames, seed), **more}
