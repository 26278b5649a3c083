import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # attack_toys


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
