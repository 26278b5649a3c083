"""The offset has a sign, a unit and a confidence, or there is none and a reason."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from av_deepfake.models.branches import AudioVisual
from av_deepfake.synchrony import distances, synchrony, why_not, window_rows

SMALL = {"widths": [8, 16], "blocks": [1, 1], "dim": 16, "depth": 1, "heads": 2, "mlp": 16}


def rows(count, seed=0):
    return normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("edges", ["zero", "valid"])
@pytest.mark.parametrize("late", [-4, 0, 3])
def test_delayed_sound_is_late_by_as_much(late, edges):
    said = rows(80)
    video, audio = said[20:60], said[20 - late : 60 - late]
    found = synchrony(video, audio, 10, edges)
    assert found.offset == late and found.seconds == late / 25 and found.confidence > 0.5
    assert found.shifts[found.distances.argmin()] == late and not found.undetermined


def test_words_have_unit_and_side():
    said = rows(80)
    assert synchrony(said[20:60], said[17:57]).text == "sound 3 frames (120 ms) late"
    assert synchrony(said[20:60], said[21:61]).text == "sound 1 frame (40 ms) early"
    assert "in time" in synchrony(said[20:60], said[20:60]).text


def test_sound_of_another_moment_has_no_offset():
    blurred = [normalize(rows(40, seed) + 6 * rows(1, 9), dim=-1) for seed in (1, 2)]
    found = synchrony(*blurred)
    assert found.offset is None and found.seconds is None and found.text.startswith("undetermined: no shift stands out")
    assert len(found.distances) == 31 and found.confidence < 0.4
    same = rows(1).expand(40, -1)
    assert synchrony(same, same).offset is None


def test_a_repeated_movement_has_no_offset():
    said = rows(7).repeat(12, 1)
    found = synchrony(said[20:60], said[18:58])
    assert found.offset is None and "fit almost alike" in found.text and found.confidence > 1


def test_an_offset_beyond_the_range_is_not_given_as_its_edge():
    # Turning rows: the further the shift goes, the better it fits.
    angle = torch.arange(80)[:, None] / 10
    turning = torch.cat([angle.cos(), angle.sin()], 1)
    found = synchrony(turning[:40], turning[12:52], 10)
    assert found.offset is None and "edge of the range" in found.undetermined and "-10" in found.undetermined


def test_published_edges_favour_large_shifts_and_ours_do_not():
    far = 5 * rows(40, 1), 5 * rows(40, 2)
    zero, valid = (distances(*far, 15, edges).nanmean(1) for edges in ("zero", "valid"))
    assert zero[0] < zero[15] - 0.3 and abs(valid[0] - valid[15]) < 0.3
    assert int(distances(*far, 15)[0].isnan().sum()) == 15


def test_short_silent_and_missing_sound_have_a_reason():
    sound = np.sin(np.arange(48000)).astype(np.float32)
    assert why_not(sound, 75) == ""
    assert why_not(0 * sound, 75) == "the sound is silent"
    assert "20 frames (0.8 s), at least 31" in why_not(sound, 20)
    assert "the sound lasts 1.0 s, the picture 3.0 s" in why_not(sound[:16000], 75)
    assert "not finite" in why_not(sound * np.nan, 75)
    assert "2 moments are too few" in synchrony(rows(2), rows(2)).text


def test_rows_of_windows_are_those_of_the_encoders_on_each():
    torch.manual_seed(0)
    model = AudioVisual({"channels": 8, **SMALL}, SMALL, 12).eval()
    pictures, sound = torch.randn(1, 1, 30, 24, 24), torch.randn(1, 1, 120, 80)
    video, audio = window_rows(model, pictures, sound, batch_size=4)
    assert video.shape == audio.shape == (6, 12)
    with torch.no_grad():
        alone = model.video.encode(model.video.features(pictures)[:, 3:28]).clip
        expected = normalize(model.video_projection(alone), dim=-1)
    torch.testing.assert_close(video[3:4], expected)
    assert window_rows(model, pictures[:, :, :20], sound)[0].shape == (0, 12)
