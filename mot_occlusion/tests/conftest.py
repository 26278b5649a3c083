import sys
from pathlib import Path

import pytest

from shared_utils.testing import Processes

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


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have the losses and what tracking needs already loaded."""
    loaded = ("mot_occlusion.losses", "mot_occlusion.commands.track", "mot_occlusion.tracking_run")
    return Processes(loaded, tmp_path_factory.mktemp("processes"))


@pytest.fixture
def benchmark(scratch):
    """Two sequences of MOT17 with their results, as people have them."""
    from scenes import random_sequence, write_gt

    from mot_occlusion.data.mot_format import write_rows

    for number in (2, 4):
        gt, results = random_sequence(number, with_classes=True)
        write_gt(scratch / "MOT17" / "train" / f"MOT17-0{number}-SDP", gt)
        write_rows(results, scratch / "results" / f"MOT17-0{number}-SDP.txt")
    return scratch
