"""The direct tests of given operators, in words; what they say stands above the theorems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from incomplete_sensing.identifiability import (
    FLOOR,
    ConsistentSet,
    Estimated,
    Given,
    SelectingOperators,
    ShiftOrbit,
    check_invariant,
    equivariance_warning,
    random_invariant_subspace,
    splitting_coverage,
    tangents,
)
from incomplete_sensing.irreps import Action, ShiftAction
from shared_utils import UserError


@dataclass
class Tested:
    """Lines to print, and whether the model is identified (None: not settled)."""

    lines: list[str] = field(default_factory=list)
    identified: bool | None = None

    def say(self, *lines: str) -> None:
        self.lines += lines


def by_direct_tests(
    given: Given,
    k: float,
    directions: np.ndarray | None = None,
    signals: np.ndarray | None = None,
    action: Action | None = None,
    by_theorem: bool | None = None,
) -> Tested:
    """Test the operators themselves on a linear model, on tangents of data, or on a random subspace of dimension k.

    Args:
        given: the operators, different ones.
        k: dimension of the model; rounded up where it is not whole.
        directions: a basis (n, k) of a linear model.
        signals: samples (N, n) of a smooth one.
        action: of a group under which the model is invariant.
        by_theorem: what the theorems say, to compare with.
    """
    made, seen = Tested(), given
    if action is not None:
        made.say(*_effective_orbits(given, action))
        seen = given.moved(action)
    if seen is None:
        made.say("  the operators along their orbits are too many to test directly: the theorems alone answer")
        made.identified = by_theorem
        return made
    full = _rank(made, seen, action)
    if isinstance(given, SelectingOperators):
        made.say(*_about_masks(given))
    if action is not None and directions is not None:
        check_invariant(directions, action)
    bases, what = _models(made, given.n, k, directions, signals, action)
    if signals is not None and directions is None and isinstance(seen, ShiftOrbit):
        # Tangents are not invariant, so their orbit has to be listed.
        seen = _listed(given, action)
        if seen is None:
            made.say("  tangents along that many shifts are not tested: give a smaller image, or --basis")
            made.identified = False if full is False else by_theorem
            return made
    tests = [seen.test(basis) for basis in bases]
    _tell(made, tests, what)
    made.identified = _verdict(tests, full)
    if by_theorem is not None and made.identified is not None and by_theorem != made.identified:
        made.say(_disagreement(tests, by_theorem))
    word = {True: "identified", False: _negative(tests, full), None: "not settled by the iterations"}[made.identified]
    made.say(f"your operators: {word}")
    return made


def _negative(tests: Sequence[ConsistentSet], full: bool | None) -> str:
    numerically = full is not False and all(test.identified or test.numerically_not for test in tests)
    return "numerically not identified" if numerically else "not identified"


def _verdict(tests: Sequence[ConsistentSet], full: bool | None) -> bool | None:
    undecided = [isinstance(test, Estimated) and test.undecided for test in tests]
    if full is False or any(not test.identified and not open_ for test, open_ in zip(tests, undecided, strict=True)):
        return False
    return None if full is None or any(undecided) else True


def _disagreement(tests: Sequence[ConsistentSet], by_theorem: bool) -> str:
    if not by_theorem:
        return "  The direct test disagrees with the numbers: check that k is right."
    if any(test.numerically_not for test in tests):
        return "  The theorem holds without noise and rounding; it says nothing of how stable identification is."
    return "  The direct test disagrees with the theorem, and is right: these operators are not generic."


def _effective_orbits(given: Given, action: Action) -> list[str]:
    """C5, and how many different operators the group makes of each one."""
    sizes = given.orbit_sizes(action)
    if sizes is None:
        return ["  C5 and the effective orbits are not tested at this size"]
    low, high = min(sizes), max(sizes)
    if high == 1:
        if min(given.counts) == given.n:
            return ["  C5: equivariant to the group, at no loss: these operators see everything"]
        return [f"  warning: {equivariance_warning(0.0)}"]
    orbit = f"{high}" if low == high else f"{low} to {high}"
    least = given.n / sum(sizes)
    return [
        f"  C5: not equivariant; effective orbit: {orbit} different operators of the {action.order} that the group makes of "
        f"one, so m >= {least:.4g} necessary (n over all of them)"
    ]


def _rank(made: Tested, seen: Given | ShiftOrbit, action: Action | None) -> bool | None:
    """C1 or C4, as a line; whether it holds (None: not settled)."""
    rank, smallest = seen.spectrum()
    condition = "C1: rank [A_1; ...; A_G]" if action is None else "C4: rank [A T_g]_g"
    if rank is None:
        made.say(f"  {condition} is not settled by the iterations (smallest singular value at most {smallest:.1g})")
        return None
    n = seen.n
    if rank < n:
        made.say(f"  {condition} = {rank} of n = {n}: fails, no method can identify any model")
        return False
    if smallest < FLOOR:
        made.say(
            f"  {condition} = {rank} of n = {n}, but by a singular value {smallest:.1g} of the largest: numerically it fails"
        )
        return False
    made.say(f"  {condition} = {rank} of n = {n}: holds")
    return True


def _about_masks(given: SelectingOperators) -> list[str]:
    entries = "coefficients" if given.fourier else "entries"
    missed = int((~given.masks.any(axis=0)).sum())
    draws = int(min(1000, max(50, 3e8 / given.masks.size)))
    share = splitting_coverage(given.masks, draws=draws)
    return [
        f"  masks: {missed or 'no'} {entries} are seen by no operator; masks are not generic, C2 decides nothing here",
        f"  C10: {share:.0%} of random half splits leave every entry learnable for a splitting loss",
    ]


def _models(
    made: Tested,
    n: int,
    k: float,
    directions: np.ndarray | None,
    signals: np.ndarray | None,
    action: Action | None,
) -> tuple[list[np.ndarray], str]:
    """Bases to test, and what they are."""
    if directions is not None:
        return [directions], "the subspace"
    whole = min(math.ceil(k), n - 1)
    if signals is not None:
        return tangents(signals, max(1, whole)), "tangents of the data"
    if action is not None:
        made.say("  no --basis or --data: a random invariant model stands for yours")
        return [random_invariant_subspace(action, whole)], f"a random invariant subspace of dimension {whole}"
    drawn = np.random.default_rng(0).standard_normal((n, whole))
    return [drawn], f"a random subspace of dimension {whole}"


def _listed(given: Given, action: Action | None) -> Given | ShiftOrbit | None:
    assert isinstance(action, ShiftAction)
    try:
        elements = action.elements
    except UserError:
        return None
    moved = given.moved(Action(elements))
    return moved


def _tell(made: Tested, tests: Sequence[ConsistentSet], what: str) -> None:
    passed = sum(test.identified for test in tests)
    worst = max(tests, key=lambda test: (test.dimension - test.k, -test.smallest_kept))
    about = "about " if isinstance(worst, Estimated) and worst.dimension > worst.k else ""
    if len(tests) == 1:
        excess = worst.dimension - worst.k
        made.say(
            f"  {what}: {worst.word}, dim X^ = {about}{worst.dimension} for k = {worst.k}"
            + (f" ({about}{excess} directions too many)" if excess else "")
        )
    else:
        made.say(
            f"  {what} (first order, local): {passed} of {len(tests)} identified, worst dim X^ = {about}{worst.dimension} "
            f"for {worst.k}"
        )
    equal = [test for test in tests if test.dimension == test.k]
    if equal:
        weakest = min(equal, key=lambda test: test.smallest_kept)
        bound = "at most " if isinstance(weakest, Estimated) else ""
        made.say(
            f"  stability: smallest retained singular value {bound}{weakest.smallest_kept:.2g} of the largest (1 is best, 0 is "
            f"lost; below {FLOOR:g} no measurement shows it), largest dropped {weakest.largest_dropped:.1g}"
        )
    blind = sum(not all(test.recoverable) for test in tests)
    made.say(
        "  recovery: every operator is one-to-one on it"
        if not blind
        else f"  recovery: {len(worst.recoverable) - sum(worst.recoverable)} of {len(worst.recoverable)} operators are not "
        "one-to-one on it"
    )
