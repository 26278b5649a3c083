"""``predict``: a row a video whatever is in the folder, a page that opens offline, and runs that go on."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_model import crops, small_model

from av_deepfake.commands.predict import main
from shared_utils.video import Writer

GRID = Path(__file__).parents[3].parent / "shared" / "data" / "av_deepfake" / "grid"


def written(path, frames=50, rate=25.0, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path, (96, 96), rate) as writer:
        for picture in crops(frames, seed):
            writer.write(np.repeat(picture[..., None], 3, axis=2))
    return path


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "small"
    small_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    written(folder / "good.mp4")
    written(folder / "fast.mp4", 60, rate=30.0)
    written(folder / "sub" / "short.mp4", 12)
    (folder / "empty.mp4").touch()
    (folder / "noise.avi").write_bytes(bytes(range(256)) * 20)
    whole = written(folder / "cut.mp4", 60).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    return folder


def rows_of(out, name="scores.csv"):
    with (Path(out) / name).open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def scored(clips, ckpt, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    status = main([str(clips), "--ckpt", ckpt, "--aligned", "--out", str(out)])
    return status, out


def test_every_video_has_a_row_and_broken_ones_cost_only_themselves(scored):
    status, out = scored
    rows = rows_of(out)
    assert status == 2  # some have no score
    assert {name: row["status"] for name, row in rows.items()} == {
        "cut.mp4": "ok",
        "empty.mp4": "unreadable",
        "fast.mp4": "ok",
        "good.mp4": "ok",
        "noise.avi": "unreadable",
        "sub/short.mp4": "ok",
    }
    assert rows["good.mp4"]["clips"] == "2" and rows["fast.mp4"]["clips"] == "2"
    assert "frame rate: 30" in rows["fast.mp4"]["outside_training"] and not rows["good.mp4"]["outside_training"]
    assert "padded" in rows["sub/short.mp4"]["remarks"] and "noise.avi" in rows["noise.avi"]["remarks"]


def test_the_page_names_all_of_them(scored):
    text = (scored[1] / "report.html").read_text()
    assert all(name in text for name in ("good.mp4", "empty.mp4", "sub/short.mp4")) and "://" not in text


def test_a_finished_run_is_kept_and_an_interrupted_one_goes_on(scored, clips, ckpt, capsys):
    out = scored[1]
    arguments = [str(clips), "--ckpt", ckpt, "--aligned", "--out", str(out)]
    before = rows_of(out)
    assert main(arguments) == 2 and "--resume" in capsys.readouterr().err
    parts = sorted((out / "parts" / "videos").glob("*.npz"))
    parts[0].unlink()
    times = [part.stat().st_mtime_ns for part in parts[1:]]
    assert main([*arguments, "--resume"]) == 2
    assert rows_of(out) == before and [part.stat().st_mtime_ns for part in parts[1:]] == times
    assert main([*arguments, "--missing", "0.2", "--resume"]) == 2
    assert "missing 0.5, now 0.2" in capsys.readouterr().err


def test_one_video_is_printed_without_any_files(clips, ckpt, scratch, capsys):
    assert main([str(clips / "good.mp4"), "--ckpt", ckpt, "--aligned"]) == 0
    printed = capsys.readouterr().out
    assert "good.mp4" in printed and "not checked: no sound" in printed and not list(scratch.iterdir())


def test_mouths_that_are_cut_already_give_the_same_scores(scored, ckpt, tmp_path, capsys):
    store = scored[1] / "mouths" / "videos"
    assert main([str(store), "--ckpt", ckpt, "--out", str(tmp_path / "again")]) == 0, capsys.readouterr().err
    first, again = rows_of(scored[1]), rows_of(tmp_path / "again")
    assert set(again) == {"cut.mp4", "fast.mp4", "good.mp4", "sub/short.mp4"}
    assert all(row["score"] == first[name]["score"] for name, row in again.items())


def test_scores_are_compared_with_genuine_videos(clips, ckpt, tmp_path, capsys):
    own = tmp_path / "own"
    for number in range(5):
        written(own / f"{number}.mp4", 25, seed=number)
    arguments = [str(clips / "good.mp4"), "--ckpt", ckpt, "--aligned", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--genuine", str(own)]) == 0
    rank = float(rows_of(tmp_path / "out")["good.mp4"]["genuine_rank"])
    assert any(rank == pytest.approx(number / 6, abs=1e-4) for number in range(1, 7))
    assert "genuine videos" in (tmp_path / "out" / "report.html").read_text()
    (own / "0.mp4").unlink()
    assert main([*arguments, "--genuine", str(own), "--overwrite"]) == 2
    assert "--genuine has 4 videos with a score" in capsys.readouterr().err


def test_a_model_without_a_detector_is_named_before_any_work(clips, tmp_path, capsys):
    small_model(detector=False).save_pretrained(tmp_path / "model")
    assert main([str(clips), "--ckpt", str(tmp_path / "model"), "--aligned", "--out", str(tmp_path / "out")]) == 2
    assert "no detector yet" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mp4"], "none.mp4 not found"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--missing", "1"], "--missing is a share"),
        (["--landmarks", "none"], "none not found"),
        (["--detector", "mesh"], "face_landmark.tflite"),
        (["--variant", "2021"], "68 points"),
    ],
)
def test_what_cannot_be_meant_is_said_at_once(clips, arguments, message, capsys):
    data = [] if arguments[0] == "none.mp4" else [str(clips)]
    assert main([*data, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_landmarks_that_do_not_fit_cost_one_video(clips, ckpt, tmp_path):
    given = tmp_path / "landmarks"
    (given / "sub").mkdir(parents=True)
    face = np.random.default_rng(0).uniform(20, 76, (1, 5, 2))
    np.save(given / "good.npy", np.repeat(face, 50, axis=0))
    np.save(given / "fast.npy", np.zeros((60, 33, 2)))
    folder = tmp_path / "clips"
    for name in ("good.mp4", "fast.mp4"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((clips / name).read_bytes())
    out = tmp_path / "out"
    assert main([str(folder), "--ckpt", ckpt, "--landmarks", str(given), "--out", str(out)]) == 2
    rows = rows_of(out)
    assert rows["good.mp4"]["status"] == "ok" and rows["fast.mp4"]["status"] == "no_landmarks"
    assert "fast.npy" in rows["fast.mp4"]["remarks"] and "33" in rows["fast.mp4"]["remarks"]


@pytest.mark.skipif(not GRID.is_dir(), reason="needs the GRID clips of shared/data")
def test_a_real_video_from_its_file_to_its_page(ckpt, tmp_path):
    out = tmp_path / "out"
    assert main([str(GRID / "bbaf2n.mpg"), "--ckpt", ckpt, "--out", str(out)]) == 0
    (row,) = rows_of(out).values()
    assert (row["frames"], row["landmarks"], row["clips"], row["missed"]) == ("75", "mtcnn5", "3", "0")
    assert row["sound"] and "not checked" not in row["sound"]
    facts = json.loads((out / "mouths" / "videos" / "bbaf2n.mpg.json").read_text())
    assert facts["licence"] == "MIT"


RANK = """
import sys
from av_deepfake.commands.predict import main
clips, ckpt = sys.argv[1:]
sys.exit(main([clips, "--ckpt", ckpt, "--aligned", "--out", "out", "--limit", "3"]))
"""


def test_two_processes_share_the_videos_and_give_one_answer(clips, ckpt, tmp_path, processes):
    folder = tmp_path / "clips"
    for name in ("cut.mp4", "fast.mp4", "good.mp4"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((clips / name).read_bytes())
    processes.group(RANK, folder, ckpt, cwd=tmp_path)
    assert main([str(folder), "--ckpt", ckpt, "--aligned", "--out", str(tmp_path / "alone"), "--limit", "3"]) == 0
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "alone")


def test_the_shell_gives_help_without_torch():
    code = (
        "import sys; from av_deepfake.__main__ import main; status = main(['predict', '--help']);"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--genuine" in done.stdout, done.stderr
