"""Landmarks of a file stand in for a detector, however the file is laid out."""

import json

import numpy as np
import pytest

from ict_deepfake import faces
from shared_utils import UserError

FIVE = np.array([[10, 20], [30, 20], [20, 30], [12, 40], [28, 40]], np.float32)
BOX = [5.0, 8.0, 36.0, 50.0]


@pytest.fixture
def write(tmp_path):
    def writer(name, content):
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_text(json.dumps(content))
        return faces.landmark_file(path)

    return writer


def test_one_face_a_picture_with_its_box(write):
    found = write("a.json", {"id00/img1.jpg": {"box_xyxy": BOX, "landmarks_xy": FIVE.tolist()}}).of("id00/img1.jpg")
    np.testing.assert_array_equal(found.points, FIVE[None])
    np.testing.assert_array_equal(found.boxes, [BOX])


def test_box_is_made_of_the_points_where_there_is_none(write):
    (box,) = write("a.json", {"img1.jpg": FIVE.tolist()}).of("img1.jpg").boxes
    assert (box[:2] < FIVE.min(axis=0)).all() and (box[2:] > FIVE.max(axis=0)).all()


def test_several_faces_come_with_the_largest_first(write):
    found = write("a.json", {"img1.jpg": [FIVE.tolist(), (2 * FIVE).tolist()]}).of("img1.jpg")
    np.testing.assert_array_equal(found.points, [2 * FIVE, FIVE])


def test_picture_without_a_face_is_known(write):
    known = write("a.json", {"img1.jpg": []})
    assert known.has("img1.jpg") and len(known.of("img1.jpg").boxes) == 0


def test_records_of_a_list_are_joined(write):
    records = [{"file": "img1.jpg", "points": FIVE.tolist()}, {"file": "img1.jpg", "points": (FIVE + 50).tolist()}]
    assert len(write("a.json", records).of("img1.jpg").boxes) == 2


def test_five_points_are_made_of_68(write):
    points = np.random.default_rng(0).uniform(0, 100, (68, 2)).round(1)
    known = write("a.json", {"img1.jpg": points.tolist()})
    np.testing.assert_allclose(known.of("img1.jpg").points[0, 0], points[36:42].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(known.of("img1.jpg").points[0, 2], points[30], rtol=1e-5)
    assert known.all_points("img1.jpg")[0].shape == (68, 2)


def test_csv_has_a_row_a_face(write):
    header = "path," + ",".join(f"x{i},y{i}" for i in range(1, 6))
    row = ",".join(f"{value:g}" for value in FIVE.reshape(-1))
    np.testing.assert_array_equal(write("a.csv", f"{header}\nb/img1.jpg,{row}\n").of("b/img1.jpg").points, FIVE[None])


def test_csv_with_frames_is_of_videos(write):
    header = "path,frame," + ",".join(f"x{i},y{i}" for i in range(1, 6))
    row = ",".join(f"{value:g}" for value in FIVE.reshape(-1))
    known = write("a.csv", f"{header}\nclip.mp4,12,{row}\n")
    assert known.has("folder/clip.mp4#12") and not known.has("clip.mp4#13")


def test_arrays_by_name_and_in_order(tmp_path):
    np.savez(tmp_path / "a.npz", img1=FIVE, img2=np.stack([FIVE, FIVE + 9]))
    assert len(faces.landmark_file(tmp_path / "a.npz").of("img2").boxes) == 2
    np.save(tmp_path / "b.npy", np.stack([FIVE, FIVE + 9]))
    known = faces.landmark_file(tmp_path / "b.npy", ["img1.jpg", "img2.jpg"])
    np.testing.assert_array_equal(known.of("img2.jpg").points, FIVE[None] + 9)
    with pytest.raises(UserError, match="2 entries for 3 pictures"):
        faces.landmark_file(tmp_path / "b.npy", ["1", "2", "3"])


@pytest.mark.parametrize(
    "asked",
    ["id00/img1.jpg", "/anywhere/set/id00/img1.jpg", "C:\\data\\set\\id00\\img1.jpg", "img1.jpg", "./id00/img1.jpg"],
)
def test_names_match_by_their_ends(write, asked):
    assert write("a.json", {"id00/img1.jpg": FIVE.tolist(), "id00/img2.jpg": FIVE.tolist()}).has(asked)


def test_name_of_two_pictures_is_no_name(write):
    known = write("a.json", {"id00/img1.jpg": FIVE.tolist(), "id01/img1.jpg": FIVE.tolist()})
    assert not known.has("img1.jpg") and known.has("id01/img1.jpg")


def test_missing_picture_is_named(write):
    with pytest.raises(UserError, match=r"has no landmarks of other\.jpg"):
        write("a.json", {"img1.jpg": FIVE.tolist()}).of("other.jpg")


@pytest.mark.parametrize(
    "content", ["{", {"img1.jpg": [[1, 2], [3, 4]]}, [{"points": FIVE.tolist()}], {"img1.jpg": "left"}]
)
def test_other_layouts_are_refused(write, content):
    with pytest.raises(UserError, match=r"a\.json"):
        write("a.json", content)


def test_other_kinds_and_missing_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.json, \.csv, \.npz, \.npy"):
        faces.landmark_file(tmp_path / "a.txt")
    with pytest.raises(UserError, match="not found"):
        faces.landmark_file(tmp_path / "a.json")


def test_written_faces_are_read_again(tmp_path):
    found = faces.Faces(np.array([BOX], np.float32), np.ones(1, np.float32), FIVE[None])
    faces.write_landmarks({"clip.mp4#3": found, "clip.mp4#6": faces.no_faces()}, tmp_path / "a.json")
    known = faces.landmark_file(tmp_path / "a.json")
    np.testing.assert_array_equal(known.of("clip.mp4#3").points, found.points)
    assert not len(known.of("clip.mp4#6").boxes)
