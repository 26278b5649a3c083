"""The numbers of the published implementations, and of an independent float64 reference for the physics.

One adapter a published module, in ``golden_physics`` and ``golden_networks``: it takes the case and returns the outputs
that the case names, for whatever config, inputs and shapes the case has. A case without an adapter fails.
"""

from pathlib import Path

import golden_networks
import golden_physics
import pytest

from shared_utils.testing import adapter_for, golden_cases

ADAPTERS = {**golden_physics.ADAPTERS, **golden_networks.ADAPTERS}


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    outcome = adapter_for(case, ADAPTERS)(case)
    outputs, options = outcome if isinstance(outcome, tuple) else (outcome, {})
    case.check(outputs, **options)
