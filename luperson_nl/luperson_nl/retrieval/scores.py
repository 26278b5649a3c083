"""mAP, mINP, CMC and TPR@FPR of a retrieval, a chunk of queries at a time: memory is O(chunk x gallery)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from luperson_nl.retrieval.distances import Cosine, Distances, chunks
from luperson_nl.retrieval.expansion import expand
from luperson_nl.retrieval.features import Features, together
from luperson_nl.retrieval.ranks import Matches, SameCamera, ranks_of_chunk
from luperson_nl.retrieval.reranking import RerankDistance, Reranked
from luperson_nl.retrieval.roc import RocCounts
from luperson_nl.retrieval.single_shot import SingleShot
from shared_utils import UserError, logging

Protocol = Literal["fastreid", "market-trapezoid", "single-shot"]


@dataclass(frozen=True)
class Scores:
    """What a retrieval is worth.

    Args:
        mAP, mINP: means over the queries; of ``market-trapezoid`` over all of them, those without a match as 0.
        cmc: (max_rank,) share of queries with a match among the first k.
        valid: number of queries with a match that counts.
        queries: number of all queries.
        ap, inp: (queries,) average and inverse negative precision of each; NaN where it has no match.
        tpr: true positive rate at each false positive rate; empty where it was not asked for.
    """

    mAP: float
    mINP: float
    cmc: np.ndarray
    valid: int
    queries: int
    ap: np.ndarray
    inp: np.ndarray
    tpr: dict[float, float] = field(default_factory=dict)

    def row(self) -> dict[str, float | int]:
        """The scores as a row of a table, shares in percent."""
        shown = {f"rank-{k}": 100 * float(self.cmc[k - 1]) for k in (1, 5, 10) if k <= len(self.cmc)}
        rates = {f"TPR@FPR={rate:.0e}": 100 * value for rate, value in self.tpr.items()}
        return {"mAP": 100 * self.mAP, "mINP": 100 * self.mINP, **shown, **rates, "valid queries": self.valid}


class Totals:
    """Sums the scores of queries as their ranks come in.

    Args:
        queries: how many there are.
        protocol: ``fastreid``: AP = mean of i / r_i, means over queries that have a match. ``market-trapezoid`` (the
            pre-training script): AP by the trapezoid rule, sums over all queries. ``single-shot`` (the old one of CUHK03):
            as ``fastreid``, with the CMC of galleries of one picture a person.
        max_rank: length of the CMC.
    """

    def __init__(self, queries: int, protocol: Protocol, max_rank: int) -> None:
        self._trapezoid = protocol == "market-trapezoid"
        self._first = np.zeros(max_rank, dtype=np.int64)
        self._inp = np.full(queries, np.nan)
        self._ap = np.full(queries, np.nan)

    def add(self, query: int, ranks: np.ndarray) -> None:
        """The ascending ranks of a query's matches."""
        count = len(ranks)
        found = np.arange(1, count + 1)
        precision = found / ranks
        if self._trapezoid:
            precision += (found - 1) / np.maximum(ranks - 1, 1)
            precision[0] += ranks[0] == 1
            precision /= 2
        self._ap[query] = precision.sum() / count
        self._inp[query] = count / ranks[-1]
        if ranks[0] <= len(self._first):
            self._first[ranks[0] - 1] += 1

    def scores(self, tpr: dict[float, float] | None = None) -> Scores:
        """The means; all 0 where no query has a match."""
        valid = int(np.isfinite(self._ap).sum())
        total = len(self._ap) if self._trapezoid else max(valid, 1)
        return Scores(
            mAP=float(np.nansum(self._ap)) / total,
            mINP=float(np.nansum(self._inp)) / total,
            cmc=self._first.cumsum() / total,
            valid=valid,
            queries=len(self._ap),
            ap=self._ap,
            inp=self._inp,
            tpr=tpr or {},
        )


def rank_scores(
    chunks_of_distances: Iterable[np.ndarray],
    matches: Matches,
    queries: int,
    protocol: Protocol = "fastreid",
    max_rank: int = 50,
    roc: RocCounts | None = None,
    single_shot: SingleShot | None = None,
) -> Scores:
    """Scores of given distances.

    Args:
        chunks_of_distances: (r, g) arrays, the rows of the queries in their order; a whole (q, g) matrix is ``[matrix]``.
            They are written to while this runs, and left as they were.
        matches: which picture is right for which query.
        queries: number of rows in all.
        protocol: see ``Totals``. For ``market-trapezoid`` junk (id -1) must not be in the gallery.
        max_rank: length of the CMC; of a smaller gallery the last value is repeated.
        roc: also collect TPR@FPR in it.
        single_shot: collect the CMC in it.

    Raises:
        UserError: no query has a match.
    """
    totals = Totals(queries, protocol, max_rank)
    start = 0
    for distances in chunks_of_distances:
        rows, right, dropped = [], [], []
        for query, ranks, its_matches, its_dropped in ranks_of_chunk(distances, matches, start):
            totals.add(query, ranks)
            rows.append(query - start)
            if single_shot is not None:
                single_shot.add(distances[query - start], its_matches)
            right.append(its_matches)
            dropped.append(its_dropped)
        if roc is not None:
            roc.add(distances if len(rows) == len(distances) else distances[rows], right, dropped)
        start += len(distances)
    scores = totals.scores(roc.rates() if roc is not None else None)
    if not scores.valid:
        raise no_valid_query(matches, queries)
    return scores if single_shot is None else replace(scores, cmc=single_shot.cmc())


