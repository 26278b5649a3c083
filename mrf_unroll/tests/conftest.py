import os
from pathlib import Path

import pytest
from commands import run, train

# Set before torch loads, as the commands do: MKL's last bits then do not depend on where a matrix lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")
# Small tensors gain nothing from threads, and on a busy machine threads wait for each other. Processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """For tests of numbers: empty files stand for the figures, which take longer to draw than small maps to compute."""
    from mrf_unroll import figures

    def leave(path, *_):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()

    for name in ("map_grid", "uncertainty", "iterations", "agreement", "training", "steps", "fingerprints"):
        monkeypatch.setattr(figures, name, leave)


@pytest.fixture(scope="session", autouse=True)
def few_settings():
    """Classical methods are tuned over two values of everything, in few iterations: a whole grid is not what a test is of."""
    from mrf_unroll.methods import GRIDS

    few = {
        "low_rank": {"lam": (0.0, 3e-3), "iterations": (10, 20)},
        "llr": {"lam": (0.01, 0.05), "iterations": (20,)},
        "lrtv": {"lam": (2e-3, 8e-3), "iterations": (40,)},
        "pnp_admm": {"gamma": (0.01, 0.1), "iterations": (10,)},
    }
    with pytest.MonkeyPatch.context() as patch:
        for method, grid in few.items():
            assert set(grid) == set(GRIDS[method])
            patch.setitem(GRIDS, method, grid)
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a short training with a baseline."""
    root = tmp_path_factory.mktemp("runs")
    assert train(root, "--trainer.max_epochs", 6, "--model.learning_rate", 0.01, baselines=True) == 0
    return root / "small" / "version_0"


@pytest.fixture(scope="session")
def scan(tmp_path_factory) -> Path:
    """A scan with the schedule and trajectory of ``trained``, and the maps beside it."""
    path = tmp_path_factory.mktemp("scans") / "scan.npz"
    arguments = ("--schedule", "jiang:30", "--samples", 20, "--turns", 2)
    assert run("simulate", "--maps", "head:16", "--out", path, *arguments) == 0
    return path


@pytest.fixture(scope="session")
def small_dictionary(tmp_path_factory) -> Path:
    """A small dictionary of the schedule of ``scan``, in the subspace of ``trained``'s rank."""
    path = tmp_path_factory.mktemp("dictionaries") / "dict.npz"
    arguments = ("--ti", 18, "--rank", 3, "--grid", "20x20", "--t1_ms", "[100, 5000]", "--t2_ms", "[10, 1200]")
    assert run("dictionary", "jiang:30", "--out", path, *arguments) == 0
    return path
