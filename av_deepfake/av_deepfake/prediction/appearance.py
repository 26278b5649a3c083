"""What clips look like in four numbers, for training data and for a user's videos alike."""

from __future__ import annotations

import numpy as np


def appearance(clip: np.ndarray) -> dict[str, float]:
    """Brightness, contrast, sharpness and movement of a clip as the network sees it.

    Args:
        clip: (t, h, w) uint8.

    Returns:
        brightness, contrast: mean and standard deviation in grey levels. sharpness: mean squared difference of neighbouring
        pixels over the variance. movement: mean absolute difference of neighbouring frames in grey levels.
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
