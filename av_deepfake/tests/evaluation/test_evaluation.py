"""Evaluations from their beginning to their files: procedural clips, and a list of videos with one that is broken."""

import csv
import json
import re
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from av_deepfake.commands.evaluate import main
from av_deepfake.data.layouts import open_set
from av_deepfake.data.videos import VideoSet
from av_deepfake.evaluation import DrawnSuspects, Options, VideoSuspects, evaluate, numbers, report
from av_deepfake.evaluation.scoring import Scored
from av_deepfake.models.branches import Detector, VideoBranch
from av_deepfake.preprocessing import Settings, store
from av_deepfake.pretrained import MouthModel, load
from shared_utils import UserError

SMALL = {"channels": 4, "widths": [4, 8], "blocks": [1, 1], "dim": 8, "depth": 1, "heads": 2, "mlp": 8}
CLIPS = {"size": 16, "crop_size": 16, "frames": 25, "variant": "drawn", "landmarks": "drawn"}


@pytest.fixture(scope="module", autouse=True)
def _few_draws():
    """Intervals of few draws: they are tested with the metrics."""
    patch = pytest.MonkeyPatch()
    patch.setattr(numbers, "DRAWS", 10)
    yield
    patch.undo()


def model(seed=0, methods=("A", "B", "C")):
    torch.manual_seed(seed)
    training = {"detection": {"set": "procedural fakes", "methods": list(methods)}}
    return MouthModel(detector=Detector(**SMALL), preprocessing=CLIPS, training=training)


