"""Perturbations change what they name, more at each level, the same under a seed, and hold only a few frames."""

import itertools

import cv2
import numpy as np
import pytest

from av_deepfake.degradations import KINDS, degradation, degrade
from shared_utils import UserError


def video(frames=6, size=(70, 91)):
    """A coloured texture that moves, with odd sides."""
    random = np.random.default_rng(0)
    texture = cv2.GaussianBlur(random.random((size[0], size[1] + 20, 3), np.float32), (0, 0), 2)
    texture = (255 * cv2.normalize(texture, None, 0, 1, cv2.NORM_MINMAX)).astype(np.uint8)
    for number in range(frames):
        yield texture[:, number : number + size[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_each_level_changes_more_than_the_one_before_and_keeps_the_frames(kind):
    clean = np.stack(list(video())).astype(int)
    changes = []
    for level in (1, 3, 5):
        degraded = np.stack(list(degrade(video(), kind, level)))
        assert degraded.shape == clean.shape and degraded.dtype == np.uint8
        changes.append(np.abs(degraded - clean).mean())
    assert changes == sorted(changes) and changes[0] > 0


@pytest.mark.parametrize("kind", ["noise", "blocks", "compression"])
def test_a_seed_draws_the_same_and_frames_differ(kind):
    first, again, other = (np.stack(list(degrade(video(), kind, 3, seed=seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind == "compression")


def test_saturation_at_level_5_is_grey_and_keeps_the_luma():
    clean, grey = (np.stack(list(frames)) for frames in (video(), degrade(video(), "saturation", 5)))
    assert (grey.max(axis=-1).astype(int) - grey.min(axis=-1)).max() <= 2
    luma = clean @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma - grey[..., 1]).mean() < 2


def test_grey_mouths_come_back_grey():
    mouths = [frame[..., 0] for frame in video()]
    for kind in KINDS:
        assert next(degrade(mouths, kind, 2)).shape == mouths[0].shape


def test_only_a_few_frames_are_read_ahead():
    read = itertools.count()

    def endless():
        frame = next(video())
        while True:
            next(read)
            yield frame

    for kind in ("blur", "compression"):
        before = next(read)
        next(degrade(endless(), kind, 1))
        assert next(read) - before < 100


@pytest.mark.parametrize(
    ("text", "message"), [("fog:1", "no degradation 'fog'"), ("blur:6", "1 to 5"), ("blur", "as in blur:3")]
)
def test_what_does_not_exist_is_named(text, message):
    with pytest.raises(UserError, match=message):
        degradation(text)
    assert degradation("blur:3") == ("blur", 3)
