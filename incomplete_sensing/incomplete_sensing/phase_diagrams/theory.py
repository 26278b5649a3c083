"""The theory's values of m for each row of a diagram."""

from __future__ import annotations

from fractions import Fraction

from incomplete_sensing.phase_diagrams.diagram import Diagram
from shared_utils import UserError


def invariant_multiplicities(order: int, copies: int, k: int) -> dict[int, int]:
    """k_f of a real k-dimensional subspace invariant to a cyclic group of ``order``, spread evenly: frequency -> k_f.

    Frequencies f and order - f come together (two real dimensions); each holds at most ``copies`` (c_j).
    """
    inside = dict.fromkeys(range(order), 0)
    pairs = [(f, order - f) for f in range(1, (order + 1) // 2)]
    alone = [(0,)] + ([(order // 2,)] if order % 2 == 0 else [])
    left = k
    while left:
        before = left
        for together in pairs + alone:
            if left >= len(together) and inside[together[0]] < copies:
                left -= len(together)
                for f in together:
                    inside[f] += 1
        if left == before:
            raise UserError(f"no real subspace of dimension {k} is invariant to this group of order {order}")
    return inside


def theory(diagram: Diagram, row: int) -> dict[str, float]:
    """Values of m for a value of the second axis: ``necessary`` and ``exact`` (m >=), ``sufficient`` (m >).

    ``exact`` is there for linear families; like ``sufficient`` it is for almost every operator, so for masks it is only
    what they would need were they generic.
    """
    G, k = diagram.place(row)
    curves = {"necessary": diagram.n / G, "sufficient": float(k + Fraction(diagram.n, G))}
    if diagram.family == "invariant":
        copies = diagram.n // G
        missing = max(copies - kept for kept in invariant_multiplicities(G, copies, k).values())
        curves = {"necessary": copies, "sufficient": 2.0 * k + copies + 1, "exact": float(max(k + missing, k + 1))}
    elif diagram.family in ("subspace", "matrix_completion"):
        curves["exact"] = float(k + Fraction(diagram.n - k, G))
    return curves
