"""The simple baseline: statistics of motion that anyone would write down first, and a regression on them."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from av_deepfake.procedural import Fakes

_CELLS = 6


def motion_statistics(pictures: np.ndarray) -> np.ndarray:
    """Temporal spectra of brightness and of the mouth's opening, and moments of frame differences.

    Args:
        pictures: (n, t, s, s) uint8.

    Returns:
        (n, 3 (t // 2) + 8): log power by frequency of a 6x6 grid of cells, of the darkness in the middle (opening) and of
        its spread to the sides (width); mean, deviation, largest and second differences of frames.
    """
    clips = pictures.astype(np.float32) / 255
    count, frames, size = clips.shape[:3]
    clips = clips - clips.mean((2, 3), keepdims=True)  # the camera's gain and flicker
    cell = size // _CELLS
    cells = (
        clips[:, :, : cell * _CELLS, : cell * _CELLS].reshape(count, frames, _CELLS, cell, _CELLS, cell).mean((3, 5))
    )
    low, high = size // 3, 2 * size // 3
    opening = -clips[:, :, low : high + size // 12, low:high].mean((2, 3))
    sides = np.concatenate([clips[:, :, low:high, size // 8 : low], clips[:, :, low:high, high : -size // 8]], 3)
    series = [cells.reshape(count, frames, -1), opening[..., None], sides.mean((2, 3))[..., None]]
    spectra = [np.log(_power(each).mean(2) + 1e-9) for each in series]
    first, second = (np.abs(np.diff(clips, order, axis=1)).mean((2, 3)) for order in (1, 2))
    moments = [f(each, axis=1) for each in (first, second) for f in (np.mean, np.std, np.max, np.min)]
    return np.concatenate([*spectra, np.log(np.stack(moments, 1) + 1e-6)], 1)


def _power(series: np.ndarray) -> np.ndarray:
    """(n, t, k) -> (n, t // 2, k), without the mean."""
    window = np.hanning(series.shape[1])[:, None]
    return np.abs(np.fft.rfft((series - series.mean(1, keepdims=True)) * window, axis=1))[:, 1:] ** 2


def fit(clips: Fakes, strength: float) -> Pipeline:
    """A regression of genuine against forged, both of equal weight.

    Args:
        clips: what it is fitted to.
        strength: inverse of the penalty.
    """
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    return make_pipeline(StandardScaler(), model).fit(motion_statistics(clips.pictures), clips.label)


def scores(model: Pipeline, pictures: np.ndarray) -> np.ndarray:
    """Log odds of a fake, (n,)."""
    return model.decision_function(motion_statistics(pictures))
