"""The numbers of the published implementation, through the importer of its checkpoints.

One adapter a kind of case, which every case names: it takes the case and returns the outputs that the case names, for
whatever config, inputs and outputs the case has. How a case words its module chooses nothing.
"""

from pathlib import Path

import golden_data
import golden_inference
import golden_network
import pytest

from shared_utils.testing import golden_cases

ADAPTERS = {**golden_network.ADAPTERS, **golden_data.ADAPTERS, **golden_inference.ADAPTERS}


@pytest.mark.parametrize("case", golden_cases(Path(__file__).parent / "golden"), ids=str)
def test_golden(case):
    kind = case.spec["kind"]
    assert kind in ADAPTERS, f"no adapter for the kind {kind!r} of case {case.name}; known: {', '.join(ADAPTERS)}"
    tolerances = golden_network.TOLERANCES.get(kind, lambda case: None)(case)
    case.check(ADAPTERS[kind](case), tolerances=tolerances)
