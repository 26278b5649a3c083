"""Can the signal model be learned from incomplete measurements alone?

``theorems`` answers from numbers, for almost every operator; ``completion`` for a pattern of a matrix's entries. The given
operators, whatever they are, are tested directly: ``matrices`` as matrices, ``selecting`` as masks of pixels or of k-space of
any size, ``iterative`` as functions, each also along the orbit of a group (``symmetry``, ``shift_orbit``).
"""

from incomplete_sensing.identifiability.completion import Completion, completion
from incomplete_sensing.identifiability.direct_test import (
    FLOOR,
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
    tangents,
)
from incomplete_sensing.identifiability.iterative import Estimated, FunctionOperators
from incomplete_sensing.identifiability.matrices import MatrixOperators
from incomplete_sensing.identifiability.row_counts import RowCounts, row_counts
from incomplete_sensing.identifiability.selecting import SelectingOperators
from incomplete_sensing.identifiability.shift_orbit import ShiftOrbit
from incomplete_sensing.identifiability.symmetry import (
    check_invariant,
    equivariance_defect,
    equivariance_warning,
    invariant_consistent_dimension,
    orbit,
    random_invariant_subspace,
)
from incomplete_sensing.identifiability.theorems import (
    STATEMENTS,
    Assessment,
    Condition,
    assess,
    check_numbers,
    smallest_operators,
    smallest_rows,
    subspace_consistent_dimension,
    subspace_operators,
    subspace_rows,
)

Given = MatrixOperators | SelectingOperators | FunctionOperators
"""Given operators, as they are tested directly."""

__all__ = [
    "FLOOR",
    "RTOL",
    "STATEMENTS",
    "Assessment",
    "Completion",
    "Condition",
    "ConsistentSet",
    "Estimated",
    "FunctionOperators",
    "Given",
    "MatrixOperators",
    "RowCounts",
    "SelectingOperators",
    "ShiftOrbit",
    "assess",
    "check_invariant",
    "check_numbers",
    "column_space",
    "completion",
    "consistent_set",
    "different_operators",
    "equivariance_defect",
    "equivariance_warning",
    "invariant_consistent_dimension",
    "local_tests",
    "orbit",
    "random_invariant_subspace",
    "real_form",
    "row_counts",
    "row_space",
    "smallest_operators",
    "smallest_rows",
    "splitting_coverage",
    "stacked_rank",
    "subspace_consistent_dimension",
    "subspace_operators",
    "subspace_rows",
    "tangents",
]
