"""Files of MOTChallenge as people have them, and the answers to those that are wrong."""

import numpy as np
import pytest

from mot_occlusion.data import mot_format
from shared_utils import UserError

SEQINFO = "[Sequence]\nname=MOT17-09\nimDir=img1\nframeRate=30\nseqLength=3\nimWidth=64\nimHeight=48\nimExt=.jpg"


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def complaint(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*arguments)
    return str(error.value)


def test_ground_truth_of_mot17(tmp_path):
    path = written(tmp_path / "gt.txt", "2,1,10,20,30,40,1,1,0.5\n1,1,9,20,30,40,1,1,1\n1,2,5,5,5,5,0,8,0.25\n")
    rows = mot_format.read_gt(path)
    assert rows.frames.tolist() == [1, 1, 2] and rows.ids.tolist() == [1, 2, 1]
    assert rows.classes.tolist() == [1, 8, 1] and rows.visibility.tolist() == [1, 0.25, 0.5]
    assert rows.scores.tolist() == [1, 0, 1] and rows.boxes[2].tolist() == [9, 19, 30, 40]
    assert rows.xyxy()[2].tolist() == [9, 19, 39, 59]
    assert rows.starts(3).tolist() == [0, 2, 3, 3]


@pytest.mark.parametrize("rest", ["-1,-1,-1", "3.5,2.25,0"])
def test_ground_truth_of_mot15_has_no_class(tmp_path, rest):
    rows = mot_format.read_gt(written(tmp_path / "gt.txt", f"1,1,9,20,30,40,1,{rest}\n1,2,9,20,30,40,0,{rest}\n"))
    assert rows.classes.tolist() == [1, 1] and rows.visibility.tolist() == [1, 1] and rows.scores.tolist() == [1, 0]


@pytest.mark.parametrize(
    "text",
    [
        "1,3.0,1,2,3,4,0.5,-1,-1,-1\n2,0.0,1,2,3,4,0.5,-1,-1,-1",
        "1,3,1,2,3,4,0.5,-1,-1,-1\r\n2,0,1,2,3,4,0.5,-1,-1,-1\r\n",
        "1 3 1 2 3 4 0.5\n2 0 1 2 3 4 0.5\n",
        "\ufeff1,3,1,2,3,4,0.5\n\n2,0,1,2,3,4,0.5,\n",
        "1,3,1,2,3,4,0.5,-1,-1,-1\n2,0,1,2,3,4,0.5\n",
    ],
)
def test_results_are_read_as_people_write_them(tmp_path, text):
    rows = mot_format.read_results(written(tmp_path / "a.txt", text))
    assert (
        rows.ids.tolist() == [3, 0] and rows.boxes.tolist() == [[0, 1, 3, 4]] * 2 and rows.scores.tolist() == [0.5] * 2
    )


def test_detections_may_be_empty_and_have_any_id(tmp_path):
    assert len(mot_format.read_detections(written(tmp_path / "det.txt", "")).frames) == 0
    rows = mot_format.read_detections(written(tmp_path / "det.txt", "1,-1,1,2,3,4,0.5\n1,-1,1,2,3,4,0.5\n"))
    assert rows.ids.tolist() == [-1, -1]
    assert mot_format.read_detections(written(tmp_path / "det.txt", "1,-1,1,2,3,4\n")).scores.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1,1,1,2,3\n",
            "line 1: 5 columns, at least 7 are needed: a line of gt is frame,id,x,y,w,h,flag,class,visibility",
        ),
        ("1,1,1,2,3,4,1,1,1\n2,1,1,2,3\n", "line 2: 5 columns, at least 7"),
        ("1,1,1,2,3,4,1,1,1\n\n2,1,one,2,3,4,1,1,1\n", "line 3: not numbers (2,1,one,2,3,4,1,1,1)"),
        ("1,1,1,2,3,4,1,1,1\n1,2,1,nan,3,4,1,1,1\n", "line 2: a value is not a number: remove the line"),
        ("1,1,1,2,-3,4,1,1,1\n", "line 1: a box of negative size"),
        ("0,1,1,2,3,4,1,1,1\n", "line 1: frames are whole numbers that count from 1"),
        ("1,1,1,2,3,4,1,1,1\n2,1,1,2,3,4,1,1,1\n1,1,1,2,3,4,1,1,1\n", "line 3: id 1 stands twice in frame 1"),
        ("1,1.5,1,2,3,4,1,1,1\n", "line 1: an id is a whole number"),
    ],
)
def test_wrong_ground_truth_is_named_by_line_and_fix(tmp_path, text, message):
    path = written(tmp_path / "gt.txt", text)
    assert complaint(mot_format.read_gt, path).startswith(f"{path}, {message}")


