"""What all verbs have in common, and the three ways in which they are typed."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from incomplete_sensing import commands

VERBS = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
FORBIDDEN = {
    *("checkpoint", "checkpoints", "weights_file", "model_path", "output", "out_dir", "input", "input_file", "force"),
    *("max_frames", "num_items", "gpu"),
}


def python(*arguments, cwd):
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)


def test_every_verb_has_its_script(project):
    scripts = {path.stem for path in project.glob("*.py")}
    assert scripts == set(VERBS)


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"train"}))
def test_verbs_speak_one_grammar(verb):
    signature = inspect.signature(getattr(importlib.import_module(f"incomplete_sensing.commands.{verb}"), verb))
    names = set(signature.parameters)
    assert not names & FORBIDDEN
    assert "out" not in names or "overwrite" in names
    for name in names & {"resume", "overwrite"}:
        assert signature.parameters[name].default is False
    if "device" in names:
        assert signature.parameters["device"].default == "auto"


def test_help_answers_without_torch(project):
    code = (
        "import contextlib, io, runpy, sys\n"
        "for script in sys.argv[1:]:\n"
        "    sys.argv = [script, '--help']\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as printed:\n"
        "        try: runpy.run_path(script, run_name='__main__')\n"
        "        except SystemExit as stop: assert not stop.code, script\n"
        "    assert 'usage' in printed.getvalue(), script\n"
        "    assert 'torch' not in sys.modules, script"
    )
    done = python("-c", code, *(f"{verb}.py" for verb in VERBS), cwd=project)
    assert done.returncode == 0, done.stderr


def test_the_verbs_are_listed(tmp_path):
    done = python("-m", "incomplete_sensing", cwd=tmp_path)
    assert done.returncode == 0 and all(f"  {verb} " in done.stdout for verb in VERBS)


def test_verbs_run_outside_the_folder(tmp_path):
    numbers = ("--n", "784", "--m", "100", "--G", "40", "--k", "12")
    done = python("-m", "incomplete_sensing", "conditions", *numbers, cwd=tmp_path)
    assert done.returncode == 0 and "verdict: identified" in done.stdout


def test_configs_are_found_outside_the_folder(tmp_path):
    overlays = ("--config", "configs/subspace.yaml", "--config", "subspace_quick.yaml")
    done = python("-m", "incomplete_sensing", "phase-transition", *overlays, "--print_config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nn: 20\n" in f"\n{done.stdout}" and list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    code = "import sys, incomplete_sensing; assert not {'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules)"
    assert python("-c", code, cwd=tmp_path).returncode == 0


def test_every_public_name_is_there():
    import incomplete_sensing

    for name in incomplete_sensing.__all__:
        assert getattr(incomplete_sensing, name) is not None
    stub = (Path(incomplete_sensing.__file__).parent / "__init__.pyi").read_text()
    assert incomplete_sensing.__version__ and "__version__: str" in stub
