"""track.py: sources, protocols, going on after an interruption, and the answers to wrong input."""

import json
import os
import shutil
import signal
import sys
import time

import av
import cv2
import numpy as np
import pytest
from conftest import PROJECT
from scenes import FRAMES, SIZE, image_of, scene

from mot_occlusion import source_tracking, tracking_run
from mot_occlusion.commands import track as track_command
from mot_occlusion.data import mot_format
from mot_occlusion.data.result_files import read_tracks
from mot_occlusion.detections import Detections
from shared_utils import video, work


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a video of the scene and its detections; frames 30 to 32 have none."""
    folder = tmp_path_factory.mktemp("clip")
    writer = video.Writer(folder / "walk.mp4", SIZE, 25)
    lines = []
    for frame in range(1, FRAMES + 1):
        writer.write(image_of(frame))
        if not 30 <= frame <= 32:
            lines += [f"{frame},-1,{x:.2f},{y},{w},{h},0.9,-1,-1,-1\n" for x, y, w, h in scene(frame)]
    writer.close()
    (folder / "det.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def unbroken(clip):
    """The text of a run that nothing disturbs."""
    assert run(clip, clip / "unbroken", "--video", "false") == 0
    return (clip / "unbroken" / "walk.txt").read_text()


def run(clip, out, *arguments, source=None):
    given = ["--source", str(source or clip / "walk.mp4"), "--detections", str(clip / "det.txt"), "--out", str(out)]
    return track_command.main([*given, "--embeddings", "false", *arguments])


def test_provided_detections_give_text_video_figures_and_numbers(clip, scratch, capsys):
    assert run(clip, "a") == 0
    rows, recovered = read_tracks("a/walk.txt")
    assert len(np.unique(rows.ids)) == 2 and rows.ids.min() == 1 and not recovered.any()
    line = (scratch / "a" / "walk.txt").read_text().splitlines()[0].split(",")
    assert len(line) == 10 and line[7:] == ["-1"] * 3 and all(len(value.split(".")[1]) == 2 for value in line[2:7])
    drawn = video.open_source("a/walk.mp4")
    assert drawn.size == SIZE and sum(1 for _ in drawn.frames()) == FRAMES
    for figure in ("walk_trajectories.png", "walk_timeline.png"):
        assert 0 < (scratch / "a" / figure).stat().st_size < 500_000
    stats = json.loads((scratch / "a" / "stats.json").read_text())
    assert stats["mode"] == "provided" and stats["sequences"][0]["frames"] == FRAMES
    assert stats["sequences"][0]["identities"] == 2
    assert "walk" in capsys.readouterr().out
    assert not list((scratch / "a").rglob("*.npz"))  # nothing is left to go on with


def test_the_same_input_gives_the_same_text(clip, scratch, unbroken):
    assert run(clip, "a", "--video", "false") == 0
    assert (scratch / "a" / "walk.txt").read_text() == unbroken


def test_an_interrupted_run_goes_on_as_if_unbroken(clip, scratch, unbroken, monkeypatch, capsys):
    real = source_tracking.observer

    def failing(*arguments):
        observe = real(*arguments)

        def stop(frame, image):
            if frame == 57:
                raise KeyboardInterrupt
            return observe(frame, image)

        return stop

    monkeypatch.setattr(tracking_run, "observer", failing)
    assert run(clip, "a") == 130
    begun = (scratch / "a" / "walk.txt").read_text()
    assert begun and unbroken.startswith(begun) and "\n56," in begun
    assert sum(1 for _ in video.open_source("a/walk.mp4").frames()) >= 56  # the video so far plays
    monkeypatch.setattr(tracking_run, "observer", real)
    assert run(clip, "a") == 2 and "a exists: continue it with --resume" in capsys.readouterr().err
    assert run(clip, "a", "--resume", "--conf_threshold", "0.5") == 2
    assert "was begun as another job (conf_threshold 0.4, now 0.5)" in capsys.readouterr().err
    assert run(clip, "a", "--resume") == 0
    assert (scratch / "a" / "walk.txt").read_text() == unbroken
    assert sum(1 for _ in video.open_source("a/walk.mp4").frames()) == FRAMES
    assert run(clip, "a", "--resume") == 0  # nothing to do, and nothing is lost
    assert (scratch / "a" / "walk.txt").read_text() == unbroken


def test_a_killed_run_has_lost_nothing_that_was_written(clip, scratch, processes):
    """The script of the verb, and a kill that nothing can catch."""
    arguments = ["slow.mp4", "--detections", str(clip / "det.txt"), "--embeddings", "false", "--out", "a"]
    with video.Writer("slow.mp4", SIZE, 25) as writer:
        for frame in range(1, 801):
            writer.write(image_of(frame % FRAMES))
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    process = processes.start(code, PROJECT / "track.py", *arguments)
    results, state = scratch / "a" / "slow.txt", scratch / "a" / "parts" / "slow" / "state.npz"
    # However slow the machine is: as soon as there is a state, and long before the end.
    while process.exitcode is None and not (results.is_file() and results.stat().st_size > 3000 and state.is_file()):
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    written = [line for line in results.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert len(written) > 50
    assert track_command.main([*arguments, "--resume", "--limit", "100"]) == 2  # another job than the one begun
    assert track_command.main([*arguments, "--resume", "--video", "false"]) == 0
    assert results.read_text().startswith("".join(written[:-4]))
    assert not state.is_file()


def test_a_damaged_state_is_named_and_the_source_begun_again(clip, scratch, unbroken, monkeypatch, caplog):
    real = source_tracking.observer

    def failing(*arguments):
        observe = real(*arguments)

        def stop(frame, image):
            if frame == 57:
                raise KeyboardInterrupt
            return observe(frame, image)

        return stop

    with monkeypatch.context() as patched:
        patched.setattr(tracking_run, "observer", failing)
        assert run(clip, "a", "--video", "false") == 130
    (scratch / "a" / "parts" / "walk" / "state.npz").write_bytes(b"damaged")
    assert run(clip, "a", "--video", "false", "--resume") == 0
    assert (scratch / "a" / "walk.txt").read_text() == unbroken


def test_overwrite_begins_again(clip, scratch, unbroken):
    assert run(clip, "a", "--video", "false", "--limit", "20") == 0
    (scratch / "a" / "notes.txt").write_text("mine")
    assert run(clip, "a", "--video", "false", "--overwrite") == 0
    assert (scratch / "a" / "walk.txt").read_text() == unbroken
    assert (scratch / "a" / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_things_in_it_is_not_written_to(clip, scratch, capsys):
    (scratch / "a").mkdir()
    (scratch / "a" / "walk.txt").write_text("mine")
    for flags in ([], ["--resume"]):
        assert run(clip, "a", *flags) == 2
    assert "--overwrite" in capsys.readouterr().err and (scratch / "a" / "walk.txt").read_text() == "mine"


def test_two_commands_on_one_folder_do_not_mix(clip, scratch, unbroken, monkeypatch, capsys):
    """The second one starts while the first one is half-way."""
    real, second = source_tracking.observer, []

    def meanwhile(*arguments):
        observe = real(*arguments)

        def look(frame, image):
            if frame == 40 and not second:
                for flags in ([], ["--resume"], ["--overwrite"]):
                    second.append(run(clip, "a", "--video", "false", *flags))
            return observe(frame, image)

        return look

    with monkeypatch.context() as patched:
        patched.setattr(tracking_run, "observer", meanwhile)
        assert run(clip, "a", "--video", "false") == 0
    assert second == [2, 2, 2] and f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert (scratch / "a" / "walk.txt").read_text() == unbroken


def test_finished_sources_are_not_tracked_again(scratch, monkeypatch):
    root = sequences(scratch / "data" / "train", ("A-1", "A-2")).parent
    arguments = [str(root), "--mode", "provided", "--embeddings", "false", "--out", "a", "--video", "false"]
    real = tracking_run.track_source

    def dies(source, *rest, **options):
        if source.name == "A-2":
            raise KeyboardInterrupt
        return real(source, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(tracking_run, "track_source", dies)
        assert track_command.main(arguments) == 130
    before = (scratch / "a" / "A-1.txt").stat().st_mtime_ns
    assert track_command.main([*arguments, "--resume"]) == 0
    assert (scratch / "a" / "A-1.txt").stat().st_mtime_ns == before and (scratch / "a" / "A-2.txt").is_file()
    stats = json.loads((scratch / "a" / "stats.json").read_text())
    assert [row["sequence"] for row in stats["sequences"]] == ["A-1", "A-2"]


def test_a_portrait_video_of_a_phone_is_tracked_upright(clip, scratch):
    """Its frames are stored lying, with a matrix that turns them by 90 degrees clockwise; boxes are of the upright picture."""
    with av.open("phone.mp4", "w") as container:
        stream = container.add_stream("libx264", 25)
        stream.height, stream.width, stream.pix_fmt = *SIZE[::-1], "yuv420p"
        stream.set_display_matrix((0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
        for frame in range(1, 11):
            lying = np.ascontiguousarray(np.rot90(image_of(frame)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode())
    lines = [line for line in (clip / "det.txt").read_text().splitlines() if int(line.split(",")[0]) <= 10]
    (scratch / "det.txt").write_text("\n".join(lines))
    assert track_command.main(["phone.mp4", "--detections", "det.txt", "--embeddings", "false", "--out", "a"]) == 0
    (stats,) = json.loads((scratch / "a" / "stats.json").read_text())["sequences"]
    assert tuple(stats["image_size"]) == SIZE and (stats["frames"], stats["unreadable_frames"]) == (10, 0)
    first = next(video.open_source("phone.mp4").frames()).image
    assert np.abs(first.astype(int) - image_of(1)).mean() < 6
    assert video.open_source("a/phone.mp4").size == SIZE


class FakeDetector:
    """Stands for the network: sees the two people of the scene, and what overlaps."""

    def __init__(self, input_size=None):
        self.seen, self.input_size = [], input_size

    def describe(self):
        return {"weights": "none", "input_size": self.input_size}

    def __call__(self, image):
        self.seen.append(image.shape)
        boxes = np.array(scene(len(self.seen)))
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, np.array([0.9, 0.8]), np.eye(2, 8), np.empty((0, 2)), np.empty(0))

    def embed(self, image, boxes):
        return np.eye(8)[(boxes[:, 1] > 22).astype(int)]


@pytest.fixture
def detector(monkeypatch):
    from mot_occlusion import pretrained

    def load(source, device, precision, input_size):
        assert input_size in (None, (64, 96))
        return FakeDetector(input_size)

    monkeypatch.setattr(pretrained, "load", load)


def test_private_public_and_described_detections(clip, scratch, detector):
    source = str(clip / "walk.mp4")
    assert (
        track_command.main(["--source", source, "--out", "private", "--video", "false", "--input_size", "96x64"]) == 0
    )
    assert len(np.unique(mot_format.read_results("private/walk.txt").ids)) == 2
    # Public detections of the first person alone, before they meet: nobody else may start.
    (scratch / "public.txt").write_text("".join(f"{f},-1,{scene(f)[0][0]},20,14,40,0.9\n" for f in range(1, 20)))
    arguments = ["--source", source, "--detections", "public.txt", "--video", "false"]
    assert track_command.main([*arguments, "--mode", "public", "--out", "public"]) == 0
    assert len(np.unique(mot_format.read_results("public/walk.txt").ids)) == 1
    assert track_command.main(["--source", source, "--detections", str(clip / "det.txt"), "--out", "given"]) == 0
    rows = mot_format.read_results("given/walk.txt")
    assert sorted(np.unique(rows.ids, return_counts=True)[1]) > [FRAMES - 5] * 2


def test_published_is_the_published_tracker(clip, scratch):
    assert run(clip, "a", "--published", "--video", "false") == 0
    options = json.loads((scratch / "a" / "stats.json").read_text())["options"]
    assert options["recovery_window"] == 1 and options["fair_iou"] is False


def sequences(folder, names):
    for name in names:
        images = folder / name / "img1"
        images.mkdir(parents=True)
        (folder / name / "det").mkdir()
        for frame in range(1, 9):
            cv2.imwrite(str(images / f"{frame:06d}.jpg"), image_of(frame))
        lines = [f"{f},-1,{x},{y},{w},{h},0.9\n" for f in range(1, 9) for x, y, w, h in scene(f)]
        (folder / name / "det" / "det.txt").write_text("".join(lines))
        (folder / name / "seqinfo.ini").write_text(
            f"[Sequence]\nname={name}\nframeRate=25\nseqLength=8\nimWidth=128\nimHeight=96\n"
        )
    return folder


def test_a_folder_of_sequences_is_tracked_one_by_one(scratch):
    root = sequences(scratch / "data" / "train", ("A-1", "A-2")).parent
    arguments = ["--source", str(root), "--mode", "provided", "--embeddings", "false", "--out", "a", "--video", "false"]
    assert track_command.main(arguments) == 0
    assert (scratch / "a" / "A-1.txt").read_text() == (scratch / "a" / "A-2.txt").read_text() != ""
    stats = json.loads((scratch / "a" / "stats.json").read_text())
    assert [row["sequence"] for row in stats["sequences"]] == ["A-1", "A-2"]


def test_unreadable_frames_are_counted_up_to_a_limit(scratch, capsys):
    root = sequences(scratch / "data", ("A-1",))
    for frame in (3, 5):
        (root / "A-1" / "img1" / f"{frame:06d}.jpg").write_bytes(b"broken")
    cv2.imwrite(str(root / "A-1" / "img1" / "000004.jpg"), np.zeros((20, 30, 3), np.uint8))  # of another size
    arguments = ["--source", str(root / "A-1"), "--mode", "provided", "--embeddings", "false", "--video", "false"]
    assert track_command.main([*arguments, "--out", "a"]) == 0
    assert json.loads((scratch / "a" / "stats.json").read_text())["sequences"][0]["unreadable_frames"] == 3
    assert track_command.main([*arguments, "--out", "b", "--max_unreadable", "2"]) == 2
    assert "A-1: more than 2 frames cannot be read (the last is 5)" in capsys.readouterr().err
    assert "\n4," in (scratch / "b" / "A-1.txt").read_text()  # what was done is kept


def shifted(clip, scratch):
    text = (clip / "det.txt").read_text().splitlines()
    moved = [
        ",".join([*line.split(",")[:2], str(900 + float(line.split(",")[2])), *line.split(",")[3:]]) for line in text
    ]
    (scratch / "det.txt").write_text("\n".join(moved))
    return ["--detections", "det.txt"]


def broken(clip, scratch):
    (scratch / "det.txt").write_text("1,-1,5,5,10\n")
    return ["--detections", "det.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda *_: ["--source", "none.mp4"], "none.mp4 not found: give a video"),
        (lambda *_: ["--detections", "none.txt"], "none.txt not found: give --detections"),
        (lambda *_: ["--detections_size", "large"], "a size is WIDTHxHEIGHT"),
        (shifted, "boxes lie outside of the 128 x 96 video: if they were made at another resolution"),
        (broken, "det.txt, line 1: 5 columns, at least 6 are needed"),
        (lambda *_: ["--refine_lost_box", "always"], "refine_lost_box"),
        (lambda *_: ["--recovery_windw", "3"], "unknown argument recovery_windw: did you mean recovery_window?"),
    ],
)
def test_wrong_input_is_answered_in_one_line_and_writes_nothing(clip, scratch, capsys, change, message):
    arguments = {"--source": str(clip / "walk.mp4"), "--detections": str(clip / "det.txt"), "--out": "a"}
    changed = change(clip, scratch)
    arguments |= dict(zip(changed[::2], changed[1::2], strict=True))
    assert track_command.main([part for pair in arguments.items() for part in pair] + ["--embeddings", "false"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert message in error[-1]
    assert not list(scratch.glob("a/*.txt"))


def test_a_live_source_goes_on_counting_and_keeps_what_it_had(clip, scratch):
    images = [image_of(frame) for frame in range(1, 21)]
    live = video.Source("door", SIZE, 25, None, True, 0, lambda: ((None, image) for image in images))

    def observe(frame, image):
        boxes = np.array(scene((frame - 1) % 20))
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, np.array([0.9, 0.8])), None

    out = scratch / "a"
    with work.begin(out, {}) as job:
        first = source_tracking.track_source(live, out, observe, {}, job)
    shutil.rmtree(out / "parts")  # as after a cut of the power
    before = (out / "door.txt").read_text()
    with work.begin(out, {}, resume=True) as job:
        second = source_tracking.track_source(live, out, observe, {}, job)
    assert (first["frames"], second["frames"]) == (20, 40)
    rows = mot_format.read_results("a/door.txt")
    assert (scratch / "a" / "door.txt").read_text().startswith(before)
    assert not set(rows.ids[rows.frames <= 20]) & set(rows.ids[rows.frames > 20])
    assert (scratch / "a" / "door.mp4").is_file() and (scratch / "a" / "door_2.mp4").is_file()


def test_detections_that_go_on_after_the_source_are_an_error(clip, scratch, capsys):
    root = sequences(scratch / "data", ("A-1",))
    with (root / "A-1" / "det" / "det.txt").open("a") as stream:
        stream.write("400,-1,5,5,10,20,0.9\n")
    arguments = ["--source", str(root / "A-1"), "--mode", "provided", "--embeddings", "false", "--out", "a"]
    assert track_command.main(arguments) == 2
    assert "det.txt has frame 400, but the source has 8 frames: the lengths disagree" in capsys.readouterr().err
    # Of this video nobody knows the length before its end; what was tracked until then stays.
    (scratch / "det.txt").write_text((clip / "det.txt").read_text() + "400,-1,5,5,10,20,0.9\n")
    assert run(clip, "b", "--video", "false", "--detections", "det.txt") == 2
    assert "det.txt has frame 400, but walk ended after 70: the lengths disagree" in capsys.readouterr().err
    assert len(mot_format.read_results("b/walk.txt").frames) > 100


def test_detections_made_at_another_size_are_scaled(clip, scratch, unbroken):
    lines = [line.split(",") for line in (clip / "det.txt").read_text().splitlines()]
    doubled = [
        [f, i, *(str(2 * float(v) - first) for v, first in zip(box, (1, 1, 0, 0), strict=True)), *rest]
        for f, i, *box_rest in lines
        for box, rest in [(box_rest[:4], box_rest[4:])]
    ]
    (scratch / "det.txt").write_text("\n".join(map(",".join, doubled)))
    assert run(clip, "b", "--video", "false", "--detections", "det.txt", "--detections_size", "256x192") == 0
    a, b = mot_format.read_results(str(clip / "unbroken" / "walk.txt")), mot_format.read_results("b/walk.txt")
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.02)


def test_help_answers_before_torch(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert track_command.main(["--help"]) == 0
    assert "--recovery_window" in capsys.readouterr().out


def test_pets_with_its_public_detections(real_data, scratch):
    arguments = ["--source", str(real_data / "video" / "pets09_s2l1_480x360.avi"), "--detections_size", "768x576"]
    arguments += ["--detections", str(real_data / "MOT15" / "train" / "PETS09-S2L1" / "det" / "det.txt")]
    assert track_command.main([*arguments, "--embeddings", "false", "--limit", "100", "--out", "a"]) == 0
    rows = mot_format.read_results("a/pets09_s2l1_480x360.txt")
    assert rows.frames[-1] == 100 and 5 < len(np.unique(rows.ids)) < 40
