"""The commands as a shell starts them: root scripts, the module, and from outside the folder."""

import subprocess
import sys
from pathlib import Path

import yaml
from commands import run

PROJECT = Path(__file__).parents[1]
CONFIGS = PROJECT / "mrf_unroll" / "configs"
VERBS = sorted(path.stem for path in (PROJECT / "mrf_unroll" / "commands").glob("[!_]*.py"))


def shell(folder, *arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True)


def test_a_script_answers_to_help_before_torch_is_loaded():
    code = "import runpy, sys; sys.argv = ['reconstruct.py', '--help']\n"
    code += "try: runpy.run_path('reconstruct.py', run_name='__main__')\n"
    code += "except SystemExit as stop: assert not stop.code\nassert 'torch' not in sys.modules"
    done = shell(PROJECT, "-c", code)
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def test_the_package_lists_and_runs_its_commands_from_anywhere(scan, small_dictionary, scratch):
    listed = shell(scratch, "-m", "mrf_unroll")
    assert listed.returncode == 0 and all(verb in listed.stdout for verb in VERBS)
    own = ("--out", "out", "--method", "svd_mrf", "--dictionary", small_dictionary)
    done = shell(scratch, "-m", "mrf_unroll", "reconstruct", scan, *own)
    assert done.returncode == 0 and (scratch / "out" / "maps.npz").is_file(), done.stderr


def test_configs_are_found_from_outside_the_folder(scratch, capsys):
    """By the name with and without its folder; the later one counts."""
    assert run("train", "--config", "configs/default.yaml", "--config", "large.yaml", "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    default, large = (yaml.safe_load((CONFIGS / name).read_text()) for name in ("default.yaml", "large.yaml"))
    assert printed["name"] == large["name"] != default["name"]
    assert printed["model"]["encoder"] == large["model"]["encoder"]


def test_importing_the_package_loads_neither_torch_nor_lightning():
    code = "import sys, mrf_unroll; assert not {'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules)\n"
    code += "from mrf_unroll import SubspaceOperator, load\nassert 'pytorch_lightning' not in sys.modules"
    done = shell(PROJECT, "-c", code)
    assert done.returncode == 0, done.stderr
