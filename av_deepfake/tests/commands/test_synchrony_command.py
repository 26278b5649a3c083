"""``synchrony``: offset, unit and sign in words; silent, short and broken videos have a status and never an offset."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_model import crops, mouths, small_model

from av_deepfake.commands.synchrony import main
from av_deepfake.prediction.scoring import score_mouths
from av_deepfake.prediction.timing import curves, timing
from av_deepfake.preprocessing import Settings, store
from av_deepfake.synchrony import Synchrony
from shared_utils.video import Writer

GRID = Path(__file__).parents[3].parent / "shared" / "data" / "av_deepfake" / "grid"


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "small"
    small_model().save_pretrained(folder)
    return str(folder)


class Late:
    """A model for which every sound is 3 frames late."""

    audio, preprocessing = "an audio branch", {"frames": 25}

    def synchrony(self, pictures, samples):
        curve = np.array([np.nan, 1.2, 0.4, 1.3], np.float32)
        return Synchrony(3, 0.8, curve, np.arange(1, 5))


def test_the_offset_has_unit_and_sign():
    found = timing(mouths(60), Late())
    assert (found.status, found.text, found.offset) == ("ok", "sound 3 frames (120 ms) late", 3)
    assert found.row()["offset (ms)"] == 120 and found.row()["confidence"] == 0.8
    assert curves([found]) == {"a.mp4": [[2, 3, 4], [1.2, 0.4, 1.3]]}


def test_what_cannot_be_compared_has_a_status_and_no_offset():
    model = small_model()
    short, silent = mouths(20), mouths(60, sound=np.zeros(60 * 640, np.float32))
    found = [timing(each, model) for each in (short, silent, mouths(60, sound=None))]
    assert [each.status for each in found] == ["undetermined", "undetermined", "no_sound"]
    assert all(each.offset is None for each in found)
    assert "20 frames" in found[0].text and "silent" in found[1].text and found[2].failed
    hidden = mouths(60)
    hidden.valid[:] = False
    assert timing(hidden, model).status == "no_mouth"


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "silent.mp4"
    with Writer(path, (96, 96), 25.0) as writer:
        for picture in crops(40):
            writer.write(np.repeat(picture[..., None], 3, axis=2))
    return path


def test_a_video_without_sound_is_an_error_that_names_it(silent, ckpt, capsys):
    assert main([str(silent), "--ckpt", ckpt, "--aligned"]) == 2
    assert "silent.mp4 has no sound" in capsys.readouterr().err


def test_in_a_folder_it_costs_only_itself(silent, ckpt, tmp_path, capsys):
    (silent.parent / "empty.mp4").touch()
    out = tmp_path / "out"
    arguments = [str(silent.parent), "--ckpt", ckpt, "--aligned", "--out", str(out)]
    assert main(arguments) == 2
    with (out / "synchrony.csv").open(newline="") as stream:
        assert {row["file"]: row["status"] for row in csv.DictReader(stream)} == {
            "empty.mp4": "unreadable",
            "silent.mp4": "no_sound",
        }
    assert json.loads((out / "curves.json").read_text()) == {}
    assert "2 of 2 could not be compared" in capsys.readouterr().err
    assert main(arguments) == 2 and "--overwrite" in capsys.readouterr().err


def test_bad_input_is_refused_before_the_work(silent, tmp_path, capsys):
    small_model(agreement=False).save_pretrained(tmp_path / "deaf")
    for arguments, message in (
        ([str(silent), "--ckpt", str(tmp_path / "deaf")], "the model has no audio branch"),
        ([str(tmp_path / "missing.mp4")], "missing.mp4"),
        ([str(silent), "--variant", "2021"], "--variant 2021 needs 68 points"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


@pytest.mark.skipif(not GRID.is_dir(), reason="the GRID clips are not in ../shared/data")
def test_predict_and_synchrony_give_the_same_curve_of_a_grid_clip(ckpt, tmp_path):
    clip = next(iter(sorted(GRID.glob("*.mpg"))))
    with np.load(GRID / "landmarks68.npz") as points:
        np.save(tmp_path / f"{clip.stem}_points.npy", points[f"{clip.stem}/mesh68"])
    settings = Settings(landmarks=str(tmp_path / f"{clip.stem}_points.npy"))
    store.write(tmp_path, clip.name, clip, settings)
    entry, model = store.read_entry(tmp_path, clip.name), small_model()
    found, row = timing(entry, model), score_mouths(entry, model).row
    assert found.status in ("ok", "undetermined") and len(found.shifts) == 31
    assert list(found.distances) == row.distances and found.text == row.sound


def test_the_shell_answers_help():
    script = Path(__file__).parents[2] / "synchrony.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "sound 3 frames (120 ms) late" in " ".join(done.stdout.split())
