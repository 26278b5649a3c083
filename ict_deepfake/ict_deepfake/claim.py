"""What the paper claims, compared with what ``compare`` measured on parametric people. Thresholds were fixed before the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ict_deepfake.comparison.plan import CHANGES, KINDS, ROWS, SHOWN, mean_and_range
from shared_utils import UserError, claim, cli
from shared_utils.claim import Claim, Figure, Finding, Table

RESULTS = "results.json"
MARGIN = 0.05
"""AUC by which ICT, and ICT-Ref once more, must be above the binary network on re-renders, in the mean over seeds."""
CHANCE, NEAR = 0.5, 0.05
"""What is no swap must be within this distance of chance, in the mean over seeds."""
UNSEEN = 0.60
"""AUC that the binary network stays below on re-renders, a kind of swap that it was not trained on."""
ABSENT = 0.03
"""AUC that ICT-Ref may lose to ICT where the person is not in the set, in the mean over seeds and both swaps."""

CLAIM = (
    "Trained on blended pairs of real identities alone, ICT finds swaps of a kind that it has never seen, of people that it has "
    f"never seen: on re-renders without a trace it is at least {MARGIN:g} AUC above an equally large binary network trained on "
    f"the same blends with the same augmentation, and above it in every seed, while that network stays below {UNSEEN:g}; blur "
    "and noise cost it less on blends; what is no swap (the same person blended in, or with another expression) is within "
    f"{NEAR:g} of chance; references of the person raise the AUC on both kinds of swaps in every seed, and where the person is "
    f"absent ICT-Ref loses at most {ABSENT:g} to ICT; without the consistency loss ICT is worse on blends."
)
CAPTIONS = {
    "auc.png": "AUC by suspect and method, mean over seeds, and every seed as a dot",
    "private.png": "AUC over the share r of the inner face that the outer face does not show: what only references can know",
    "references.png": "ICT-Ref over the number of reference pictures of each person",
    "histograms.png": "ICT's score of genuine pictures and of each kind of suspect",
    "embeddings.png": "inner (dots) and outer (crosses) embeddings of eight test persons (PCA)",
    "suspects.png": "genuine pictures of the parametric people, and the four suspects made of each",
    "attention.png": "where the inner and the outer token look: attention rollout over the patches",
}


def read_results(folder: str | Path) -> dict[str, Any]:
    """What ``compare`` has written.

    Raises:
        UserError: it is not there, or not whole.
    """
    return claim.read_results(Path(folder) / RESULTS, "compare", cli.command("compare"), {"plan", "rows", "tries"})


def auc(results: dict[str, Any], row: str, case: str) -> np.ndarray:
    """AUC of a row, a value a seed.

    Args:
        results: of ``compare``.
        row: name of ``ROWS``.
        case: "CHANGE/KIND".

    Raises:
        UserError: the row was not run.
    """
    for found in results["rows"]:
        if found["row"] == row:
            return np.array(found["auc"][case])
    raise UserError(f"compare has not run {ROWS[row].title}, which the claim is about: run all trainings")


def _shown(values: np.ndarray, form: str = "+.3f") -> str:
    return f"{np.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


def unseen_swaps(results: dict[str, Any]) -> Finding:
    """Whether ICT is above the binary network on re-renders."""
    gain = auc(results, "ict", "clean/rerender") - auc(results, "binary", "clean/rerender")
    return Finding(bool(gain.mean() >= MARGIN and (gain > 0).all()), f"re-renders, ICT - binary {_shown(gain)}")


def unseen_by_binary(results: dict[str, Any]) -> Finding:
    """Whether the binary network is near chance on re-renders."""
    values = auc(results, "binary", "clean/rerender")
    return Finding(bool(values.mean() <= UNSEEN), f"binary on re-renders {_shown(values, '.3f')}")


def copies(results: dict[str, Any]) -> Finding:
    """Whether blur and noise cost ICT less than the binary network on blends."""
    lost = {
        row: np.mean([auc(results, row, "clean/blend") - auc(results, row, f"{c}/blend") for c in ("blur", "noise")], 0)
        for row in ("ict", "binary")
    }
    holds = bool(lost["ict"].mean() < lost["binary"].mean())
    return Finding(holds, f"blur and noise cost ICT {_shown(lost['ict'])}, the binary network {_shown(lost['binary'])}")


def controls(results: dict[str, Any]) -> Finding:
    """Whether what is no swap is near chance."""
    means = {
        f"{ROWS[row].title}, {SHOWN.get(kind, kind)}": float(auc(results, row, f"clean/{kind}").mean())
        for row in ("ict", "ref")
        for kind in ("self_blend", "reenact")
    }
    holds = all(abs(mean - CHANCE) <= NEAR for mean in means.values())
    return Finding(holds, "controls: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))


def references(results: dict[str, Any]) -> Finding:
    """Whether references of the person raise the AUC."""
    gains = {kind: auc(results, "ref", f"clean/{kind}") - auc(results, "ict", f"clean/{kind}") for kind in KINDS[:2]}
    holds = all((gain > 0).all() for gain in gains.values())
    return Finding(
        holds, "ICT-Ref - ICT: " + ", ".join(f"{SHOWN.get(kind, kind)} {_shown(gain)}" for kind, gain in gains.items())
    )


def references_and_unseen(results: dict[str, Any]) -> Finding:
    """Whether ICT-Ref is above the binary network on re-renders."""
    gain = auc(results, "ref", "clean/rerender") - auc(results, "binary", "clean/rerender")
    return Finding(bool(gain.mean() >= MARGIN and (gain > 0).all()), f"re-renders, ICT-Ref - binary {_shown(gain)}")


def absent(results: dict[str, Any]) -> Finding:
    """Whether ICT-Ref loses little where the person is not in the set."""
    lost = np.mean([auc(results, "ict", f"clean/{k}") - auc(results, "ref_absent", f"clean/{k}") for k in KINDS[:2]], 0)
    return Finding(bool(lost.mean() <= ABSENT), f"an absent person costs {_shown(lost)}")


def consistency(results: dict[str, Any]) -> Finding:
    """Whether the consistency loss helps the score without references on blends."""
    gain = auc(results, "ict", "clean/blend") - auc(results, "ict_lambda_0", "clean/blend")
    return Finding(bool(gain.mean() > 0), f"blends, lambda 1 - lambda 0 {_shown(gain)}")


PARTS: tuple[Callable[[dict[str, Any]], Finding], ...] = (
    unseen_swaps,
    references_and_unseen,
    unseen_by_binary,
    copies,
    controls,
    references,
    absent,
    consistency,
)


def beside(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What the claim does not depend on and a reader needs: a question and the answer in numbers."""
    lines = []

    def line(question: str, high: tuple[str, str], low: tuple[str, str]) -> None:
        there = {found["row"] for found in results["rows"]}
        if high[0] in there and low[0] in there:
            gain = auc(results, high[0], high[1]) - auc(results, low[0], low[1])
            lines.append({"question": question, "AUC": _shown(gain)})

    line("ICT, re-renders against blends", ("ict", "clean/rerender"), ("ict", "clean/blend"))
    line("told the name, against ICT-Ref, re-renders", ("claim", "clean/rerender"), ("ref", "clean/rerender"))
    line("told the name, against ICT-Ref, blends", ("claim", "clean/blend"), ("ref", "clean/blend"))
    line("lambda 1 against 0, ICT, re-renders", ("ict", "clean/rerender"), ("ict_lambda_0", "clean/rerender"))
    line("lambda 1 against 0, ICT-Ref, blends", ("ref", "clean/blend"), ("ref_lambda_0", "clean/blend"))
    line("lambda 1 against 0, ICT-Ref, re-renders", ("ref", "clean/rerender"), ("ref_lambda_0", "clean/rerender"))
    line("references at r = 0.3, re-renders", ("ref_r_0.3", "clean/rerender"), ("ict_r_0.3", "clean/rerender"))
    line("references at r = 0.9, re-renders", ("ref_r_0.9", "clean/rerender"), ("ict_r_0.9", "clean/rerender"))
    return lines


