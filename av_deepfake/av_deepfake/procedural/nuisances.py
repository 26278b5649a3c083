"""What lies between a mouth and its record: camera, compression, occluder; room, noise, babble, dropped sound."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from av_deepfake.procedural.sound import SAMPLE_RATE, background, mixed, room

SPAN = SAMPLE_RATE // 25
"""Samples of the spans that are dropped: 40 ms."""


class Nuisance(NamedTuple):
    """How bad a record is.

    Args:
        decibels: range of the ratio of speech to background noise.
        babble: range of the ratio of speech to the other clips' voices, or None.
        dropped: share of 40-ms spans without sound.
        decay: range of the room's decay in seconds.
        noise: standard deviation of the camera's noise.
        occluder: share of clips in which something passes.
        repeated: most frames that are shown twice.
        jitter: most seconds by which picture and sound are apart.
    """

    decibels: tuple[float, float]
    babble: tuple[float, float] | None = None
    dropped: float = 0.0
    decay: tuple[float, float] = (0.01, 0.03)
    noise: float = 0.01
    occluder: float = 0.0
    repeated: int = 0
    jitter: float = 0.0


NUISANCES = {
    "clean": Nuisance((20, 30)),
    "moderate": Nuisance((5, 30)),
    "babble": Nuisance((5, 30), babble=(-5, 15), dropped=0.2),
    "hard": Nuisance((5, 30), (-5, 15), 0.2, (0.03, 0.10), 0.04, 0.3, 3, 0.02),
}


def heard(dry: np.ndarray, others: np.ndarray, kind: Nuisance, rng: np.random.Generator) -> np.ndarray:
    """Speech as a microphone records it.

    Args:
        dry: (m,) of one clip.
        others: (m,) voices of others.
        kind: how bad it is.
        rng: of the clip.
    """
    sound = room(dry, rng.uniform(*kind.decay), rng)
    if kind.babble is not None:
        sound = mixed(sound, others, rng.uniform(*kind.babble))
    sound = mixed(sound, background(len(sound), rng), rng.uniform(*kind.decibels))
    if kind.dropped:
        kept = rng.random(-(-len(sound) // SPAN)) >= kind.dropped
        sound = sound * np.repeat(kept, SPAN)[: len(sound)]
    return sound


def filmed(pictures: np.ndarray, kind: Nuisance, rng: np.random.Generator) -> np.ndarray:
    """A clip as a camera stores it: occluder, gain, blur, repeated frames, noise, JPEG.

    Args:
        pictures: (t, s, s) float32, 0..1.
        kind: how bad it is.
        rng: of the clip.

    Returns:
        (t, s, s) uint8.
    """
    if rng.random() < kind.occluder:
        pictures = _occluded(pictures, rng)
    gain, shift, sigma = rng.uniform(0.85, 1.15), rng.uniform(-0.05, 0.05), rng.uniform(0.25, 0.55)
    size = pictures.shape[1]
    sigma *= size / 24
    pictures = np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in pictures])
    if kind.repeated:
        shown = np.arange(len(pictures))
        for place in rng.integers(1, len(pictures), rng.integers(0, kind.repeated + 1)):
            shown[place] = shown[place - 1]
        pictures = pictures[shown]
    noise = rng.standard_normal(pictures.shape, dtype=np.float32)
    pictures = pictures * np.float32(gain) + np.float32(shift) + np.float32(kind.noise) * noise
    return jpeg(pictures, int(rng.integers(70, 96)))


def compressed(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is left after half the size, noise of 0.04 and JPEG of quality 20: fingerprints go, motion stays.

    Args:
        pictures: (t, s, s) uint8.
        rng: of the noise.
    """
    size = pictures.shape[1]
    small = [cv2.resize(picture, (size // 2, size // 2), interpolation=cv2.INTER_AREA) for picture in pictures]
    large = np.stack([cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR) for picture in small])
    noise = rng.standard_normal(large.shape, dtype=np.float32)
    return jpeg(large.astype(np.float32) / 255 + np.float32(0.04) * noise, 20)


def jpeg(pictures: np.ndarray, quality: int) -> np.ndarray:
    """(t, s, s) float, 0..1 -> uint8 through JPEG; one picture below the other, which is the same where s is 8 k."""
    rows = np.clip(np.round(pictures * 255), 0, 255).astype(np.uint8).reshape(-1, pictures.shape[2])
    _, coded = cv2.imencode(".jpg", rows, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)).reshape(pictures.shape)


def _occluded(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    frames, size = pictures.shape[:2]
    places = rng.uniform(-0.3, 0.6) + np.arange(frames) * rng.uniform(0.01, 0.04) * rng.choice([-1, 1]) + 0.5
    axis = (np.arange(size) + 0.5) / size
    cover = np.clip((rng.uniform(0.08, 0.16) - np.abs(axis - places[:, None])) * size + 0.5, 0, 1)[:, None]
    return (pictures * (1 - cover) + cover * rng.uniform(0.1, 0.7)).astype(np.float32)
