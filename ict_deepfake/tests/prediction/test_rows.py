"""Rows, summaries and words: every face is a row, a video takes its most suspicious track."""

import csv

import pytest

from ict_deepfake.metrics import Calibration
from ict_deepfake.prediction import Face, summarise, verdicts, write_rows

POINTS = tuple((float(i), float(i)) for i in range(5))


def of_video(frame, track, score, **more):
    return Face(
        "clip.mp4", frame=frame, track=track, face=track, consistency=score, box=(0, 0, 9, 9), points=POINTS, **more
    )


def test_video_takes_the_highest_mean_of_its_tracks():
    rows = [of_video(frame, track, [0.5, 1.5][track]) for frame in range(4) for track in range(2)]
    (summary,) = summarise(rows)
    assert (summary.score, summary.track, summary.faces, summary.frames) == (1.5, 1, 2, 4)


def test_short_track_does_not_decide():
    rows = [of_video(frame, 0, 0.5) for frame in range(4)] + [of_video(2, 1, 3.0)]
    assert summarise(rows)[0].score == 0.5
    assert summarise(rows[-1:])[0].score == 3.0  # unless there is no other


def test_frames_without_a_face_are_counted():
    rows = [of_video(0, 0, 0.5), Face("clip.mp4", "no_face", frame=15), Face("clip.mp4", "unreadable", frame=30)]
    (summary,) = summarise(rows)
    assert (summary.frames, summary.with_face, summary.status) == (3, 1, "ok")
    (summary,) = summarise(rows[1:])
    assert summary.status == "no_face" and summary.score is None


def test_reference_score_goes_before_the_one_without():
    assert Face("a.jpg", consistency=1.0, reference=3.0).score == 3.0
    assert Face("a.jpg", consistency=1.0).score == 1.0


def test_rows_go_through_plain_values():
    row = of_video(3, 0, 0.5, inner_known=True, note="tight")
    assert Face.from_dict(row.as_dict()) == row


def test_csv_has_a_row_a_face(tmp_path):
    write_rows([of_video(0, 0, 0.123456789), Face("b.jpg", "no_face", note="no face was found")], tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["x1"] == "9" and rows[0]["point_y5"] == "4" and rows[0]["consistency"] == "0.123457"
    assert rows[1]["status"] == "no_face" and rows[1]["x0"] == ""


def named(inner, outer, known=(True, True)):
    return Face(
        "a.jpg",
        inner_name=inner,
        outer_name=outer,
        inner_known=known[0],
        outer_known=known[1],
        consistency=1,
        reference=2,
    )


@pytest.mark.parametrize(
    "row, words",
    [
        (named("Ann", "Ann"), "the inner and the outer face look like Ann"),
        (named("Ann", "Bob"), "a swap: the inner face looks like Ann, the outer face like Bob"),
        (named("Ann", "Bob", (True, False)), "the outer face like nobody of the reference set"),
        (named("Ann", "Bob", (False, True)), "the outer face looks like Bob, the inner face like nobody"),
        (named("Ann", "Bob", (False, False)), "neither the inner nor the outer face"),
        (Face("a.jpg", consistency=1.0), ""),
    ],
)
def test_who_in_words(row, words):
    assert words in verdicts.who(row)


def test_no_probability_without_a_calibration():
    assert "no probability" in verdicts.consistency(Face("a.jpg", consistency=1.0), None)
    calibration = Calibration("logistic", (1.0,), (0.0,), "validation faces")
    words = verdicts.consistency(Face("a.jpg", consistency=1.0, probability=0.73), calibration)
    assert "probability 73%" in words and "validation faces" in words