def quality_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """AUC against genuine pictures: mean over seeds and range."""
    cases = [f"{change}/{kind}" for change in CHANGES for kind in KINDS[:2]] + [f"clean/{kind}" for kind in KINDS[2:]]
    rows = []
    for found in results["rows"]:
        cells = {_named(case): mean_and_range(found["auc"][case]) for case in cases}
        rows.append({"method": ROWS[found["row"]].title, **cells})
    return rows


def _named(case: str) -> str:
    change, kind = case.split("/")
    kind = SHOWN.get(kind, kind)
    return kind if change == "clean" else f"{kind}, {change}"


def tries_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """AUC on the blends of the tuning seed's validation people; the chosen rate is marked."""
    return [
        {
            "method": tried["method"],
            "rate": tried["rate"],
            "validation AUC": f"{tried['val_auc']:.3f}{' *' if tried['chosen'] else ''}",
        }
        for tried in results["tries"]
    ]


def tables(results: dict[str, Any]) -> list[Table]:
    """All tables that have rows."""
    listed = (
        Table("AUC against genuine pictures of people not seen in training", quality_table(results)),
        Table("Beside the claim (AUC differences, by seed)", beside(results)),
        Table("Tries of the rate (*: chosen)", tries_table(results)),
    )
    return [table for table in listed if table.rows]


def judge(results: dict[str, Any], shown: Sequence[Figure] = ()) -> Claim:
    """The paper's claim, judged by what was measured.

    Args:
        results: of ``compare``.
        shown: figures of the claim's page.

    Raises:
        UserError: a training that the claim is about was not run.
    """
    return claim.of_findings(CLAIM, [part(results) for part in PARTS], tables(results), shown, results["plan"]["seeds"])


def write_claim(compared: str | Path, out: str | Path) -> Claim:
    """Judge a folder of ``compare``; ``claim.json`` and its figures go into ``out``."""
    results = read_results(compared)
    return claim.write_judged(lambda shown: judge(results, shown), CAPTIONS, compared, out)
