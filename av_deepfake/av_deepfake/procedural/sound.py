"""The sound of an articulation: harmonics shaped by three resonances, and noise where there is friction."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from av_deepfake.procedural.script import RATE, Articulation

SAMPLE_RATE = 16_000
_STEP = SAMPLE_RATE // RATE
_HIGHEST = 4000.0
_BANDWIDTHS = np.array([80.0, 120.0, 180.0])
_GAINS = np.array([1.0, 0.6, 0.3])
LEVEL = 0.1
"""Root mean square of a clip before its gain."""


def voice(said: Articulation, pitch: float, tract: float, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Dry speech of one clip.

    Args:
        said: its articulation, rows (t,) at 200 Hz.
        pitch: mean of f0 in Hz.
        tract: scale of the resonances.
        tilt: how the spectrum falls.
        rng: of drift, jitter and friction.

    Returns:
        (80 t,) float32 at 16 kHz.
    """
    count = len(said.jaw)
    f0 = pitch * (1 + 0.12 * _drift(count, rng) + 0.006 * rng.standard_normal(count))
    resonances = tract * np.stack(
        [280 + 520 * said.jaw, 850 + 1300 * (said.spread + 1) / 2 - 250 * said.jaw, np.full(count, 2500.0)]
    )
    orders = np.arange(1, int(_HIGHEST / f0.min()) + 1)
    frequencies = orders[:, None] * f0
    distance = (frequencies[:, None] - resonances) / (_BANDWIDTHS[:, None] / 2)
    shape = (_GAINS[:, None] / np.sqrt(1 + distance**2)).sum(1) * (frequencies / 500) ** -tilt
    shape *= np.clip((_HIGHEST - frequencies) / 300, 0, 1)
    energy = said.voicing * (0.25 + 0.75 * np.clip(said.jaw, 0, None))
    amplitudes = _finely((shape * energy).astype(np.float32))
    phase = 2 * np.pi * np.cumsum(_finely(f0[None])[0]) / SAMPLE_RATE
    turn = np.asarray(np.exp(1j * phase), np.complex64)
    wave, found = turn.copy(), np.zeros(count * _STEP, np.float32)
    for amplitude in amplitudes:  # the k-th power of the first harmonic is the k-th harmonic
        found += amplitude * wave.imag
        wave *= turn
    noise = rng.standard_normal(len(found)).astype(np.float32)
    for band, level, gain in ((0, said.frication, 4.0), (1, said.sibilance, 4.0), (2, said.burst, 1.0)):
        if level.any():
            hiss = np.asarray(sosfilt(_band(band), noise), np.float32)
            found += _finely((gain * level)[None].astype(np.float32))[0] * hiss
    return found


def room(dry: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Speech with a few dozen reflections.

    Args:
        dry: (m,).
        decay: seconds after which they have fallen to 1/e.
        rng: of their delays and signs.
    """
    wet = dry.copy()
    delays = np.sort(rng.uniform(0.004, 3 * decay, 10))
    for delay, sign in zip(delays, rng.choice([-1, 1], len(delays)), strict=True):
        start = int(delay * SAMPLE_RATE)
        if start < len(dry):
            wet[start:] += np.float32(0.35 * sign * np.exp(-delay / decay)) * dry[: len(dry) - start]
    return wet


def background(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that falls towards high frequencies, of unit power."""
    pole = rng.uniform(0.3, 0.9)
    noise = np.asarray(lfilter([1], [1, -pole], rng.standard_normal(count)), np.float32)
    return noise / power(noise) ** 0.5


def power(sound: np.ndarray) -> float:
    """Mean square, never 0."""
    return float(np.mean(np.square(sound, dtype=np.float64))) + 1e-12


def mixed(speech: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """Speech and noise at a ratio of powers."""
    return speech + noise * np.float32((power(speech) / power(noise) * 10 ** (-decibels / 10)) ** 0.5)


def quantised(sound: np.ndarray, gain: float) -> np.ndarray:
    """At a level of 0.1 times ``gain``, as 16-bit samples."""
    sound = sound * (LEVEL * gain / power(sound) ** 0.5)
    return np.clip(np.round(sound * 32767), -32768, 32767).astype(np.int16)


def _finely(rows: np.ndarray) -> np.ndarray:
    """Rows of 200 Hz as rows of 16 kHz, linearly."""
    ramp = (np.arange(_STEP) / _STEP).astype(np.float32)
    steps = np.diff(rows, axis=1, append=rows[:, -1:])
    return (rows[..., None] + steps[..., None] * ramp).reshape(len(rows), -1)


def _drift(count: int, rng: np.random.Generator) -> np.ndarray:
    knots = rng.uniform(-1, 1, count // 60 + 3)
    return np.interp(np.arange(count) / 60, np.arange(len(knots)), knots)


@lru_cache(maxsize=3)
def _band(number: int) -> np.ndarray:
    edges = ((4000, 6000), (5000, 7400), (1500, 6500))[number]
    return np.asarray(butter(2, edges, "bandpass", fs=SAMPLE_RATE, output="sos"))
