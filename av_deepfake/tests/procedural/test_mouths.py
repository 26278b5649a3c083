"""The procedural mouths: repeatable, speakers apart, picture and sound of one articulation, four manipulations."""

import numpy as np
import pytest

from av_deepfake.procedural import METHODS, SPEAKERS, Mouths
from av_deepfake.procedural.fakes import forged_motion, with_trace
from av_deepfake.procedural.nuisances import compressed
from av_deepfake.procedural.picture import BOX, Motion, draw
from av_deepfake.procedural.script import RATE, Script, articulate
from av_deepfake.procedural.sound import voice
from av_deepfake.procedural.speakers import draw_speakers
from shared_utils import UserError


@pytest.fixture(scope="module")
def mouths():
    return Mouths(seed=3, cache=None)


@pytest.fixture(scope="module")
def recordings(mouths):
    return mouths.recordings(range(8), 2)


@pytest.fixture(scope="module")
def fakes(mouths):
    return mouths.detection("test", 12)


def test_shapes_and_types(recordings, fakes):
    assert recordings.pictures.shape == (16, 45, 24, 24) and recordings.pictures.dtype == np.uint8
    assert recordings.sound.shape == (16, 45 * 640) and recordings.sound.dtype == np.float32
    assert recordings.jaw.shape == recordings.spread.shape == (16, 45)
    assert fakes.pictures.shape == (60, 25, 24, 24) and fakes.pictures.dtype == np.uint8
    assert fakes.label.tolist() == [0] * 12 + [1] * 48 and set(fakes.method) == {"real", *METHODS}
    assert len(set(fakes.video)) == 60


def test_the_same_seed_gives_the_same_clips_with_and_without_cache(tmp_path, recordings, mouths):
    stored = Mouths(seed=3, cache=tmp_path)
    for _ in range(2):  # made, then read
        again = stored.recordings(range(8), 2)
        for one, other in zip(recordings, again, strict=True):
            np.testing.assert_array_equal(one, other)
    (path,) = tmp_path.glob("recordings-*.npz")
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(stored.recordings(range(8), 2).sound, recordings.sound)  # damaged: made again
    assert not np.array_equal(Mouths(seed=4, cache=None).recordings(range(8), 2).pictures, recordings.pictures)


def test_a_clip_does_not_depend_on_those_beside_it(mouths, recordings):
    fewer = mouths.recordings([5], 2)
    np.testing.assert_array_equal(fewer.pictures, recordings.pictures[10:12])
    np.testing.assert_array_equal(fewer.sound, recordings.sound[10:12])


def test_splits_share_no_speaker(mouths, fakes):
    everyone = [number for numbers in SPEAKERS.values() for number in numbers]
    assert len(everyone) == len(set(everyone))
    assert set(fakes.speaker) <= set(SPEAKERS["test"])
    assert set(mouths.detection("train", 3, "A").speaker) <= set(SPEAKERS["train"])
    assert set(mouths.retrieval("easy", 8).speaker) <= set(SPEAKERS["retrieval"])


def test_every_class_has_the_same_speakers(fakes):
    for method in METHODS:
        np.testing.assert_array_equal(fakes.speaker[fakes.method == method], fakes.speaker[fakes.method == "real"])


def test_the_opening_shows_as_darkness_and_hardly_as_loudness(mouths):
    found = mouths.recordings(range(40), 1, nuisance="clean")
    middle = found.pictures[:, :, 9:18, 8:16].mean((2, 3))
    loudness = np.sqrt(np.square(found.sound.reshape(*found.jaw.shape, 640)).mean(2))
    dark = [np.corrcoef(jaw, -grey)[0, 1] for jaw, grey in zip(found.jaw, middle, strict=True)]
    loud = [np.corrcoef(jaw, level)[0, 1] for jaw, level in zip(found.jaw, loudness, strict=True)]
    assert np.median(dark) > 0.7
    assert -0.1 < np.median(loud) < 0.4  # as in speech: the link is through the formants


def test_the_first_formant_follows_the_jaw(mouths):
    found = mouths.recordings(range(40), 1, nuisance="clean")
    spectrum = np.abs(np.fft.rfft(found.sound.reshape(*found.jaw.shape, 640) * np.hanning(640))) ** 2
    frequency = np.fft.rfftfreq(640, 1 / 16_000)
    low, high = (frequency > 200) & (frequency < 450), (frequency > 500) & (frequency < 1000)
    ratio = np.log(spectrum[..., high].sum(-1) / spectrum[..., low].sum(-1))
    voiced = spectrum[..., frequency < 2000].sum(-1) > 4 * spectrum[..., frequency > 3000].sum(-1)
    assert np.corrcoef(found.jaw[voiced], ratio[voiced])[0, 1] > 0.5


def test_an_articulator_follows_its_target_without_overshoot():
    said = articulate(Script(np.array([0, 9]), np.array([0.3, 2.0])), 1.0, 0.0, (0.04, 0.04), 1.0)
    assert said.jaw[: int(0.3 * RATE)].max() < 1e-6
    assert (np.diff(said.jaw) > -1e-9).all() and 0.99 < said.jaw[-1] <= 1
    np.testing.assert_allclose(said.upper[2:], said.jaw[:-2])  # 10 ms later


def test_lips_that_are_closed_make_no_voice():
    said = articulate(Script(np.array([0, 0]), np.array([1.0, 1.0])), 1.0, 0.0, (0.04, 0.04), 1.0)
    assert np.abs(voice(said, 120.0, 1.0, 0.5, np.random.default_rng(0))).max() < 1e-6


