"""Can the signal model be learned from incomplete measurements alone?

``theorems`` answers from numbers, for almost every operator; ``direct_test`` for the given operators, whatever they are;
``symmetry`` for one operator and a group under which the model is invariant.
"""

from incomplete_sensing.identifiability.direct_test import (
    RTOL,
    ConsistentSet,
    column_space,
    consistent_set,
    different_operators,
    local_tests,
    real_form,
    row_space,
    splitting_coverage,
    stacked_rank,
)
from incomplete_sensing.identifiability.symmetry import (
    equivariance_defect,
    equivariance_warning,
    invariant_consistent_dimension,
    orbit,
)
from incomplete_sensing.identifiability.theorems import (
    STATEMENTS,
    Assessment,
    Condition,
    assess,
    check_numbers,
    repeated,
    smallest_operators,
    smallest_rows,
    subspace_consistent_dimension,
    subspace_operators,
    subspace_rows,
)

__all__ = [
    "RTOL",
    "STATEMENTS",
    "Assessment",
    "Condition",
    "ConsistentSet",
    "assess",
    "check_numbers",
    "column_space",
    "consistent_set",
    "different_operators",
    "equivariance_defect",
    "equivariance_warning",
    "invariant_consistent_dimension",
    "local_tests",
    "orbit",
    "real_form",
    "repeated",
    "row_space",
    "smallest_operators",
    "smallest_rows",
    "splitting_coverage",
    "stacked_rank",
    "subspace_consistent_dimension",
    "subspace_operators",
    "subspace_rows",
]
