"""Scores clip by clip: shared over processes, and kept on disk where there is a folder for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shared_utils import distributed
from shared_utils.logging import progress
from shared_utils.work import Work


def computed(
    names: Sequence[str], compute: Callable[[str], Mapping[str, Any]], description: str, store: Work | None
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The arrays of every name, in order, on every rank; each rank computes its share.

    Args:
        names: of the parts.
        compute: the arrays of a part.
        description: of the progress.
        store: keeps finished parts for ``--resume``; None: in memory alone.
    """
    if store is not None:
        store.finish(names, compute, description)
        for name in names:
            yield name, store.read(name)
        return
    own = {name: compute(name) for name in progress(distributed.share(names), description)}
    everything = {name: part for parts in distributed.gather_objects(own) for name, part in parts.items()}
    for name in names:
        yield name, {key: np.asarray(value) for key, value in everything[name].items()}
