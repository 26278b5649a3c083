"""The conditions of the papers from numbers alone, for almost every operator, and what they add up to.

Two questions are kept apart. *Identification*: do the observed sets A_g X determine the unknown set X of plausible
signals? *Recovery*: is x -> A x one-to-one on a known X?

Sources: Tachella, Chen, Davies, arXiv 2201.12151 (several operators) and 2203.12513 (invariance); recovery is the
embedding theorem of Sauer, Yorke, Casdagli (1991); what is called exact is dimension counting for linear models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from incomplete_sensing.identifiability.row_counts import RowCounts, exact, row_counts
from incomplete_sensing.irreps import Irreps
from shared_utils import UserError

STATEMENTS = {
    "C7": (
        "Additive noise whose characteristic function has no zero (Gaussian, say) changes nothing here: the model is "
        "identified from noisy measurements if and only if it is from clean ones. It changes how many samples that takes."
    ),
    "C9": (
        "Without a low-dimensional (or invariant) model no finite set of operators with m < n identifies a distribution: "
        "its characteristic function is seen on the union of the row spaces only."
    ),
    "C10": (
        "A splitting loss has the supervised minimiser where E[A_b^T A_b given A_a] has full rank (sufficient, not "
        "necessary); given masks are tested for it (--operators)."
    ),
}


@dataclass(frozen=True)
class Condition:
    """One inequality: ``here`` against ``bound`` (strictly above it where ``strict``), compared as exact fractions."""

    name: str
    statement: str
    kind: str
    """necessary | sufficient | exact (both) | subspace (sufficient for linear models) | recovery (with the model known)"""
    assumes: str
    limit: Fraction
    value: Fraction
    strict: bool

    @property
    def bound(self) -> float:
        return float(self.limit)

    @property
    def here(self) -> float:
        return float(self.value)

    @property
    def holds(self) -> bool:
        return self.value > self.limit if self.strict else self.value >= self.limit

    @property
    def margin(self) -> float:
        """How far ``here`` lies above the bound."""
        return float(self.value - self.limit)


@dataclass(frozen=True)
class Assessment:
    """What the theorems say. ``identified`` is None where they leave it open."""

    conditions: tuple[Condition, ...]
    identified: bool | None
    recoverable: bool
    verdict: str
    advice: tuple[str, ...]

    def __getitem__(self, name: str) -> Condition:
        return next(condition for condition in self.conditions if condition.name == name)


def check_numbers(n: int, rows: RowCounts, k: float) -> None:
    """Raise UserError unless 1 <= m_g <= n and 0 <= k < n."""
    if n < 1:
        raise UserError(f"n = {n}: the signal needs at least one entry")
    for m in (rows.least, rows.most):
        if not 1 <= m <= n:
            raise UserError(f"m = {m} with n = {n}: an operator has between 1 and n rows (m > n adds nothing)")
    if not 0 <= k < n:
        raise UserError(f"k = {k:g} with n = {n}: the model's dimension lies in 0 <= k < n (k = n is not a model)")


def smallest_rows(n: int, k: float, G: int) -> int | None:
    """Smallest m with m > k + n/G (C2), m <= n; None where there is none."""
    m = math.floor(exact(k) + Fraction(n, G)) + 1
    return m if m <= n else None


def smallest_operators(n: int, k: float, m: int) -> int | None:
    """Smallest G with m > k + n/G (C2); None where no number is enough (m <= k)."""
    return math.floor(n / (m - exact(k))) + 1 if m > exact(k) else None


def subspace_rows(n: int, k: int, G: int) -> int:
    """Smallest m at which G generic operators identify a k-dimensional subspace: m > k and G (m - k) >= n - k."""
    return k + math.ceil(Fraction(n - k, G))


def subspace_operators(n: int, k: int, m: int) -> int | None:
    """Smallest G at which generic operators with m rows identify a k-dimensional subspace; None where m <= k."""
    return math.ceil(Fraction(n - k, m - k)) if m > k else None


def subspace_consistent_dimension(n: int, k: int, m: int | Sequence[int], G: int | None = None) -> int:
    """dim X^ of a k-dimensional subspace under generic operators: max(k, n - sum_g max(0, m_g - k)).

    The subspace is identified if and only if this is k. Exact for almost every choice of operators.
    """
    rows = row_counts(m, G)
    check_numbers(n, rows, k)
    return max(k, n - int(rows.beyond(k)))


def assess(
    n: int, m: int | Sequence[int] | RowCounts, G: int | None, k: float, irreps: Irreps | None = None
) -> Assessment:
    """The conditions C1, C2 (C8 for different row counts), C3 and, for a group, C4 and C6.

    With a group, the operators measure along their orbits A_g T_h: C4 counts the rows of all of them, C2 and C8 hold as
    they do without it, and C6 takes the operator with most rows and the cyclic subgroup that asks for least, for a model
    that is invariant to a group is invariant to each of its subgroups.

    Args:
        n: unknowns of the signal. Complex problems count real dimensions: 2n, 2m, and a real k.
        m: rows of an operator, or one count an operator.
        G: number of (different) operators; None where ``m`` is a list, or counts.
        k: box-counting dimension of the model, 0 <= k < n; need not be whole.
        irreps: decomposition of the action of a group under which the model is invariant.

    Raises:
        UserError: the numbers contradict each other.
    """
    rows = row_counts(m, G)
    check_numbers(n, rows, k)
    if irreps is not None and irreps.n != n:
        raise UserError(f"the group acts on {irreps.n} entries, the signals have n = {n}")
    dimension, G = exact(k), rows.G
    conditions = [_necessary(n, rows, irreps)]
    if irreps is None or G > 1:
        conditions.append(_several(n, rows, dimension))
    if irreps is not None:
        order = irreps.cyclic_order
        conditions.append(
            Condition(
                "C6",
                "m > 2k + max c_j + 1",
                "sufficient",
                f"invariant, cyclic{'' if irreps.cyclic else f' subgroup of {order}'}, almost every A",
                2 * dimension + irreps.cyclic_multiplicity + 1,
                Fraction(rows.most),
                True,
            )
        )
    conditions.append(_linear(n, rows, math.ceil(dimension), irreps))
    conditions.append(
        Condition(
            "C3",
            "m > 2k",
            "recovery",
            "model known, almost every A",
            2 * dimension,
            Fraction(rows.least),
            True,
        )
    )
    return _concluded(tuple(conditions), n, rows, dimension, irreps)


_GENERIC = "almost every set of operators"


def _necessary(n: int, rows: RowCounts, irreps: Irreps | None) -> Condition:
    total = Fraction(rows.total)
    if irreps is not None:
        statement = "m >= max c_j/s_j" if rows.G == 1 else "sum m_g >= max c_j/s_j"
        return Condition("C4", statement, "necessary", "invariant model", irreps.largest_ratio, total, False)
    if rows.same:
        return Condition("C1", "m >= n/G", "necessary", "any model", Fraction(n, rows.G), Fraction(rows.most), False)
    return Condition("C1", "sum m_g >= n", "necessary", "any model", Fraction(n), total, False)


def _several(n: int, rows: RowCounts, k: Fraction) -> Condition:
    if rows.same:
        bound = k + Fraction(n, rows.G)
        return Condition("C2", "m > k + n/G", "sufficient", _GENERIC, bound, Fraction(rows.most), True)
    # Operators with m_g <= k only take from the plain sum, and the rest identify without them.
    helping = rows.above(k)
    statement = "sum m_g > n + kG over m_g > k"
    return Condition("C8", statement, "sufficient", _GENERIC, n + k * helping.G, Fraction(helping.total), True)


def _linear(n: int, rows: RowCounts, k: int, irreps: Irreps | None) -> Condition:
    if irreps is not None:
        # Exact is max_j (c_j - k_j)/s_j, with the multiplicities k_j of the model; without them, for every choice of them.
        statement = "m - k >= max c_j/s_j" if rows.G == 1 else "sum (m_g - k)_+ >= max c_j/s_j"
        assumes = f"invariant subspace, {_GENERIC}"
        return Condition("linear", statement, "subspace", assumes, irreps.largest_ratio, rows.beyond(k), False)
    if rows.same:
        needed = k + Fraction(n - k, rows.G)
        held = Fraction(rows.most)
        return Condition("linear", "m >= k + (n-k)/G", "exact", f"subspace, {_GENERIC}", needed, held, False)
    statement, needed = "sum (m_g - k)_+ >= n - k", Fraction(n - k)
    return Condition("linear", statement, "exact", f"subspace, {_GENERIC}", needed, rows.beyond(k), False)


def _concluded(
    conditions: tuple[Condition, ...], n: int, rows: RowCounts, k: Fraction, irreps: Irreps | None
) -> Assessment:
    necessary = conditions[0]
    sufficient = [condition for condition in conditions if condition.kind == "sufficient"]
    met = [condition for condition in sufficient if condition.holds]
    recoverable = conditions[-1].holds or rows.least == n
    if rows.most == n:
        identified = True
        verdict = "identified: an operator with m = n rows is almost surely invertible and sees everything"
    elif not necessary.holds:
        identified = False
        verdict = (
            f"not identified, by no method: {necessary.name} ({necessary.statement}) is necessary, and {necessary.here:g} "
            f"is below {necessary.bound:.4g}"
        )
    elif met:
        identified = True
        who = f"almost every choice of {rows.G} operators" if rows.G > 1 else "almost every operator"
        verdict = f"identified by {who} ({met[0].name})"
    else:
        identified = None
        short = ", ".join(
            f"{condition.name} is not met ({condition.here:g} is not above {condition.bound:.4g})"
            for condition in sufficient
        )
        verdict = f"left open by the theorems: {necessary.name} is met, {short}"
    if recoverable:
        unique = "every signal is then" if identified else "were the model known, every signal would be"
        verdict += f"; {unique} recovered uniquely ({'C3' if conditions[-1].holds else 'm = n'})"
    else:
        verdict += (
            f"; unique recovery is not guaranteed even with the model known (C3: {rows.least} is not above 2k = "
            f"{float(2 * k):g})"
        )
    return Assessment(conditions, identified, recoverable, verdict, tuple(_advice(n, rows, k, irreps, identified)))


def _more(count: int, thing: str) -> str:
    return f"{count} more {thing}{'s' * (count > 1)}"


def _advice(n: int, rows: RowCounts, k: Fraction, irreps: Irreps | None, identified: bool | None) -> Iterator[str]:
    """What would have to change, or how much is to spare, in sentences."""
    if irreps is not None:
        yield from _advice_on_groups(n, rows, k, irreps, identified)
    if (irreps is None or rows.G > 1) and rows.most < n:
        yield from _advice_on_operators(n, rows, k, identified, linear=irreps is None)
    if not (rows.least > 2 * k or rows.least == n):
        yield f"For unique recovery (C3) it needs m >= {math.floor(2 * k) + 1}."


def _advice_on_groups(n: int, rows: RowCounts, k: Fraction, irreps: Irreps, identified: bool | None) -> Iterator[str]:
    needed = math.floor(2 * k) + irreps.cyclic_multiplicity + 2
    subgroup = "" if irreps.cyclic else f", by its cyclic subgroup of {irreps.cyclic_order} elements"
    if rows.most < needed <= n and not identified:
        yield f"For C6 an operator needs {_more(needed - rows.most, 'row')} (m >= {needed}{subgroup})."
    elif identified:
        yield f"Smallest m for C6: {min(needed, n)}{subgroup}."
    else:
        yield f"For C6 no m < n is enough (it asks for m >= {needed}{subgroup})."
    if identified is None:
        yield "The direct test decides for a linear model, or locally (--operators with --basis or --data)."


def _advice_on_operators(n: int, rows: RowCounts, k: Fraction, identified: bool | None, linear: bool) -> Iterator[str]:
    m, G = rows.least, rows.G
    if not rows.same:
        if not identified:
            helping = rows.above(k)
            missing = math.floor(n + k * helping.G) + 1 - helping.total
            yield f"For C8 it needs {_more(missing, 'row')} in all, on operators that have more than k = {float(k):g} rows."
        return
    fewest, least = smallest_operators(n, float(k), m), smallest_rows(n, float(k), G)
    if identified:
        if fewest is not None and fewest <= G:
            yield f"Smallest G for m = {m}: {fewest}; smallest m for G = {G}: {least}."
            yield f"C2 holds for every k below {float(m - Fraction(n, G)):.4g}."
        return
    ways = []
    if fewest is not None:
        ways.append(f"{_more(fewest - G, 'operator')} (G >= {fewest})")
    if least is not None:
        ways.append(f"m >= {least} ({_more(least - m, 'row')} each)")
    yield f"For C2 it needs {', or '.join(ways)}." if ways else "No G and no m < n is enough: it needs m = n."
    if fewest is None:
        yield f"No number of operators is enough while m <= k (m = {m}, k = {float(k):g})."
    if not linear:
        return
    whole = math.ceil(k)
    few, low = subspace_operators(n, whole, m), subspace_rows(n, whole, G)
    if few is not None and few <= G and identified is None:
        yield f"Were the model linear (a subspace of dimension {whole}), it would be identified already (exact)."
    else:
        fewer = "" if few is None else f"G >= {few}, or "
        yield f"Were the model linear (a subspace of dimension {whole}), {fewer}m >= {low} would do (exact)."
