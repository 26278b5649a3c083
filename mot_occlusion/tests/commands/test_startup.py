"""What it costs to ask a command something, and that commands run as typed, from anywhere."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

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


def test_the_package_costs_what_is_used():
    done = python("-c", _LIGHT)
    assert done.returncode == 0, done.stderr


def test_a_script_a_module_and_a_verb_are_the_same(tmp_path):
    """From outside of the project's folder, as an installed package is used."""
    arguments = ["--sequences", 1, "--frames", 2, "--width", 96, "--height", 64, "--people", "[2,3]", "--out"]
    done = python(PROJECT / "make_crowd.py", *arguments, tmp_path / "a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = python("-m", "mot_occlusion", "make-crowd", *arguments, "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (tmp_path / name / "CROWD-01" / "gt" / "gt.txt" for name in "ab")
    assert first.read_text() == second.read_text() != ""
    arguments = [second.parents[1], "--mode", "provided", "--embeddings", "false", "--video", "false", "--out", "c"]
    (second.parents[1] / "det").mkdir()
    (second.parents[1] / "det" / "det.txt").write_text(second.read_text())
    done = python("-m", "mot_occlusion", "track", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, "c", "CROWD-01.txt").is_file()


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
