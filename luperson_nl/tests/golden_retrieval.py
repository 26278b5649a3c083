"""Adapters of the golden cases of rank metrics, re-ranking and query expansion."""

import numpy as np

from luperson_nl import retrieval
from luperson_nl.retrieval import Features, Matches


def _ids(case):
    return [case.inputs()[name].astype(int) for name in ("q_pids", "q_camids", "g_pids", "g_camids")]


def metrics(case):
    """``eval_market1501`` of fast-reid, and ``compute_mAP`` of the pre-training script, on given distances."""
    distances, max_rank = case.inputs()["distmat"], case.config["max_rank"]
    q_pid, q_camera, g_pid, g_camera = _ids(case)

    def scores(protocol, kept):
        matches = Matches(q_pid, q_camera, g_pid[kept], g_camera[kept])
        return retrieval.rank_scores([distances[:, kept]], matches, len(q_pid), protocol, max_rank)

    fastreid = scores("fastreid", np.ones(len(g_pid), bool))
    trapezoid = scores("market-trapezoid", g_pid != -1)
    valid = np.isfinite(fastreid.ap)
    return {
        "cmc": fastreid.cmc,
        "AP": fastreid.ap[valid],
        "INP": fastreid.inp[valid],
        "mAP": fastreid.mAP,
        "mINP": fastreid.mINP,
        "pnl_AP_trapezoid": np.nan_to_num(trapezoid.ap),
        "pnl_mAP": trapezoid.mAP,
        "pnl_cmc": trapezoid.cmc,
    }


def rerank_aqe(case):
    """``re_ranking`` and ``aqe`` of fast-reid, and its metrics before and after."""
    config, inputs = case.config, case.inputs()
    q_pid, q_camera, g_pid, g_camera = _ids(case)
    query, gallery = Features(inputs["q_feats"], q_pid, q_camera), Features(inputs["g_feats"], g_pid, g_camera)

    def five(rerank):
        scores = retrieval.evaluate_retrieval(query, gallery, rerank=rerank, max_rank=10)
        return [scores.mAP, scores.mINP, *scores.cmc[[0, 4, 9]]]

    raw = inputs["q_feats"], inputs["g_feats"]
    arrays = query.normalised().array, gallery.normalised().array
    settings = {"k1": config["k1"], "k2": config["k2"], "weight": config["lambda"]}
    expanded = retrieval.expand(*raw, count=config["qe_k"], alpha=config["qe_alpha"])
    return {
        "metrics_cosine": five(False),
        "metrics_rerank_cosine": five(True),
        "rerank_cosine": retrieval.Reranked(*arrays, **settings).of(slice(None)),
        "rerank_euclidean": retrieval.Reranked(*raw, **settings, distance="euclidean").of(slice(None)),
        "aqe_query": expanded[0],
        "aqe_gallery": expanded[1],
    }


ADAPTERS = {
    "metrics": metrics,
    "features_eval": rerank_aqe,
    "upstream fast-reid": metrics,
    "fast-reid: evaluation/rerank.py re_ranking, query_expansion.py aqe, rank.py": rerank_aqe,
}
