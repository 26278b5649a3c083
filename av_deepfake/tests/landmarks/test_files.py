"""Files of landmarks: every published layout, and the fix for everything else."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from av_deepfake.landmarks.files import landmarks_of, read
from shared_utils import UserError

FIVE, MANY, MESH = (np.random.default_rng(0).uniform(0, 200, (4, count, 2)) for count in (5, 68, 468))
GRID = Path(__file__).parents[3].parent / "shared/data/av_deepfake/grid"


@pytest.mark.parametrize("points", [FIVE, MANY, MESH], ids=["5", "68", "468"])
def test_kind_is_told_by_the_number_of_points(tmp_path, points):
    np.save(tmp_path / "a.npy", points)
    np.save(tmp_path / "flat.npy", points.reshape(4, -1))
    np.savez(tmp_path / "a.npz", data=points)
    for name in ("a.npy", "flat.npy", "a.npz"):
        assert np.allclose(np.stack(read(tmp_path / name)), points)


def test_missed_frames_of_the_lip_reading_list_stay_missed(tmp_path):
    frames = [MANY[0], None, MANY[2]]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(frames))
    as_objects = np.empty(3, object)
    as_objects[:] = [[{"facial_landmarks": one}] if one is not None else None for one in frames]
    np.savez(tmp_path / "a.npz", data=as_objects)
    for name in ("a.pkl", "a.npz"):
        found = read(tmp_path / name)
        assert found[1] is None and np.allclose(found[2], MANY[2])


def test_one_file_a_frame_in_their_order(tmp_path):
    (tmp_path / "clip").mkdir()
    for number in (0, 1, 2, 10):
        np.save(tmp_path / f"clip/{number}.npy", MANY[0] + number)
    place, found = landmarks_of("clip.mp4", tmp_path)
    assert place == tmp_path / "clip" and np.allclose(found[3], MANY[0] + 10)


def test_json_of_many_videos_with_points_now_and_then(tmp_path):
    content = {"a/clip.mpg": {"frames": 7, "every": [0, 5], "landmarks_xy": FIVE[:2].tolist()}}
    (tmp_path / "all.json").write_text(json.dumps(content))
    _, found = landmarks_of("a/clip.mpg", tmp_path / "all.json")
    assert [one is not None for one in found] == [True, False, False, False, False, True, False]


@pytest.mark.parametrize(
    "content, words",
    [
        (np.zeros((4, 33, 2)), r"points of \(33, 2\)"),
        (np.zeros((4, 2, 68, 2)), "frame 0 has 2 faces"),
        (np.zeros(9), r"array of \(9,\)"),
        (np.full((4, 5, 2), np.nan), "no frame has a face"),
    ],
)
def test_wrong_shape_names_the_file_and_what_is_expected(tmp_path, content, words):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(UserError, match=words) as error:
        read(tmp_path / "a.npy")
    assert str(tmp_path / "a.npy") in str(error.value) and "(frames, 5 | 68 | 468, 2)" in str(error.value)


def test_several_faces_in_a_list_are_refused_by_name(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([[{"facial_landmarks": MANY[0]}] * 2]))
    with pytest.raises(UserError, match="frame 0 has 2 faces: keep the points of one"):
        read(tmp_path / "a.pkl")


def test_mixed_kinds_are_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([FIVE[0], MANY[0]]))
    with pytest.raises(UserError, match="frames of 5 and 68 points"):
        read(tmp_path / "a.pkl")


class Harmful:
    def __reduce__(self):
        return print, ("this ran",)


def test_nothing_in_a_pickle_is_executed(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([Harmful()]))
    np.save(tmp_path / "a.npy", np.array([Harmful()], object), allow_pickle=True)
    for name in ("a.pkl", "a.npy"):
        with pytest.raises(UserError, match="nothing in a file is executed"):
            read(tmp_path / name)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.npy", "a.pkl", "a.npz", "a.json"])
def test_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x93NUMPY\x01\x00 broken")
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)


def test_missing_landmarks_name_the_fix(tmp_path):
    with pytest.raises(UserError, match="add the landmarks of b/clip.mp4, or leave --landmarks out"):
        landmarks_of("b/clip.mp4", tmp_path)
    with pytest.raises(UserError, match="is a file, or a folder"):
        landmarks_of("b/clip.mp4", tmp_path / "absent")


@pytest.mark.skipif(not GRID.is_dir(), reason="the GRID clips are not in ../shared/data")
def test_landmarks_of_the_grid_clips():
    _, found = landmarks_of("bbaf2n.mpg", GRID / "mtcnn_landmarks.json")
    assert len(found) == 75 and sum(one is not None for one in found) == 6
