"""Phase-diagram sweeps against the plain loop over trials and operators: ratios of CPU time, verdicts, peak memory.

    OMP_NUM_THREADS=1 python benchmarks/sweeps.py

Both sides solve the same problems from the same starts in one process, one thread, interleaved; medians of 5. The loop
is what one would write from the equations in numpy: per trial, per operator. Peak memory is that of a fresh process
whose sweep has the given bound, above what it holds before.
"""

import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.draws import draw
from incomplete_sensing.phase_diagrams.solvers import trial_bytes
from incomplete_sensing.phase_diagrams.sweep import solve, units
from incomplete_sensing.solvers import alternating_least_squares, closed_form
from shared_utils import logging

TRIALS, ITERATIONS, REPEATS = 50, 30, 5


def loop_closed_form(operators, samples, basis, counts):
    """Success of the closed form for the first c operators, trial by trial: (trials, counts)."""
    k = basis.shape[2]
    found = np.zeros((len(operators), len(counts)), dtype=bool)
    for trial, (place, count) in itertools.product(range(len(operators)), enumerate(counts)):
        rows = []
        for operator, measured in zip(operators[trial, :count], samples[trial, :count], strict=True):
            left, values, _ = np.linalg.svd(measured, full_matrices=False)
            span = left[:, values > 1e-9 * values[0]]
            rows.append(operator - span @ (span.T @ operator))
        _, values, right = np.linalg.svd(
            np.concatenate(rows), full_matrices=len(rows) * len(rows[0]) < operator.shape[1]
        )
        null = right[int((values > 1e-9).sum()) :]
        truth = basis[trial] @ basis[trial].T
        found[trial, place] = np.linalg.norm(null.T @ null - truth) / np.sqrt(2 * k) < 1e-3
    return found


def loop_als(operators, samples, starts, iterations):
    """Alternating least squares trial by trial, operator by operator: projectors (trials, n, n)."""
    _, families, _, n = operators.shape
    k = starts.shape[2]
    found = []
    for trial in range(len(operators)):
        basis = np.linalg.qr(starts[trial])[0]
        for _ in range(iterations):
            system, target = np.zeros((n * k, n * k)), np.zeros((n, k))
            for g in range(families):
                operator, measured = operators[trial, g], samples[trial, g]
                codes = np.linalg.lstsq(operator @ basis, measured, rcond=None)[0]
                system += np.kron(codes @ codes.T, operator.T @ operator)
                target += operator.T @ measured @ codes.T
            system += 1e-12 * np.trace(system) / (n * k) * np.eye(n * k)
            basis = np.linalg.qr(np.linalg.solve(system, target.T.reshape(-1)).reshape(k, n).T)[0]
        found.append(basis @ basis.T)
    return np.stack(found)


def interleaved(ours, loop):
    """Median CPU seconds of two functions run in turns."""
    spent = ([], [])
    for _ in range(REPEATS):
        for function, kept in zip((ours, loop), spent, strict=True):
            start = time.process_time()
            function()
            kept.append(time.process_time() - start)
    return statistics.median(spent[0]), statistics.median(spent[1])


