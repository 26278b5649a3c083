"""One operator and a group: its orbit A T_g, what it says of an invariant subspace, and whether it is equivariant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from incomplete_sensing.identifiability.direct_test import row_space
from incomplete_sensing.irreps import Action, Irreps


def orbit(operator: np.ndarray, action: Action) -> list[np.ndarray]:
    """Row spaces of the operators A T_g, g over the group: what one operator measures of an invariant model."""
    rows = row_space(operator)
    return [action.right_product(rows, g) for g in range(action.order)]


def invariant_consistent_dimension(irreps: Irreps, inside: Sequence[int], m: int) -> int:
    """dim X^ of an invariant subspace under one generic operator with m rows and a finite group.

    inside: k_j, the multiplicity of irrep j (in the order of ``irreps``) in the model; k = sum s_j k_j.
    The subspace is identified if and only if m > k and m - k >= max_j (c_j - k_j)/s_j; {0} gives C4.
    """
    if len(inside) != len(irreps.dimensions):
        raise ValueError(f"{len(inside)} multiplicities for {len(irreps.dimensions)} irreps")
    k = sum(s * kept for s, kept in zip(irreps.dimensions, inside, strict=True))
    free = max(0, m - k)
    return irreps.n - sum(
        s * min(c - kept, free * s) for s, c, kept in zip(irreps.dimensions, irreps.multiplicities, inside, strict=True)
    )


def equivariance_defect(
    forward: Callable[[Any], Any],
    pseudo_inverse: Callable[[Any], Any],
    transforms: Sequence[Callable[[Any], Any]],
    probes: Sequence[Any],
) -> float:
    """How far A is from being equivariant (A T_g = T~_g A): the largest |A T_g v| / |A T_g z| over g and probes.

    v = z - A^+ A z is the part of the probe z that A does not see. Where A is equivariant no T_g moves it into sight,
    the defect is zero, rank [A T_g]_g stays m, and C4 fails for m < n: equivariant imaging teaches nothing (C5). Torch
    tensors and numpy arrays alike; operators and transforms are callables.
    """

    def size(value: Any) -> float:
        return math.sqrt(float((abs(value) ** 2).sum()))

    worst = 0.0
    for probe in probes:
        unseen = probe - pseudo_inverse(forward(probe))
        for transform in transforms:
            whole = size(forward(transform(probe)))
            worst = max(worst, size(forward(transform(unseen))) / whole if whole else 0.0)
    return worst


def equivariance_warning(defect: float, tolerance: float = 1e-5) -> str | None:
    """The sentence for a user whose operator commutes with the group (see ``equivariance_defect``), else None."""
    if defect > tolerance:
        return None
    return (
        "the operator is equivariant to this group (A T_g = T~_g A): what it does not see stays unseen in every "
        "transformed image, so invariance adds nothing to measurement consistency (C5); use another group or operator"
    )