def no_valid_query(matches: Matches, queries: int) -> UserError:
    """What to say where no query has a match that counts."""
    with_person = int((matches.same_person() > 0).sum())
    if with_person:
        return UserError(
            f"none of {queries} queries can be scored: all matches of the {with_person} whose person is in the gallery "
            "share the query's camera: add pictures of a second camera, or count them with --same_camera keep"
        )
    return UserError(
        f"none of {queries} queries can be scored: no picture of the gallery has the person of any query: "
        "check that both number the persons alike"
    )


@dataclass(frozen=True)
class Retrieval:
    """A query and a gallery made ready: distances on request, and which pictures are right.

    Args:
        distances: of every query to the gallery.
        matches: which picture is right for which query.
        gallery_rows: (g,) rows of the given gallery, without its junk.
        gallery_pid: (g,) the persons of these.
    """

    distances: Distances
    matches: Matches
    gallery_rows: np.ndarray
    gallery_pid: np.ndarray


def prepare(
    query: Features,
    gallery: Features,
    protocol: Protocol = "fastreid",
    *,
    same_camera: SameCamera = "drop",
    rerank: bool = False,
    rerank_distance: RerankDistance = "cosine",
    expansion: int = 0,
    device: str | torch.device = "cpu",
) -> Retrieval:
    """see ``evaluate_retrieval``. The few checks come first, the work of re-ranking and expansion is done here.

    Raises:
        UserError: no query has a match; features of different models, or with NaN in them.
    """
    kept = gallery.pid != -1 if protocol == "market-trapezoid" else np.ones(len(gallery), dtype=bool)
    rows = np.flatnonzero(kept)
    gallery = gallery[rows]
    matches = Matches(query.pid, query.camera, gallery.pid, gallery.camera, same_camera, query.paths, gallery.paths)
    if not any(len(matches.of(number)[0]) for number in range(len(query))):
        raise no_valid_query(matches, len(query))
    both = together(query, gallery)
    normalised = both.normalised().array
    if expansion:
        array = both.array.astype(np.float32)
        expanded = expand(array[: len(query)], array[len(query) :], count=expansion, device=device)
        normalised = replace(both, array=np.concatenate(expanded)).normalised().array
    arrays = normalised[: len(query)], normalised[len(query) :]
    if rerank:
        distances: Distances = Reranked(*arrays, distance=rerank_distance, device=device)
    else:
        distances = Cosine(*arrays, device=device)
    return Retrieval(distances, matches, rows, gallery.pid)


def evaluate_retrieval(
    query: Features,
    gallery: Features,
    protocol: Protocol = "fastreid",
    rerank: bool = False,
    expansion: int = 0,
    chunk: int | None = None,
    device: str | torch.device = "cpu",
    *,
    same_camera: SameCamera = "drop",
    rerank_distance: RerankDistance = "cosine",
    roc: bool = False,
    max_rank: int = 50,
    seed: int = 0,
) -> Scores:
    """Score a retrieval by its features.

    Args:
        query, gallery: the features; they are normalised here.
        protocol: ``fastreid``, ``market-trapezoid`` of the pre-training script, or ``single-shot`` (see ``Totals``).
        rerank: k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3), sparse.
        expansion: replace each feature by the weighted mean of that many nearest ones (average query expansion, weights
            cosine^3); 0 is off. With re-ranking it can lower the scores.
        chunk: queries at a time; as many as take 128 MB where None.
        device: where products of features are computed.
        same_camera: pictures of the person from the query's own camera are dropped, or kept.
        rerank_distance: what re-ranking squares: 1 - cosine (fast-reid), or the Euclidean distance (its first script).
        roc: also TPR@FPR.
        max_rank: length of the CMC.
        seed: of the galleries of ``single-shot``.

    Raises:
        UserError: no query has a match that counts; features of different models, or with NaN in them.
    """
    ready = prepare(
        query,
        gallery,
        protocol,
        same_camera=same_camera,
        rerank=rerank,
        rerank_distance=rerank_distance,
        expansion=expansion,
        device=device,
    )
    return score(ready, protocol, chunk, roc=roc, max_rank=max_rank, seed=seed)


def score(
    ready: Retrieval,
    protocol: Protocol = "fastreid",
    chunk: int | None = None,
    *,
    roc: bool = False,
    max_rank: int = 50,
    seed: int = 0,
) -> Scores:
    """Score what ``prepare`` has made ready; see ``evaluate_retrieval``."""
    queries, width = ready.distances.shape
    parts = logging.progress(list(chunks(queries, width, chunk)), "ranking")
    counts = RocCounts(ready.distances.limits) if roc else None
    single = SingleShot(ready.gallery_pid, max_rank, seed) if protocol == "single-shot" else None
    return rank_scores(map(ready.distances.of, parts), ready.matches, queries, protocol, max_rank, counts, single)
