"""What the paper claims, compared with what ``compare`` measured on procedural mouths. Thresholds were fixed before the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake.comparison.plan import CHANGES, LEFT_OUT, ROWS, SHUFFLED_FRAMES, STATISTICS, TITLES, mean_and_range
from shared_utils import UserError, claim, cli
from shared_utils.claim import Claim, Figure, Finding, Table

RESULTS = "results.json"
SCRATCH = 0.10
"""AUC by which the pre-trained, frozen front-end must be above training from scratch in the mean over seeds."""
LONG = 0.05
"""The same above training from scratch for ten times the steps, on the methods that this was run for."""
CHANCE, NEAR = 0.5, 0.1
"""What must not work (a single frame, shuffled frames, blurred genuine clips) is within this distance of chance."""
RANDOM = 0.10
"""AUC by which it must be above a random front-end, frozen."""
EASY, HARD, NOTHING = 0.5, 0.3, 0.05
"""Top-1 of the easy and of the hard set, both ways; and what training on others' sound must stay below on the easy one."""
IN_TIME = 0.9
"""Share of easy clips whose offset is found within a frame."""
NOISE = 0.05
"""AUC that pre-training on hard clips must cost on compressed clips."""

CLAIM = (
    "Learning from unlabelled talking mouths how they move with their sound makes a detector of forged motion that transfers: "
    "with the pre-trained front-end frozen, the mean AUC over manipulations that were left out of the training is at least "
    f"{SCRATCH:g} above training from scratch, and {LONG:g} above it with ten times the steps at a tuned rate, clean and "
    f"compressed and in every seed; it is {RANDOM:g} above a random frozen front-end and above a regression on hand-made "
    f"statistics of motion; a single frame, shuffled frames and blurred genuine clips stay within {NEAR:g} of chance; sound is "
    f"found among unseen speakers (top-1 {EASY:g} on the easy and {HARD:g} on the hard set, both ways) and within a frame on "
    f"{IN_TIME:.0%} of the clips, but not after training on others' sound (top-1 below {NOTHING:g}); and pre-training on hard "
    f"clips costs {NOISE:g}."
)
CAPTIONS = {
    "auc.png": "AUC by method left out, clean and compressed: mean over seeds, and every seed as a dot",
    "similarity.png": "cosines of pictures and sounds of 64 unseen clips, less the means of rows and columns",
    "mouths.png": "procedural mouths: genuine, the four manipulations, and the hard set",
}


def read_results(folder: str | Path) -> dict[str, Any]:
    """What ``compare`` has written.

    Raises:
        UserError: it is not there, or not whole.
    """
    return claim.read_results(
        Path(folder) / RESULTS, "compare", cli.command("compare"), {"plan", "rows", "pretrainings", "tries", "blurred"}
    )


def _row(results: dict[str, Any], row: str) -> dict[str, Any]:
    for found in results["rows"]:
        if found["row"] == row:
            return found
    raise UserError(f"compare has not run {TITLES[row]!r}, which the claim is about: finish it with --resume")


def mean_auc(
    results: dict[str, Any],
    row: str,
    change: str,
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] = LEFT_OUT,
) -> np.ndarray:
    """Mean AUC over methods left out, a value a seed.

    Args:
        results: of ``compare``.
        row: of the table.
        change: clean or compressed.
        seeds: of them; all of the row where None.
        methods: that were left out, one at a time.

    Raises:
        UserError: the row was not run.
    """
    found = _row(results, row)
    kept = [found["seeds"].index(seed) for seed in (found["seeds"] if seeds is None else seeds)]
    return np.array([[found["auc"][f"{change}/{method}"][place] for method in methods] for place in kept]).mean(1)


def _pretraining(results: dict[str, Any], name: str) -> dict[str, Any]:
    for found in results["pretrainings"]:
        if found["name"] == name:
            return found
    raise UserError(f"compare has not run the pre-training {name!r}, which the claim is about: finish it with --resume")


def _shown(values: np.ndarray, form: str = "+.3f") -> str:
    return f"{np.mean(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"


def _above(results: dict[str, Any], row: str, least: float, words: str, methods: Sequence[str] = LEFT_OUT) -> Finding:
    seeds = _row(results, row)["seeds"]
    gains = {
        change: mean_auc(results, "pretrained", change, seeds, methods) - mean_auc(results, row, change, None, methods)
        for change in CHANGES
    }
    holds = all(gain.mean() >= least and (gain > 0).all() for gain in gains.values())
    return Finding(bool(holds), f"pre-trained - {words}: " + ", ".join(f"{c} {_shown(g)}" for c, g in gains.items()))


def scratch(results: dict[str, Any]) -> Finding:
    """Whether it is above training from scratch."""
    return _above(results, "scratch", SCRATCH, "from scratch")


def scratch_longer(results: dict[str, Any]) -> Finding:
    """Whether it is above training from scratch for ten times the steps."""
    methods = ROWS["long"].left_out
    return _above(
        results, "long", LONG, f"from scratch, ten times the steps, {' and '.join(methods)} left out", methods
    )


