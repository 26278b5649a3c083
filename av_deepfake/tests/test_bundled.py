"""The bundled model: what it holds, what it finds on mouths of a seed that it was not trained on, and its words on synchrony."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from av_deepfake import pretrained
from av_deepfake.procedural import SPEAKERS, Mouths


@pytest.fixture(scope="module")
def model():
    return pretrained.load()


@pytest.fixture(scope="module")
def mouths():
    return Mouths(seed=11, cache=None)


def test_it_is_small_and_complete(model):
    assert (pretrained.BUNDLED / "model.safetensors").stat().st_size < 8e6
    assert model.detector is not None and model.agreement is not None and model.preprocessing["size"] == 24
    assert (pretrained.BUNDLED.parent / "README.md").is_file()


def test_it_tells_forged_clips_of_speakers_it_has_not_seen(model, mouths):
    clips = mouths.detection("test", 12)
    scores = model.score(clips.pictures, np.ones(clips.pictures.shape[:2], bool))
    assert roc_auc_score(clips.label, scores) > 0.75


def test_it_hears_that_sound_is_late(model, mouths):
    talk = mouths.recordings(SPEAKERS["retrieval"][:1], 1, seconds=4.0, nuisance="clean")
    late = np.concatenate([np.zeros(3 * 640, np.float32), talk.sound[0][: -3 * 640]])
    in_time, delayed = (model.synchrony(talk.pictures[0], sound) for sound in (talk.sound[0], late))
    assert in_time.offset == 0 and delayed.offset == 3
    assert "3 frames (120 ms) late" in delayed.text
