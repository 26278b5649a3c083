"""Who lends the inner face: a candidate whose landmarks are close (spec 2.3, step 5)."""

from __future__ import annotations

import numpy as np

from ict_deepfake.swapping.masks import five_points


def nearest_donor(
    points: np.ndarray,
    candidates_points: np.ndarray,
    rng: np.random.Generator,
    count: int = 32,
    allowed: np.ndarray | None = None,
) -> np.ndarray:
    """The nearest of some random candidates, by the sum of the distances of the five points.

    Args:
        points: (n, 68, 2) or (n, 5, 2) of n targets; or of one, without n.
        candidates_points: (m, 68, 2) or (m, 5, 2) in the same frame.
        rng: draws the candidates, with replacement.
        count: of candidates that are looked at.
        allowed: (n, m) or (m,) which candidates may be taken; all where not given.

    Returns:
        (n,) indices of candidates, or one index.

    Raises:
        ValueError: nobody is allowed for a target.
    """
    single = points.ndim == 2
    targets, pool = five_points(points[None] if single else points), five_points(candidates_points)
    shape = (len(targets), len(pool))
    allowed = np.ones(shape, bool) if allowed is None else np.broadcast_to(allowed, shape)
    if not allowed.any(1).all():
        raise ValueError("a target has no candidate that is allowed")
    drawn = rng.integers(len(pool), size=(len(targets), count))
    usable = np.take_along_axis(allowed, drawn, 1)
    for row in np.flatnonzero(~usable.any(1)):
        drawn[row], usable[row] = rng.choice(np.flatnonzero(allowed[row]), count), True
    distance = np.linalg.norm(pool[drawn] - targets[:, None], axis=3).sum(2)
    distance[~usable] = np.inf
    best = drawn[np.arange(len(targets)), distance.argmin(1)]
    return best[0] if single else best
