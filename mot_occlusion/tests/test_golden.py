"""The numbers of the published implementations: every case of ``tests/golden`` or of ``$GOLDEN_DIR``, none skipped.

An adapter takes a case and returns the outputs that the case names, for whatever config, inputs and shapes it has, and
optionally what ``GoldenCase.check`` takes besides (entries that the case's note excepts, tolerances it gives).
"""

from pathlib import Path

import golden_network
import golden_tracking
import pytest

from shared_utils.testing import adapter_for, golden_cases

ADAPTERS = golden_tracking.ADAPTERS | golden_network.ADAPTERS


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    found = adapter_for(case, ADAPTERS)(case)
    outputs, options = found if isinstance(found, tuple) else (found, {})
    case.check(outputs, **options)
