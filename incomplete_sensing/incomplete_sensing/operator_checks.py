"""What the theory says about a training that is about to start, and what would make it pointless."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from incomplete_sensing.ceiling import SeenSpace
from incomplete_sensing.given_operators import given_operators
from incomplete_sensing.identifiability import (
    FLOOR,
    Assessment,
    FunctionOperators,
    assess,
    equivariance_defect,
    equivariance_warning,
)
from incomplete_sensing.irreps import Action, irreps, named_action
from incomplete_sensing.objective import NEEDS_TRUTH, Method
from incomplete_sensing.operators import DenseOperators, OperatorFamily, duplicates
from incomplete_sensing.transforms import GROUPS, PermutationGroup, Transform
from shared_utils import logging


def stacked_rank(family: OperatorFamily) -> tuple[int, float] | None:
    """(rank of [A_1; ...; A_G], its smallest singular value over the largest); None where that is too large to compute.

    C1, tested directly on these operators: masks at any size, others as matrices.
    """
    given = given_operators(family)
    return None if isinstance(given, FunctionOperators) else given.spectrum()


def never_observed(family: OperatorFamily) -> int | None:
    """Entries that no operator of a family of masks observes, of pixels or of k-space; None for other kinds."""
    if family.kind not in ("mask", "mri"):
        return None
    covered = torch.stack(
        [family.observed(g).expand(1, *family.measurement_shape)[0] for g in range(family.num_operators)]
    )
    return int((covered.amax(0) == 0).sum())


def equivariant(family: OperatorFamily, transform: Transform, seed: int = 0) -> str | None:
    """A warning where every operator commutes with the transforms, so that EI adds nothing (C5); else None."""
    generator = torch.Generator().manual_seed(seed)
    probes = [torch.randn(1, *family.image_shape, generator=generator) for _ in range(2)]
    if isinstance(transform, PermutationGroup):
        elements = transform.elements(family.image_shape)[1:]
        elements = [elements[i] for i in torch.randperm(len(elements), generator=generator)[:8].tolist()]
    else:
        elements = transform.draw(8, family.image_shape, generator)
    actions = [lambda images, element=element: transform.apply(images, [element]) for element in elements]
    with torch.no_grad():
        defects = [
            equivariance_defect(
                lambda images, g=g: family(images, g), lambda data, g=g: family.pinv(data, g), actions, probes
            )
            for g in range(min(family.num_operators, 4))
        ]
    return equivariance_warning(max(defects))


def orbit_rank(family: OperatorFamily, group: PermutationGroup) -> tuple[int, float] | None:
    """(rank [A_g T_h] over operators and the group, its smallest singular value); None where too large to compute."""
    given = given_operators(family)
    moved = None if isinstance(given, FunctionOperators) else given.moved(action_of(group, family.image_shape))
    return None if moved is None else moved.spectrum()


def action_of(group: PermutationGroup, image_shape: Sequence[int]) -> Action:
    """A group of transforms as an action on flattened images."""
    if GROUPS.get(group.name) is group:
        return named_action(group.name, image_shape)
    return Action(group.permutations(image_shape).numpy())


def theory(
    family: OperatorFamily, method: Method, k: float | None, transform: Transform | None = None
) -> Assessment | None:
    """What the conditions say of a method, None where k is not given: operators, and the group of a method that uses one."""
    if k is None:
        return None
    n, repeated = family.num_pixels, dict(duplicates(family))
    counts = [int(m) for g, m in enumerate(family.num_measurements.clamp(max=n)) if g not in repeated]
    if method in ("ei", "moei") and isinstance(transform, PermutationGroup):
        return assess(n, counts, None, k, irreps(action_of(transform, family.image_shape)))
    return assess(n, counts, None, k)


def seen_space(family: OperatorFamily, method: Method, transform: Transform | None = None) -> SeenSpace | None:
    """What the data of a method show of an image; None with the truth, and where it is too large to say."""
    if method in NEEDS_TRUTH:
        return None
    if method not in ("ei", "moei"):
        return SeenSpace.of(family)
    group = transform if isinstance(transform, PermutationGroup) else None
    return None if group is None else SeenSpace.of(family, action_of(group, family.image_shape))


def _ceiling(family: OperatorFamily, method: Method, transform: Transform | None) -> list[str]:
    seen = seen_space(family, method, transform)
    if seen is None:
        return []
    if not seen.missing:
        return ["  ceiling: none, every direction is seen by some operator"]
    return [
        f"  ceiling: {seen.missing} of n = {family.num_pixels} directions leave no trace in any measurement; what images have "
        "there stays in the error (test_ceiling, in dB)"
    ]


def before_training(
    family: OperatorFamily, method: Method, model_dimension: float | None = None, transform: Transform | None = None
) -> tuple[list[str], list[str]]:
    """(the verdict of the conditions, warnings), both as lines of text.

    model_dimension: k; without it only the necessary condition is checked. transform: of methods that use one.
    """
    repeated = duplicates(family)
    n, G = family.num_pixels, family.num_operators - len(repeated)
    counts = [int(m) for g, m in enumerate(family.num_measurements.clamp(max=n)) if g not in dict(repeated)]
    lines = [f"n = {n} unknowns, m = {_counts(counts)} measurements, G = {G} operators of kind {family.kind}"]
    assessment = theory(family, method, model_dimension, transform)
    if assessment is not None and model_dimension is not None:
        lines += _assessed(assessment, model_dimension)
    elif method not in NEEDS_TRUTH:
        lines.append("model dimension k not given (data.model_dimension): only the necessary condition is checked")
    if method in ("ei", "moei") and isinstance(transform, PermutationGroup):
        if (found := orbit_rank(family, transform)) is not None:
            lines.append(
                f"  your operators and {transform.name}, tested directly: rank [A T_g]_g = {found[0]} of n = {n} "
                f"({_holds('C4', *found, n)})"
            )
        lines += _ceiling(family, method, transform)
        return lines, _warnings(family, method, transform, repeated, counts)
    rank, missed = stacked_rank(family), never_observed(family)
    if rank is not None:
        lines.append(
            f"  your operators, tested directly: rank [A_1; ...; A_G] = {rank[0]} of n = {n}"
            f" ({_holds('C1', *rank, n)}), smallest singular value {rank[1]:.2g} of the largest"
        )
    lines += _ceiling(family, method, transform)
    if missed is not None:
        seen = f"{missed} entries are observed by no operator" if missed else "every entry is observed by some operator"
        lines.append(f"  your masks, tested directly: {seen}")
    if not isinstance(family, DenseOperators):
        lines.append("  the theorems are for almost every operator; these have structure, so take them as a guide")
    return lines, _warnings(family, method, transform, repeated, counts)


def _holds(condition: str, rank: int, smallest: float, n: int) -> str:
    return f"{condition} fails{' numerically' * (rank == n)}" if rank < n or smallest < FLOOR else f"{condition} holds"


def _warnings(
    family: OperatorFamily,
    method: Method,
    transform: Transform | None,
    repeated: list[tuple[int, int]],
    counts: list[int],
) -> list[str]:
    warnings = []
    if repeated:
        warnings.append(
            f"{len(repeated)} operators repeat others ({_pairs(repeated)}): the effective G is {len(counts)}"
        )
    if method in ("mc", "moi") and len(counts) == 1 and min(counts) < family.num_pixels:
        warnings.append("one operator: nothing beyond A^+ y can be learned from its measurements, this is plain MC")
    if method == "mc" and len(counts) > 1:
        warnings.append("MC alone has the minimiser A^+: it learns nothing about what an operator does not see")
    if method in ("ei", "moei") and transform is not None and (warning := equivariant(family, transform)):
        warnings.append(warning)
    return warnings


def _assessed(assessment: Assessment, k: float) -> list[str]:
    rows = [
        {
            "condition": condition.name,
            "": condition.statement,
            "kind": condition.kind,
            "bound": round(float(condition.bound), 2),
            "here": round(float(condition.here), 2),
            "holds": "yes" if condition.holds else "no",
        }
        for condition in assessment.conditions
    ]
    table = logging.table(rows, f"conditions for a model of dimension k = {k:g}:").splitlines()
    return [table[0], *(f"  {line}" for line in table[1:]), f"verdict: {assessment.verdict}", *assessment.advice]


def _counts(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high} (mean {np.mean(counts):.4g})"


def _pairs(repeated: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{g} = {first}" for g, first in repeated[:5])
    return shown + (", ..." if len(repeated) > 5 else "")