def random_frozen(results: dict[str, Any]) -> Finding:
    """Whether it is above a random front-end."""
    return _above(results, "random", RANDOM, "random front-end")


def statistics(results: dict[str, Any]) -> Finding:
    """Whether it is above hand-made statistics of motion."""
    return _above(results, STATISTICS, 0.0, "hand-made statistics")


def motion_alone(results: dict[str, Any]) -> Finding:
    """Whether motion is what is seen."""
    means = {
        f"{TITLES[row]}, {c}": float(mean_auc(results, row, c).mean())
        for row in ("single", SHUFFLED_FRAMES)
        for c in CHANGES
    }
    means |= {f"blurred genuine clips, {change}": float(np.mean(results["blurred"][change])) for change in CHANGES}
    holds = all(abs(mean - CHANCE) <= NEAR for mean in means.values())
    return Finding(holds, "controls: " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))


def found_by_sound(results: dict[str, Any]) -> Finding:
    """Whether sound is found by picture and picture by sound, and the offset."""
    own = _pretraining(results, "pretrained")
    parts = {name: np.array(own[name]) for name in ("easy_va", "easy_av", "hard_va", "hard_av", "easy_offset")}
    least = {"easy": EASY, "hard": HARD}
    holds = all(values.mean() >= least[name[:4]] for name, values in parts.items() if name != "easy_offset")
    holds = holds and parts["easy_offset"].mean() >= IN_TIME
    return Finding(bool(holds), "retrieval: " + ", ".join(f"{name} {_shown(v, '.3f')}" for name, v in parts.items()))


def others_sound(results: dict[str, Any]) -> Finding:
    """Whether there is nothing to learn from others' sound."""
    own = _pretraining(results, "shuffled")
    values = np.array([own["easy_va"], own["easy_av"]]).ravel()
    return Finding(bool(values.max() < NOTHING), f"top-1 after training on others' sound {_shown(values, '.3f')}")


def hard_clips(results: dict[str, Any]) -> Finding:
    """Whether noise in pre-training costs transfer."""
    seeds = _row(results, "noisy")["seeds"]
    lost = mean_auc(results, "pretrained", "compressed", seeds) - mean_auc(results, "noisy", "compressed")
    return Finding(bool(lost.mean() >= NOISE), f"pre-training on hard clips costs {_shown(lost)} on compressed clips")


PARTS: tuple[Callable[[dict[str, Any]], Finding], ...] = (
    scratch,
    scratch_longer,
    random_frozen,
    statistics,
    motion_alone,
    found_by_sound,
    others_sound,
    hard_clips,
)


def quality_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """AUC of the method left out: mean over seeds and range."""
    rows = []
    for found in results["rows"]:
        cells: dict[str, Any] = {}
        for change in CHANGES:
            methods = [method for method in LEFT_OUT if f"{change}/{method}" in found["auc"]]
            for method in LEFT_OUT:
                values = found["auc"].get(f"{change}/{method}")
                cells[f"{method} {change}"] = "-" if values is None else f"{np.mean(values):.2f}"
            cells[f"mean {change}"] = mean_and_range(mean_auc(results, found["row"], change, None, methods).tolist())
            cells[f"seen {change}"] = mean_and_range(found["auc"][f"{change}/seen"])
        rows.append({"row": TITLES[found["row"]], "seeds": len(found["seeds"]), **cells})
    return rows


def agreement_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Retrieval, offsets and probes of the pre-trainings: mean over seeds and range."""
    columns = {
        **{"easy_va": "easy v->a", "easy_av": "easy a->v", "hard_va": "hard v->a", "hard_av": "hard a->v"},
        **{"easy_offset": "offset, easy", "hard_offset": "offset, hard", "jaw": "R2 jaw", "spread": "R2 spread"},
        "seconds": "CPU s",
    }
    rows = []
    for found in results["pretrainings"]:
        cells = {
            title: mean_and_range(found[name], ".0f" if name == "seconds" else ".3f") for name, title in columns.items()
        }
        rows.append({"pre-training": found["name"], **cells})
        if "random_jaw" in found:
            bare = {title: "-" for title in columns.values()}
            probes = {columns[k]: mean_and_range(found[f"random_{k}"]) for k in ("jaw", "spread")}
            rows.append({"pre-training": "none (5 draws a seed)", **bare, **probes})
    return rows


def tries_table(results: dict[str, Any]) -> list[dict[str, Any]]:
    """AUC on the tuning seed's validation clips; what was chosen is marked."""
    return [
        {
            "tried": tried["kind"],
            "rate (or strength)": tried["value"],
            "validation AUC": f"{tried['val_auc']:.3f}{' *' if tried['chosen'] else ''}",
        }
        for tried in results["tries"]
    ]


def tables(results: dict[str, Any]) -> list[Table]:
    """All tables that have rows."""
    listed = (
        Table("AUC on a manipulation that was left out of the training, speakers unseen", quality_table(results)),
        Table(
            "What pre-training learnt: top-1, share of offsets within a frame, linear probes", agreement_table(results)
        ),
        Table("Tries (*: chosen)", tries_table(results)),
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
