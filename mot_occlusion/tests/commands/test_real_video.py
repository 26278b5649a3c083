"""track.py on what people film: turned, with a varying frame rate, damaged, cut; and arguments that mean nothing."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from mot_occlusion.commands import evaluate as evaluate_command
from mot_occlusion.commands import simulate as simulate_command
from mot_occlusion.commands import track as track_command
from mot_occlusion.data import mot_format
from shared_utils import video

SIZE = (96, 128)


def image_of(frame, size=SIZE):
    image = np.full((*size, 3), 90, np.uint8)
    cv2.rectangle(image, (10 + 2 * frame, 20), (24 + 2 * frame, 60), (200, 40, 40), -1)
    return image


def detections(path, frames):
    path.write_text("".join(f"{frame},-1,{11 + 2 * frame},21,15,41,0.9\n" for frame in frames))
    return str(path)


def film(path, frames, times=None, rotate=0, gop=6):
    """An MP4 of ``frames`` numbers at times in milliseconds; ``rotate``: as a phone notes how it was held."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"g": str(gop), "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotate:
            stream.set_display_rotation(rotate) if hasattr(stream, "set_display_rotation") else pytest.skip("PyAV")
        for position, number in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image_of(number), format="rgb24")
            frame.pts, frame.time_base = (40 * position if times is None else times[position]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def track(source, given, *arguments):
    return track_command.main([source, "--detections", given, "--embeddings", "false", *arguments])


def stats(folder):
    return json.loads((folder / "stats.json").read_text())["sequences"][0]


def test_a_varying_frame_rate_keeps_its_time_stamps(scratch):
    times = [0, 40, 80, 240, 280, 480, 520, 1000]
    source = film(scratch / "v.mp4", range(8), times)
    assert track(source, detections(scratch / "det.txt", range(1, 9)), "--out", "a") == 0
    drawn = [frame.time for frame in video.open_source("a/v.mp4").frames()]
    np.testing.assert_allclose(drawn, np.array(times) / 1000, atol=0.002)


def test_frames_that_cannot_be_decoded_are_named_and_the_others_keep_their_numbers(scratch, monkeypatch):
    """Whatever the container: the reader gives a place without picture, which this test puts there itself."""
    from mot_occlusion.data import sources

    source = film(scratch / "v.mp4", range(12))
    real = video.open_source

    def damaged(*arguments, **options):
        opened = real(*arguments, **options)
        read = opened.read
        opened.read = lambda: ((time, None if n in (4, 5) else image) for n, (time, image) in enumerate(read()))
        return opened

    monkeypatch.setattr(sources.video, "open_source", damaged)
    assert track(source, detections(scratch / "det.txt", range(1, 13)), "--out", "a") == 0
    assert stats(scratch / "a")["unreadable"] == [5, 6] and stats(scratch / "a")["unreadable_frames"] == 2
    rows = mot_format.read_results("a/v.txt")
    assert rows.frames.tolist() == list(range(1, 13))
    np.testing.assert_allclose(rows.boxes[-1, 0], 34, atol=1.5)


def test_a_file_that_was_cut_says_how_many_frames_it_lacks(scratch, capsys):
    source = scratch / "v.mp4"
    film(scratch / "whole.mp4", range(30))
    with (
        av.open(str(scratch / "whole.mp4")) as given,
        av.open(str(source), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 3 // 4])
    assert track(str(source), detections(scratch / "det.txt", range(1, 31)), "--out", "a") in (0, 2)
    known = json.loads((scratch / "a" / "details" / "v.json").read_text())
    lacking = known["unreadable_frames"] + known["missing_frames"]
    assert known["frames"] + known["missing_frames"] == 30 and 0 < lacking < 30
    reported = capsys.readouterr().err
    assert "cannot be decoded" in reported or "it is cut or damaged at its end" in reported


def test_a_phones_portrait_video_is_tracked_upright(scratch, monkeypatch):
    from shared_utils.video import decoding

    source = film(scratch / "v.mp4", range(6))
    monkeypatch.setattr(decoding, "display_matrix", lambda frame: (0, 1, -1, 0))  # held upright: turned by 90 degrees
    given = scratch / "det.txt"
    given.write_text("".join(f"{frame},-1,40,{15 + 2 * frame},30,{60},0.9\n" for frame in range(1, 7)))
    assert track(source, str(given), "--out", "a") == 0
    assert stats(scratch / "a")["image_size"] == [128, 96]
    monkeypatch.undo()
    assert next(video.open_source(str(scratch / "a" / "v.mp4")).frames()).image.shape == (128, 96, 3)
    assert len(mot_format.read_results(scratch / "a" / "v.txt").frames) == 6


# Silence ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return film(folder / "v.mp4", range(6)), detections(folder / "det.txt", range(1, 7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "-1"], "--limit -1: give 1 or more"),
        (["--limit", "0"], "--limit 0: give 1 or more"),
        (["--conf_threshold", "2"], "conf_threshold is between 0 and 1, got 2"),
        (["--low_threshold", "-1"], "low_threshold is between 0 and 1"),
        (["--frame_rate", "0"], "a frame rate of 0 is not possible"),
        (["--recovery_window", "-3"], "recovery_window is above 0, got -3"),
        (["--max_unreadable", "-1"], "--max_unreadable -1: give 0 or more"),
        (["--reconnect", "-1"], "--reconnect -1: give 0 or more"),
        (["--track_buffer", "-1"], "track_buffer is 0 or more"),
        (["--conf_threshold", "0.95"], "no detection scores above 0.95, the highest has 0.9: lower --conf_threshold"),
        (["--detector", "fasterrcnn_resnet50_fpn"], "--detector finds people itself: leave it out"),
    ],
)
def test_arguments_that_mean_nothing_are_one_line(clip, scratch, capsys, arguments, message):
    assert track(*clip, "--out", "a", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "Traceback" not in error
    assert not list(scratch.glob("a/*.txt"))


def test_a_frame_rate_of_zero_is_refused_for_a_sequence_too(scratch, capsys):
    folder = scratch / "A"
    (folder / "img1").mkdir(parents=True)
    (folder / "det").mkdir()
    cv2.imwrite(str(folder / "img1" / "000001.jpg"), image_of(1))
    detections(folder / "det" / "det.txt", [1])
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=25\nseqLength=1\nimWidth=128\nimHeight=96\n")
    arguments = [str(folder), "--mode", "provided", "--embeddings", "false", "--out", "a"]
    assert track_command.main([*arguments, "--frame_rate", "0"]) == 2
    assert "a frame rate of 0 is not possible" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,-1,0.1,0.2,0.1,0.3,0.9\n", "no value in columns 3 to 6 is above 2: boxes are x,y,w,h in pixels"),
        ("1,-1,13,21,15,41,90\n", "a score of 90 in column 7: scores are shares in 0 to 1: divide percents by 100"),
    ],
)
def test_detections_in_other_units_are_named(clip, scratch, capsys, line, message):
    (scratch / "det.txt").write_text(line)
    assert track(clip[0], "det.txt", "--out", "a") == 2
    assert f"det.txt: {message}" in capsys.readouterr().err


