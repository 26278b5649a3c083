"""Files of boxes: MOTChallenge text, the authors' pickles, and whether they fit their video."""

import os
import pickle

import numpy as np
import pytest
from scenes import lines, written

from luperson_nl.tracklets import box_files
from luperson_nl.tracklets.box_files import find, fitted, parse_size, read, read_mot, read_published
from shared_utils import UserError


def test_text_is_read_with_frames_from_1_and_boxes_as_corners(tmp_path):
    boxes = read_mot(
        written(
            tmp_path / "d.txt", "2,-1,10,20,30,40,0.5,-1,-1,-1\r\n1,7,1.5,2,3,4,1,-1,-1,-1\r\n\r\n2,3,0,0,5,6,.25\n"
        )
    )
    assert boxes.frame.tolist() == [1, 2, 2] and boxes.track.tolist() == [7, -1, 3]
    assert boxes.box.tolist() == [[1.5, 2, 4.5, 6], [10, 20, 40, 60], [0, 0, 5, 6]]
    assert boxes.score.tolist() == [1, 0.5, 0.25] and boxes.number.tolist() == [0, 0, 1]


def test_tracks_without_confidence_are_sure(tmp_path):
    assert read_mot(written(tmp_path / "t.txt", "1 1 0 0 5 6 -1 -1 -1 -1\n")).score.tolist() == [1]


def test_true_people_are_those_that_are_to_be_considered(tmp_path):
    path = written(tmp_path / "gt.txt", "1,1,0,0,5,6,1,1,1\n1,2,0,0,5,6,0,1,1\n1,-1,0,0,5,6,1,1,1\n")
    assert read_mot(path, truth=True).track.tolist() == [1]


def test_an_empty_file_has_no_boxes(tmp_path):
    assert len(read(written(tmp_path / "d.txt", ""))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,0,0,5,6,1\n", "has a frame 0: frames count from 1"),
        ("1,1,0,0,5,6,1\n1,1,0,zero,5,6,1\n", "'1 1 0 zero 5 6 1'"),
        ("1,1,0,0,5,6,1\n1,1,0\n", "'1 1 0'"),
        ("1,1,0\n", "'1 1 0'"),
        ("1,1,0,nan,5,6,1\n", "not finite"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=f"d.txt.*{message}"):
        read_mot(written(tmp_path / "d.txt", text))


def published(path, content):
    path.write_bytes(pickle.dumps(content))
    return path


def test_published_detections_count_frames_from_0(tmp_path):
    content = {
        40: [[3, {"bbox": np.array([1.0, 2, 3, 4], np.float32), "pid": 17}]],
        0: [[0, {"bbox": [0, 0, 5, 6], "pid": 9}]],
    }
    boxes = read(published(tmp_path / "a+b+c.pkl", content))
    assert boxes.frame.tolist() == [1, 41] and boxes.track.tolist() == [9, 17] and boxes.number.tolist() == [0, 3]
    assert boxes.box[1].tolist() == [1, 2, 3, 4]


def test_published_detections_with_code_are_refused_and_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    with pytest.raises(UserError, match=r"a.pkl is not a pickle of plain values \(it names posix.mkdir\)"):
        read_published(published(tmp_path / "a.pkl", {1: [[0, {"bbox": Harm(), "pid": 1}]]}))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("content", [[1, 2], {1: [[0, {"bbox": [1, 2, 3], "pid": 1}]]}, {1: [[0, {"box": 1}]]}])
def test_published_detections_of_another_layout_are_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not a pickle of detections"):
        read_published(published(tmp_path / "a.pkl", content))


def test_boxes_are_found_by_the_name_of_their_video(tmp_path):
    for name in ("a.txt", "sub/b.txt", "c/det/det.txt", "c/gt/gt.txt", "d/gt.txt", "x+y+z.pkl"):
        written(tmp_path / name, "")
    assert find(tmp_path, "a", True) == tmp_path / "a.txt"
    assert find(tmp_path, "sub/b", True) == tmp_path / "sub/b.txt"
    assert find(tmp_path, "c", True) == tmp_path / "c/det/det.txt"
    assert find(tmp_path, "c", True, "gt") == tmp_path / "c/gt/gt.txt"
    assert find(tmp_path, "d", True, "gt") == tmp_path / "d/gt.txt" and find(tmp_path, "d", True) is None
    assert find(tmp_path, "x/y/z", True) == tmp_path / "x+y+z.pkl"
    assert find(tmp_path / "a.txt", "anything", False) == tmp_path / "a.txt"
    with pytest.raises(UserError, match="one file for several videos"):
        find(tmp_path / "a.txt", "a", True)
    with pytest.raises(UserError, match="absent not found"):
        find(tmp_path / "absent", "a", True)


def test_sizes_are_width_x_height():
    assert parse_size("768x576") == (768, 576) and parse_size("768X576") == (768, 576) and parse_size(None) is None
    for text in ("768", "768x", "0x5", "axb"):
        with pytest.raises(UserError, match="WIDTHxHEIGHT"):
            parse_size(text)


class TestFit:
    """Boxes that were made at another size must not be cut without a word."""

    def boxes(self, tmp_path, scale, frames=50):
        path = written(tmp_path / "d.txt", lines(frames, scale=scale))
        return read_mot(path), path

    def test_boxes_of_the_video_pass(self, tmp_path):
        boxes, path = self.boxes(tmp_path, 1)
        assert fitted(boxes, path, (160, 96), None) is boxes

    def test_boxes_that_leave_the_video_are_refused_with_the_fix(self, tmp_path):
        boxes, path = self.boxes(tmp_path, 1.6)
        with pytest.raises(UserError, match=r"d.txt: boxes reach to .* leave the 160x96 video by .*--det-size"):
            fitted(boxes, path, (160, 96), None)
        scaled = fitted(boxes, path, (160, 96), (256, 154))
        assert np.allclose(scaled.box[:, 0], boxes.box[:, 0] / 1.6)

    def test_boxes_of_a_smaller_picture_are_refused_too(self, tmp_path):
        boxes, path = self.boxes(tmp_path, 0.5)
        with pytest.raises(UserError, match=r"all 100 boxes lie within .* of the 160x96 video"):
            fitted(boxes, path, (160, 96), None)
        assert len(fitted(boxes, path, (160, 96), (160, 96))) == 100  # confirmed

    def test_a_size_that_does_not_help_is_refused(self, tmp_path):
        boxes, path = self.boxes(tmp_path, 4)
        with pytest.raises(UserError, match="scaled from 200x100: check --det-size"):
            fitted(boxes, path, (160, 96), (200, 100))

    def test_a_sequence_says_its_size(self, tmp_path):
        written(tmp_path / "seqinfo.ini", "[Sequence]\nname=a\nframeRate=0\nimWidth=1920\nimHeight=1080\n")
        assert box_files.sequence_size(tmp_path) == (1920, 1080)
        written(tmp_path / "seqinfo.ini", "[Other]\n")
        assert box_files.sequence_size(tmp_path) is None
