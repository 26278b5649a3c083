"""The numbers of the published implementation, through the importer of its checkpoints.

One adapter a published module: it takes the case and returns the outputs that the case names, for whatever config,
inputs and outputs the case has.
"""

from pathlib import Path

import golden_data
import golden_inference
import golden_network
import pytest

from shared_utils.testing import adapter_for, golden_cases

ADAPTERS = {**golden_network.ADAPTERS, **golden_data.ADAPTERS, **golden_inference.ADAPTERS}


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    tolerances = golden_network.TOLERANCES.get(case.module, lambda case: None)(case)
    case.check(adapter_for(case, ADAPTERS)(case), tolerances=tolerances)
