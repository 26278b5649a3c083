"""Log-mel bands of speech in torch, as RealForensics makes them by torchaudio, and the cepstrum SyncNet takes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

#: Of the sound that everything here takes, in Hz.
RATE = 16_000
#: Samples and mel columns of a video frame at 25 frames a second.
SAMPLES_PER_FRAME, COLUMNS_PER_FRAME = 640, 4
BANDS = 80
_FFT, _WINDOW, _HOP = 512, 320, 160
_FLOOR, _RANGE = 1e-10, 80.0


@lru_cache(maxsize=1)
def filter_bank() -> Tensor:
    """The 80 triangles of the HTK mel scale from 0 to 8000 Hz, of height 1: (257 bins, 80)."""
    top = 2595.0 * np.log10(1 + RATE / 2 / 700.0)
    corners = 700.0 * (10 ** (np.linspace(0.0, top, BANDS + 2) / 2595.0) - 1)
    bins = np.linspace(0.0, RATE / 2, _FFT // 2 + 1)[:, None]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    return torch.from_numpy(np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32))


def mel_power(samples: Tensor) -> Tensor:
    """Power in each mel band, a column every 10 ms.

    Args:
        samples: (..., s) at 16 kHz, s > 256.

    Returns:
        (..., 80, 1 + s // 160).
    """
    window = torch.hann_window(_WINDOW, device=samples.device, dtype=samples.dtype)
    window = pad(window, ((_FFT - _WINDOW) // 2, (_FFT - _WINDOW) // 2))
    rows = pad(samples.reshape(-1, 1, samples.shape[-1]), (_FFT // 2, _FFT // 2), mode="reflect").squeeze(1)
    # The same numbers as torch.stft's, with which this takes twice as long.
    spectrum = torch.fft.rfft(rows.unfold(1, _FFT, _HOP) * window)
    power = spectrum.real.square() + spectrum.imag.square()
    bands = (power @ filter_bank().to(power)).transpose(1, 2)
    return bands.reshape(*samples.shape[:-1], *bands.shape[-2:])


def decibels(power: Tensor) -> Tensor:
    """Decibels below the clip's own maximum, at most 80, mapped to [-1, 1]; of (..., 80, n). Silence gives 1 throughout."""
    level = 10 * power.clamp(min=_FLOOR).log10()
    relative = (level - level.amax((-2, -1), keepdim=True)).clamp(min=-_RANGE)
    return (relative + _RANGE / 2) / (_RANGE / 2)


def log_mel(samples: Tensor, frames: int) -> Tensor:
    """Log-mel bands of clips, four columns a video frame.

    Args:
        samples: (..., s), float, 16 kHz; zeros are added where s is below 640 a frame.
        frames: T; columns beyond 4T are dropped.

    Returns:
        (..., 1, 4T, 80), in [-1, 1].
    """
    samples = pad(samples, (0, max(0, frames * SAMPLES_PER_FRAME - samples.shape[-1])))
    columns = decibels(mel_power(samples))[..., : COLUMNS_PER_FRAME * frames]
    return columns.transpose(-1, -2).unsqueeze(-3)


def mfcc(samples: np.ndarray) -> np.ndarray:
    """13 mel-frequency cepstral coefficients every 10 ms, the first replaced by the log energy (python_speech_features).

    Args:
        samples: (s,) at 16 kHz, in the range of 16-bit integers.

    Returns:
        (1 + ceil((s - 400) / 160), 13) float64.
    """
    from scipy.fft import dct

    samples = np.asarray(samples, dtype=np.float64)
    samples = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    count = 1 + max(0, -(-(len(samples) - 400) // _HOP))
    samples = np.pad(samples, (0, max(0, (count - 1) * _HOP + 400 - len(samples))))
    rows = np.lib.stride_tricks.sliding_window_view(samples, 400)[::_HOP][:count]
    power = np.abs(np.fft.rfft(rows, _FFT)) ** 2 / _FFT
    tiny = np.finfo(float).eps
    energy, bands = power.sum(1), power @ _cepstral_bank()
    cepstrum = np.asarray(dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho"))[:, :13]
    cepstrum *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstrum


@lru_cache(maxsize=1)
def _cepstral_bank() -> np.ndarray:
    """26 triangles whose corners are whole bins of the transform: (257, 26)."""
    mels = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700.0), 28)
    corners = np.floor((_FFT + 1) * 700 * (10 ** (mels / 2595.0) - 1) / RATE)
    bins = np.arange(_FFT // 2 + 1)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = np.where((bins >= left) & (bins < centre), (bins - left) / np.maximum(centre - left, 1), 0.0)
    falling = np.where((bins >= centre) & (bins < right), (right - bins) / np.maximum(right - centre, 1), 0.0)
    return rising + falling
