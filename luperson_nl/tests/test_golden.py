"""The numbers of the published implementations, through the real importers.

The adapters stand in the files ``golden_*.py`` beside this one, an area each; every file of that name is used. A case
says in ``runner`` what it is: the adapter of that name takes it, else the one of its ``module``.
"""

import importlib
from pathlib import Path

import pytest

from shared_utils.testing import adapter_for, golden_cases

HERE = Path(__file__).parent
ADAPTERS = {}
for found in sorted(HERE.glob("golden_*.py")):
    ADAPTERS |= importlib.import_module(found.stem).ADAPTERS


@pytest.mark.parametrize("case", golden_cases(HERE / "golden"), ids=str)
def test_golden(case):
    adapter = ADAPTERS.get(case.spec.get("runner")) or adapter_for(case, ADAPTERS)
    found = adapter(case)
    # Some adapters say besides which entries rounding decides.
    case.check(*found) if isinstance(found, tuple) else case.check(found)
