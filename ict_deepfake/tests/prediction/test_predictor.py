"""Frames in, rows out: batches do not matter, every face has a row, and the questions are answered as asked."""

import numpy as np
import pytest
from drawn_faces import BlobFinder, drawn_faces, tiny_detector

from ict_deepfake import faces
from ict_deepfake.enrolment import DLIB, ICTDescriber
from ict_deepfake.prediction import Predictor, Shot, make_claim, predictor
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError


@pytest.fixture(scope="module")
def detector():
    return tiny_detector()


@pytest.fixture(scope="module")
def shots():
    return [
        Shot("one.jpg", drawn_faces((60, 60, 60))),
        Shot("none.jpg", drawn_faces()),
        Shot("two.jpg", drawn_faces((40, 60, 48), (120, 60, 36), seed=1)),
        Shot("bad.jpg", None, why="bad.jpg cannot be read"),
        Shot("wide.jpg", drawn_faces((100, 50, 60), size=(100, 200), seed=2)),
    ]


def references(detector, names=("Ann", "Ann", "Bob", "Bob")):
    crops = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(len(names))]
    rows = detector.embed(crops)
    return ReferenceSet(list(names), rows.inner, rows.outer, model=detector.digest)


def test_every_face_and_every_failure_has_a_row(detector, shots):
    rows = list(Predictor(detector, BlobFinder()).rows(shots))
    assert [(row.source, row.status, row.face) for row in rows] == [
        ("one.jpg", "ok", 0),
        ("none.jpg", "no_face", None),
        ("two.jpg", "ok", 0),
        ("two.jpg", "ok", 1),
        ("bad.jpg", "unreadable", None),
        ("wide.jpg", "ok", 0),
    ]
    assert rows[4].note == "bad.jpg cannot be read"
    assert all(0 <= row.consistency <= 4 for row in rows if row.status == "ok")


def test_rows_do_not_depend_on_the_batches(detector, shots, monkeypatch):
    whole = list(Predictor(detector, BlobFinder()).rows(shots))
    monkeypatch.setattr(predictor, "SHOTS", 1)
    single = list(Predictor(detector, BlobFinder(), batch_size=1).rows(shots))
    for one, other in zip(whole, single, strict=True):
        assert one.consistency == pytest.approx(other.consistency, abs=1e-5)
        assert (one.box, one.points) == (other.box, other.points)


def test_frames_are_seen_some_at_a_time(detector, monkeypatch):
    monkeypatch.setattr(predictor, "PIXELS", 2 * 120 * 160)
    asked = []

    def endless():
        for number in range(1000):
            asked.append(number)
            yield Shot("clip.mp4", drawn_faces((60, 60, 60)), number, number / 25)

    next(Predictor(detector, BlobFinder()).see(endless()))
    assert len(asked) == 2


def test_crop_that_is_given_back_scores_the_same(detector, shots):
    """The same face, in its picture and as the crop that was cut from it."""
    (seen,) = Predictor(detector, BlobFinder()).see(shots[:1])
    (row,) = Predictor(detector, None).rows([Shot("crop.png", seen.crops[0])])
    assert row.consistency == pytest.approx(seen.rows[0].consistency, abs=1e-6)


def test_aligned_crops_are_square(detector, shots):
    (row,) = Predictor(detector, None).rows(shots[:1])
    assert row.status == "not_square" and "160x120" in row.note


def test_already_aligned_picture_is_noted():
    template, shape = np.array(faces.TEMPLATE), (317, 317, 3)
    assert "aligned crop already" in predictor.remark(shape, template, 1.0, faces.Alignment())
    assert predictor.remark(shape, template + 40, 0.9, faces.Alignment()) == ""


def test_cut_picture_is_noted(detector):
    image = drawn_faces((60, 60, 60))[30:90, 30:90]
    (row,) = Predictor(detector, BlobFinder()).rows([Shot("cut.jpg", image)])
    assert row.visible < 0.8 and "tight or cut" in row.note


def test_landmarks_stand_in_for_a_detector(detector, tmp_path, shots):
    (found,) = BlobFinder().detect([shots[0].image])
    faces.write_landmarks({"one.jpg": found, "none.jpg": faces.no_faces()}, tmp_path / "a.json")
    rows = list(Predictor(detector, faces.landmark_file(tmp_path / "a.json")).rows(shots[:3]))
    assert [row.status for row in rows] == ["ok", "no_face", "no_landmarks"]
    assert rows[0].consistency == pytest.approx(
        next(Predictor(detector, BlobFinder()).rows(shots[:1])).consistency, abs=1e-3
    )


def test_references_name_the_faces(detector, shots):
    known = references(detector)
    row = next(Predictor(detector, BlobFinder(), known).rows(shots[:1]))
    assert row.inner_name in ("Ann", "Bob") and row.reference is not None and row.inner_known in (True, False)
    assert len(Predictor(detector, None, known).questions()) == 2


def test_claim_is_the_distance_to_the_named_person(detector, shots):
    known = references(detector)
    claim = make_claim("Ann", known, "ict", ICTDescriber(detector))
    (seen,) = Predictor(detector, BlobFinder(), claim=claim).see(shots[:1])
    inner = detector.embed(seen.crops).inner
    expected = (inner - known.inner[:2]).square().sum(1).min()
    assert seen.rows[0].claim == pytest.approx(float(expected), abs=1e-6)
    assert seen.rows[0].claim_nearest in ("Ann", "Bob")


def test_claim_of_a_crop_of_the_person_holds(detector):
    known = references(detector)
    claim = make_claim("Ann", known, "ict", ICTDescriber(detector))
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (row,) = Predictor(detector, None, claim=claim).rows([Shot("ann.png", crop)])
    assert row.claim == pytest.approx(0, abs=1e-6) and row.claim_nearest == "Ann"


def test_claims_that_cannot_be_answered_are_refused(detector):
    with pytest.raises(UserError, match="did you mean Ann"):
        make_claim("Anne", references(detector), "ict", ICTDescriber(detector))
    with pytest.raises(UserError, match="two pictures"):
        make_claim("Ann", references(detector, ("Ann", "Bob")), "ict", ICTDescriber(detector))
    rows = references(detector)
    of_dlib = ReferenceSet(rows.names, rows.inner, rows.outer, model=DLIB)
    with pytest.raises(UserError, match="built by dlib"):
        make_claim("Ann", of_dlib, "ict", ICTDescriber(detector))


def test_references_of_another_model_are_refused(detector):
    rows = references(detector)
    with pytest.raises(UserError, match="another model"):
        Predictor(detector, None, ReferenceSet(rows.names, rows.inner, rows.outer, model="0" * 16))
