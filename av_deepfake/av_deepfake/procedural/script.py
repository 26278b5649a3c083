"""What is spoken: a sequence of visemes, and the articulation that follows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

RATE = 200
"""Of the articulation, in Hz."""

_VISEMES = np.array(
    [  # jaw 0..1, spread -1 (rounded)..1 (wide), voicing, frication, its centre in Hz, burst at the release
        (0.00, 0.0, 0.0, 0.0, 5000, 1.0),  # closed lips
        (0.08, 0.1, 0.2, 0.5, 5000, 0.0),  # lip on teeth
        (0.25, -0.9, 1.0, 0.0, 5000, 0.0),  # rounded, close
        (0.60, -0.7, 1.0, 0.0, 5000, 0.0),  # rounded, open
        (0.20, 0.9, 1.0, 0.0, 5000, 0.0),  # spread, close
        (0.60, 0.7, 1.0, 0.0, 5000, 0.0),  # spread, open
        (0.35, 0.0, 1.0, 0.0, 5000, 0.0),  # neutral
        (0.15, 0.4, 0.0, 0.8, 6000, 0.0),  # sibilant
        (0.05, 0.0, 0.0, 0.0, 5000, 0.0),  # silence
        (1.00, 0.1, 1.0, 0.0, 5000, 0.0),  # wide open
    ]
)
SILENCE = 8
SHORTEST, LONGEST = 0.06, 0.18
"""Seconds of a segment at the normal rate."""
_PAUSE_SHARE, _PAUSE = 0.06, (0.15, 0.30)
_VOICE_TAU, _UPPER_LIP_LAG = 0.012, 0.010


class Script(NamedTuple):
    """Segments: ``viseme`` (k,) and ``seconds`` (k,) at the normal rate."""

    viseme: np.ndarray
    seconds: np.ndarray


class Articulation(NamedTuple):
    """One row a clip, at 200 Hz, (n, t): jaw (0 closed..1), the upper lip's jaw (10 ms late), spread, voicing, both
    frications (around 5 and 6 kHz) and bursts."""

    jaw: np.ndarray
    upper: np.ndarray
    spread: np.ndarray
    voicing: np.ndarray
    frication: np.ndarray
    sibilance: np.ndarray
    burst: np.ndarray


def draw_script(rng: np.random.Generator, seconds: float) -> Script:
    """Segments for at least so many seconds at the fastest rate (1.25); no viseme follows itself."""
    count = int(seconds * 1.25 / SHORTEST) + 2
    steps = rng.integers(1, len(_VISEMES), count)
    viseme = np.cumsum(steps) % len(_VISEMES)
    lengths = rng.uniform(SHORTEST, LONGEST, count)
    pause = rng.random(count) < _PAUSE_SHARE
    viseme[pause] = SILENCE
    lengths[pause] = rng.uniform(*_PAUSE, int(pause.sum()))
    return Script(viseme, lengths)


def articulate(script: Script, speed: float, start: float, tau: tuple[float, float], seconds: float) -> Articulation:
    """How a mouth follows a script: critically damped, each articulator with its own time constant.

    Args:
        script: what is spoken.
        speed: 1 is the normal rate.
        start: seconds of silence before the first segment.
        tau: time constants of jaw and spread in seconds.
        seconds: of the result.
    """
    count = round(seconds * RATE)
    ends = start + np.cumsum(script.seconds) / speed
    times = np.arange(count + RATE // 10) / RATE  # a little more, for what runs late
    segment = np.searchsorted(ends, times, side="right")
    rows = np.concatenate([script.viseme, [SILENCE]])[np.minimum(segment, len(script.viseme))]
    rows = np.where(times < start, SILENCE, rows)
    jaw, spread, voicing, level, centre, burst = _VISEMES[rows].T
    jaw, spread = _follow(jaw, tau[0]), _follow(spread, tau[1])
    lag = round((sum(tau) - 2 * _VOICE_TAU) * RATE)  # the voice waits for lips and jaw
    released = np.zeros_like(burst)
    released[1:] = np.maximum(burst[:-1] - burst[1:], 0)
    released = np.maximum(released, np.roll(released, 1))  # 10 ms

    def late(values: np.ndarray, by: int) -> np.ndarray:
        return np.concatenate([np.full(by, values[0]), values])[:count]

    return Articulation(
        jaw[:count],
        late(jaw, round(_UPPER_LIP_LAG * RATE)),
        spread[:count],
        late(_follow(voicing, _VOICE_TAU), lag),
        late(_follow(level * (centre < 5500), _VOICE_TAU), lag),
        late(_follow(level * (centre >= 5500), _VOICE_TAU), lag),
        late(released, lag),
    )


def _follow(target: np.ndarray, tau: float) -> np.ndarray:
    """Second order, critically damped: both poles at exp(-dt / tau)."""
    pole = np.exp(-1 / (RATE * tau))
    gain = (1 - pole) ** 2
    # The state of one that has rested at the first target.
    rest = np.array([target[0] * (1 - gain), -target[0] * pole**2])
    return lfilter([gain], [1, -2 * pole, pole**2], target, zi=rest)[0]


def at_frames(track: np.ndarray, frames: int, fps: float, offset: np.ndarray | float = 0.0) -> np.ndarray:
    """A track of 200 Hz at the middle of each frame.

    Args:
        track: (t,).
        frames: of the result.
        fps: frames a second.
        offset: seconds by which the picture runs late.
    """
    times = (np.arange(frames) + 0.5) / fps - offset
    return np.interp(times * RATE, np.arange(len(track)), track)
