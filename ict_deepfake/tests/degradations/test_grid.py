"""The test grid: every level does what it says, and a picture's noise is its own."""

import numpy as np
import pytest

from ict_deepfake.degradations import KINDS, VIDEO_LEVELS, compress_video, degrade, operations, picture_rng
from ict_deepfake.procedural import Population
from shared_utils import UserError


@pytest.fixture(scope="module")
def face():
    return Population(size=256, cache=None, train=(2, 1)).train().images[0]


def changed(image, kind, level):
    made = degrade(image, kind, level, np.random.default_rng(0))
    return np.abs(made.astype(float) - operations.prepared(image)).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_level_changes_more(face, kind):
    amounts = [changed(face, kind, level) for level in range(1, 6)]
    assert amounts[0] > 0.1
    assert amounts == sorted(amounts)
    assert amounts[4] > 1.2 * amounts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_picture_of_any_size(face, kind):
    small = face[::3, ::3].copy()
    first, second = (degrade(small, kind, 3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (256, 256, 3)
    assert first.dtype == np.uint8


def test_a_pictures_noise_does_not_depend_on_the_others(face):
    made = {name: degrade(face, "noise", 2, picture_rng(0, name)) for name in ("a.png", "b.png")}
    again = {name: degrade(face, "noise", 2, picture_rng(0, name)) for name in ("b.png", "a.png")}
    for name, image in made.items():
        np.testing.assert_array_equal(image, again[name])
    assert (made["a.png"] != made["b.png"]).any()
    assert (degrade(face, "noise", 2, picture_rng(1, "a.png")) != made["a.png"]).any()


def test_full_desaturation_is_grey_and_blocks_are_counted(face):
    grey = degrade(face, "saturation", 5, np.random.default_rng(0)).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1
    covered = degrade(np.zeros_like(face), "blocks", 1, np.random.default_rng(0))
    assert 12 * 64 < (covered[..., 0] > 0).sum() <= 16 * 64


def test_blocks_refuse_a_picture_under_256_pixels(face):
    with pytest.raises(UserError, match="256 pixels or more, got 85 x 255"):
        operations.blocks(face[:255, :85], np.zeros((1, 2), int))


@pytest.mark.parametrize(("kind", "level", "message"), [("fog", 1, "there is no degradation"), ("jpeg", 6, "1 to 5")])
def test_unknown_kinds_and_levels_are_refused(face, kind, level, message):
    with pytest.raises(UserError, match=message):
        degrade(face, kind, level, np.random.default_rng(0))


def test_video_compression_keeps_count_size_and_order_and_loses_more_at_higher_levels(face):
    rng = np.random.default_rng(0)
    frames = [
        np.clip(face[i : i + 85, : 2 * 45 + 1] + rng.normal(0, 8, (85, 91, 3)), 0, 255).astype(np.uint8)
        for i in range(5)
    ]
    frames[2] = 255 - frames[2]
    losses = []
    for level in range(1, len(VIDEO_LEVELS) + 1):
        made = list(compress_video(iter(frames), level))
        assert [m.shape for m in made] == [f.shape for f in frames]
        assert made[2].mean() == pytest.approx(frames[2].mean(), abs=8)
        losses.append(np.abs(np.stack(made).astype(float) - np.stack(frames)).mean())
    assert losses == sorted(losses)
    assert list(compress_video([], 1)) == []
    with pytest.raises(UserError, match="1 to 5"):
        compress_video(frames, 0)
