"""68 points of dlib and of the mesh, and dlib's recogniser, on real pictures. Both are extras."""

import json
from pathlib import Path

import numpy as np
import pytest

from ict_deepfake import faces
from shared_utils import UserError

DATA = Path(__file__).parents[3].parent / "shared/data/ict_deepfake"
NAMES = ["id00/img5.jpg", "id01/img13.jpg", "id01/img57.jpg"]
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not in ../shared/data")


@pytest.fixture(scope="module")
def pictures():
    known = faces.landmark_file(DATA / "celebrities/mtcnn.json")
    stored = json.loads((DATA / "celebrities/dlib68.json").read_text())
    return [(faces.read_picture(DATA / "celebrities" / name), known.of(name), np.array(stored[name])) for name in NAMES]


def eye_distance(found):
    return np.linalg.norm(found.points[0, 1] - found.points[0, 0])


@needs_data
def test_dlibs_points_are_the_stored_ones(pictures):
    pytest.importorskip("dlib")
    for image, found, stored in pictures:
        points = faces.points68(image, found, "dlib")
        assert points.shape == (1, 68, 2) and points.dtype == np.float32
        assert np.abs(points[0] - stored).max() < 0.1 * eye_distance(found)


@needs_data
def test_points_of_the_mesh_are_near_dlibs(pictures):
    pytest.importorskip("ai_edge_litert")
    for image, found, stored in pictures:
        points = faces.points68(image, found, "mesh", DATA / "face_landmark.tflite")[0]
        apart = np.linalg.norm(points - stored, axis=1) / eye_distance(found)
        assert apart[27:].mean() < 0.06 and apart.mean() < 0.14


@needs_data
def test_face_without_a_box_of_dlibs_gets_a_square(pictures, monkeypatch):
    pytest.importorskip("dlib")
    from ict_deepfake.faces import dlib_faces

    image, found, stored = pictures[0]
    monkeypatch.setattr(dlib_faces, "_found", lambda *_: (np.zeros((0, 4), np.float32), np.zeros(0, np.float32)))
    assert np.abs(faces.points68(image, found)[0] - stored).mean() < 0.06 * eye_distance(found)


@needs_data
def test_descriptors_tell_persons_apart(pictures):
    pytest.importorskip("dlib")
    one, other, same = (faces.descriptors(image, stored[None])[0] for image, _, stored in pictures)
    assert np.linalg.norm(other - same) < 0.6 < np.linalg.norm(one - other)


@needs_data
def test_dlib_finds_the_face_that_mtcnn_finds(pictures):
    pytest.importorskip("dlib")
    image, known, _ = pictures[0]
    found, nothing = faces.detector("dlib", min_size=80).detect([image, np.zeros((100, 100, 3), np.uint8)])
    assert np.abs(found.points[0] - known.points[0]).mean() < 0.06 * eye_distance(known)
    assert 0.5 < found.scores[0] <= 1 and nothing.points.shape == (0, 5, 2)


def test_no_face_has_no_points():
    pytest.importorskip("dlib")
    assert faces.points68(np.zeros((50, 50, 3), np.uint8), faces.no_faces()).shape == (0, 68, 2)
    assert faces.descriptors(np.zeros((50, 50, 3), np.uint8), np.zeros((0, 68, 2))).shape == (0, 128)


def test_mesh_without_its_model_is_refused(tmp_path):
    image = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(UserError, match=r"face_landmark\.tflite"):
        faces.points68(image, faces.no_faces(), "mesh")
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "other.tflite").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a network"):
        faces.points68(image, faces.no_faces(), "mesh", tmp_path / "other.tflite")
