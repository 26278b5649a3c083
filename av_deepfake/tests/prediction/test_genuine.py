"""Scores among those of the user's own genuine videos."""

import pytest

from av_deepfake.prediction import Genuine
from shared_utils import UserError


def test_rank_is_the_share_that_scores_as_high_and_never_zero():
    genuine = Genuine({str(number): float(number) for number in range(9)})
    assert genuine.rank(100.0) == pytest.approx(0.1)
    assert genuine.rank(4.0) == pytest.approx(0.6)
    assert genuine.rank(-1.0) == 1.0


def test_a_genuine_video_is_not_compared_with_itself():
    genuine = Genuine({str(number): float(number) for number in range(9)})
    assert genuine.rank(8.0) == pytest.approx(0.2)
    assert genuine.rank(8.0, "8") == pytest.approx(1 / 9)


def test_words_say_how_much_few_videos_can_tell():
    few, many = (Genuine({str(number): float(number) for number in range(count)}) for count in (9, 40))
    assert "only 9" in few.words(few.rank(100.0)) and "suspicious" in few.words(few.rank(100.0))
    assert "above all 40" in many.words(many.rank(100.0))
    assert "not unusual" in many.words(many.rank(20.0))
    assert "above 95%" in many.words(many.rank(39.0))


def test_too_few_are_refused():
    with pytest.raises(UserError, match="--genuine has 2 videos with a score: give a folder of 5 or more"):
        Genuine({"a": 0.0, "b": 1.0})
