"""What several test files share."""

import pytest
import torch

from shared_utils.testing import Processes

# Small tensors gain nothing from threads, and on a busy machine threads wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have torch and the networks already loaded."""
    return Processes(["av_deepfake.models.branches"], tmp_path_factory.mktemp("processes"))
