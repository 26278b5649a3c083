"""The built-in tracker and what is measured of tracks."""

from pathlib import Path

import numpy as np
import pytest

from luperson_nl.tracklets import purity
from luperson_nl.tracklets.box_files import read_mot
from luperson_nl.tracklets.boxes import iou, make
from luperson_nl.tracklets.tracker import Tracker

TUD = Path(__file__).parents[3].parent / "shared" / "data" / "luperson_nl" / "tud"


def walk(frames, start=0.0, speed=3.0, score=0.9, y=0.0):
    """Boxes of one person, at 0 y in frame 1."""
    frames = np.asarray(frames)
    x = start + speed * frames
    box = np.stack([x, np.full(len(x), y), x + 20, np.full(len(x), y + 50)], axis=1)
    return frames, box, np.full(len(x), score)


def boxes(*walks):
    frame, box, score = (np.concatenate(each) for each in zip(*walks, strict=True))
    return make(frame, box, score, np.full(len(frame), -1))


def tracks_of(walks, **settings):
    """The tracks of every walk, as lists by frame."""
    given = boxes(*walks)
    found = Tracker(**settings).track(given)
    back = np.argsort(np.argsort(np.concatenate([each[0] for each in walks]), kind="stable"), kind="stable")
    return [part.tolist() for part in np.split(found[back], np.cumsum([len(each[0]) for each in walks])[:-1])]


def test_two_people_who_walk_side_by_side_keep_their_tracks():
    assert tracks_of([walk(range(1, 30)), walk(range(1, 30), start=300, speed=-3)]) == [[1] * 29, [2] * 29]


def test_a_person_who_is_hidden_for_a_while_is_found_again():
    seen = [*range(1, 15), *range(24, 40)]
    assert set(tracks_of([walk(seen)])[0]) == {1}
    assert set(tracks_of([walk(seen)], patience=5)[0]) == {1, 2}


def test_an_unsure_box_goes_on_with_a_track_and_begins_none():
    sure, unsure = walk(range(1, 10)), walk(range(10, 15), score=0.3)
    assert tracks_of([sure, unsure]) == [[1] * 9, [1] * 5]
    assert tracks_of([unsure]) == [[-1] * 5]


def test_frames_far_from_the_beginning_and_none_at_all():
    assert set(tracks_of([walk(range(100_000, 100_010))])[0]) == {1}
    assert len(Tracker().track(boxes(walk([])))) == 0


@pytest.mark.parametrize(("sequence", "least"), [("TUD-Stadtmitte", 75.0), ("TUD-Campus", 58.0)])
def test_tracks_of_real_detections(sequence, least):
    if not TUD.is_dir():
        pytest.skip(f"{TUD} is not here")
    found = read_mot(TUD / sequence / "det.txt")
    found = found.with_tracks(Tracker().track(found))
    row = purity.of_tracks(found, read_mot(TUD / sequence / "gt.txt", truth=True)).row(sequence)
    assert row["IDF1 %"] >= least
    assert row["right person %"] >= row["canonical %"] > 50


def test_overlap_of_boxes():
    a = np.array([[0.0, 0, 10, 10], [5, 5, 5, 9]])
    assert iou(a, np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])).round(6).tolist() == [[0.333333, 0], [0, 0]]


class TestPurity:
    """Counted by hand: ids 1 (persons A A B) and 2 (A A), 3 (nobody)."""

    ids = np.array([1, 1, 1, 2, 2, 3])
    person = np.array([0, 0, 1, 0, 0, -1])

    def test_right_person_and_canonical_are_two_numbers(self):
        row = purity.of_labels(self.ids, self.person).row("x")
        assert row["right person %"] == pytest.approx(100 * 4 / 6)
        assert row["canonical %"] == pytest.approx(100 * 2 / 6)
        assert row["nobody %"] == pytest.approx(100 / 6)
        assert row["mixed ids %"] == pytest.approx(100 / 3) and row["ids a person"] == 2
        assert row["IDF1 %"] is None

    def test_videos_add_up(self):
        one = purity.of_labels(self.ids, self.person)
        both = one + purity.of_labels(np.array([1]), np.array([-1]))
        assert both.boxes == 7 and both.nobody == 2 and both.ids == 4 and both.persons == 2

    def test_idf1_takes_the_best_naming_of_tracks_by_people(self):
        frames, box, _ = walk(range(1, 11))
        truth = make(frames, box, np.ones(10), np.full(10, 5))
        track = np.where(frames <= 6, 1, 2)
        found = make(frames, box + 1, np.ones(10), track)
        assert purity.of_tracks(found, truth).row("x")["IDF1 %"] == pytest.approx(100 * 2 * 6 / 20)
        apart = make(frames, box + 500, np.ones(10), track)
        assert purity.of_tracks(apart, truth).row("x")["IDF1 %"] == 0
