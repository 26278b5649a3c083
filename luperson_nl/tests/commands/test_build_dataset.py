"""``build_dataset`` from videos and boxes to a store, and everything that may be wrong with them."""

import os
import pickle
import re
import signal
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import COLOURS, SIZE, box, colour_of, lines, picture, scene, written
from stores_on_disk import content

from luperson_nl.commands import build_dataset
from luperson_nl.data.store import open_store
from luperson_nl.tracklets import crops as cutting

pytestmark = pytest.mark.usefixtures("scratch")
SMALL = ["--min-height", "20", "--min-frames", "3", "--stride", "2", "--inside", "0.5"]
PETS = Path(__file__).parents[3].parent / "shared" / "data" / "luperson_nl" / "pets09_s2l1"


def build(*arguments, out="store", limits=SMALL):
    return build_dataset.main([*map(str, arguments), "--out", out, *limits])


def corners(person, frame):
    """Smaller than any limit allows."""
    x, y, _, _ = box(person, frame)
    return np.array([x, y, x + 10, y + 10], np.float32)


def city(videos=3, **kinds):
    """A folder of videos with a folder of boxes: data/, det/."""
    for number in range(videos):
        scene(Path("data") / f"street{number}", frames=8, **kinds)
        written(Path("det") / f"street{number}.txt", lines(8))
    return ["--data", "data", "--det", "det"]


def test_crops_show_the_people_of_their_tracks(capsys):
    assert build(*city()) == 0
    printed = capsys.readouterr().out
    assert re.search(r"kept +24\n", printed) and "--inspect store" in printed
    store = open_store("store")
    assert len(store) == 24 and store.num_classes == 6  # of two videos, no two ids are alike
    for i in range(len(store)):
        person = int(store.index.label[i]) % 2
        assert store.image(i).shape[:2] == (40, 16) and colour_of(store.image(i)) == person
        x, y, width, height = box(person, int(store.index.frame[i]))  # frames count from 1 here and there
        assert store.index.box is not None and store.index.box[i].tolist() == [x, y, x + width, y + height]
    assert store.index.video.tolist() == sorted(store.index.video.tolist())
    assert sorted(set(store.index.frame.tolist())) == [1, 3, 5, 7]
    assert store.index.summary["videos"] == ["street0", "street1", "street2"]


@pytest.mark.parametrize("format", ["lmdb", "shards", "folder"])
def test_a_killed_build_goes_on_to_the_same_store(format, monkeypatch):
    arguments = city()
    assert build(*arguments, "--format", format, out="whole") == 0
    if not (child := os.fork()):
        made, encode = [], cutting.encode

        def encode_and_die(image):
            made.append(1)
            if len(made) == 11:  # in the middle of the second video
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(image)

        cutting.encode = encode_and_die
        build(*arguments, "--format", format)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert build(*arguments, "--format", format) == 2
    read, decoded = cutting.Frames.read, []
    monkeypatch.setattr(cutting.Frames, "read", lambda self, last: decoded.append(self.video.name) or read(self, last))
    assert build(*arguments, "--format", format, "--resume") == 0
    assert decoded == ["street1", "street2"]
    assert content(open_store("store")) == content(open_store("whole"))
    assert build(*arguments, "--format", format, "--resume") == 0 and decoded == ["street1", "street2"]


def test_another_build_does_not_go_on(capsys):
    arguments = city(videos=1)
    assert build(*arguments) == 0
    assert build(*arguments, "--max-overlap", "0.3", "--resume") == 2
    assert "begun as another job" in capsys.readouterr().err


def test_tracks_are_taken_as_given_and_their_text_needs_no_confidence():
    scene(Path("v"), frames=8)
    written(Path("t.txt"), lines(8, ids=True).replace(",0.9,", ",-1,"))
    assert build("--data", "v", "--tracks", "t.txt") == 0
    store = open_store("store")
    assert store.index.identity.tolist() == [1, 2] and store.key(0) == "00000_000001_0000001_00"


def test_published_detections_are_not_chosen_again():
    scene(Path("videos/uk/bath/key1"), frames=8)
    rows = {
        frame: [[person, {"bbox": corners(person, frame + 1), "pid": 70 + person}] for person in range(2)]
        for frame in (0, 4)
    }
    Path("dets").mkdir()
    Path("dets/uk+bath+key1.pkl").write_bytes(pickle.dumps(rows))
    assert build("--data", "videos", "--lup-dets", "dets", limits=[]) == 0
    store = open_store("store")
    assert store.index.frame.tolist() == [1, 1, 5, 5] and store.index.identity.tolist() == [70, 71]
    assert [colour_of(store.image(i)) for i in range(4)] == [0, 1, 0, 1]


