import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # attack_toys
# Before torch loads: small tensors gain nothing from threads, and on a busy machine threads wait for each other. Processes
# inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        "20",
        "--save",
        "npz,ply,txt",
        "--out",
        str(folder),
    ]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert attack.main(arguments) == 0
    return Compared(folder, printed.getvalue())
