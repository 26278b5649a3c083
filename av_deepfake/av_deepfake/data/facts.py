"""What training clips look like: kept with the model, so that ``predict`` can say which of a user's clips lie outside."""

from __future__ import annotations

from typing import Any

import numpy as np

from av_deepfake.data.mouths import Mouths

_SAMPLE = 200


def appearance(clip: np.ndarray) -> dict[str, float]:
    """Brightness, contrast, sharpness and movement of a clip (t, h, w) uint8.

    ``sharpness``: mean squared difference of neighbouring pixels over the variance; ``movement``: mean absolute difference of
    neighbouring frames, in grey levels.
    """
    grey = clip.astype(np.float32)
    variance = float(grey.var()) + 1e-6
    gradient = float(np.square(np.diff(grey, axis=2)).mean() + np.square(np.diff(grey, axis=1)).mean()) / 2
    movement = float(np.abs(np.diff(grey, axis=0)).mean()) if len(grey) > 1 else 0.0
    return {
        "brightness": float(grey.mean()),
        "contrast": variance**0.5,
        "sharpness": gradient / variance,
        "movement": movement,
    }


def ranges(mouths: Mouths, frames: int, seed: int = 0) -> dict[str, list[float]]:
    """The range from the 1st to the 99th percentile of each number of ``appearance`` over a sample of videos."""
    usable = np.flatnonzero(np.asarray(mouths.frames) > 0)
    rows = np.random.default_rng([seed, 9]).permutation(usable)[:_SAMPLE]
    found = [appearance(mouths.pictures(int(row), 0, min(frames, int(mouths.frames[row])))) for row in rows]
    return (
        {
            key: [round(float(value), 4) for value in np.percentile([each[key] for each in found], (1, 99))]
            for key in found[0]
        }
        if found
        else {}
    )


def description(name: str, mouths: Mouths, frames: int, seed: int, **more: Any) -> dict[str, Any]:
    """Plain values for a checkpoint: the set, its size, the ranges of its clips."""
    return {"set": name, "videos": len(mouths.frames), "ranges": ranges(mouths, frames, seed), **more}