def test_a_sequence_has_its_boxes_and_its_size_beside_it():
    scene(Path("mot/A/img1"), frames=8, ending=".PNG")
    written(Path("mot/A/det/det.txt"), lines(8, scale=2))
    written(Path("mot/A/seqinfo.ini"), f"[Sequence]\nframeRate=0\nimWidth={2 * SIZE[0]}\nimHeight={2 * SIZE[1]}\n")
    assert build("--data", "mot") == 0
    assert colour_of(open_store("store").image(1)) == 1


class TestVideoFiles:
    """AVI files of a few frames."""

    def video(self, path, frames=8):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE)
        for frame in range(1, frames + 1):
            writer.write(picture(frame, 2)[..., ::-1])
        writer.release()
        return path

    def test_a_rate_of_0_does_not_matter(self):
        path = self.video(Path("v.avi"))
        data = bytearray(path.read_bytes())
        rates = data.index(b"strh") + 8 + 20
        data[rates : rates + 8] = struct.pack("<II", 0, 0)
        data[data.index(b"avih") + 8 : data.index(b"avih") + 12] = bytes(4)
        path.write_bytes(data)
        written(Path("d.txt"), lines(8))
        assert build("--data", "v.avi", "--det", "d.txt") == 0
        store = open_store("store")
        assert [colour_of(store.image(i)) for i in range(4)] == [0, 1, 0, 1]

    def test_one_that_cannot_be_read_is_named_and_skipped_among_others(self, capsys):
        Path("data").mkdir()
        self.video(Path("data/good.AVI"))
        for name, damaged in (("empty.mp4", b""), ("noise.mp4", b"noise" * 100)):
            Path("data", name).write_bytes(damaged)
        for name in ("good", "empty", "noise"):
            written(Path("det", f"{name}.txt"), lines(8))
        assert build("--data", "data", "--det", "det") == 0
        captured = capsys.readouterr()
        assert re.search(r"unreadable videos +2", captured.out)
        assert "empty.mp4" in captured.err and "noise.mp4" in captured.err
        assert len(open_store("store")) == 8
        assert build("--data", "data/empty.mp4", "--det", "det/empty.txt", out="one") == 2
        assert "empty.mp4 cannot be read" in capsys.readouterr().err

    def test_boxes_after_the_end_are_counted(self, capsys):
        self.video(Path("v.avi"))
        written(Path("d.txt"), lines(20))
        assert build("--data", "v.avi", "--det", "d.txt") == 0
        assert "missing frame" in capsys.readouterr().out
        assert open_store("store").index.summary["report"]["missing frame"] == 12


def test_a_missing_and_an_unreadable_frame_are_counted_and_the_rest_stays_in_place(capsys):
    arguments = city(videos=1)
    Path("data/street0/000003.png").unlink()
    Path("data/street0/000005.png").write_bytes(b"")
    assert build(*arguments) == 0
    store = open_store("store")
    assert store.index.frame.tolist() == [1, 1, 7, 7]
    assert [colour_of(store.image(i)) for i in range(4)] == [0, 1, 0, 1]
    assert store.index.summary["report"]["missing frame"] == 4 and store.index.summary["report"]["kept"] == 4
    printed = capsys.readouterr().err
    assert "000005.png" in printed and "first frame 3" in printed


def test_a_video_whose_boxes_are_empty_is_named(capsys):
    arguments = city(videos=2)
    written(Path("det/street1.txt"), "")
    assert build(*arguments) == 0
    assert "street1.txt has no boxes" in capsys.readouterr().err and len(open_store("store")) == 8
    written(Path("det/street0.txt"), "")
    assert build(*arguments, out="none") == 2
    assert "files of boxes are empty" in capsys.readouterr().err


