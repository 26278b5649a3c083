"""What the papers claim, compared with what was measured: a comparison of methods and a phase diagram."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from incomplete_sensing import figures
from incomplete_sensing.phase_diagrams.rates import Rates
from incomplete_sensing.phase_diagrams.results import read_results
from incomplete_sensing.phase_diagrams.theory import theory
from shared_utils import UserError, cli, files
from shared_utils.claim import Claim, Figure, Table

GAIN, NO_GAIN = 4.0, 0.5
"""dB by which MOI must exceed MC where the conditions say identified, and what counts as none where they do not."""

CLAIM = (
    f"Measurements alone suffice where the conditions say so: with operators that identify the model, MOI is more than {GAIN:g}"
    f" dB above measurement consistency (MC); with one operator it is within {NO_GAIN:g} dB of it, and with operators that"
    f" cannot it is not {NO_GAIN:g} dB above the ceiling, the PSNR of what some operator sees; MC is never more"
    f" than {NO_GAIN:g} dB above A^+ y, and MOI is below supervised training. In every seed. A subspace seen by Gaussian"
    " operators is recovered in closed form in no trial below the exact curve m = k + (n - k)/G, and in all from it on."
)


class Finding(NamedTuple):
    """One part of the claim: whether it holds, and by which numbers."""

    holds: bool
    sentence: str


def find_comparison(folder: str | Path) -> Path:
    """The folder that holds ``comparison.csv``: a run's, or the newest ``version_N`` of a run name's."""
    folder = Path(folder)
    found = [path for path in (folder, *folder.glob("version_*")) if (path / "comparison.csv").is_file()]
    if not found:
        raise UserError(f"comparison.csv not found in {folder}: make it with {cli.command('train')} --config")
    return max(found, key=lambda path: int(path.name[8:]) if path.name.startswith("version_") else -1)


def judge_training(rows: list[dict[str, str]]) -> list[Finding]:
    """The findings of a comparison's rows, a number of operators at a time.

    Raises UserError where MC, MOI or supervised is missing, or no number of operators has a verdict either way.
    """
    findings = []
    for count in sorted({int(row["G"]) for row in rows}):
        own = {row["method"]: row for row in rows if int(row["G"]) == count}
        if missing := {"mc", "moi", "sup"} - set(own):
            raise UserError(
                f"the comparison has no {', '.join(sorted(missing))} at G = {count}: compare mc, moi and sup"
            )
        mc, moi, sup, start = (
            np.array([float(value) for value in own[method][column].split()])
            for method, column in (
                ("mc", "psnr by seed"),
                ("moi", "psnr by seed"),
                ("sup", "psnr by seed"),
                ("mc", "A^+ y by seed"),
            )
        )
        gain = moi - mc
        verdict = own["moi"]["theory"]
        sentence = f"G = {count} ({verdict}): MOI is {gain.min():+.2f} to {gain.max():+.2f} dB from MC"
        if verdict == "identified":
            findings.append(Finding(bool((gain > GAIN).all()), sentence))
        elif verdict == "impossible":
            findings += _impossible(count, own["moi"], gain, moi, sentence)
        excess = (mc - start).max()
        findings.append(Finding(bool(excess <= NO_GAIN), f"G = {count}: MC is at most {excess:+.2f} dB from A^+ y"))
        margin = (sup - moi).min()
        findings.append(Finding(bool(margin > 0), f"G = {count}: supervised is at least {margin:+.2f} dB from MOI"))
    if not any("(identified)" in finding.sentence for finding in findings):
        raise UserError("no number of operators of the comparison is identified: there is no gain to judge")
    return findings


def _impossible(count: int, row: dict[str, str], gain: np.ndarray, moi: np.ndarray, sentence: str) -> Iterator[Finding]:
    """What "not identified" bounds: with one operator MOI is MC, with several it stays below the ceiling."""
    if count == 1:
        yield Finding(bool((abs(gain) < NO_GAIN).all()), sentence)
    if row.get("ceiling by seed", "-") == "-":
        raise UserError(
            f"the comparison has no ceiling at G = {count}: make it again with {cli.command('train')} --config"
        )
    above = (moi - np.array([float(value) for value in row["ceiling by seed"].split()])).max()
    yield Finding(
        bool(above < NO_GAIN), f"G = {count} ({row['theory']}): MOI is at most {above:+.2f} dB from the ceiling"
    )


def judge_diagram(rates: Rates) -> Finding:
    """Whether the closed form changes from 0 to 1 exactly at the exact curve. Raises UserError where it is not there."""
    diagram = rates.diagram
    if "closed_form" not in diagram.solvers or diagram.operators != "gaussian" or diagram.family != "subspace":
        raise UserError("the exact curve is judged on subspaces, Gaussian operators and the solver closed_form")
    wrong, cells = rates.disagreements("closed_form"), len(diagram.m) * len(diagram.rows)
    at = f", first at (m, G, k) = {wrong[0]}" if wrong else ""
    return Finding(
        not wrong, f"closed form: {cells - len(wrong)} of {cells} cells are 0 below and 1 above the exact curve{at}"
    )


def _comparison_table(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    numbers = ("A^+ y", "psnr", "std", "gain")
    return [
        {"method": row["method"], "G": row["G"], "theory": row["theory"]}
        | {name: float(row[name]) for name in numbers}
        | {"ceiling": row["ceiling"], "psnr by seed": row["psnr by seed"]}
        for row in rows
    ]


def _diagram_table(rates: Rates) -> list[dict[str, Any]]:
    diagram, table = rates.diagram, []
    for place, row in enumerate(diagram.rows):
        line: dict[str, Any] = {diagram.axis: row, **theory(diagram, row)}
        for solver, plane in zip(diagram.solvers, rates.rates, strict=True):
            reached = [m for m, rate in zip(diagram.m, plane[place], strict=True) if rate >= 0.5]
            line[f"{solver}, half of the trials"] = min(reached, default=None)
        table.append(line)
    return table


def judge(rows: list[dict[str, str]], rates: Rates, shown: Sequence[Figure] = ()) -> Claim:
    """The papers' claim, judged by what was measured.

    Args:
        rows: of the comparison of methods that ``train`` writes (``comparison.csv``).
        rates: the phase diagram that ``phase_transition`` writes.
        shown: figures of the claim's page.

    Raises:
        UserError: the comparison or the diagram lacks what the claim is about.
    """
    findings = [*judge_training(rows), judge_diagram(rates)]
    failed = [finding.sentence for finding in findings if not finding.holds]
    sentences = failed or [finding.sentence for finding in findings]
    return Claim(
        claim=CLAIM,
        holds=not failed,
        verdict="; ".join(sentences),
        tables=[
            Table("Test PSNR in dB on images that training has not seen", _comparison_table(rows)),
            Table("m of the theory, and the smallest m that recovers", _diagram_table(rates)),
        ],
        figures=list(shown),
        seeds=[int(seed) for seed in rows[0]["seeds"].split()],
    )


def write_claim(training: str | Path, diagram: str | Path, out: str | Path) -> Claim:
    """Judge a run of ``train`` and a folder of ``phase_transition``; ``claim.json`` and its figures in ``out``."""
    run, rates, out = find_comparison(training), read_results(diagram), Path(out)
    with (run / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    judge(rows, rates)  # what cannot be judged is refused before anything is written
    figures.method_comparison(out / "comparison.png", rows)
    figures.phase_diagram(out / "diagram.png", rates)
    shown = [
        Figure("comparison.png", "test PSNR over the number of operators, a dot a seed"),
        Figure("diagram.png", "share of trials that recover the subspace, with the theory's curves"),
    ]
    panels = run / "figures" / "panels.png"
    if panels.is_file():
        with files.replacing(out / "panels.png") as temporary:
            temporary.write_bytes(panels.read_bytes())
        caption = "test images that training has not seen, reconstructed from a few random projections"
        shown.append(Figure("panels.png", caption))
    judged = judge(rows, rates, shown)
    judged.write(out)
    return judged
