import os

import pytest

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
