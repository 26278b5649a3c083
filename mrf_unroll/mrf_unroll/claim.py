"""The papers' claim, compared with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mrf_unroll.evaluation import FLOOR, Comparison, average, title
from shared_utils import UserError
from shared_utils.claim import Claim, Figure, Table

ORDER = ("unrolled", "unet", "low_rank", "svd_mrf")
CLAIM = (
    "At the same undersampling the unrolled network is better than a U-Net trained end to end, the U-Net than low-rank"
    " inversion with dictionary matching, and that than zero-filled matching, in the NRMSE of T1 and of T2 and in every"
    " seed; LRTV, locally low rank, PnP-ADMM and MRF-ResNet are worse than the unrolled network too, although they are tuned"
    " on the training slices; and leaving data consistency out makes it worse."
)


def judge(tables: Sequence[list[dict[str, Any]]], seeds: Sequence[int]) -> Claim:
    """Whether the order of methods holds in T1 and in T2 and in every seed.

    Args:
        tables: a table a seed, as ``evaluation.summary`` gives it.
        seeds: their seeds.

    Raises:
        UserError: a method of the order is missing.
    """
    by_seed = [{row["method"]: row for row in one} for one in tables]
    if missing := [name for name in ORDER if name not in by_seed[0]]:
        raise UserError(f"the claim needs {', '.join(missing)} in the table: compare all methods")
    pairs = [*pairwise(ORDER), *(("unrolled", name) for name in by_seed[0] if name not in (*ORDER, FLOOR))]
    holding, failed = [], []
    for better, worse in pairs:
        for name in ("T1", "T2"):
            ratios = [own[worse][f"{name} NRMSE"] / own[better][f"{name} NRMSE"] for own in by_seed]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            sentence = f"{name}: {title(worse)} has {spread} times the error of {title(better)}"
            (holding if min(ratios) > 1 else failed).append(sentence)
    return Claim(
        claim=CLAIM,
        holds=not failed,
        verdict="; ".join(failed or holding),
        tables=[
            Table("Errors on test slices that training has not seen, mean over the seeds", average(tables)),
            Table("T1 and T2 NRMSE by seed", [_by_seed(name, by_seed, seeds) for name in by_seed[0]]),
        ],
        figures=[
            Figure("figures/maps.png", "one test slice by every method, and its errors, in fixed windows"),
            Figure("figures/iterations.png", "NRMSE after each iteration of the unrolled network"),
        ],
        seeds=list(seeds),
    )


def _by_seed(method: str, by_seed: Sequence[dict[str, dict[str, Any]]], seeds: Sequence[int]) -> dict[str, Any]:
    errors = {
        f"{name}, seed {seed}": own[method][f"{name} NRMSE"]
        for name in ("T1", "T2")
        for seed, own in zip(seeds, by_seed, strict=True)
    }
    return {"method": title(method), **errors}


def verdict(comparison: Comparison) -> str:
    """What the claim comes to, in a sentence; empty for one seed, or where a method of the order was left out."""
    if len(comparison.tables) < 2 or not set(ORDER) <= {row["method"] for row in comparison.tables[0]}:
        return ""
    judged = judge(comparison.tables, comparison.seeds)
    return f"the claim {'holds' if judged.holds else 'does not hold'}: {judged.verdict}"
