"""Learning rates over a training, as factors for ``torch.optim.lr_scheduler.LambdaLR`` (published: mmcv 1.x hooks).

The warm-up multiplies what the schedule gives at that iteration; iterations count from 0, before the step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import cos, pi

Factor = Callable[[int], float]


def warm_up(iteration: int, iterations: int, ratio: float) -> float:
    """Linear from ``ratio`` at iteration 0 to 1 at ``iterations``."""
    if iteration >= iterations:
        return 1.0
    return 1 - (1 - iteration / iterations) * (1 - ratio)


def poly(
    iterations: int,
    power: float = 1.0,
    warmup_iterations: int = 1500,
    warmup_ratio: float = 1e-6,
    minimum: float = 0.0,
) -> Factor:
    """(1 - t / iterations)^power down to ``minimum``, warmed up: the recipe of ADE20K.

    Args:
        iterations: of the whole training.
        power: of the decay.
        warmup_iterations: 0: none.
        warmup_ratio: factor of the first iteration.
        minimum: the last factor, as a share of the base learning rate.

    Returns:
        t -> factor of the base learning rate.
    """

    def factor(iteration: int) -> float:
        left = max(0.0, 1 - iteration / iterations) ** power
        return warm_up(iteration, warmup_iterations, warmup_ratio) * ((1 - minimum) * left + minimum)

    return factor


def step(
    milestones: Sequence[int], gamma: float = 0.1, warmup_iterations: int = 500, warmup_ratio: float = 0.001
) -> Factor:
    """``gamma`` to the number of milestones passed, warmed up: the recipe of COCO.

    Args:
        milestones: iterations (epochs 8 and 11 of 12 times the batches of an epoch), in order.
        gamma: factor of each.
        warmup_iterations: 0: none.
        warmup_ratio: factor of the first iteration.

    Returns:
        t -> factor of the base learning rate.
    """
    ordered = sorted(milestones)

    def factor(iteration: int) -> float:
        return warm_up(iteration, warmup_iterations, warmup_ratio) * gamma ** bisect_right(ordered, iteration)

    return factor


def linear(iterations: int, warmup_iterations: int = 20, minimum: float = 0.0) -> Factor:
    """Up from 1 / warmup_iterations, then evenly down to ``minimum``: of the small recipes [ours]."""

    def factor(iteration: int) -> float:
        if iteration < warmup_iterations:
            return (iteration + 1) / warmup_iterations
        left = max(0.0, 1 - (iteration - warmup_iterations) / max(1, iterations - warmup_iterations))
        return (1 - minimum) * left + minimum

    return factor


def cosine(iterations: int, warmup_iterations: int = 0, minimum: float = 0.01) -> Factor:
    """Up from 1 / warmup_iterations, then half a cosine down to ``minimum``: of pre-training (Swin)."""

    def factor(iteration: int) -> float:
        if iteration < warmup_iterations:
            return (iteration + 1) / warmup_iterations
        done = min(1.0, (iteration - warmup_iterations) / max(1, iterations - warmup_iterations))
        return minimum + (1 - minimum) * 0.5 * (1 + cos(pi * done))

    return factor
