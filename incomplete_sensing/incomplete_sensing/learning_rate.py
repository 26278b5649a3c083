"""The published learning-rate schedules."""

import math
from collections.abc import Sequence


def learning_rate(epoch: int, base: float, epochs: int, milestones: Sequence[int] = (), cosine: bool = False) -> float:
    """The rate of an epoch, counted from 0: a tenth at each milestone passed, or base (1 + cos(pi epoch / epochs)) / 2."""
    if cosine:
        return base * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    return base * 0.1 ** sum(epoch >= milestone for milestone in milestones)
