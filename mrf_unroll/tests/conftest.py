import os
import sys
from pathlib import Path

import pytest

# Set before torch loads, as the commands do: MKL's last bits then do not depend on where a matrix lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")
sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
