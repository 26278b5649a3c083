"""Clips of a video, their logits, the sound, and what has no score."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from small_model import RATE, mouths, small_model

from av_deepfake.prediction.scoring import cut, score_mouths, stretches


@pytest.fixture(scope="module")
def model():
    return small_model()


def pairs(found):
    return [(clip.first, clip.stop) for clip in found]


def test_clips_lie_within_one_stretch_of_one_face():
    one = mouths(120)
    valid, segment = one.valid.copy(), one.segment.copy()
    valid[50:60] = False
    segment[90:] = 1  # a cut
    one = dataclasses.replace(one, valid=valid, segment=segment)
    assert pairs(stretches(one)) == [(0, 50), (60, 90), (90, 120)]
    assert pairs(cut(one, 25)) == [(0, 25), (25, 50), (60, 85), (90, 115)]


def test_a_short_video_is_one_padded_clip_and_says_so(model):
    assert pairs(cut(mouths(12), 25)) == [(0, 12)]
    row = score_mouths(mouths(12), model).row
    assert row.status == "ok" and row.clips[0].frames == 12 and "12 of 25 frames" in row.remarks[0]


def test_padding_does_not_change_the_score(model):
    whole = mouths(25)
    pictures = np.array(whole.pictures)
    valid = np.zeros((1, 25), bool)
    valid[0, :12] = True
    padded = np.concatenate([pictures[:12], np.repeat(pictures[11:12], 13, axis=0)])
    expected = model.score(padded[None], valid)[0]
    assert score_mouths(mouths(12), model).row.score == pytest.approx(float(expected), abs=1e-6)


def test_score_is_the_mean_of_the_logits_of_all_clips(model):
    one = mouths(500)  # more than go through the network at once
    row = score_mouths(one, model).row
    clips = np.array(one.pictures).reshape(20, 25, 96, 96)
    logits = np.concatenate([model.score(clip[None], np.ones((1, 25), bool)) for clip in clips])
    assert [clip.logit for clip in row.clips] == pytest.approx(logits.tolist(), abs=1e-4)
    assert row.score == pytest.approx(float(logits.mean()), abs=1e-5)
    assert row.worst is not None and row.worst.start == pytest.approx(0.5 + logits.argmax())


def test_a_silent_video_is_scored_and_its_sound_is_not(model):
    row = score_mouths(mouths(50, sound=None), model).row
    assert row.status == "ok" and row.score is not None
    assert row.sound == "not checked: no sound that can be decoded" and row.offset is None


def test_zero_samples_give_a_reason_and_no_offset(model):
    row = score_mouths(mouths(75, sound=np.zeros(75 * 640, np.float32)), model).row
    assert row.offset is None and "silent" in row.sound


def test_sound_may_be_left_alone(model):
    assert score_mouths(mouths(50), model, listen=False).row.sound == ""


def test_too_few_faces_or_frames_have_a_status_and_no_score(model):
    one = mouths(100)
    few = dataclasses.replace(one, valid=np.arange(100) < 40)
    row = score_mouths(few, model).row
    assert (row.status, row.score) == ("no_mouth", None) and "60% of its frames show no face" in row.note
    assert score_mouths(few, model, missing=0.7).row.status == "ok"
    assert (
        score_mouths(dataclasses.replace(one, valid=np.zeros(100, bool)), model, missing=0.9).row.status == "no_mouth"
    )
    assert score_mouths(mouths(4), model).row.status == "too_short"


def test_remarks_name_what_weakens_a_score(model):
    one = mouths(100, unreadable=3, most_faces=2, repeated=40)
    words = " ".join(score_mouths(dataclasses.replace(one, valid=np.arange(100) >= 20), model).row.remarks)
    for part in (
        "20% of the frames show no face",
        "3 frames cannot be decoded",
        "2 faces at once",
        "40% of the frames repeat",
    ):
        assert part in words


def test_pictures_of_the_page_are_jpegs(model):
    seen = score_mouths(mouths(50), model)
    assert seen.strip.startswith(b"\xff\xd8") and seen.worst.startswith(b"\xff\xd8")
    assert RATE == 16000


def test_memory_does_not_grow_with_the_length(model, tmp_path):
    one = mouths(2500)
    np.save(tmp_path / "pictures.npy", one.pictures)
    mapped = dataclasses.replace(one, pictures=np.load(tmp_path / "pictures.npy", mmap_mode="r"))
    tracemalloc.start()
    row = score_mouths(mapped, model, listen=False).row
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(row.clips) == 100 and peak < one.pictures.nbytes / 2