def write_video(path, seconds=1.6, silence=0.0, sound=True, seed=0):
    """96 x 96 noise that moves, and a tone that begins after ``silence`` seconds."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", 25)
        picture.height = picture.width = 96
        picture.pix_fmt, picture.bit_rate = "yuv420p", 400_000
        heard = out.add_stream("aac", rate=16_000) if sound else None
        if heard is not None:
            heard.layout = "mono"
        packets = []
        for number in range(round(25 * seconds)):
            image = rng.integers(0, 255, (12, 12, 1), np.uint8).repeat(8, 0).repeat(8, 1).repeat(3, 2)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += picture.encode(frame)
        packets += picture.encode(None)
        if heard is not None:
            time = np.arange(round(16_000 * seconds)) / 16_000
            tone = (0.5 * np.sin(2000 * time) * (time >= silence)).astype(np.float32)
            for start in range(0, len(tone) - 1023, 1024):
                frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
                packets += heard.encode(frame)
            packets += heard.encode(None)
        for packet in packets:
            out.mux(packet)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Two genuine videos and two fakes that begin with silence, one of them shorter than a clip; and a list."""
    folder = tmp_path_factory.mktemp("set")
    for number, silence in enumerate((0.0, 0.0, 0.4, 0.4)):
        write_video(folder / f"{number}.mp4", seconds=0.8 if number == 3 else 2.4, silence=silence, seed=number)
    rows = ["path,label,method", "0.mp4,0,", "1.mp4,real,", "2.mp4,1,swap", "3.mp4,fake,swap"]
    (folder / "list.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def drawn():
    return DrawnSuspects(16, per_class=4, cache=None)


@pytest.fixture(scope="module")
def done(drawn, tmp_path_factory):
    """Two models, of which each left one method out."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    models = {"runs/no_D": model(0), "runs/no_A": model(1, "BCD")}
    return out, evaluate(drawn, models, Options(), out), models


def test_procedural_clips_are_clean_and_compressed(done):
    out, found, _ = done
    rows = [(row["model"], row["set"], row["fakes"]) for row in found["table"]]
    assert rows[:5] == [("runs/no_D", "clean", name) for name in ("all", "A", "B", "C", "D")] and len(rows) == 20
    assert all(0 <= row["AUC"] <= 1 and row["videos"] == (20 if row["fakes"] == "all" else 8) for row in found["table"])
    assert json.loads((out / "metrics.json").read_text()) == found and found["cues"] == []
    with (out / "videos.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 40
    for name in ("leave_one_out.png", "extremes.png", "runs_no_D/roc.png", "runs_no_A/histograms.png"):
        assert (out / "figures" / name).stat().st_size > 1000


def test_every_model_is_measured_on_the_method_that_it_left_out(done):
    rows = done[1]["leave_one_out"]
    assert [(row["set"], row["left out"]) for row in rows] == [
        (group, left) for group in ("clean", "compressed") for left in ("D", "A", "each")
    ]
    (_, d), (_, a) = ((row["left out"], row["AUC"]) for row in rows[:2])
    assert rows[2]["AUC"] == pytest.approx((d + a) / 2)


def test_scores_are_those_of_the_model(done, drawn):
    out, _, models = done
    with (out / "videos.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for number in (0, 25):
        seen = drawn.look(number, "clean")
        expected = models["runs/no_A"].score(seen.pictures, seen.valid)[0]
        assert float(rows[number]["runs/no_A"]) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_results_are_refused_and_resumed_under_the_same_description(done, drawn, monkeypatch):
    out, found, models = done
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        evaluate(drawn, models, Options(), out)
    with pytest.raises(UserError, match="models"):
        evaluate(drawn, {"other": model(5)}, Options(), out, resume=True)
    assert evaluate(drawn, models, Options(), out, resume=True) == found


def test_a_calibration_is_written_with_the_model(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    net = model(3)
    clips, labels = drawn._pictures, np.array([item.label for item in drawn.items])
    found = net.score(clips)
    if found[labels == 1].mean() < found[labels == 0].mean():  # an untrained network may score the wrong way round
        with torch.no_grad():
            net.detector.head.weight.neg_()
    evaluate(drawn, {"a": net}, Options(calibrate="logistic"), tmp_path / "out")
    again = load(tmp_path / "out" / "calibrated")
    assert again.calibration is not None and again.calibration.dataset == "procedural fakes"
    scored = Scored(again.score(clips), labels, [item.key for item in drawn.items])
    row = numbers.measured(scored, again.calibration)
    assert 0 <= row["accuracy"] <= 1 and 0 <= row["Brier"] <= 1


def videos(listed, **options):
    return VideoSuspects({"list": open_set(listed / "list.csv")}, Settings(aligned=True), **options)


def test_a_short_video_is_padded_or_dropped_by_protocol(listed):
    exact, published = videos(listed), videos(listed, protocol="lipforensics")
    short = exact.look(3, "clean")
    assert short.valid.sum() == 20 and short.pictures.shape == (1, 25, 96, 96)
    assert (short.pictures[0, 20:] == short.pictures[0, 19]).all()
    assert published.look(3, "clean").note == "no whole clip" and len(published.look(0, "clean").pictures) == 2


def test_leading_silence_is_measured_and_can_be_trimmed(listed):
    whole, trimmed = videos(listed).look(2, "clean"), videos(listed, trim_silence=True).look(2, "clean")
    assert whole.cues["leading silence"] == pytest.approx(0.4, abs=0.06) and whole.cues["file type"] == "mp4"
    assert whole.trimmed == 0 and trimmed.trimmed == pytest.approx(0.4, abs=0.06)
    first = round(25 * trimmed.trimmed)
    assert (trimmed.pictures[0, 0] == whole.pictures[0, first]).all(), "the picture begins where the sound does"


def test_a_limit_counts_each_method(listed):
    assert [item.key[0] for item in videos(listed).limited(1).items] == ["real", "swap"]
    with pytest.raises(UserError, match="--limit"):
        videos(listed).limited(0)


def test_a_set_of_one_class_is_refused_before_the_work(listed, tmp_path):
    whole = open_set(listed / "list.csv")
    only = VideoSet("fakes", whole.root, [video for video in whole.videos if video.label])
    with pytest.raises(UserError, match="both real and fake"):
        evaluate(VideoSuspects({"fakes": only}), {"a": model()}, Options(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "saved"
    model().save_pretrained(folder)
    return folder


def test_a_broken_video_is_named_and_all_others_are_scored(listed, saved, tmp_path, capsys):
    (listed / "broken.mp4").write_bytes(b"no video")
    text = (listed / "list.csv").read_text() + "\nbroken.mp4,1,swap\ngone.mp4,0,\n"
    (listed / "more.csv").write_text(text)
    out = tmp_path / "out"
    arguments = ["--ckpt", str(saved), "--data", str(listed / "more.csv"), "--aligned", "--out", str(out)]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "broken.mp4" in shown.err and "gone.mp4" in shown.err and "2 videos could not be used" in shown.err
    found = json.loads((out / "metrics.json").read_text())
    assert found["table"][0]["videos"] == 4 and found["seen"]["videos"] == 5
    assert found["cues"][0]["leading silence"] == 1.0 and "leading silence" in shown.out


def test_videos_are_degraded_before_faces_are_looked_for(listed, saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "LEVELS", 2)
    out = tmp_path / "out"
    data = ["--data", str(listed / "list.csv"), "--aligned", "--limit", "1", "--out", str(out)]
    assert main(["--ckpt", str(saved), *data, "--degrade", "blur"]) == 0
    grid = json.loads((out / "metrics.json").read_text())["grid"]
    assert [(row["degradation"], row["level"]) for row in grid] == [("blur", level) for level in range(3)]
    assert (out / "figures/severity.png").is_file() and "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--degrade", "rain"], "rain.*blur"),
        (["--degrade", "blur"], "give --data"),
        (["--trim_silence"], "--trim_silence is of videos"),
        (["--split", "train"], "val and test"),
        (["--data", "nowhere"], "nowhere not found"),
        (["--limit", "0"], "--limit"),
        (["--ckpt", "gone.ckpt"], "gone.ckpt not found"),
    ],
)
def test_bad_arguments_end_in_one_line(arguments, message, saved, scratch, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(scratch))
    given = arguments if "--ckpt" in arguments else ["--ckpt", str(saved), *arguments]
    assert main(["--limit", "2", *given] if "--limit" not in arguments else given) == 2
    shown = capsys.readouterr().err
    assert re.search(message, shown) and shown.count("error:") == 1


def test_a_model_without_a_detector_says_how_to_make_one(scratch, capsys):
    MouthModel(branch=VideoBranch(**SMALL), preprocessing=CLIPS).save_pretrained("pre")
    assert main(["--ckpt", "pre"]) == 2
    assert "no detector yet" in capsys.readouterr().err


def test_mouths_that_preprocess_has_cut_are_read_in_place_of_the_videos(listed, tmp_path):
    store.write(tmp_path, "0.mp4", listed / "0.mp4", Settings(aligned=True))
    stored, read = videos(listed, mouths=str(tmp_path)), videos(listed)
    ours, expected = stored.look(0, "clean"), read.look(0, "clean")
    assert (ours.pictures == expected.pictures).all() and ours.cues == expected.cues
    with pytest.raises(UserError, match="1.mp4 has no mouths"):
        stored.look(1, "clean")
