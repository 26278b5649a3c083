"""What it costs to ask a command something, and that commands run as typed, from anywhere."""

import subprocess
import sys

import cv2
import pytest
from conftest import PROJECT
from scenes import image_of, scene

VERBS = sorted(
    path.stem for path in (PROJECT / "mot_occlusion" / "commands").glob("*.py") if not path.stem.startswith("_")
)
_CODE = """
import importlib, sys
for name in sys.argv[1:]:
    command = importlib.import_module("mot_occlusion.commands." + name)
    assert command.main(["--help"]) == 0, name
    if name != "train":  # whose arguments are those of its modules, known once they are loaded
        assert command.main(["--no-such-argument", "1"]) == 2, name
    heavy = [module for module in ("torch", "pytorch_lightning", "cv2", "matplotlib") if module in sys.modules]
    assert not heavy, f"{name} loads {heavy} to answer --help"
"""
_LIGHT = """
import sys
import mot_occlusion
assert "numpy" not in sys.modules and "torch" not in sys.modules
from mot_occlusion import Detections, PUBLISHED, Tracker, Tracks
assert "torch" not in sys.modules and "cv2" not in sys.modules
from mot_occlusion import Detector, load
assert "torch" in sys.modules
assert "pytorch_lightning" not in sys.modules and "torchmetrics" not in sys.modules
from mot_occlusion import tracking_run, visualization, claim
from mot_occlusion.evaluation import ablation, simulated_trackers
assert "pytorch_lightning" not in sys.modules and "torchmetrics" not in sys.modules
"""


def python(*arguments, **options):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)


def test_every_verb_has_its_script():
    assert {path.stem for path in PROJECT.glob("*.py")} == set(VERBS)


def test_help_and_a_wrong_argument_answer_before_torch_is_loaded():
    done = python("-c", _CODE, *VERBS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("unknown argument no_such_argument") == len(VERBS) - 1
    assert "min_reid_visibility: 0.5" in done.stdout  # train's help shows the default config


def test_the_package_costs_what_is_used_and_runs_as_a_module_from_outside_its_folder(tmp_path):
    """As an installed package is used; the script of a verb is proved by the kill in test_track."""
    (tmp_path / "images").mkdir()
    for frame in range(1, 5):
        cv2.imwrite(str(tmp_path / "images" / f"{frame}.png"), image_of(frame))
    lines = [f"{frame},-1,{x},{y},{w},{h},0.9\n" for frame in range(1, 5) for x, y, w, h in scene(frame)]
    (tmp_path / "det.txt").write_text("".join(lines))
    arguments = ["images", "--detections", "det.txt", "--embeddings", "false"]
    code = f"{_LIGHT}\nimport runpy\nrunpy.run_module('mot_occlusion', run_name='__main__', alter_sys=True)"
    done = python("-c", code, "track", *arguments, "--video", "false", "--out", "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "a" / "images.txt").read_text().splitlines()) == 8 and "results: a" in done.stdout


@pytest.mark.parametrize("config", ["configs/default.yaml", "default.yaml", "configs/second_stage.yaml"])
def test_configs_are_found_from_anywhere(scratch, capsys, config):
    from mot_occlusion.commands import train as train_command

    assert train_command.main(["--config", config, "--print_config"]) == 0
    assert "embedding_channels: 64" in capsys.readouterr().out


def test_without_a_verb_the_verbs_are_listed(capsys):
    from mot_occlusion.__main__ import main

    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(verb in listed for verb in VERBS) and "Track people in videos, online." in listed
    assert main(["trak"]) == 2 and "did you mean track?" in capsys.readouterr().err
