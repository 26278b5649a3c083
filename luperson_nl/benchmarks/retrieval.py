"""Rank metrics and re-ranking against the ways of fast-reid and torchreid on the same features: ratios of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py            everything, some minutes
    OMP_NUM_THREADS=1 python benchmarks/retrieval.py ranks      or: reranking, memory

One process, one thread, ``time.process_time``, median of several, ours and theirs one after the other; the results have to
agree before anything is timed. ``memory`` runs the large cases in a process each and prints their peak: 20,000 queries x
100,000 pictures x 256 dimensions, without and with TPR@FPR, and re-ranking of 40,000 features.

The other ways are written here from what the published evaluators do: fast-reid (evaluation/rank.py, rerank.py) and
torchreid (metrics/rank.py) sort every row and go through it in Python; re-ranking keeps tables of N x N.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from luperson_nl import retrieval
from luperson_nl.retrieval import Features, Matches, Reranked
from shared_utils import logging

MEGABYTE = 2**20


def features(pictures: int, persons: int, seed: int, noise: float = 1.6) -> Features:
    """Persons as directions of 256 dimensions; pictures of them with noise, and a shift by one of 6 cameras."""
    draw = np.random.default_rng(seed)
    of_person = np.random.default_rng(1).standard_normal((persons, 256), dtype=np.float32)
    of_camera = np.random.default_rng(2).standard_normal((6, 256), dtype=np.float32)
    pid, camera = draw.integers(persons, size=pictures), draw.integers(6, size=pictures)
    array = of_person[pid] + 0.6 * of_camera[camera]
    for start in range(0, pictures, 10_000):  # in parts: the peak of memory is measured
        rows = array[start : start + 10_000]
        spread = noise * draw.uniform(0.5, 1.5, (len(rows), 1)).astype(np.float32)
        rows += spread * draw.standard_normal(rows.shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Features(array, pid, camera)


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median of the CPU seconds of a call."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def by_sorting(distances, q_pid, g_pid, q_camera, g_camera, max_rank=50, inp=True):
    """Rank metrics as fast-reid's Python (with ``inp``) and torchreid's compute them: (cmc, mAP, mINP)."""
    order = np.argsort(distances, axis=1, kind="stable")
    all_cmc, all_ap, all_inp = [], [], []
    for query in range(len(distances)):
        its = order[query]
        keep = ~((g_pid[its] == q_pid[query]) & (g_camera[its] == q_camera[query]))
        raw = (g_pid[its] == q_pid[query]).astype(np.int32)[keep]
        if not np.any(raw):
            continue
        cmc = raw.cumsum()
        if inp:
            last = np.max(np.where(raw == 1))
            all_inp.append(cmc[last] / (last + 1.0))
        cmc[cmc > 1] = 1
        all_cmc.append(cmc[:max_rank])
        precision = [found / (place + 1.0) for place, found in enumerate(raw.cumsum())]
        all_ap.append((np.asarray(precision) * raw).sum() / raw.sum())
    return np.mean(all_cmc, 0), np.mean(all_ap), np.mean(all_inp) if inp else None


def by_tables(distances, queries, k1=20, k2=6, weight=0.3):
    """Re-ranking as published: tables of N x N, a loop over rows."""
    original = np.power(distances, 2).astype(np.float32)
    original = np.transpose(original / np.max(original, axis=0))
    encoded = np.zeros_like(original)
    rank = np.argsort(original, axis=1, kind="stable").astype(np.int32)
    total = len(original)

    def reciprocal(row, k):
        forward = rank[row, : k + 1]
        return forward[np.where(rank[forward, : k + 1] == row)[0]]

    for row in range(total):
        members = reciprocal(row, k1)
        expanded = members
        for candidate in members:
            its = reciprocal(candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(its, members)) > 2.0 / 3 * len(its):
                expanded = np.append(expanded, its)
        expanded = np.unique(expanded)
        value = np.exp(-original[row, expanded])
        encoded[row, expanded] = value / np.sum(value)
    original = original[:queries]
    mean = np.zeros_like(encoded)
    for row in range(total):
        mean[row] = np.mean(encoded[rank[row, :k2]], axis=0)
    encoded = mean
    listed = [np.where(encoded[:, column] != 0)[0] for column in range(total)]
    jaccard = np.zeros_like(original)
    for row in range(queries):
        least = np.zeros(total, dtype=np.float32)
        for column in np.where(encoded[row] != 0)[0]:
            least[listed[column]] += np.minimum(encoded[row, column], encoded[listed[column], column])
        jaccard[row] = 1 - least / (2.0 - least)
    return (jaccard * (1 - weight) + original * weight)[:, queries:]


def ranks() -> None:
    """Rank metrics of given distances: of a model that recognises people, and of one that recognises nobody."""
    rows = []
    for noise in (1.6, 50.0):
        for width, mine, theirs in ((4_000, 1000, 40), (16_000, 400, 20), (100_000, 100, 6)):
            query, gallery = (features(count, width // 21, count, noise) for count in (mine, width))
            rows.append({"gallery": width} | ratios(query, gallery, theirs))
    print(logging.table(rows, "rank metrics: time of the others over ours"))


def ratios(query: Features, gallery: Features, few: int) -> dict[str, float]:
    """Time of a query, and how many times as long the others take for the ``few`` first ones."""
    distances = 1 - query.array @ gallery.array.T

    def ours(count: int) -> retrieval.Scores:
        asked = query[:count]
        matches = Matches(asked.pid, asked.camera, gallery.pid, gallery.camera)
        return retrieval.rank_scores([distances[:count]], matches, count)

    def theirs(inp: bool):
        return by_sorting(distances[:few], query.pid[:few], gallery.pid, query.camera[:few], gallery.camera, inp=inp)

    scores, (cmc, mean_ap, mean_inp) = ours(few), theirs(True)
    error = float(max(np.abs(scores.cmc - cmc).max(), abs(scores.mAP - mean_ap), abs(scores.mINP - mean_inp)))
    assert error < 1e-6, f"the scores differ by {error:.2g}"
    own = seconds(lambda: ours(len(query)), 7) / len(query)
    return {
        "mAP": 100 * ours(len(query)).mAP,
        "ours, ms a query": 1000 * own,
        "argsort alone": seconds(lambda: np.argsort(distances[:few], axis=1), 5) / few / own,
        "fast-reid": seconds(lambda: theirs(True), 3) / few / own,
        "torchreid": seconds(lambda: theirs(False), 3) / few / own,
        "largest difference": error,
    }


def reranking() -> None:
    """Re-ranking with 10 % of the features as queries."""
    rows = []
    for total, repeats in ((3_000, 5), (8_000, 3)):
        queries = total // 10
        query, gallery = features(queries, total // 20, 3), features(total - queries, total // 20, 4)
        arrays = query.array, gallery.array
        both = np.concatenate(arrays)

        def ours(arrays=arrays):
            return Reranked(*arrays).of(slice(None))

        def theirs(both=both, queries=queries):
            return by_tables(1 - both @ both.T, queries)

        error = float(np.abs(ours() - theirs()).max())
        assert error < 1e-6, f"the distances differ by {error:.2g}"
        own, tables = seconds(ours, repeats), seconds(theirs, 1 if total > 5000 else 3)
        rows.append({"N": total, "ours, s": own, "tables of N x N": tables / own, "largest difference": error})
    print(logging.table(rows, "re-ranking: time of the published way over ours"))


def large_evaluation() -> None:
    """20,000 queries, 100,000 pictures, 256 dimensions."""
    query, gallery = features(20_000, 5_000, 3), features(100_000, 5_000, 4)
    distances = retrieval.Cosine(query.array, gallery.array)
    products = 80 * seconds(lambda: distances.of(slice(0, 250)), 3)  # more at once would set the peak
    start = time.process_time()
    scores = retrieval.evaluate_retrieval(query, gallery)
    whole = time.process_time() - start
    row = {"mAP": 100 * scores.mAP, "products alone, s": products, "evaluation, s": whole, "ratio": whole / products}
    print(logging.table([row | {"peak, MB": peak()}], "20,000 queries x 100,000 pictures x 256 dimensions"))


def large_roc() -> None:
    """The same with TPR@FPR."""
    query, gallery = features(20_000, 5_000, 3), features(100_000, 5_000, 4)
    start = time.process_time()
    scores = retrieval.evaluate_retrieval(query, gallery, roc=True)
    row = {"mAP": 100 * scores.mAP, "evaluation, s": time.process_time() - start, "peak, MB": peak()}
    print(logging.table([row], "the same with TPR@FPR"))


def large_reranking() -> None:
    """N = 40,000: 4,000 queries, 36,000 pictures."""
    query, gallery = features(4_000, 2_000, 3), features(36_000, 2_000, 4)
    start = time.process_time()
    scores = retrieval.evaluate_retrieval(query, gallery, rerank=True)
    row = {"mAP": 100 * scores.mAP, "s": time.process_time() - start, "peak, MB": peak()}
    print(logging.table([row], "re-ranking and evaluation of N = 40,000"))


def peak() -> int:
    """Largest memory of this process so far, MB. Linux counts the process that started it into ``ru_maxrss``."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 // MEGABYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MEGABYTE


def memory() -> None:
    """The large cases, a process each, so that none sees another's peak."""
    for name in ("large_evaluation", "large_roc", "large_reranking"):
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parts = {part.__name__: part for part in (ranks, reranking, memory, large_evaluation, large_roc, large_reranking)}
    for name in sys.argv[1:] or ["ranks", "reranking", "memory"]:
        parts[name]()
        print()
