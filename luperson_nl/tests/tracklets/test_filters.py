"""Every limit drops what it should and counts it."""

import numpy as np
import pytest

from luperson_nl.tracklets.boxes import make
from luperson_nl.tracklets.filters import Filters
from shared_utils import UserError

SIZE = (640, 480)
GOOD = (100, 100, 140, 200)
LIMITS = {"min_frames": 1, "stride": 1}


def select(rows, filters):
    """rows: (frame, track, score, box)."""
    frame, track, score, box = (np.array(each) for each in zip(*rows, strict=True))
    chosen, counts = filters.select(make(frame, box, score, track), SIZE)
    return chosen.tolist(), {name: number for name, number in counts.items() if number}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("confidence", (1, 1, 0.4, GOOD)),
        ("height", (1, 1, 0.9, (100, 100, 120, 147))),
        ("shape", (1, 1, 0.9, (100, 100, 200, 200))),
        ("shape", (1, 1, 0.9, (100, 100, 120, 200))),
        ("partly outside the frame", (1, 1, 0.9, (-6, 100, 34, 200))),
        ("empty or outside the frame", (1, 1, 0.9, (700, 100, 740, 200))),
        ("empty or outside the frame", (1, 1, 0.9, (100, 100, 100, 200))),
        ("no track", (1, -1, 0.9, GOOD)),
    ],
)
def test_a_limit_drops_and_counts(name, row):
    good = (1, 2, 0.9, (300, 100, 340, 200))
    assert select([row, good], Filters(**LIMITS)) == ([1], {"boxes": 2, name: 1, "kept": 1})
    if name not in ("no track", "empty or outside the frame"):
        assert len(select([row, good], Filters.keep_all())[0]) == 2


def test_people_who_cover_each_other_are_dropped_but_not_for_an_unsure_box():
    near = (105, 102, 145, 202)
    pair = [(1, 1, 0.9, GOOD), (1, 2, 0.9, near)]
    assert select(pair, Filters(**LIMITS)) == ([], {"boxes": 2, "overlap": 2})
    assert select([pair[0], (1, 2, 0.2, near)], Filters(**LIMITS))[0] == [0]
    assert select([pair[0], (2, 2, 0.9, near)], Filters(**LIMITS))[0] == [0, 1]


def test_a_box_at_the_border_may_leave_the_frame_a_little():
    assert select([(1, 1, 0.9, (-4, 100, 36, 200))], Filters(**LIMITS))[0] == [0]


def test_short_tracks_are_dropped_and_one_box_in_twenty_frames_is_kept():
    rows = [(frame, 1, 0.9, GOOD) for frame in range(1, 201)]
    rows += [(frame, 2, 0.9, (300, 100, 340, 200)) for frame in range(1, 200)]
    chosen, counts = select(rows, Filters())
    assert len(chosen) == 10 and counts == {"boxes": 399, "short track": 199, "between kept frames": 190, "kept": 10}


def test_where_the_twentieth_box_is_bad_the_next_good_one_is_kept():
    rows = [(frame, 1, 0.2 if frame == 21 else 0.9, GOOD) for frame in range(1, 43)]
    chosen, _ = select(rows, Filters(min_frames=40))
    assert chosen == [0, 21, 41]


@pytest.mark.parametrize(
    "wrong", [{"stride": 0}, {"confidence": 2}, {"aspect_max": 1}, {"min_frames": 0}, {"inside": -1}]
)
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(UserError):
        Filters(**wrong)
