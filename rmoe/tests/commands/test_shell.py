"""The commands as a shell starts them: root scripts, the module, help, and no script that hides a standard module."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
VERBS = sorted(path.stem for path in (PROJECT / "rmoe" / "commands").glob("[!_]*.py"))


def shell(folder, *arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True)


def test_the_package_lists_its_commands_from_anywhere(tmp_path):
    done = shell(tmp_path, "-m", "rmoe")
    assert done.returncode == 0 and all(verb in done.stdout for verb in VERBS)


def test_every_verb_has_a_script_and_none_hides_a_standard_module():
    scripts = {path.stem for path in PROJECT.glob("*.py")}
    assert scripts == set(VERBS)
    assert not scripts & set(sys.stdlib_module_names)


def test_a_script_runs_and_answers_to_help_before_torch_is_loaded():
    code = "import runpy, sys; sys.argv = ['convert.py', '--help']\n"
    code += "try: runpy.run_path('convert.py', run_name='__main__')\n"
    code += "except SystemExit as stop: assert not stop.code\nassert 'torch' not in sys.modules"
    done = shell(PROJECT, "-c", code)
    assert done.returncode == 0 and "--verify" in done.stdout, done.stderr
    done = shell(PROJECT, "predict.py", "a.png", "--scor", "1")
    assert done.returncode == 2 and "scor" in done.stderr and "Traceback" not in done.stderr


def test_importing_the_package_loads_neither_torch_nor_lightning():
    done = shell(PROJECT, "-c", "import rmoe, sys; assert not {'torch', 'pytorch_lightning'} & set(sys.modules)")
    assert done.returncode == 0, done.stderr
