"""Faces of successive frames are followed, and every face of a frame is kept."""

import numpy as np

from ict_deepfake.faces import Faces, Tracker, no_faces


def faces_at(*centres, side=40):
    boxes = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y in centres], np.float32)
    return Faces(boxes, np.ones(len(boxes), np.float32), np.zeros((len(boxes), 5, 2), np.float32))


def test_moving_faces_keep_their_numbers_in_any_order():
    tracker = Tracker()
    assert tracker.update(faces_at((50, 50), (200, 50))).tolist() == [0, 1]
    assert tracker.update(faces_at((210, 55), (60, 52))).tolist() == [1, 0]


def test_crossing_faces_of_one_frame_never_share_a_number():
    tracker = Tracker()
    tracker.update(faces_at((50, 50)))
    assert sorted(tracker.update(faces_at((52, 50), (60, 50)))) == [0, 1]


def test_seldom_sampled_face_is_followed_by_its_distance():
    tracker = Tracker()
    tracker.update(faces_at((50, 50)))
    assert tracker.update(faces_at((72, 50))).tolist() == [0]
    assert tracker.update(faces_at((150, 50))).tolist() == [1]


def test_face_that_is_hidden_for_a_while_is_the_same():
    tracker = Tracker(patience=2)
    tracker.update(faces_at((50, 50)))
    for _ in range(2):
        tracker.update(no_faces())
    assert tracker.update(faces_at((50, 50))).tolist() == [0]
    for _ in range(3):
        tracker.update(no_faces())
    assert tracker.update(faces_at((50, 50))).tolist() == [1]


def test_another_size_at_the_same_place_needs_overlap():
    tracker = Tracker()
    tracker.update(faces_at((50, 50), side=100))
    assert tracker.update(faces_at((50, 50), side=20)).tolist() == [1]


def test_tracks_end_at_a_cut():
    tracker, dark, light = Tracker(), np.full((90, 160, 3), 20, np.uint8), np.full((90, 160, 3), 200, np.uint8)
    assert [tracker.update(faces_at((50, 50)), image).tolist() for image in (dark, dark, light)] == [[0], [0], [1]]
