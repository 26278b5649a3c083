"""One clock for picture and sound, whatever the container: a flash and a click in one instant stay in one instant."""

import numpy as np
import pytest
from made_videos import click_of, flash_and_click

from av_deepfake.preprocessing.clock import Ticks, sound_between, ticks
from shared_utils.video import Frame, open_source


def flash_and_click_of(path):
    """Seconds on the clock at which the picture is white and the sound clicks."""
    met = Ticks()
    brightness = np.array([shown.image.mean() for shown in ticks(open_source(path).frames(), met)])
    samples, _, _ = sound_between(path, met.first, 0.0, len(brightness) / 25)
    return float(brightness.argmax()) / 25, click_of(samples), met


@pytest.mark.parametrize(
    "name, made, allowed",
    [
        ("a.mp4", {}, 0.002),
        ("a.mkv", {}, 0.002),
        ("a.webm", {"codec": "libvpx", "sound": "libopus", "rate": 48_000}, 0.002),
        # Neither the decoder's 481 samples nor a time stamp for them are in an AVI or MPEG file: 10.9 ms.
        ("a.avi", {"sound": "mp2"}, 0.013),
        ("a.mpg", {"codec": "mpeg1video", "sound": "mp2", "container": "mpeg"}, 0.013),
        ("late.mp4", {"sound_from": 0.48}, 0.002),
        ("late.mkv", {"sound_from": 0.48}, 0.002),
    ],
)
def test_flash_and_click_stay_together(tmp_path, name, made, allowed):
    flash, click, _ = flash_and_click_of(flash_and_click(tmp_path / name, **made))
    assert flash == pytest.approx(1.0, abs=0.021) and click == pytest.approx(flash, abs=allowed)


@pytest.mark.parametrize("fps", [30_000 / 1001, 50.0, 12.5])
def test_other_frame_rates_do_not_drift(tmp_path, fps):
    path = flash_and_click(tmp_path / "a.mp4", fps=fps, seconds=6.0, at=5.0)
    flash, click, met = flash_and_click_of(path)
    assert met.ticks == pytest.approx(150, abs=1) and met.fps == pytest.approx(fps, rel=1e-3)
    assert abs(flash - 5.0) <= max(0.5 / fps, 0.02) + 1e-3 and click == pytest.approx(5.0, abs=0.002)


def test_variable_frame_rate_keeps_the_time(tmp_path):
    times = np.cumsum(np.random.default_rng(0).uniform(0.015, 0.075, 80)) - 0.015
    path = flash_and_click(tmp_path / "a.mkv", times=times, seconds=times[-1], at=2.0)
    flash, click, met = flash_and_click_of(path)
    assert abs(flash - click) <= 0.04 and met.ticks == pytest.approx(25 * (times[-1] - times[0]), abs=2)


def shown_of(times):
    met = Ticks()
    image = np.zeros((2, 2, 3), np.uint8)
    return [one.index for one in ticks((Frame(i, time, image) for i, time in enumerate(times)), met)], met


def test_nearest_frame_is_at_most_half_a_frame_away():
    times = np.arange(300) / 30
    indices, met = shown_of(times)
    assert np.abs(times[indices] - np.arange(len(indices)) / 25).max() < 0.0168 and met.repeated == 0


def test_gap_shows_the_frame_before_it_and_is_counted():
    indices, met = shown_of([0.0, 0.04, 0.08, 0.28, 0.32])
    assert indices == [0, 1, 2, 2, 2, 3, 3, 3, 4] and met.repeated == 4


def test_rounded_time_stamps_show_every_frame_once():
    indices, met = shown_of(np.round(np.arange(75) * 0.04 + np.random.default_rng(1).uniform(-4e-4, 4e-4, 75), 3) + 7)
    assert indices == list(range(75)) and met.first == pytest.approx(7.0, abs=1e-3)


def test_sound_that_is_too_short_is_zeros(tmp_path):
    path = flash_and_click(tmp_path / "a.mp4", sound_seconds=1.2)
    samples, begin, end = sound_between(path, 0.0, 0.0, 2.0)
    assert samples.shape == (32_000,) and end == pytest.approx(1.2, abs=0.08) and begin == pytest.approx(0, abs=0.01)
    assert not samples[round(1.3 * 16_000) :].any()


def test_stretches_of_sound_join(tmp_path):
    path = flash_and_click(tmp_path / "a.mp4", seconds=3.0, at=1.5)
    whole, _, _ = sound_between(path, 0.0, 0.0, 3.0)
    parts = [sound_between(path, 0.0, start, 1.0)[0] for start in (0.0, 1.0, 2.0)]
    assert np.concatenate(parts) == pytest.approx(whole, abs=0.02)
