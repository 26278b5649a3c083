import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]

_CODE = """
import sys
for name in ("train", "ablate", "make_crowd", "import_checkpoint", "export"):
    command = __import__(name)
    assert command.main(["--help"]) == 0, name
    if name != "train":  # whose arguments are those of its modules, known once they are loaded
        assert command.main(["--no_such_argument", "1"]) == 2, name
    heavy = [module for module in ("torch", "pytorch_lightning", "cv2", "matplotlib") if module in sys.modules]
    assert not heavy, f"{name} loads {heavy} to answer --help"
"""


def test_help_and_a_wrong_argument_answer_before_torch_is_loaded():
    done = subprocess.run([sys.executable, "-c", _CODE], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("unknown argument no_such_argument") == 4
    assert "min_reid_visibility: 0.5" in done.stdout  # train's help shows the default config


def test_commands_run_as_typed(tmp_path):
    arguments = [
        "make_crowd.py",
        "--sequences",
        "1",
        "--frames",
        "2",
        "--width",
        "96",
        "--height",
        "64",
        "--people",
        "[2,3]",
        "--out",
    ]
    done = subprocess.run(
        [sys.executable, *arguments, str(tmp_path / "crowd")], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "crowd" / "CROWD-01" / "gt" / "gt.txt").is_file()
