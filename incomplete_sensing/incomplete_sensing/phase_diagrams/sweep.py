"""The sweep over a diagram.

A diagram is cut into units (a solver and some cells) that are computed for all trials at once and kept as they finish,
so that a killed sweep continues where it was, and several processes share one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.rates import Rates
from incomplete_sensing.phase_diagrams.results import write_results
from incomplete_sensing.phase_diagrams.solvers import SOLVERS, trial_bytes
from shared_utils import distributed, work


@dataclass(frozen=True)
class Unit:
    """What is computed and kept at once: a solver on some cells."""

    solver: str
    cells: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        values = [sorted({cell[place] for cell in self.cells}) for place in range(3)]
        spans = [str(part[0]) if len(part) == 1 else f"{part[0]}to{part[-1]}" for part in values]
        return f"{self.solver}-m{spans[0]}-G{spans[1]}-k{spans[2]}"


def units(diagram: Diagram) -> Iterator[Unit]:
    """The units of a diagram. Cells that share their arrays come together: all G of an m in the closed form, whose
    operators are nested; all m of a G for networks, which have one shape."""
    cells = [(m, *diagram.place(row)) for m in diagram.m for row in diagram.rows]
    for solver in diagram.solvers:
        if solver in ("closed_form", "direct_test") and diagram.family != "invariant":
            group: Callable[[tuple[int, int, int]], Any] = lambda cell: (cell[0], cell[2])  # noqa: E731
        elif diagram.family == "generator":
            group = lambda cell: cell[1:]  # noqa: E731
        else:
            group = lambda cell: cell  # noqa: E731
        together: dict[Any, list] = {}
        for cell in cells:
            together.setdefault(group(cell), []).append(cell)
        yield from (Unit(solver, tuple(some)) for some in together.values())


def solve(
    diagram: Diagram, unit: Unit, batch_size: int | None = None, memory_mb: int = 256, device: str = "cpu"
) -> np.ndarray:
    """Errors (cells, trials) of a unit, float64.

    batch_size: trials computed at once; as many as fit ``memory_mb`` (see ``trial_bytes``) where not given.
    """
    # Thousands of small matrices: threads only wait for each other. Processes (torchrun) share the units instead.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _solve(diagram, unit, batch_size, memory_mb, device)
    finally:
        torch.set_num_threads(threads)


def _solve(diagram: Diagram, unit: Unit, batch_size: int | None, memory_mb: int, device: str) -> np.ndarray:
    size = batch_size or max(1, int(memory_mb * 2**20 // trial_bytes(diagram, unit.solver, unit.cells)))
    place = distributed.choose_device(device)
    parts = []
    for start in range(0, diagram.trials, size):
        trials = range(start, min(start + size, diagram.trials))
        parts.append(SOLVERS[unit.solver](diagram, unit.cells, trials, place).double().cpu())
    return torch.cat(parts, 1).nan_to_num(nan=math.inf).numpy()


def sweep(
    diagram: Diagram,
    folder: str | Path,
    resume: bool = False,
    overwrite: bool = False,
    batch_size: int | None = None,
    memory_mb: int = 256,
    device: str = "cpu",
) -> Rates:
    """Compute a diagram, unit by unit, each kept in ``folder`` as it finishes, and write its results there.

    Processes of a group (torchrun) share the units.

    Args:
        diagram: what is swept.
        folder: for the parts and the results (``results.write_results``).
        resume: continue what is in ``folder``, which must have been begun for the same diagram.
        overwrite: begin again where ``folder`` holds a sweep or anything else.
        batch_size: trials computed at once; as many as fit ``memory_mb`` where not given. Results do not depend on it.
        memory_mb: bound on the arrays of a solver, as long as one trial fits it.
        device: auto, cpu, cuda.

    Returns:
        The errors of all trials, on every process.

    Raises:
        UserError: ``folder`` holds another diagram, or one and neither flag is given, or another process works on it.
    """
    parts = {unit.name: unit for unit in units(diagram)}

    def compute(name: str) -> dict[str, np.ndarray]:
        return {"errors": solve(diagram, parts[name], batch_size, memory_mb, device)}

    with work.begin(folder, asdict(diagram), resume=resume, overwrite=overwrite) as job:
        job.finish(list(parts), compute, "sweeping")
        errors = np.empty((len(diagram.solvers), len(diagram.rows), len(diagram.m), diagram.trials))
        for name, unit in parts.items():
            for (m, G, k), values in zip(unit.cells, job.read(name)["errors"], strict=True):
                row = diagram.rows.index(k if diagram.axis == "k" else G)
                errors[diagram.solvers.index(unit.solver), row, diagram.m.index(m)] = values
        rates = Rates(diagram, errors)
        if distributed.rank() == 0:
            write_results(folder, rates)
        job.complete()
    return rates
