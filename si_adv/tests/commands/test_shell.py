"""The shell: root scripts, `python -m si_adv`, help and the price of an import."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("scratch")


HELP = """
import importlib, sys
for name in sys.argv[1:]:
    print(f"== {name}")
    importlib.import_module(f"si_adv.commands.{name}").main(["--help"])
    assert "torch" not in sys.modules, name
"""


def test_help_is_quick_and_does_not_load_torch():
    names = ["attack", "query", "transfer", "defend", "sensitivity", "predict", "evaluate", "export"]
    done = subprocess.run([sys.executable, "-c", HELP, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = dict(text.split("\n", 1) for text in done.stdout.removeprefix("== ").split("\n== "))
    assert list(printed) == names
    assert all("--ckpt" in text or name == "transfer" for name, text in printed.items())


def test_building_a_victim_imports_its_architecture_and_attacking_it_torch_alone():
    code = (
        "import sys, torch; from si_adv.models import build_victim; build_victim('pointnet', 4);"
        "own = {name for name in sys.modules if name.startswith('si_adv.models.')};"
        "assert own == {'si_adv.models.pointnet', 'si_adv.models.pointwise'}, own;"
        "heavy = {'scipy', 'torchvision', 'huggingface_hub', 'pytorch_lightning'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "from si_adv import ShapeInvariantIFGM, load_victim; victim = load_victim();"
        "ShapeInvariantIFGM(victim, steps=1)(torch.rand(1, 1024, 3), torch.tensor([0]));"
        "heavy = {'pytorch_lightning', 'torchmetrics', 'torchvision', 'matplotlib', 'pytorch3d', 'open3d'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_heavy_and_shows_its_names():
    code = (
        "import sys, si_adv; assert 'ShapeInvariantIFGM' in dir(si_adv) and 'load_victim' in si_adv.__all__;"
        "heavy = {'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    import si_adv

    assert all(getattr(si_adv, name) is not None for name in si_adv.__all__)


def run_module(monkeypatch, *arguments):
    """``python -m si_adv`` in this process, which has its imports already; the exit status."""
    monkeypatch.setattr(sys, "argv", ["si_adv", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("si_adv", run_name="__main__", alter_sys=True)
    return ended.value.code


def test_the_package_runs_a_command_anywhere_and_finds_its_configs(monkeypatch, capsys):
    Path("run.yaml").write_text("limit: 2\nsteps: 3\nnum_points: 128\n")
    assert run_module(monkeypatch, "attack", "--config", "run.yaml", "--out", "a") == 0
    assert "results: a" in capsys.readouterr().out and Path("a/table.csv").is_file()
    assert run_module(monkeypatch, "train", "--config", "configs/default.yaml", "--config", "modelnet41.yaml") == 2
    assert "modelnet41.yaml not found: did you mean" in capsys.readouterr().err
