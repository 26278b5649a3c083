"""How many operators have how many rows, in memory that does not grow with the number of operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral

from shared_utils import UserError


def exact(k: float) -> Fraction:
    """The number that was written: 2.4 is 24/10, not the binary fraction just below it."""
    return Fraction(k) if isinstance(k, (int, Fraction)) else Fraction(repr(float(k)))


@dataclass(frozen=True)
class RowCounts:
    """The row counts m_1, ..., m_G as ascending pairs (m, number of operators that have m rows)."""

    pairs: tuple[tuple[int, int], ...]

    @property
    def G(self) -> int:
        return sum(number for _, number in self.pairs)

    @property
    def total(self) -> int:
        """sum_g m_g."""
        return sum(m * number for m, number in self.pairs)

    @property
    def least(self) -> int:
        return self.pairs[0][0]

    @property
    def most(self) -> int:
        return self.pairs[-1][0]

    @property
    def same(self) -> bool:
        return len(self.pairs) == 1

    def above(self, k: Fraction | int) -> RowCounts:
        """Those of more than k rows; the others identify nothing by themselves."""
        return RowCounts(tuple((m, number) for m, number in self.pairs if m > k))

    def beyond(self, k: Fraction | int) -> Fraction:
        """sum_g max(0, m_g - k): the equations that the operators leave on what they do not see."""
        helping = self.above(k)
        return helping.total - k * Fraction(helping.G)


def row_counts(m: int | Sequence[int] | RowCounts, G: int | None = None) -> RowCounts:
    """The counts of one m and G, or of a list with one count an operator; counts stay as they are.

    Raises UserError where there is no operator, or the two disagree.
    """
    if isinstance(m, RowCounts):
        return m
    if isinstance(m, (int, Integral)):
        if G is None or G < 1:
            raise UserError(f"G = {G}: at least one operator is needed, give G >= 1")
        return RowCounts(((int(m), int(G)),))
    if G not in (None, len(m)):
        raise UserError(f"G = {G}, but {len(m)} row counts are given: leave G out, or give as many")
    if not len(m):
        raise UserError("G = 0: at least one operator is needed, give G >= 1")
    return RowCounts(tuple(sorted(Counter(int(one) for one in m).items())))
