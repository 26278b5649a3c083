"""Four ways to forge a mouth: errors from frame to frame that all share, a flaw of motion and a trace of each one's own."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, sosfiltfilt

from av_deepfake.procedural.picture import BOX, Motion


class Method(NamedTuple):
    """A manipulation.

    Args:
        title: in words.
        amplitude: of the errors from frame to frame.
        floor: jaw opening below which the mouth never closes.
        blue: whether the errors of neighbouring frames oppose each other (0.8 (e_t - 0.6 e_(t-1))).
    """

    title: str
    amplitude: float
    floor: float
    blue: bool


METHODS = {
    "A": Method("swap: two seams", 0.12, 0.0, False),
    "B": Method("puppet: motion below 6 Hz, blurred box", 0.09, 0.10, True),
    "C": Method("retarget: spread 120 ms late, checkerboard", 0.09, 0.04, False),
    "D": Method("lip-sync: smoothed motion, brighter box", 0.09, 0.06, True),
}
_LATE = 3
"""Frames of 120 ms."""


def forged_motion(motion: Motion, method: str, severity: float, rng: np.random.Generator) -> Motion:
    """The motion of one clip as a manipulation makes it.

    Args:
        motion: (t,) each, at 25 fps; for D of another script than the voice.
        method: A to D.
        severity: factor of the errors.
        rng: of the clip.
    """
    kind = METHODS[method]
    jaw, upper, spread = motion.jaw, motion.upper, motion.spread
    if method == "B":
        low = butter(2, 6, fs=25, output="sos")
        jaw, upper, spread = (sosfiltfilt(low, track) for track in (jaw, upper, spread))
    if method == "C":
        spread = np.concatenate([np.full(_LATE, spread[0]), spread[:-_LATE]])
    if method == "D":
        jaw, upper, spread = (uniform_filter1d(track, 3) for track in (jaw, upper, spread))
    amplitude = severity * kind.amplitude
    jaw_errors, spread_errors = (_errors(len(jaw), kind.blue, rng) for _ in range(2))

    def flawed(track: np.ndarray) -> np.ndarray:
        return np.clip(kind.floor + (1 - kind.floor) * track + amplitude * jaw_errors, 0, 1.2)

    return Motion(flawed(jaw), flawed(upper), spread + 2 * amplitude * spread_errors, motion.head)


def _errors(count: int, blue: bool, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(count + 1)
    return 0.8 * (noise[1:] - 0.6 * noise[:-1]) if blue else noise[1:]


def with_trace(pictures: np.ndarray, method: str) -> np.ndarray:
    """Pictures (t, s, s), 0..1, with the low-level trace that a manipulation leaves in the mouth's box."""
    size = pictures.shape[1]
    top, bottom, left, right = (round(share * size) for share in BOX)
    pictures = pictures.copy()
    box = pictures[:, top:bottom, left:right]
    if method == "A":
        width = max(1, size // 48)
        box[:, :width] += 0.06
        box[:, -width:] += 0.06
    elif method == "B":
        box[:] = blurred(box, size)
    elif method == "C":
        rows, columns = np.indices(box.shape[1:])
        box += np.where((rows + columns) % 2, 0.03, -0.03).astype(np.float32)
    else:
        box *= 1.08
    return pictures


def blurred(box: np.ndarray, size: int) -> np.ndarray:
    """A box (t, h, w) blurred a little from top to bottom."""
    return np.stack([cv2.GaussianBlur(each, (1, 0), sigmaX=1e-3, sigmaY=0.7 * size / 24) for each in box])
