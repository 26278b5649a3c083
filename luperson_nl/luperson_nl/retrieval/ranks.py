"""Ranks of the right pictures without sorting the gallery.

Only the few distances of a query's matches are gathered; what is not farther than the farthest of them is kept, and the
ranks are counted in it by search. The result is what a stable sort of the whole row gives: equal distances are ranked by
their index in the gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

SameCamera = Literal["drop", "keep"]


class Matches:
    """Which pictures of the gallery are right for a query, and which must not count.

    Args:
        query_pid, query_camera: (q,); the person -1 is nobody, and has no matches.
        gallery_pid, gallery_camera: (g,).
        same_camera: pictures of the same person from the query's own camera are dropped (the rule of Market-1501), or
            kept.
        query_paths, gallery_paths: (q,) and (g,) names, where they are known: the query's own picture is dropped.
    """

    def __init__(
        self,
        query_pid: np.ndarray,
        query_camera: np.ndarray,
        gallery_pid: np.ndarray,
        gallery_camera: np.ndarray,
        same_camera: SameCamera = "drop",
        query_paths: np.ndarray | None = None,
        gallery_paths: np.ndarray | None = None,
    ) -> None:
        self._order = np.argsort(gallery_pid, kind="stable")
        known = gallery_pid[self._order]
        self._first = np.searchsorted(known, query_pid, "left")
        self._last = np.where(query_pid == -1, self._first, np.searchsorted(known, query_pid, "right"))
        self._drop_camera = same_camera == "drop"
        self._query_camera, self._camera = query_camera, gallery_camera[self._order]
        self._query_paths = query_paths if query_paths is not None and gallery_paths is not None else None
        self._paths = gallery_paths[self._order] if gallery_paths is not None else None

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Ascending indices of the matches in the gallery, and of what is dropped."""
        members = slice(self._first[query], self._last[query])
        dropped = np.zeros(members.stop - members.start, dtype=bool)
        if self._drop_camera:
            dropped |= self._camera[members] == self._query_camera[query]
        if self._query_paths is not None and self._paths is not None:
            dropped |= self._paths[members] == self._query_paths[query]
        index = self._order[members]
        return index[~dropped], index[dropped]

    def same_person(self) -> np.ndarray:
        """How many pictures of the gallery show the person of each query, dropped ones included: (q,)."""
        return self._last - self._first


def ranks(row: np.ndarray, matches: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Ranks of the matches among what is kept of the gallery, from 1, ascending.

    Args:
        row: (g,) distances of one query. Changed while this runs, and as it was afterwards.
        matches: ascending indices, at least one.
        dropped: indices of what does not count, none of them a match.
    """
    hidden = row[dropped]
    row[dropped] = np.inf
    value = row[matches]
    order = value.argsort(kind="stable")
    value, place = value[order], matches[order]
    kept = row.compress(row <= value[-1])  # free of branches, unlike row[mask]
    kept.sort()
    before = kept.searchsorted(value, "left")
    found = before + 1
    for tied in np.flatnonzero(kept.searchsorted(value, "right") - before > 1):
        found[tied] += np.count_nonzero(row[: place[tied]] == value[tied])
    row[dropped] = hidden
    return found


def ranks_of_chunk(
    distances: np.ndarray, matches: Matches, start: int = 0
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """For each query of a chunk that has a match: its number, ranks, and the indices of matches and dropped pictures.

    Args:
        distances: (r, g) of the queries ``start`` to ``start + r``.
        matches: of all queries.
        start: number of the first row's query.
    """
    for number, row in enumerate(distances, start):
        right, dropped = matches.of(number)
        if len(right):
            yield number, ranks(row, right, dropped), right, dropped
