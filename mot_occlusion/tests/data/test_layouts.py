import configparser
import json

import cv2
import numpy as np
import pytest
import torch

from mot_occlusion.data.crowdhuman import read_crowdhuman
from mot_occlusion.data.mot import read_videos
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.data.training_pairs import TrainingPairs
from mot_occlusion.data.transforms import AffineRanges
from shared_utils import UserError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Three short sequences on disk."""
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 3, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


def _sequence(root, name, gt, frames=4, newline="\n"):
    folder = root / name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for number in range(1, frames + 1):
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.jpg"), np.full((64, 96, 3), 90, np.uint8))
    (folder / "gt" / "gt.txt").write_text(newline.join(gt))
    keys = {"name": name, "imDir": "img1", "frameRate": 30, "seqLength": frames}
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser["Sequence"] = {k: str(v) for k, v in {**keys, "imWidth": 96, "imHeight": 64, "imExt": ".jpg"}.items()}
    with (folder / "seqinfo.ini").open("w") as file:
        parser.write(file)


MOT17_GT = ["1,1,10,10,20,40,1,1,1.0", "1,2,30,10,20,40,0,1,1.0", "2,1,12,10,20,40,1,7,1.0", "3,1,14,10,20,40,1,1,0.3"]
MOT15_GT = ["1,1,10,10,20,40,1,-1,-1,-1", "2,1,12,10,20,40,0,-1,-1,-1", "3,1,14,10,20,40,1,3.2,1.1,0"]


@pytest.mark.parametrize("level", ["train", "images/train"])
def test_mot17_is_read_once_of_its_three_copies(tmp_path, level):
    for detector in ("DPM", "FRCNN", "SDP"):
        _sequence(tmp_path / level, f"MOT17-02-{detector}", MOT17_GT, newline="\r\n")
    (video,) = read_videos(tmp_path)
    assert video.name == "MOT17-02-SDP" and [len(boxes) for boxes in video.boxes] == [1, 0, 1, 0]
    assert video.boxes[2][0].tolist() == [13, 9, 20, 40] and video.visibility[2][0] == pytest.approx(0.3)


def test_mot15_has_no_class(tmp_path):
    _sequence(tmp_path / "train", "TUD-Campus", MOT15_GT)
    assert [len(boxes) for boxes in read_videos(tmp_path)[0].boxes] == [1, 0, 1, 0]


def test_halves_are_those_of_the_published_split(tmp_path):
    _sequence(tmp_path / "train", "MOT17-02-SDP", MOT17_GT, frames=5)
    first, second = (read_videos(tmp_path, part=part)[0] for part in ("first-half", "second-half"))
    assert [path.stem for path in first.images] == ["000001", "000002"]
    assert [path.stem for path in second.images] == ["000003", "000004", "000005"]


def test_real_mot17_ground_truth_is_read(real_data, tmp_path):
    """Its halves hold the published number of frames; there are no images here, so empty files stand for them."""
    source = real_data / "MOT17" / "train" / "MOT17-09-FRCNN"
    folder = tmp_path / "train" / source.name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for name in ("gt/gt.txt", "seqinfo.ini"):
        (folder / name).write_bytes((source / name).read_bytes())
    for number in range(1, 526):
        (folder / "img1" / f"{number:06d}.jpg").touch()
    whole, first = read_videos(tmp_path)[0], read_videos(tmp_path, part="first-half")[0]
    assert len(whole) == 525 and len(first) == 262 and sum(map(len, whole.boxes)) == 5325


def _crowdhuman(root, lines, images=("a", "b")):
    (root / "images" / "train").mkdir(parents=True)
    for name in images:
        cv2.imwrite(str(root / "images" / "train" / f"{name}.jpg"), np.full((64, 96, 3), 90, np.uint8))
    (root / "annotation_train.odgt").write_text("\n".join(lines))


def _person(fbox, **extra):
    return {"tag": "person", "fbox": fbox, "vbox": [fbox[0], fbox[1], fbox[2], fbox[3] / 2], "extra": extra}


def test_crowdhuman_keeps_whole_boxes_of_people_who_count(tmp_path):
    boxes = [_person([-5, 3, 20, 40]), _person([30, 3, 20, 40], ignore=1), {"tag": "mask", "fbox": [0, 0, 5, 5]}]
    _crowdhuman(tmp_path, [json.dumps({"ID": "a", "gtboxes": boxes}), json.dumps({"ID": "b", "gtboxes": []})])
    first, second = read_crowdhuman(tmp_path)
    assert (
        first.boxes[0].tolist() == [[-5, 3, 20, 40]]
        and first.visibility[0].tolist() == [0.5]
        and len(second.boxes[0]) == 0
    )
    pair = TrainingPairs([first, second], SIZE, seed=0, affine=AffineRanges())[(0, 0)]
    assert not torch.equal(pair["image"], pair["image_previous"])  # one image, augmented twice


def test_crowdhuman_names_the_line_it_cannot_read(tmp_path):
    _crowdhuman(tmp_path, [json.dumps({"ID": "a", "gtboxes": []}), '{"ID": "b"}'])
    with pytest.raises(UserError, match=r"annotation_train.odgt, line 2"):
        read_crowdhuman(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "A" / "seqinfo.ini").unlink(), r"A/seqinfo.ini not found"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").unlink(), r"A/gt/gt.txt not found"),
        (lambda root: [path.unlink() for path in (root / "train" / "A" / "img1").iterdir()], r"A/img1 holds no image"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,4,5\n"), r"gt.txt, line 1: 5 columns"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,nan,5,5,1,1,1\n"), r"gt.txt, line 1"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,4,-5,5,1,1,1\n"), r"gt.txt, line 1"),
    ],
)
def test_a_layout_that_is_wrong_is_named(tmp_path, spoil, message):
    _sequence(tmp_path / "train", "A", MOT17_GT)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_videos(tmp_path)


def test_a_root_without_sequences_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match="expected"):
        read_videos(tmp_path)