def ground_truth(folder, rest, frames=4):
    (folder / "gt").mkdir(parents=True, exist_ok=True)
    lines = [f"{frame},1,10,10,20,40,{rest}\n" for frame in range(1, frames + 1)]
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=25\nseqLength=4\nimWidth=128\nimHeight=96\n")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("1,7,1", "column 8 holds 7 and never 1: pedestrians have class 1"),
        ("0,1,1", "column 7 holds 0 and never 1: rows that count have flag 1"),
    ],
)
def test_ground_truth_that_leaves_nothing_says_which_column(scratch, capsys, rest, message):
    ground_truth(scratch / "data" / "A", rest)
    (scratch / "results").mkdir()
    (scratch / "results" / "A.txt").write_text("1,1,10,10,20,40,1,-1,-1,-1\n")
    assert evaluate_command.main(["data", "--results", "results"]) == 2
    assert message in capsys.readouterr().err
    assert simulate_command.main(["--data", "data", "--out", "s"]) == 2


def test_ten_columns_with_a_class_are_read_as_mot17(tmp_path):
    ground_truth(tmp_path, "1,8,0.5,-1")
    rows = mot_format.read_gt(tmp_path / "gt" / "gt.txt")
    assert (rows.classes == 8).all() and (rows.visibility == 0.5).all()
    ground_truth(tmp_path, "1,1.25,0.5,0")  # coordinates in the world
    assert (mot_format.read_gt(tmp_path / "gt" / "gt.txt").classes == 1).all()


def test_classes_are_written_and_read_back(clip, scratch):
    (scratch / "det.txt").write_text("".join(f"{f},-1,{11 + 2 * f},21,15,41,0.9,3\n" for f in range(1, 7)))
    assert track(clip[0], "det.txt", "--out", "a", "--video", "false") == 0
    assert (scratch / "a" / "v.txt").read_text().splitlines()[0].split(",")[7] == "3"
    assert (mot_format.read_results("a/v.txt").classes == 3).all()


@pytest.mark.parametrize(
    "arguments", [["--seeds", ""], ["--windows", "-1"], ["--track_buffer", "-1"], ["--seeds", "-1"]]
)
def test_a_simulation_of_nothing_is_refused(scratch, capsys, arguments):
    ground_truth(scratch / "data" / "A", "1,1,0.5")
    assert simulate_command.main(["--data", "data", "--out", "s", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err
