"""Videos to mouths, in memory, as a store and from the command line; on real clips where they are present."""

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from made_videos import flash_and_click

from av_deepfake import preprocessing
from av_deepfake.commands.preprocess import main
from av_deepfake.landmarks.found import faces
from av_deepfake.preprocessing import Settings, mouth_crop, store, video
from av_deepfake.preprocessing.mouths import read_video
from shared_utils import UserError
from shared_utils.video import Writer

GRID = Path(__file__).parents[3].parent / "shared/data/av_deepfake/grid"
MESH = Path(__file__).parents[3].parent / "shared/data/ict_deepfake/face_landmark.tflite"
real = pytest.mark.skipif(not GRID.is_dir(), reason="the GRID clips are not in ../shared/data")


class Everywhere:
    """A detector that finds a face in the middle of every picture."""

    source, licence, every = "everywhere", "none", 5

    def find(self, image):
        height, width = image.shape[:2]
        points = np.array([[-0.2, -0.2], [0.2, -0.2], [0, 0], [-0.15, 0.2], [0.15, 0.2]]) * height
        return faces([[0, 0, width, height]], [points + np.array([width, height]) / 2], 5)

    def refine(self, image, points):
        return points


@pytest.fixture
def everywhere(monkeypatch):
    monkeypatch.setattr(video, "_detector", lambda *_: Everywhere())


def table_of(folder):
    with (Path(folder) / "mouths.csv").open() as file:
        return list(csv.DictReader(file))


def test_store_holds_what_is_read(tmp_path, everywhere):
    path = flash_and_click(tmp_path / "a.mp4")
    read = read_video(path)
    store.write(tmp_path / "out", "x/a.mp4", path, Settings())
    stored = store.open(tmp_path / "out")["x/a.mp4"]
    assert isinstance(stored.pictures, np.memmap) and np.array_equal(stored.pictures, read.pictures)
    assert stored.samples(25, 50) == pytest.approx(read.samples()[16_000:32_000], abs=1e-4)
    assert stored.valid.all() and len(stored) == len(stored.times) == 50
    assert stored.facts["landmarks"] == "everywhere" and stored.facts["index"] == list(range(50))


def test_silent_video_has_mouths_and_says_so(tmp_path, everywhere):
    mouths = read_video(flash_and_click(tmp_path / "a.mp4", sound=None))
    assert mouths.sound is None and mouths.valid.all() and "no sound" in mouths.facts["sound"]
    with pytest.raises(UserError, match=r"a.mp4 has no sound"):
        mouths.samples()


def test_length_mismatch_is_logged_once_and_padded(tmp_path, everywhere, caplog):
    mouths = read_video(flash_and_click(tmp_path / "a.mp4", sound_seconds=1.2))
    assert len(mouths.sound) == 50 * 640 and mouths.facts["sound_missing"] > 0.7
    assert sum("its sound goes from" in record.message for record in caplog.records) == 1


def test_turned_video_is_upright(tmp_path, everywhere):
    plain = flash_and_click(tmp_path / "a.mp4", size=(48, 64))
    content = bytearray(plain.read_bytes())
    identity = b"".join(value.to_bytes(4, "big") for value in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    )
    place = content.index(identity, content.index(b"tkhd"))  # the first track is the picture
    content[place : place + 36] = quarter
    (tmp_path / "turned.mp4").write_bytes(content)
    facts = read_video(tmp_path / "turned.mp4").facts
    assert facts["rotation"] in (90, 270) and (facts["height"], facts["width"]) == (64, 48)


def test_sound_of_a_tree_of_its_own_belongs_to_its_video(tmp_path, everywhere):
    """VoxCeleb2: dev/mp4 without sound, dev/aac with it."""
    for part in ("mp4", "aac"):
        (tmp_path / f"dev/{part}/id1/x").mkdir(parents=True)
    flash_and_click(tmp_path / "dev/mp4/id1/x/1.mp4", sound=None)
    flash_and_click(tmp_path / "sound.mp4").rename(tmp_path / "dev/aac/id1/x/1.m4a")
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    mouths = store.open(tmp_path / "out")["dev/mp4/id1/x/1.mp4"]
    assert mouths.facts["sound_file"] == "1.m4a"
    assert np.abs(mouths.samples()).argmax() / 16_000 == pytest.approx(1.0, abs=0.02)


