"""What ``conditions --completion`` answers: can the missing entries of this matrix be known?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from incomplete_sensing.data.arrays import read_array
from incomplete_sensing.identifiability import completion
from shared_utils import UserError


def completion_answer(path: str | Path, k: float | None) -> tuple[list[str], bool]:
    """Lines to print, and whether the matrix in ``path`` (NaN where an entry is missing) can be completed at rank k.

    Raises UserError where there is no k, or no matrix.
    """
    if k is None or k != int(k):
        raise UserError(f"k = {k}: give the rank of the completed matrix, a whole number (--k)")
    matrix = read_array(path, "a matrix with NaN for what is missing", missing=True)
    if matrix.ndim != 2 or not matrix.size:
        raise UserError(f"{path} has shape {matrix.shape}: a matrix (n, N) with NaN for what is missing is needed")
    seen = ~np.isnan(matrix)
    found = completion(seen, int(k))
    rows, columns = found.shape
    lines = [
        f"a {rows} x {columns} matrix, {found.seen} of its {rows * columns} entries there; matrices of rank {found.k} have "
        f"{found.dimension} dimensions"
    ]
    if found.seen < found.dimension:
        lines.append("  necessary: as many entries as dimensions; there are fewer")
    if found.short_columns or found.short_rows:
        lines.append(
            f"  necessary: at least {found.k} entries in every row and column; {found.short_rows} rows and "
            f"{found.short_columns} columns have fewer"
        )
    lines.append(
        f"  the pattern, tested at a random matrix of rank {found.k}: "
        + (
            f"finitely many completions (smallest singular value {found.smallest:.2g} of the largest)"
            if found.possible
            else f"completions have {found.free} free dimensions"
        )
    )
    lines.append(
        "This can be completed, for almost every matrix of that rank: finitely many candidates, not always one."
        if found.possible
        else "This cannot be completed, by no method: other matrices of that rank have the same entries."
    )
    return lines, found.possible
