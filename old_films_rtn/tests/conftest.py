import os

import pytest

from shared_utils.testing import Processes

# Small tensors gain nothing by threads, and lose by them where the machine is busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The published gradients were computed with AVX2. Where two features are equal to the last bit, rounding says on which side
# of an absolute value's kink they lie, and AVX-512 rounds otherwise. Set before torch loads.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have what restoring needs already loaded."""
    loaded = ("old_films_rtn.inference.restoration", "old_films_rtn.pretrained", "old_films_rtn.commands.restore")
    return Processes(loaded, tmp_path_factory.mktemp("processes"))