def test_no_face_is_no_mouth_but_no_failure(tmp_path, monkeypatch):
    class Nowhere(Everywhere):
        def find(self, image):
            return faces([], [], 5)

    monkeypatch.setattr(video, "_detector", lambda *_: Nowhere())
    path = flash_and_click(tmp_path / "a.mp4")
    assert main([str(path), "--out", str(tmp_path / "out")]) == 0
    assert [row["status"] for row in table_of(tmp_path / "out")] == ["no_mouth"]
    with pytest.raises(UserError, match="holds no mouths"):
        store.open(tmp_path / "out")


def test_folder_with_a_broken_video_gives_all_others(tmp_path, everywhere, capsys):
    (tmp_path / "in/b").mkdir(parents=True)
    flash_and_click(tmp_path / "in/a.mp4", fps=30.0, seconds=1.0, at=0.5)
    flash_and_click(tmp_path / "in/b/short.mkv", seconds=0.2, at=0.1, sound=None)
    (tmp_path / "in/b/broken.mp4").write_bytes(b"no video at all")
    (tmp_path / "in/b/cut.mp4").write_bytes((tmp_path / "in/a.mp4").read_bytes()[:1500])
    assert main([str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 2
    rows = {row["video"]: row["status"] for row in table_of(tmp_path / "out")}
    assert rows == {"a.mp4": "ok", "b/broken.mp4": "unreadable", "b/cut.mp4": "unreadable", "b/short.mkv": "ok"}
    error = capsys.readouterr().err
    assert "2 of 4 videos could not be used (b/broken.mp4" in error and "the other 2 are in" in error
    assert store.open(tmp_path / "out").names == ["a.mp4", "b/short.mkv"]


def test_interrupted_folder_goes_on(tmp_path, everywhere, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    for number in range(3):
        flash_and_click(tmp_path / f"in/{number}.mp4", seconds=0.4, at=0.2)
    write, cut = store.write, []

    def interrupted(folder, name, *rest):
        cut.append(name)
        if cut == ["0.mp4", "1.mp4"]:
            raise KeyboardInterrupt
        return write(folder, name, *rest)

    monkeypatch.setattr(store, "write", interrupted)
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 130
    assert main(arguments) == 2 and "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--every", "3"]) == 2 and "every 5, now 3" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert cut == ["0.mp4", "1.mp4", "1.mp4", "2.mp4"]
    assert json.loads((tmp_path / "out/job.json").read_text())["finished"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--variant", "2021"], "needs 68 points"),
        (["--detector", "mesh"], "needs --mesh"),
        (["--every", "0"], "--every must be 1 to 25"),
        (["--aligned", "--landmarks", "a.npy"], "exclude each other"),
        (["--landmarks", "absent"], "absent not found"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--face", "-1"], "--face is 0"),
        (["--degrade", "blur:9"], "level of blur is 1 to 5"),
    ],
)
def test_bad_arguments_are_one_line_before_the_work(scratch, capsys, arguments, words):
    flash_and_click("a.mp4", seconds=0.2, at=0.1)
    assert main(["a.mp4", "--out", "out", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error and not Path("out").exists()


def test_landmarks_of_another_video_are_refused(scratch, capsys):
    flash_and_click("a.mp4", seconds=3.0)
    np.save("a.npy", np.tile(mouth_crop.mean_face(), (20, 1, 1)))
    assert main(["a.mp4", "--out", "out", "--landmarks", "a.npy"]) == 2
    error = capsys.readouterr().err
    assert "a.npy has landmarks of 20 frames, a.mp4 has 75" in error
    np.save("a.npy", np.tile(mouth_crop.mean_face(), (74, 1, 1)))
    assert main(["a.mp4", "--out", "out", "--landmarks", "a.npy", "--overwrite"]) == 0
    assert table_of("out")[0]["landmarks"] == "given68"


def test_landmarks_follow_the_frames_of_the_file(tmp_path):
    # 30 frames a second: the points of frame n are those of frame n, not those of the n-th tick.
    with Writer(tmp_path / "a.mp4", (96, 128), 30) as writer:
        for _ in range(60):
            writer.write(np.full((96, 128, 3), 90, np.uint8))
    points = mouth_crop.mean_face() / 4 + [[30, 10]]
    np.save(tmp_path / "a.npy", np.stack([points + np.array([number, 0]) for number in range(60)]))
    mouths = preprocessing.MouthVideo(tmp_path / "a.mp4", Settings(landmarks=str(tmp_path)))
    assert [mouth.index for mouth in mouths.mouths()] == [round(number * 1.2 - 0.001) for number in range(50)]


def test_degraded_frames_are_those_that_are_cut(tmp_path, everywhere):
    path = flash_and_click(tmp_path / "a.mp4", size=(256, 256), seconds=0.6, at=0.3)
    clean, worse = read_video(path).pictures, read_video(path, Settings(degrade="noise:5")).pictures
    assert worse.shape == clean.shape and worse.astype(float).std() > clean.astype(float)[:5].std() + 5


def test_memory_does_not_grow_with_the_length(tmp_path, everywhere, monkeypatch):
    monkeypatch.setattr(store, "_CHUNK", 1.0)

    def peak(seconds):
        path = flash_and_click(tmp_path / f"{seconds}.mp4", seconds=seconds, at=0.5)
        tracemalloc.start()
        store.write(tmp_path / "out", f"{seconds}.mp4", path, Settings())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)
    assert peak(8) < peak(2) + 150_000  # a tenth of what the pictures of 6 s would take


@real
def test_grid_clip_has_75_frames_and_its_sound():
    mouths = read_video(GRID / "bbaf2n.mpg")
    assert mouths.pictures.shape == (75, 96, 96) and mouths.valid.all() and len(mouths.sound) == 48_000
    facts = mouths.facts
    assert facts["fps"] == 25 and facts["sound_start"] == 0 and facts["licence"] == "MIT"
    assert round(facts["sound_seconds"] * 16_000) == pytest.approx(47_648, abs=400)
    assert (facts["missed"], facts["most_faces"], facts["unreadable"]) == (0, 1, 0)


@real
def test_five_and_68_points_cut_nearly_the_same(tmp_path):
    stored = np.load(GRID / "landmarks68.npz")
    cut = {}
    for kind, unit in (("dlib68", 1), ("mesh68", 4)):  # the mesh is stored in quarters of a pixel
        np.save(tmp_path / "bbaf2n.npy", stored[f"bbaf2n/{kind}"] / unit)
        cut[kind] = read_video(GRID / "bbaf2n.mpg", Settings(landmarks=str(tmp_path))).pictures.astype(float)
    cut["mtcnn5"] = read_video(GRID / "bbaf2n.mpg").pictures.astype(float)
    assert np.abs(cut["dlib68"] - cut["mesh68"]).mean() < 8 and np.abs(cut["dlib68"] - cut["mtcnn5"]).mean() < 10


@real
def test_dlib_is_an_extra_whose_licence_is_in_the_sidecar(tmp_path):
    pytest.importorskip("dlib")
    facts = store.write(tmp_path, "a.mpg", _second(tmp_path), Settings(detector="dlib", variant="2021"))
    assert facts["landmarks"] == "dlib68" and "no commercial use" in facts["licence"] and facts["missed"] == 0


@real
@pytest.mark.skipif(not MESH.is_file(), reason="face_landmark.tflite is not in ../shared/data")
def test_mesh_is_an_extra(tmp_path):
    pytest.importorskip("ai_edge_litert")
    mouths = read_video(_second(tmp_path), Settings(detector="mesh", model=str(MESH), variant="2020"))
    assert mouths.facts["landmarks"] == "mesh68" and mouths.facts["licence"] == "Apache-2.0" and mouths.valid.all()


def _second(folder):
    """The first four frames of a real clip."""
    with av.open(str(GRID / "bbaf2n.mpg")) as container, Writer(folder / "part.mp4", (288, 360), 25) as writer:
        for number, frame in enumerate(container.decode(video=0)):
            if number == 4:
                break
            writer.write(frame.to_ndarray(format="rgb24"))
    return folder / "part.mp4"


@real
def test_shell_on_a_real_clip(scratch):
    script = Path(__file__).parents[2] / "preprocess.py"
    command = [sys.executable, str(script), str(GRID / "lbax4n.mpg"), "--out", "out"]
    command += ["--landmarks", str(GRID / "mtcnn_landmarks.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 videos in out (3.0 s of mouths)" in done.stdout
