"""The shell: root scripts, `python -m si_adv`, help and the price of an import."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("scratch")


@pytest.mark.parametrize(
    "name", ["attack", "query", "transfer", "defend", "sensitivity", "predict", "evaluate", "export"]
)
def test_help_is_quick_and_does_not_load_torch(name):
    code = f"import sys; from si_adv.commands.{name} import main; main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--ckpt" in done.stdout or name == "transfer"


def test_the_shell_runs_a_command():
    done = subprocess.run(
        [sys.executable, ROOT / "attack.py", "--limit", "2", "--steps", "3", "--out", "a"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "results: a" in done.stdout and Path("a/table.csv").is_file()


def test_importing_the_package_and_attacking_needs_torch_alone():
    code = (
        "import sys, torch; from si_adv import ShapeInvariantIFGM, load_victim; victim = load_victim();"
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


def test_the_package_runs_a_command_anywhere_and_finds_its_configs():
    Path("run.yaml").write_text("limit: 2\nsteps: 3\nnum_points: 128\n")
    command = [sys.executable, "-m", "si_adv"]
    done = subprocess.run([*command, "attack", "--config", "run.yaml", "--out", "a"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "results: a" in done.stdout and Path("a/table.csv").is_file()
    done = subprocess.run(
        [*command, "train", "--config", "configs/default.yaml", "--config", "modelnet41.yaml"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "modelnet41.yaml not found: did you mean" in done.stderr
