"""The numbers of the published implementations, through the real importers; see ``golden_adapters``."""

from pathlib import Path

import pytest
import torch
from golden_adapters import adapter_of

from shared_utils.testing import GoldenCase, golden_cases


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    with torch.set_grad_enabled("grad_video" in case.spec["outputs"]):
        case.check(adapter_of(case)(case))


def test_a_case_without_an_adapter_fails():
    stranger = GoldenCase("stranger", Path(), {"module": "unknown.py", "config": {"a": 1}}, {})
    with pytest.raises(AssertionError, match="no adapter for case stranger"):
        adapter_of(stranger)