def test_boxes_of_another_size_are_refused_before_anything_is_written(capsys):
    scene(Path("v"), frames=8)
    written(Path("d.txt"), lines(8, scale=1.6))
    assert build("--data", "v", "--det", "d.txt") == 2
    assert "--det-size" in capsys.readouterr().err and not Path("store").exists()
    assert build("--data", "v", "--det", "d.txt", "--det-size", "256x154") == 0
    assert colour_of(open_store("store").image(1)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --data"),
        (["--data", "absent", "--det", "det"], "absent not found"),
        (["--data", "data", "--det", "absent"], "absent not found"),
        (["--data", "data"], "data has no boxes: run any detector"),
        (["--data", "data", "--det", "det", "--tracks", "det"], "--det and --tracks name different boxes"),
        (["--data", "data", "--det", "det/street0.txt"], "one file for several videos"),
        (["--data", "data", "--det", "empty"], "empty has no boxes for street0"),
        (["--data", "data", "--det", "det", "--det-size", "big"], "WIDTHxHEIGHT"),
        (["--data", "data", "--det", "det", "--min-frames", "50"], "dropped: short track 32): relax --min-frames"),
        (["--inspect", "absent"], "absent not found"),
        (["--inspect", "data"], "data is not a store"),
        (["--det", "det", "--gt", "empty"], "empty has no true people"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    city(videos=2)
    Path("empty").mkdir()
    limits = SMALL if "--min-frames" not in arguments else ["--min-height", "20", "--inside", "0.5"]
    assert build(*arguments, limits=limits) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_people_who_are_known_are_reported_and_stored(capsys):
    arguments = city(videos=2)
    for number in range(2):
        written(Path("gt") / f"street{number}.txt", lines(8, ids=True).replace(",0.9,", ",1,"))
    assert build(*arguments, "--gt", "gt") == 0
    printed = capsys.readouterr().out
    assert "purity of the tracks" in printed and Path("store/purity.csv").is_file()
    last = printed.splitlines()[
        printed.splitlines().index(next(x for x in printed.splitlines() if x.startswith("all")))
    ]
    assert last.split()[1:7] == ["32", "4", "4", "100.0", "100.0", "100.0"]
    store = open_store("store")
    assert store.index.true is not None and store.index.true.tolist() == store.index.label.tolist()


def test_a_store_is_inspected(capsys):
    scene(Path("v"), frames=8)
    swapped = lines(4, ids=True) + "".join(
        line for line in lines(8, ids=True).replace(",1,", ",x,").replace(",2,", ",1,").replace(",x,", ",2,").splitlines(True)
        if int(line.split(",")[0]) > 4
    )  # fmt: skip
    written(Path("t.txt"), swapped)
    written(Path("gt.txt"), lines(8, ids=True).replace(",0.9,", ",1,"))
    assert build("--data", "v", "--tracks", "t.txt") == 0
    capsys.readouterr()
    assert build_dataset.main(["--inspect", "store", "--gt", "gt.txt"]) == 0
    printed = capsys.readouterr().out
    assert "8 crops of 2 identities" in printed and "identities by their number of crops" in printed
    assert "purity of the crops" in printed and "mixed ids %" in printed
    sheet = cv2.imread("store/inspection/sheet_01.jpg")[..., ::-1].reshape(-1, 3).astype(int)
    for colour in (*COLOURS[:2], (30, 140, 60), (210, 40, 40)):  # both people, frames of right and of wrong crops
        assert (np.abs(sheet - colour).sum(1) < 60).sum() > 50, colour
    assert build_dataset.main(["--inspect", "store"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert build_dataset.main(["--inspect", "store", "--overwrite"]) == 0


def test_tracks_are_measured_without_a_video(capsys):
    written(Path("det/a/det.txt"), lines(8))
    written(Path("det/a/gt.txt"), lines(8, ids=True).replace(",0.9,", ",1,"))
    assert build_dataset.main(["--det", "det", "--gt", "det"]) == 0
    assert "100.0" in capsys.readouterr().out


def test_the_beginning_of_pets(capsys):
    if not PETS.is_dir():
        pytest.skip(f"{PETS} is not here")
    rows = [row for row in (PETS / "det.txt").read_text().splitlines(True) if int(row.split(",")[0]) <= 40]
    written(Path("det.txt"), "".join(rows))
    arguments = ["--data", PETS / "pets09_s2l1.avi", "--det", "det.txt"]
    limits = ["--min-frames", "20", "--stride", "4", "--min-height", "40"]
    assert build(*arguments, limits=limits) == 2
    assert "leave the 480x360 video" in capsys.readouterr().err
    assert build(*arguments, "--det-size", "768x576", limits=limits) == 0
    store = open_store("store")
    assert store.num_classes >= 4 and len(store) >= 30
    assert all(40 <= store.image(i).shape[0] < 200 for i in range(len(store)))
