"""The conditions of the papers from numbers alone, for almost every operator, and what they add up to.

Two questions are kept apart. *Identification*: do the observed sets A_g X determine the unknown set X of plausible
signals? *Recovery*: is x -> A x one-to-one on a known X?

Sources: Tachella, Chen, Davies, arXiv 2201.12151 (several operators) and 2203.12513 (invariance); recovery is the
embedding theorem of Sauer, Yorke, Casdagli (1991); what is called exact is dimension counting for linear models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

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
    """One inequality: ``here`` against ``bound`` (strictly above it where ``strict``)."""

    name: str
    statement: str
    kind: str
    """necessary | sufficient | exact (both) | recovery (sufficient, with the model known)"""
    assumes: str
    bound: float
    here: float
    strict: bool

    @property
    def holds(self) -> bool:
        return self.here > self.bound if self.strict else self.here >= self.bound

    @property
    def margin(self) -> float:
        """How far ``here`` lies above the bound."""
        return self.here - self.bound


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


def check_numbers(n: int, rows: Sequence[int], k: float) -> None:
    """Raise UserError unless 1 <= m_g <= n, 0 <= k < n and there is at least one operator."""
    if n < 1:
        raise UserError(f"n = {n}: the signal needs at least one entry")
    if not rows:
        raise UserError("G = 0: at least one operator is needed, give G >= 1")
    for m in rows:
        if not 1 <= m <= n:
            raise UserError(f"m = {m} with n = {n}: an operator has between 1 and n rows (m > n adds nothing)")
    if not 0 <= k < n:
        raise UserError(f"k = {k:g} with n = {n}: the model's dimension lies in 0 <= k < n (k = n is not a model)")


def repeated(m: int | Sequence[int], G: int | None) -> list[int]:
    """Row counts m_1, ..., m_G from one count and G, or from the list itself."""
    if isinstance(m, int):
        if G is None or G < 1:
            raise UserError(f"G = {G}: at least one operator is needed, give G >= 1")
        return [m] * G
    if G not in (None, len(m)):
        raise UserError(f"G = {G}, but {len(m)} row counts are given: leave G out, or give as many")
    return list(m)


def smallest_rows(n: int, k: float, G: int) -> int | None:
    """Smallest m with m > k + n/G (C2), m <= n; None where there is none."""
    m = math.floor(Fraction(k) + Fraction(n, G)) + 1
    return m if m <= n else None


def smallest_operators(n: int, k: float, m: int) -> int | None:
    """Smallest G with m > k + n/G (C2); None where no number is enough (m <= k)."""
    return math.floor(n / (m - Fraction(k))) + 1 if m > k else None


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
    rows = repeated(m, G)
    check_numbers(n, rows, k)
    return max(k, n - sum(max(0, m - k) for m in rows))


def assess(n: int, m: int | Sequence[int], G: int | None, k: float, irreps: Irreps | None = None) -> Assessment:
    """The conditions C1, C2 (C8 for different row counts), C3 and, for a group, C4 and C6.

    Args:
        n: unknowns of the signal. Complex problems count real dimensions: 2n, 2m, and a real k.
        m: rows of an operator, or one count an operator.
        G: number of (different) operators; None where ``m`` is a list.
        k: box-counting dimension of the model, 0 <= k < n; need not be whole.
        irreps: decomposition of the action of a group under which the model is invariant; with one operator, G = 1.

    Raises:
        UserError: the numbers contradict each other.
    """
    rows = repeated(m, G)
    check_numbers(n, rows, k)
    G, same = len(rows), len(set(rows)) == 1
    if irreps is not None and (G > 1 or irreps.n != n):
        raise UserError(
            f"a group acting on {irreps.n} entries with G = {G}, n = {n}: C4 and C6 are about one operator on n"
        )
    mean, least = float(Fraction(sum(rows), G)), min(rows)
    sufficient = Fraction(k) + Fraction(n, G)
    generic = "almost every set of operators"
    conditions = []
    if irreps is None:
        conditions.append(
            Condition("C1", "m >= n/G", "necessary", "any model", n / G, mean, False)
            if same
            else Condition("C1", "sum m_g >= n", "necessary", "any model", n, sum(rows), False)
        )
        if same:
            conditions.append(Condition("C2", "m > k + n/G", "sufficient", generic, float(sufficient), mean, True))
        else:
            # Operators with m_g <= k only take from the plain sum, and the rest identify without them.
            helping = [m for m in rows if m > k]
            conditions.append(
                Condition(
                    "C8",
                    "sum m_g > n + kG over m_g > k",
                    "sufficient",
                    generic,
                    float(n + Fraction(k) * len(helping)),
                    sum(helping),
                    True,
                )
            )
    else:
        largest = max(irreps.multiplicities)
        conditions.append(
            Condition("C4", "m >= max c_j/s_j", "necessary", "invariant model", irreps.largest_ratio, least, False)
        )
        if irreps.cyclic:
            conditions.append(
                Condition(
                    "C6",
                    "m > 2k + max c_j + 1",
                    "sufficient",
                    "invariant, cyclic, almost every A",
                    float(2 * Fraction(k) + largest + 1),
                    least,
                    True,
                )
            )
    if irreps is None:
        whole = math.ceil(k)
        if same:
            needed = float(whole + Fraction(n - whole, G))
            conditions.append(
                Condition("linear", "m >= k + (n-k)/G", "exact", f"subspace, {generic}", needed, mean, False)
            )
        else:
            gained = sum(max(0, m - whole) for m in rows)
            conditions.append(
                Condition(
                    "linear", "sum (m_g - k)_+ >= n - k", "exact", f"subspace, {generic}", n - whole, gained, False
                )
            )
    conditions.append(
        Condition("C3", "m > 2k", "recovery", "model known, almost every A", float(2 * Fraction(k)), least, True)
    )
    return _concluded(tuple(conditions), n, rows, k, irreps)


def _concluded(
    conditions: tuple[Condition, ...], n: int, rows: list[int], k: float, irreps: Irreps | None
) -> Assessment:
    G, least = len(rows), min(rows)
    necessary = next(condition for condition in conditions if condition.kind == "necessary")
    sufficient = next((condition for condition in conditions if condition.kind == "sufficient"), None)
    recoverable = conditions[-1].holds or least == n
    if max(rows) == n:
        identified = True
        verdict = "identified: an operator with m = n rows is almost surely invertible and sees everything"
    elif not necessary.holds:
        identified = False
        verdict = (
            f"not identified, by no method: {necessary.name} ({necessary.statement}) is necessary, and {necessary.here:g} "
            f"is below {necessary.bound:.4g}"
        )
    elif sufficient is not None and sufficient.holds:
        identified = True
        who = f"almost every choice of {G} operators" if G > 1 else "almost every operator"
        verdict = f"identified by {who} ({sufficient.name})"
    else:
        identified = None
        why = (
            f"{sufficient.name} is not met ({sufficient.here:g} is not above {sufficient.bound:.4g})"
            if sufficient is not None
            else "no sufficient condition is known for a group that is not cyclic"
        )
        verdict = f"left open by the theorems: {necessary.name} is met, {why}"
    if recoverable:
        unique = "every signal is then" if identified else "were the model known, every signal would be"
        verdict += f"; {unique} recovered uniquely ({'C3' if conditions[-1].holds else 'm = n'})"
    else:
        verdict += (
            f"; unique recovery is not guaranteed even with the model known (C3: {least} is not above 2k = {2 * k:g})"
        )
    return Assessment(conditions, identified, recoverable, verdict, tuple(_advice(n, rows, k, irreps, identified)))


def _more(count: int, thing: str) -> str:
    return f"{count} more {thing}{'s' * (count > 1)}"


def _advice(n: int, rows: list[int], k: float, irreps: Irreps | None, identified: bool | None):
    """What would have to change, or how much is to spare, in sentences."""
    G, m = len(rows), min(rows)
    if irreps is not None:
        if irreps.cyclic:
            needed = math.floor(2 * Fraction(k) + max(irreps.multiplicities)) + 2
            if m < needed <= n:
                yield f"For C6 the operator needs {_more(needed - m, 'row')} (m >= {needed})."
            elif identified:
                yield f"Smallest m for C6: {min(needed, n)}."
        else:
            yield "C6 is proved for cyclic groups only: use the direct test (--operators with --basis or --data)."
    elif len(set(rows)) == 1:
        fewest, least = smallest_operators(n, k, m), smallest_rows(n, k, G)
        if identified and m < n:
            yield f"Smallest G for m = {m}: {fewest}; smallest m for G = {G}: {least}."
            yield f"C2 holds for every k below {float(m - Fraction(n, G)):.4g}."
        elif not identified:
            ways = []
            if fewest is not None:
                ways.append(f"{_more(fewest - G, 'operator')} (G >= {fewest})")
            if least is not None:
                ways.append(f"m >= {least} ({_more(least - m, 'row')} each)")
            yield f"For C2 it needs {', or '.join(ways)}." if ways else "No G and no m < n is enough: it needs m = n."
            if fewest is None:
                yield f"No number of operators is enough while m <= k (m = {m}, k = {k:g})."
            whole = math.ceil(k)
            few, low = subspace_operators(n, whole, m), subspace_rows(n, whole, G)
            if few is not None and few <= G and identified is None:
                yield f"Were the model linear (a subspace of dimension {whole}), it would be identified already (exact)."
            else:
                fewer = "" if few is None else f"G >= {few}, or "
                yield f"Were the model linear (a subspace of dimension {whole}), {fewer}m >= {low} would do (exact)."
    elif not identified:
        missing = math.floor(n + Fraction(k) * sum(m > k for m in rows)) + 1 - sum(m for m in rows if m > k)
        yield f"For C8 it needs {_more(missing, 'row')} in all, on operators that have more than k = {k:g} rows."
    if not (m > 2 * k or m == n):
        yield f"For unique recovery (C3) it needs m >= {math.floor(2 * Fraction(k)) + 1}."