def test_wrong_results_and_detections_are_named_too(tmp_path):
    path = written(tmp_path / "a.txt", "1,1,1,2,3,4,1\n1,1,1,2,3,4,1\n")
    assert f"{path}, line 2: id 1 stands twice in frame 1" in complaint(mot_format.read_results, path)
    path = written(tmp_path / "det.txt", "1,-1,1,2,3,inf,1\n")
    assert f"{path}, line 1: a value is not a number" in complaint(mot_format.read_detections, path)
    path.write_bytes(b"\xff\xfe\x00")
    assert f"{path} is not a text file" in complaint(mot_format.read_detections, path)
    assert "expected the MOTChallenge layout" in complaint(mot_format.read_gt, tmp_path / "nowhere.txt")


@pytest.mark.parametrize("change", [lambda t: t, lambda t: t.replace("\n", "\r\n"), lambda t: "\ufeff" + t + "\n\n"])
def test_seqinfo_as_it_is_copied_around(tmp_path, change):
    written(tmp_path / "seqinfo.ini", change(SEQINFO))
    assert mot_format.read_seqinfo(tmp_path) == ("MOT17-09", "img1", 30.0, 3, 64, 48, ".jpg")


def test_wrong_seqinfo_is_named(tmp_path):
    assert f"{tmp_path / 'seqinfo.ini'} not found" in complaint(mot_format.read_seqinfo, tmp_path)
    written(tmp_path / "seqinfo.ini", SEQINFO.replace("seqLength=3\n", ""))
    assert "seqinfo.ini: 'seqLength' is missing: add it under [Sequence]" in complaint(
        mot_format.read_seqinfo, tmp_path
    )
    for wrong in ("frameRate=30", SEQINFO.replace("seqLength=3", "seqLength=three")):
        written(tmp_path / "seqinfo.ini", wrong)
        assert "seqinfo.ini cannot be read" in complaint(mot_format.read_seqinfo, tmp_path)


@pytest.mark.parametrize("level", ["train", "images/train", "", "MOT17-02"])
def test_sequences_are_found_at_every_level(tmp_path, level):
    base = tmp_path / (level if level != "MOT17-02" else "")
    for name in ("MOT17-04", "MOT17-02"):
        written(base / name / "seqinfo.ini", SEQINFO)
    root = tmp_path / level if level == "MOT17-02" else tmp_path
    expected = ["MOT17-02"] if level == "MOT17-02" else ["MOT17-02", "MOT17-04"]
    assert [path.name for path in mot_format.find_sequences(root)] == expected


def test_no_sequences_are_answered_with_the_layout(tmp_path):
    assert "expected <root>/{train,test}/<sequence>/" in complaint(mot_format.find_sequences, tmp_path)


def test_what_is_written_is_read_back(tmp_path):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 500, (20, 4)).round(2)
    ones = np.ones(20)
    rows = mot_format.Rows(np.arange(1, 21), np.arange(20), boxes, ones, -ones.astype(int), ones)
    mot_format.write_rows(rows, tmp_path / "a.txt")
    for ours, theirs in zip(rows, mot_format.read_results(tmp_path / "a.txt"), strict=True):
        np.testing.assert_allclose(ours, theirs)
    first = (tmp_path / "a.txt").read_text().splitlines()[0].split(",")
    assert len(first) == 10 and first[7:] == ["-1"] * 3


def test_real_files(real_data):
    gt = mot_format.read_gt(real_data / "MOT17" / "train" / "MOT17-04-FRCNN" / "gt" / "gt.txt")
    assert len(gt.frames) == 108_005 and gt.frames[-1] == 1050
    results = mot_format.read_results(real_data / "results" / "MPNTrack" / "MOT17-09-FRCNN.txt")
    assert results.ids.min() == 0