def test_a_hard_set_has_two_scripts_at_two_speeds_of_every_speaker(mouths):
    hard = mouths.retrieval("hard", 16)
    assert hard.pictures.shape == (16, 25, 24, 24)
    assert np.bincount(np.unique(hard.speaker, return_inverse=True)[1]).tolist() == [4] * 4
    assert np.bincount(np.unique(hard.script, return_inverse=True)[1]).tolist() == [2] * 8
    spans = np.abs(hard.sound.reshape(16, -1, 640)).max(2)
    assert 0.1 < (spans == 0).mean() < 0.3  # dropped


def test_compression_takes_the_traces_and_leaves_the_motion(mouths, fakes):
    """Mean difference of a class to the genuine clips where its trace is, and opening over time, before and after."""
    pressed = mouths.detection("test", 12, compressed=True)
    board = np.where(np.indices((24, 24)).sum(0) % 2, 1, -1)
    top, bottom, left, right = (round(24 * part) for part in BOX)
    board[:top], board[bottom:], board[:, :left], board[:, right:] = 0, 0, 0, 0

    def trace(found):
        value = np.abs((found.pictures * board).mean((1, 2, 3)))
        return value[found.method == "C"].mean() / value[found.method == "real"].mean()

    assert trace(fakes) > 5 > 2 > trace(pressed)
    dark = [found.pictures[:, :, 9:18, 8:16].mean((2, 3)) for found in (fakes, pressed)]
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(*dark, strict=True)]
    assert np.median(alike) > 0.9


def test_a_share_of_every_class_is_compressed(mouths, fakes):
    half = mouths.detection("test", 12, compressed=0.5)
    same = (half.pictures == fakes.pictures).all((1, 2, 3))
    assert [int(same[half.method == kind].sum()) for kind in ("real", *METHODS)] == [6] * 5


def test_errors_from_frame_to_frame_are_what_the_methods_share():
    rng = np.random.default_rng(0)
    tracks = np.cumsum(rng.normal(0, 0.04, (3, 400)), 1) % 1
    tracks = np.array([np.convolve(np.abs(track), np.ones(9) / 9, "same") for track in tracks])
    motion = Motion(*tracks, np.zeros((400, 3)))
    rough = np.abs(np.diff(motion.jaw, 2)).mean()
    for method in METHODS:
        forged = forged_motion(motion, method, 1.0, np.random.default_rng(1))
        assert np.abs(np.diff(forged.jaw, 2)).mean() > 2 * rough
        assert forged.jaw.min() >= 0 and forged.jaw.max() <= 1.2
        assert forged.head is motion.head
    quiet = forged_motion(motion, "C", 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(quiet.spread[3:], motion.spread[:-3])
    assert quiet.jaw.min() >= 0.04


def test_traces_are_inside_the_box_and_differ():
    clip = np.random.default_rng(0).uniform(0.3, 0.7, (2, 48, 48)).astype(np.float32)
    top, bottom, left, right = (round(48 * part) for part in BOX)
    changed = {method: with_trace(clip, method) - clip for method in METHODS}
    for each in changed.values():
        inside = np.zeros((48, 48), bool)
        inside[top:bottom, left:right] = True
        assert np.abs(each[:, ~inside]).max() == 0 < np.abs(each[:, inside]).max()
    assert np.unique(changed["A"].round(4)).tolist() == [0, np.float32(0.06)]


def test_blurred_genuine_clips_have_genuine_motion(mouths, fakes):
    real = fakes.pictures[fakes.method == "real"].astype(float)
    blurred = mouths.blurred("test", 12).astype(float)
    assert 0 < np.abs(real - blurred).mean() < 6
    dark = [clips[:, :, 9:18, 8:16].mean((2, 3)) for clips in (real, blurred)]
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(*dark, strict=True)) > 0.9


def test_a_picture_is_the_same_drawing_at_every_size():
    people = draw_speakers(0, np.array([1]))
    tracks = np.full((1, 3), 0.5)
    motion = Motion(tracks, tracks, tracks, np.zeros((1, 3, 3)))
    large, small = draw(people, motion, 96), draw(people, motion, 24)
    averaged = large.reshape(1, 3, 24, 4, 24, 4).mean((3, 5))
    assert np.abs(averaged - small).mean() < 0.02 and large.min() >= 0 and large.max() <= 1


def test_compression_of_one_clip_is_repeatable():
    clip = np.random.default_rng(0).integers(0, 255, (3, 24, 24), np.uint8)
    one, other = (compressed(clip, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == clip.shape and one.dtype == np.uint8


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Mouths(size=20), "multiple of 8"),
        (lambda: Mouths(severity=-1), "severity"),
        (lambda: Mouths(cache=None).recordings([], 1), "one speaker"),
        (lambda: Mouths(cache=None).recordings([0], 1, nuisance="loud"), "choose of clean"),
        (lambda: Mouths(cache=None).retrieval("medium"), "easy or hard"),
        (lambda: Mouths(cache=None).retrieval("hard", 10), "multiple of 4"),
        (lambda: Mouths(cache=None).detection("train", 1, "AX"), "methods of ABCD"),
        (lambda: Mouths(cache=None).detection("dev", 1), "split of train, val, test"),
        (lambda: Mouths(cache=None).detection("train", 1, compressed=2.0), "compressed share"),
    ],
)
def test_what_makes_no_sense_is_refused(ask, message):
    with pytest.raises(UserError, match=message):
        ask()
