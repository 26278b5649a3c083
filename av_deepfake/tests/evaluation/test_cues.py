"""Cues that have nothing to do with a mouth: what they are, and their AUC."""

from pathlib import Path

import numpy as np
import pytest

from av_deepfake.evaluation.cues import areas, cues_of, leading_silence

TONE = np.sin(np.arange(16_000) / 5).astype(np.float32)


@pytest.mark.parametrize("silence", [0.0, 0.02, 0.5])
def test_leading_silence_is_measured_to_20_ms(silence):
    hum = 1e-3 * TONE[: round(16_000 * silence)]  # 60 dB below: not heard
    assert leading_silence(np.concatenate([hum, TONE])) == pytest.approx(silence, abs=0.02)


def test_a_silent_video_is_silent_to_its_end():
    assert leading_silence(np.zeros(8_000, np.float32)) == 0.5 and leading_silence(np.zeros(0, np.float32)) == 0


def test_silence_that_tells_the_classes_apart_has_an_auc_of_one_whichever_way_it_points():
    cues = [{"leading silence": 0.0, "duration": 3.0} for _ in range(4)] + [
        {"leading silence": 0.03, "duration": 3.0}
    ] * 4
    for labels in ([0] * 4 + [1] * 4, [1] * 4 + [0] * 4):
        assert areas(cues, labels) == {"leading silence": 1.0, "duration": 0.5}


def test_a_file_type_counts_by_the_fakes_among_the_others_of_its_type():
    apart = [{"file type": "mp4"}] * 5 + [{"file type": "avi"}] * 5
    assert areas(apart, [0] * 5 + [1] * 5) == {"file type": 1.0}
    alike = [{"file type": kind} for kind in ("mp4", "avi") * 4]
    assert areas(alike, [0, 0, 1, 1] * 2)["file type"] == 0.5
    assert areas([{"file type": "mp4"}] * 4, [0, 1, 0, 1])["file type"] == 0.5


def test_a_cue_of_one_class_only_is_left_out():
    assert areas([{"bit rate": 1.0}, {}], [0, 1]) == {}


def test_what_a_file_says_of_itself(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(1000))
    facts = {"seconds": 4.0, "height": 10, "width": 20, "decoded": 100, "fps": 25.0, "kind": "mp4"}
    found = cues_of(path, facts, None)
    assert found["bit rate"] == 2000 and found["resolution"] == 200 and found["has sound"] == 0
    assert "leading silence" not in found and cues_of(Path("gone"), {}, 0.1) == {
        "leading silence": 0.1,
        "has sound": 1,
        "file type": "",
    }
