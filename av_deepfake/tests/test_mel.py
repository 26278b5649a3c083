"""Log-mel bands: silence, length, loudness, short sound."""

import numpy as np
import pytest
import torch

from av_deepfake import mel


def test_silence_gives_finite_constants():
    bands = mel.log_mel(torch.zeros(2, 16000), 25)
    assert bands.shape == (2, 1, 100, 80)
    assert bands.isfinite().all() and bands.std() == 0


def test_loudness_does_not_matter():
    sound = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mel.log_mel(sound, 25), mel.log_mel(0.01 * sound, 25), atol=1e-4, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 300, 15_000, 16_100])
def test_four_columns_a_frame_whatever_the_length(samples):
    assert mel.log_mel(torch.ones(samples), 25).shape == (1, 100, 80)


def test_a_tone_lies_in_its_band():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    corners = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * 81 - 1
    loudest = int(mel.mel_power(tone)[:, 50].argmax())
    assert abs(loudest - corners) < 1


def test_no_band_is_empty():
    assert (mel.filter_bank() > 0).any(0).all()
    assert mel.filter_bank().shape == (257, 80)


def test_cepstrum_has_a_row_every_ten_milliseconds():
    assert mel.mfcc(np.zeros(16000)).shape == (99, 13)
    assert np.isfinite(mel.mfcc(np.zeros(16000))).all()
