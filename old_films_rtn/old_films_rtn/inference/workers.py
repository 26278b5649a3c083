"""Shots in parallel on one machine: processes that share the missing shots of one job.

Every process works as the only one would, on whole shots of its own; what they keep, and so the film, is the same to the bit.
The lock on the work is held by the process that has started them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from shared_utils import UserError


def shares(lengths: dict[int, int], count: int) -> list[list[int]]:
    """Shots dealt to at most ``count`` processes so that their frames come out even: the longest first, each to whoever has
    the least; lengths: frames by the number of a shot. No share is empty."""
    dealt: list[list[int]] = [[] for _ in range(min(count, len(lengths)))]
    for number in sorted(lengths, key=lambda shot: (-lengths[shot], shot)):
        min(dealt, key=lambda share: sum(lengths[shot] for shot in share)).append(number)
    return [sorted(share) for share in dealt]


def in_processes(work: Callable[..., None], dealt: Sequence[Sequence[int]], *given: Any) -> None:
    """``work(*given, numbers)`` for every share of shots, each in a process of its own, which is also told its rank on the
    machine: so each takes another GPU where there are several, and the first alone shows progress.

    Raises:
        UserError: of a process; or one was killed.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    # A pool each: one process of a common pool could take two shares, and their rank is that of the process.
    pools = [ProcessPoolExecutor(1, context, _begin, (rank, len(dealt))) for rank in range(len(dealt))]
    try:
        waiting = [pool.submit(work, *given, list(numbers)) for pool, numbers in zip(pools, dealt, strict=True)]
        for each in waiting:
            each.result()
    except BrokenProcessPool:
        raise UserError(
            "a process of --workers was killed, out of memory most likely: go on with --resume and fewer --workers, or less"
            " --memory"
        ) from None
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _begin(rank: int, count: int) -> None:
    import torch

    from shared_utils import logging

    os.environ["LOCAL_RANK"] = str(rank)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    logging.configure()
