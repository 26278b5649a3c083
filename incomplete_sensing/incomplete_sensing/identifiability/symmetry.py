"""Operators and a group: orbits A T_g, invariant subspaces and what is learned of them, and equivariance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from incomplete_sensing.identifiability.direct_test import row_space
from incomplete_sensing.irreps import Action, Irreps, ShiftAction
from shared_utils import UserError


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


def check_invariant(basis: np.ndarray, action: Action) -> None:
    """Raise UserError unless the orthonormal columns of ``basis`` (n, k) span a space that the group maps to itself."""
    for element in action.generators():
        turned = basis[element] if element.ndim == 1 else element @ basis
        if np.linalg.norm(turned - basis @ (basis.conj().T @ turned)) > 1e-6:
            raise UserError(
                "the basis does not span an invariant model: some T_g moves it out of its span; correct it, or leave "
                "--group out"
            )


def random_invariant_subspace(action: Action, k: int, seed: int = 0) -> np.ndarray:
    """A basis (n, k) of a random real subspace that the group maps to itself.

    Of shifts: waves of random frequencies, with a random profile over channels and residues. Of other groups: whole orbits
    of random signals, and averages over the group for what is left.
    """
    rng = np.random.default_rng(seed)
    columns: list[np.ndarray] = []
    if isinstance(action, ShiftAction):
        while len(columns) < k:
            for wave in _waves(action, rng):
                if len(columns) + len(wave) <= k:
                    columns += wave
                if len(columns) == k:
                    break
        return np.stack(columns, 1) if columns else np.zeros((action.n, 0))
    while len(columns) < k:
        images = [
            action.left_product(g, column) for column in rng.standard_normal((1, action.n)) for g in range(action.order)
        ]
        columns += images if len(columns) + action.order <= k else [np.mean(images, axis=0)]
    return np.stack(columns, 1) if columns else np.zeros((action.n, 0))


def _waves(action: ShiftAction, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """Real signals that span the multiples of one wave, two or one, for every frequency in random order."""
    step, sides = action.step, action.sides
    counts = [size // step for size in sides]
    channels = action.n // math.prod(sides)
    for place in rng.permutation(action.order):
        frequency = np.unravel_index(place, counts)
        mirrored = tuple((-f) % count for f, count in zip(frequency, counts, strict=True))
        if mirrored < tuple(frequency):
            continue
        grid = sum(
            np.repeat(np.arange(count), step).reshape([-1 if axis == own else 1 for axis in range(len(sides))])
            * f
            / count
            for own, (f, count) in enumerate(zip(frequency, counts, strict=True))
        )
        profile = rng.standard_normal((channels, *[step] * len(sides))) + 1j * rng.standard_normal(
            (channels, *[step] * len(sides))
        )
        wave = np.tile(profile, (1, *counts)) * np.exp(2j * np.pi * np.broadcast_to(grid, sides))
        parts = [wave.real.reshape(-1), wave.imag.reshape(-1)]
        yield parts[:1] if mirrored == tuple(frequency) else parts


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
