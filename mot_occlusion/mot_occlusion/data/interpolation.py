"""Gaps of tracks filled afterwards: straight lines between where a person was lost and where they were found again."""

from __future__ import annotations

import numpy as np

from mot_occlusion.data.mot_format import Rows


def fill_gaps(rows: Rows, max_gap: int = 20) -> tuple[Rows, np.ndarray]:
    """Results with every gap of at most ``max_gap`` missing frames of an identity filled.

    Returns:
        All rows in order of the frames (ids inside a frame as they were, filled ones behind), and which (N,) were filled.
        Boxes and scores lie on straight lines between the two rows round the gap; the class is that of the first.
    """
    order = np.lexsort((rows.frames, rows.ids))
    first, second = order[:-1], order[1:]
    missing = rows.frames[second] - rows.frames[first] - 1
    chosen = (rows.ids[first] == rows.ids[second]) & (missing > 0) & (missing <= max_gap)
    first, second, missing = first[chosen], second[chosen], missing[chosen]
    left, right = np.repeat(first, missing), np.repeat(second, missing)
    step = np.arange(missing.sum()) - np.repeat(np.cumsum(missing) - missing, missing) + 1
    share = step / (np.repeat(missing, missing) + 1)

    def between(values: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - weight) * values[left] + weight * values[right]

    filled = Rows(
        rows.frames[left] + step,
        rows.ids[left],
        between(rows.boxes),
        between(rows.scores),
        rows.classes[left],
        rows.visibility[left],
    )
    together = Rows(*(np.concatenate(pair) for pair in zip(rows, filled, strict=True)))
    new = np.repeat([False, True], [len(rows.frames), len(filled.frames)])
    order = np.argsort(together.frames, kind="stable")
    return together.select(order), new[order]
