"""What several test files share."""

import gc
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # models_on_disk

# Small tensors gain nothing from threads, and on a busy machine threads wait for each other.
torch.set_num_threads(1)
# What is imported stays: there is no need to look through it for garbage again and again.
gc.freeze()
gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty folder to run a command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
