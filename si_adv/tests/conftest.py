import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from shared_utils.testing import Processes

sys.path.insert(0, str(Path(__file__).parent))  # attack_toys
# Before torch loads: small tensors gain nothing from threads, and on a busy machine threads wait for each other. Processes
# inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have what the commands need already loaded."""
    loaded = ("si_adv.commands.attack", "si_adv.evaluation.reports", "si_adv.attacks.budgets", "si_adv.pretrained")
    return Processes(loaded, tmp_path_factory.mktemp("processes"))


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are drawn and saved as empty files: laying them out takes longer than a small attack."""
    from si_adv import figures

    monkeypatch.setattr(figures, "save_figure", lambda figure, path, **_: Path(path).touch())


class Compared(NamedTuple):
    """The folder of a comparison and what the command printed; a test that writes copies the folder."""

    folder: Path
    printed: str


@pytest.fixture(scope="session")
def compared(tmp_path_factory) -> Compared:
    """The claim's comparison on six clouds, saved in every format."""
    from si_adv.commands import attack

    folder = tmp_path_factory.mktemp("compared") / "c"
    arguments = [
        "--compare",
        "--limit",
        "6",
        "--seeds",
        "0",
        "--steps",
        "10",
        "--save",
        "npz,ply,txt",
        "--out",
        str(folder),
    ]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert attack.main(arguments) == 0
    return Compared(folder, printed.getvalue())
