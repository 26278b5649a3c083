"""Which videos are found, and the numbers of their frames."""

import pytest
from scenes import scene, written

from luperson_nl.tracklets.videos import Frames, Video, find_videos
from shared_utils import UserError


def test_videos_and_folders_of_frames_are_found_whatever_the_case(tmp_path):
    for name in ("b/two.MP4", "b/ten.mp4", "one.AVI", "notes.txt", ".hidden.mp4"):
        written(tmp_path / name, "x")
    scene(tmp_path / "MOT" / "seq-1" / "img1", frames=2, ending=".JPG")
    found = find_videos(tmp_path)
    assert [video.name for video in found] == ["b/ten", "b/two", "MOT/seq-1", "one"]
    assert found[2].sequence == tmp_path / "MOT" / "seq-1"


def test_the_same_name_twice_keeps_its_ending(tmp_path):
    for name in ("a.mp4", "a.avi"):
        written(tmp_path / name, "x")
    assert [video.name for video in find_videos(tmp_path)] == ["a.avi", "a.mp4"]


def test_one_video_one_folder_of_frames_one_sequence(tmp_path):
    scene(tmp_path / "seq" / "img1", frames=1)
    assert [video.name for video in find_videos(tmp_path / "seq")] == ["seq"]
    assert [video.name for video in find_videos(tmp_path / "seq" / "img1")] == ["img1"]
    assert find_videos(written(tmp_path / "v.mp4", "x"))[0].name == "v"
    with pytest.raises(UserError, match="absent not found"):
        find_videos(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no videos .* in .*empty"):
        find_videos(tmp_path / "empty")


@pytest.mark.parametrize("first", [1, 0])
def test_frames_count_from_1(tmp_path, first):
    frames = Frames.open(Video("s", scene(tmp_path / "s", frames=3, first=first)))
    assert frames.size == (160, 96)
    assert [number for number, _ in frames.read(99)] == [1, 2, 3]
    assert [number for number, _ in frames.read(2)] == [1, 2]


def test_a_missing_frame_does_not_shift_the_others(tmp_path):
    folder = scene(tmp_path / "s", frames=5)
    (folder / "000003.png").unlink()
    assert [number for number, _ in Frames.open(Video("s", folder)).read(99)] == [1, 2, 4, 5]