def speed(m: int) -> list[dict]:
    rows = []
    counts = (2, 5, 10)
    diagram = Diagram(n=20, k=(2,), G=counts, m=(m,), samples=10, trials=TRIALS, solvers=("closed_form",))
    problem = draw(diagram, m, counts[-1], 2, range(TRIALS), torch.device("cpu"))
    operators, samples, basis = problem.operators, problem.samples, problem.truth
    arrays = operators.numpy(), samples.numpy(), basis.numpy()
    truth = (basis @ basis.mT)[:, None]
    for name, some in (("closed form, a cell", counts[-1:]), ("closed form, a row of 3 cells", counts)):
        ours = (closed_form(operators, samples, 2, some).projectors - truth).flatten(2).norm(dim=2) / 2 < 1e-3
        same = np.array_equal(ours.numpy(), loop_closed_form(*arrays, some))
        spent = interleaved(
            lambda some=some: closed_form(operators, samples, 2, some),
            lambda some=some: loop_closed_form(*arrays, some),
        )
        rows.append({"solver": name, "m": m, "loop / batched": spent[1] / spent[0], "same verdicts": same})
    starts = torch.randn(TRIALS, 1, 20, 2, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    ours = (alternating_least_squares(operators, samples, starts, 3 * ITERATIONS).projectors - truth[:, 0]).flatten(1)
    loop = (loop_als(*arrays[:2], starts[:, 0].numpy(), 3 * ITERATIONS) - truth[:, 0].numpy()).reshape(TRIALS, -1)
    same = np.array_equal(ours.norm(dim=1).numpy() / 2 < 1e-3, np.linalg.norm(loop, axis=1) / 2 < 1e-3)
    spent = interleaved(
        # A tolerance of zero: as many iterations as the loop, although ours would stop where it has converged.
        lambda: alternating_least_squares(operators, samples, starts, ITERATIONS, tolerance=0.0),
        lambda: loop_als(*arrays[:2], starts[:, 0].numpy(), ITERATIONS),
    )
    rows.append({"solver": "ALS, a cell", "m": m, "loop / batched": spent[1] / spent[0], "same verdicts": same})
    return rows


MEMORY = {
    "closed_form": Diagram(n=50, k=(10,), G=(5, 20, 50), m=(25,), samples=20, trials=400, solvers=("closed_form",)),
    "als": Diagram(
        n=50, k=(10,), G=(20,), m=(25,), samples=20, trials=60, solvers=("als",), options={"als": {"iterations": 2}}
    ),
    "nuclear_norm": Diagram(
        n=50, k=(10,), G=(50,), m=(25,), samples=20, trials=100, solvers=("nuclear_norm",),
        options={"nuclear_norm": {"iterations": 3}},
    ),
    "mod": Diagram(
        "dictionary", n=12, k=(2,), atoms=18, G=(20,), m=(8,), samples=100, trials=60, solvers=("mod",),
        options={"mod": {"iterations": 2, "starts": 6}},
    ),
    "moi": Diagram(
        "generator", n=20, k=(2,), hidden=10, G=(20,), m=(5, 10, 20), samples=400, trials=60, solvers=("moi",),
        options={"moi": {"steps": 3, "width": 64}},
    ),
}  # fmt: skip


def peak(solver: str, bound: int) -> None:
    """In a process of its own: MiB above the start at the sweep's highest, and what everything at once would hold."""
    torch.set_num_threads(1)
    diagram = MEMORY[solver]
    (unit,) = units(diagram)
    solve(Diagram(**{**diagram.__dict__, "trials": 1}), unit, batch_size=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    solve(diagram, unit, memory_mb=bound)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    everything = diagram.trials * trial_bytes(diagram, solver, unit.cells) / 2**20
    print(
        json.dumps(
            {
                "solver": solver,
                "bound MiB": bound,
                "peak / bound": grown / bound,
                "all trials / bound": everything / bound,
            }
        )
    )


def memory(bound: int = 128) -> list[dict]:
    rows = []
    for solver in MEMORY:
        done = subprocess.run(
            [sys.executable, __file__, solver, str(bound)], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout))
    return rows


if __name__ == "__main__":
    if len(sys.argv) == 3:
        peak(sys.argv[1], int(sys.argv[2]))
    else:
        torch.set_num_threads(1)
        sizes = f"n = 20, k = 2, N = 10, {TRIALS} trials, G = 10 (row: 2, 5, 10), {ITERATIONS} iterations"
        print(logging.table([row for m in (4, 6, 8) for row in speed(m)], sizes))
        print()
        print(logging.table(memory(), "peak memory of a sweep above the process, n = 50 (mod 12, moi 20)"))
