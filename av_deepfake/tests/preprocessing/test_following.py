"""One face through a video: interpolated between looks, filled over short gaps, broken off at cuts and jumps."""

import numpy as np
import pytest

from av_deepfake.landmarks.found import faces
from av_deepfake.preprocessing.clock import Shown
from av_deepfake.preprocessing.following import GAP, Looks, follow, given


class Scripted:
    """A detector that knows where the faces are; it is asked by the first pixel of the picture, the number of the frame."""

    source, licence = "scripted", "none"

    def __init__(self, places, every=5):
        self.places, self.every = places, every
        self.asked = []

    def find(self, image):
        number = int(image[0, 0, 0])
        self.asked.append(number)
        found = [np.array(place, float) for place in self.places(number)]
        boxes = [[*(place - 20), *(place + 20)] for place in found]
        return faces(boxes, [np.tile(place, (5, 1)) for place in found], 5)

    def refine(self, image, points):
        return points


def frames(count, scenes=lambda number: 60):
    for number in range(count):
        image = np.full((72, 128, 3), scenes(number), np.uint8)
        image[0, 0] = number
        yield Shown(number, image)


def followed(count, places, every=5, face=0, **kwargs):
    looks = Looks()
    detector = Scripted(places, every)
    return list(follow(frames(count, **kwargs), detector, looks, face)), looks, detector


def test_points_between_looks_lie_on_a_line():
    found, looks, detector = followed(23, lambda number: [(50 + number, 40)])
    assert detector.asked == [0, 5, 10, 15, 20] and looks.filled == 0
    # After the last look the points stay.
    assert [one.points[0, 0] for one in found] == [50.0 + min(number, 20) for number in range(23)]
    assert {one.segment for one in found} == {0}


def test_short_gap_is_interpolated_and_counted():
    found, looks, _ = followed(31, lambda number: [] if 8 < number < 22 else [(50 + number / 2, 40)])
    assert [one.points[0, 0] for one in found] == [50.0 + number / 2 for number in range(31)]
    assert (looks.missed, looks.filled) == (3, 15)


def test_long_gap_has_no_points_and_ends_the_stretch():
    found, _, _ = followed(80, lambda number: [] if 10 < number < 60 else [(50, 40)])
    with_face = [one.points is not None for one in found]
    assert all(with_face[:11]) and all(with_face[60:]) and with_face.count(False) >= GAP
    assert found[0].segment != found[-1].segment


def test_no_face_at_all_is_no_points():
    found, looks, _ = followed(40, lambda number: [])
    assert len(found) == 40 and all(one.points is None for one in found) and looks.missed == 8


def test_the_face_is_kept_when_a_larger_one_comes():
    def places(number):
        return [(40, 40), (100, 30)] if number >= 10 else [(100, 30)]

    found, looks, _ = followed(21, places)
    assert all(one.points[0, 0] == 100 for one in found) and looks.most_faces == 2


@pytest.mark.parametrize(("face", "place"), [(0, 100), (1, 40), (2, 100)])
def test_of_several_people_the_one_that_is_asked_for_is_followed(face, place):
    found, looks, _ = followed(11, lambda number: [(100, 30), (40, 40)], face=face)
    assert {one.points[0, 0] for one in found} == {float(place)} and looks.most_faces == 2


def test_who_is_not_there_is_no_face():
    found, looks, _ = followed(40, lambda number: [(100, 30)] if number < 35 else [(100, 30), (40, 40)], face=2)
    assert all(one.points is None for one in found[:26]) and looks.missed == 7
    assert found[-1].points[0, 0] == 100


def test_jump_to_another_face_is_not_interpolated():
    found, _, _ = followed(20, lambda number: [(30, 40)] if number < 10 else [(100, 40)])
    assert {one.points[0, 0] for one in found} == {30.0, 100.0}
    assert len({one.segment for one in found}) == 2


def test_cut_is_noticed_in_its_frame():
    found, looks, detector = followed(20, lambda number: [(50, 40)], scenes=lambda number: 60 if number < 12 else 200)
    assert looks.cuts == 1 and 12 in detector.asked
    assert [one.segment for one in found] == [0] * 12 + [1] * 8


def test_given_points_are_filled_over_short_gaps_only():
    points = [np.full((5, 2), float(number)) for number in range(60)]
    for number in (3, 4, *range(20, 50)):
        points[number] = None
    looks = Looks()
    found = list(given(frames(62), points, looks))
    assert found[3].points[0, 0] == pytest.approx(3.0) and found[61].points[0, 0] == 59.0
    assert [number for number, one in enumerate(found) if one.points is None] == list(range(20, 50))
    assert looks.filled == 2 and len({one.segment for one in found}) == 3
