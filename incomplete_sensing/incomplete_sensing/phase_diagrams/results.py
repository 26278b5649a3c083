"""What a finished diagram leaves in its folder, and what it says in a table."""

from __future__ import annotations

import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.rates import Rates
from incomplete_sensing.phase_diagrams.theory import theory
from shared_utils import UserError, cli, files, logging


def write_results(folder: str | Path, rates: Rates) -> None:
    """Write ``diagram.json``, ``rates.npz``, ``rates.csv`` (and ``.md``) and ``diagram.png`` into the folder."""
    from incomplete_sensing import figures

    folder, diagram, curves = Path(folder), rates.diagram, rates.curves()
    files.write_json(asdict(diagram), folder / "diagram.json")
    expected: dict[str, Any] = {
        name: np.array([curve[name] for curve in curves.values()]) for name in curves[diagram.rows[0]]
    }
    with files.replacing(folder / "rates.npz") as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            rates=rates.rates,
            errors=rates.errors,
            solvers=np.array(diagram.solvers),
            m=np.array(diagram.m),
            G=np.array(diagram.G),
            k=np.array(diagram.k),
            seed=np.array(diagram.seed),
            **expected,
        )
    logging.write_table(rates.rows(), folder / "rates")
    figures.phase_diagram(folder / "diagram.png", rates)


def read_results(folder: str | Path) -> Rates:
    """The finished diagram that ``write_results`` has left in a folder.

    Raises:
        UserError: there is none, or it is not whole.
    """
    folder = Path(folder)
    for name in ("diagram.json", "rates.npz"):
        if not (folder / name).is_file():
            raise UserError(f"{name} not found in {folder}: make it with {cli.command('phase_transition')}")
    try:
        diagram = Diagram(**files.read_json(folder / "diagram.json", "description of a diagram"))
        with np.load(folder / "rates.npz", allow_pickle=False) as stored:
            return Rates(diagram, stored["errors"])
    except (TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder} holds no whole diagram ({error}): sweep it again with --overwrite") from error


def summary(rates: Rates) -> str:
    """A line a value of the second axis: the theory's m, and the m from which each solver succeeds in most trials."""
    diagram = rates.diagram
    lines = []
    for place, row in enumerate(diagram.rows):
        line: dict[str, Any] = {diagram.axis: row} | {
            name: float(value) for name, value in theory(diagram, row).items()
        }
        for solver, plane in zip(diagram.solvers, rates.rates, strict=True):
            reached = [m for m, rate in zip(diagram.m, plane[place], strict=True) if rate >= 0.5]
            line[solver] = min(reached) if reached else None
        lines.append(line)
    text = logging.table(lines, "m of the theory, and the smallest m at which a solver succeeds in half of the trials:")
    linear = [name for name in ("closed_form", "direct_test") if name in diagram.solvers]
    if diagram.operators == "gaussian":
        for solver in linear:
            wrong = rates.disagreements(solver)
            where = f"except at (m, G, k) = {', '.join(map(str, wrong[:5]))}" if wrong else "in every cell"
            text += f"\n{solver}: exactly 0 below and 1 above the exact curve {where}"
    elif linear:
        text += (
            "\nThe sufficient and exact curves are for almost every operator; masks are not generic, and the direct test "
            "of the masks drawn is what binds."
        )
    return text
