import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def real_data():
    """Real videos, detections and ground truth beside the workspace; tests that need them are skipped without."""
    folder = PROJECT.parents[1] / "shared" / "data" / "mot_occlusion"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/mot_occlusion beside the workspace")
    return folder
