"""Phase diagrams: how often a solver recovers the model, over (m, G) or (m, k), beside what the theory says.

A diagram is cut into units (a solver and some cells) that are computed for all trials at once and kept as they finish,
so that a killed sweep goes on where it was, and several processes share one. A trial is one draw of the model, the
operators and the samples, nested over the diagram: G operators are the first G of the trial's family, m rows the first m
of theirs, k dimensions the first k of its basis. Every trial has random numbers of its own, so results do not depend on
how many are computed together, in which order, or by which process.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.dictionary import learn_dictionary, matched_similarity
from incomplete_sensing.generator import METHODS, generate, initial_networks, relative_errors, train_networks
from incomplete_sensing.solvers import (
    alternating_least_squares,
    closed_form,
    nuclear_norm,
    signals_in_model,
)
from shared_utils import UserError, checkpoint, distributed
from shared_utils import logging as reporting

FAMILIES = {
    "subspace": ("closed_form", "als", "nuclear_norm", "direct_test"),
    "matrix_completion": ("closed_form", "als", "nuclear_norm", "direct_test"),
    "invariant": ("closed_form", "als", "nuclear_norm", "direct_test"),
    "dictionary": ("mod",),
    "generator": METHODS,
}
"""The model families, and the solvers that each has."""

OPTIONS: dict[str, dict[str, float]] = {
    "closed_form": {},
    "direct_test": {},
    "als": {"iterations": 150, "starts": 3},
    "nuclear_norm": {"iterations": 300},
    "mod": {"iterations": 40, "starts": 4},
    **{method: {"steps": 1500, "batch": 64, "learning_rate": 2e-3, "width": 48} for method in METHODS},
}
"""The options of each solver, and what they are where not given."""


@dataclass(frozen=True)
class Diagram:
    """What is swept. One of ``G`` and ``k`` has several values: the second axis, beside ``m``.

    Attributes:
        family: ``subspace`` (k-dimensional), ``matrix_completion`` (the same seen through masks of exactly m entries: a
            matrix of rank k with G N columns), ``invariant`` (a subspace invariant to the G circular shifts by n/G, one
            operator), ``dictionary`` (k-sparse in ``atoms`` unit atoms), ``generator`` (x = W_2 relu(W_1 z), z in
            R^k, ``hidden`` units).
        samples: N signals an operator (of the one operator, for ``invariant``).
        operators: ``gaussian`` or ``masks``.
        criterion: of linear families: ``projector``, ||P^ - P||_F / sqrt(2k), or ``signals``, ||X^ - X||_F / ||X||_F. For
            a dictionary the error is 1 - mean |cos| of matched atoms, for a generator the relative error of unseen
            signals.
        threshold: a trial succeeds with an error below it.
        options: of solvers, by name, see ``OPTIONS``.
    """

    family: str = "subspace"
    n: int = 20
    m: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 10, 12)
    G: tuple[int, ...] = (1, 2, 4, 5, 10, 20)
    k: tuple[int, ...] = (2,)
    samples: int = 10
    trials: int = 25
    solvers: tuple[str, ...] = ("closed_form", "als")
    operators: str = "gaussian"
    criterion: str = "projector"
    threshold: float = 1e-3
    seed: int = 0
    atoms: int | None = None
    hidden: int | None = None
    options: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("m", "G", "k", "solvers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self)

    @property
    def axis(self) -> str:
        """The second axis: ``G`` or ``k``."""
        return "k" if len(self.k) > 1 else "G"

    @property
    def rows(self) -> tuple[int, ...]:
        """The values of the second axis."""
        return self.k if self.axis == "k" else self.G

    def place(self, row: int) -> tuple[int, int]:
        """(G, k) of a value of the second axis."""
        return (self.G[0], row) if self.axis == "k" else (row, self.k[0])

    def option(self, solver: str, name: str) -> Any:
        return self.options.get(solver, {}).get(name, OPTIONS[solver][name])


def _check(diagram: Diagram) -> None:
    if diagram.family not in FAMILIES:
        raise UserError(f"unknown family {diagram.family}: one of {', '.join(FAMILIES)}")
    known = FAMILIES[diagram.family]
    for solver in diagram.solvers:
        if solver not in known:
            raise UserError(f"unknown solver {solver} for {diagram.family}: one of {', '.join(known)}")
    for solver, options in diagram.options.items():
        for name in options:
            if name not in OPTIONS.get(solver, {}):
                raise UserError(
                    f"unknown option {solver}.{name}: {solver} has {', '.join(OPTIONS.get(solver, {})) or 'none'}"
                )
    for name in ("m", "G", "k", "solvers"):
        values = getattr(diagram, name)
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} = {list(values)}: give at least one value, each once")
    if len(diagram.G) > 1 and len(diagram.k) > 1:
        raise UserError("both G and k have several values: a diagram is over m and one of them, fix the other")
    for name, value in (("samples", diagram.samples), ("trials", diagram.trials)):
        if value < 1:
            raise UserError(f"{name} = {value}: at least 1 is needed")
    if not 1 <= min(diagram.m) <= max(diagram.m) <= diagram.n:
        raise UserError(f"m = {list(diagram.m)} with n = {diagram.n}: rows lie between 1 and n")
    if not 1 <= min(diagram.k) <= max(diagram.k) < diagram.n:
        raise UserError(f"k = {list(diagram.k)} with n = {diagram.n}: dimensions lie between 1 and n - 1")
    if min(diagram.G) < 1:
        raise UserError(f"G = {list(diagram.G)}: at least one operator is needed")
    if diagram.operators not in ("gaussian", "masks"):
        raise UserError(f"unknown operators {diagram.operators}: gaussian or masks")
    if diagram.family == "matrix_completion" and diagram.operators != "masks":
        raise UserError("matrix completion sees entries: its operators are masks (the family subspace takes gaussian)")
    if diagram.criterion not in ("projector", "signals"):
        raise UserError(f"unknown criterion {diagram.criterion}: projector or signals")
    if diagram.threshold <= 0:
        raise UserError(f"threshold = {diagram.threshold:g}: an error is not below zero, give a positive one")
    if diagram.family == "invariant" and any(diagram.n % order for order in diagram.G):
        raise UserError(f"G = {list(diagram.G)}: shifts by n/G form a group of order G where G divides n = {diagram.n}")
    if diagram.family == "dictionary" and (diagram.atoms or 0) < max(diagram.k):
        raise UserError(f"atoms = {diagram.atoms}: a dictionary needs at least as many atoms as its sparsity k")
    if diagram.family == "generator" and (diagram.hidden or 0) < 1:
        raise UserError(f"hidden = {diagram.hidden}: a generator needs hidden units")


# Theory -----------------------------------------------------------------------------------------------------------


def invariant_multiplicities(order: int, copies: int, k: int) -> dict[int, int]:
    """k_f of a real k-dimensional subspace invariant to a cyclic group of ``order``, spread evenly: frequency -> k_f.

    Frequencies f and order - f come together (two real dimensions); each holds at most ``copies`` (c_j).
    """
    inside = dict.fromkeys(range(order), 0)
    pairs = [(f, order - f) for f in range(1, (order + 1) // 2)]
    alone = [(0,)] + ([(order // 2,)] if order % 2 == 0 else [])
    left = k
    while left:
        before = left
        for together in pairs + alone:
            if left >= len(together) and inside[together[0]] < copies:
                left -= len(together)
                for f in together:
                    inside[f] += 1
        if left == before:
            raise UserError(f"no real subspace of dimension {k} is invariant to this group of order {order}")
    return inside


def theory(diagram: Diagram, row: int) -> dict[str, float]:
    """Values of m for a value of the second axis: ``necessary`` and ``exact`` (m >=), ``sufficient`` (m >).

    ``exact`` is there for linear families; like ``sufficient`` it is for almost every operator, so for masks it is only
    what they would need were they generic.
    """
    G, k = diagram.place(row)
    curves = {"necessary": diagram.n / G, "sufficient": float(k + Fraction(diagram.n, G))}
    if diagram.family == "invariant":
        copies = diagram.n // G
        missing = max(copies - kept for kept in invariant_multiplicities(G, copies, k).values())
        curves = {"necessary": copies, "sufficient": 2.0 * k + copies + 1, "exact": float(max(k + missing, k + 1))}
    elif diagram.family in ("subspace", "matrix_completion"):
        curves["exact"] = float(k + Fraction(diagram.n - k, G))
    return curves


# Draws --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Some trials of one cell: operators (T, G, m, n), signals (T, G, n, N), and the truth.

    truth: basis (T, n, k), atoms (T, n, p), or unseen signals (T, 1, M, n).
    """

    operators: Tensor
    signals: Tensor
    truth: Tensor

    @property
    def samples(self) -> Tensor:
        return self.operators @ self.signals


def draw(diagram: Diagram, m: int, G: int, k: int, trials: Sequence[int], device: torch.device) -> Problem:
    """The trials of a cell; a trial's numbers come from (seed, trial) alone."""
    make = {"invariant": _draw_invariant, "dictionary": _draw_dictionary, "generator": _draw_generator}
    drawn = [make.get(diagram.family, _draw_subspace)(diagram, m, G, k, trial) for trial in trials]
    kind = torch.float32 if diagram.family == "generator" else torch.float64
    return Problem(
        *(torch.stack(list(map(torch.as_tensor, part))).to(device, kind) for part in zip(*drawn, strict=True))
    )


def _random(diagram: Diagram, trial: int, what: str) -> np.random.Generator:
    streams = ("model", "operators", "samples", "starts", "unseen")
    return np.random.default_rng([diagram.seed, trial, streams.index(what)])


def _draw_operators(diagram: Diagram, m: int, G: int, trial: int) -> np.ndarray:
    rng, n = _random(diagram, trial, "operators"), diagram.n
    if diagram.operators == "gaussian":
        return rng.standard_normal((G, n, n))[:, :m] / math.sqrt(n)
    kept = rng.random((G, n)).argsort(1)[:, :m]
    return np.eye(n)[np.sort(kept, 1)]


def _draw_subspace(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    basis = np.linalg.qr(_random(diagram, trial, "model").standard_normal((diagram.n, diagram.n)))[0][:, :k]
    codes = _random(diagram, trial, "samples").standard_normal((G, diagram.n, diagram.samples))[:, :k]
    return _draw_operators(diagram, m, G, trial), basis @ codes, basis


def _draw_invariant(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    n, step, rng = diagram.n, diagram.n // G, _random(diagram, trial, "model")
    columns = []
    for f, count in invariant_multiplicities(G, step, k).items():
        if 2 * f > G:
            continue  # the conjugate of one that is there
        wave = np.exp(2j * np.pi * f * np.arange(G) / G)
        for _ in range(count):
            profile = rng.standard_normal(step) + 1j * rng.standard_normal(step)
            if f == 0 or 2 * f == G:
                columns.append(np.outer(wave.real, profile.real).reshape(n))
            else:
                wide = np.outer(wave, profile).reshape(n)
                columns += [wide.real, wide.imag]
    basis = np.linalg.qr(np.stack(columns, 1))[0]
    codes = _random(diagram, trial, "samples").standard_normal((diagram.n, diagram.samples))[:k]
    (operator,) = _draw_operators(diagram, m, 1, trial)
    # A x = A T_g (T_g^-1 x): every T_g^-1 x is a signal of the model, measured by A T_g with the same result.
    shifts = [g * step for g in range(G)]
    signals = np.stack([np.roll(basis @ codes, -shift, axis=0) for shift in shifts])
    return np.stack([np.roll(operator, -shift, axis=1) for shift in shifts]), signals, basis


def _draw_dictionary(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    atoms = _random(diagram, trial, "model").standard_normal((diagram.n, diagram.atoms))
    atoms /= np.linalg.norm(atoms, axis=0)
    rng = _random(diagram, trial, "samples")
    shape = (G, diagram.atoms, diagram.samples)
    ranks = rng.random(shape).argsort(1).argsort(1)
    codes = np.where(ranks < k, rng.standard_normal(shape), 0.0)
    return _draw_operators(diagram, m, G, trial), atoms @ codes, atoms


def _draw_generator(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    rng = _random(diagram, trial, "model")
    weights = rng.standard_normal((diagram.hidden, diagram.n))[:, :k], rng.standard_normal((diagram.n, diagram.hidden))
    weights = tuple(torch.as_tensor(weight)[None] for weight in weights)
    seen, unseen = (
        _random(diagram, trial, what).standard_normal((count, diagram.n))[:, :k]
        for what, count in (("samples", G * diagram.samples), ("unseen", 200))
    )
    signals = generate(weights, torch.as_tensor(np.concatenate([seen, unseen]))[None])[0]
    measured = signals[: len(seen)].reshape(G, diagram.samples, diagram.n)
    return _draw_operators(diagram, m, G, trial), measured.mT, signals[None, len(seen) :]


# Solvers ------------------------------------------------------------------------------------------------------------


def _linear_errors(diagram: Diagram, problem: Problem, projectors: Tensor, G: int, k: int) -> Tensor:
    if diagram.criterion == "projector":
        true = problem.truth @ problem.truth.mT
        return (projectors - true).flatten(1).norm(dim=1) / math.sqrt(2 * k)
    operators, samples = problem.operators[:, :G], problem.samples[:, :G]
    return _signal_errors(signals_in_model(operators, samples, projectors, k), problem.signals[:, :G])


def _signal_errors(found: Tensor, true: Tensor) -> Tensor:
    return (found - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)


def _starts(diagram: Diagram, trials: Sequence[int], count: int, width: int, device: torch.device) -> Tensor:
    """First factors (T, R, n, width) of the iterative solvers."""
    draws = [_random(diagram, trial, "starts").standard_normal((count, diagram.n, width)) for trial in trials]
    return torch.as_tensor(np.stack(draws), device=device)


Cells = Sequence[tuple[int, int, int]]
"""(m, G, k) of some cells."""


def _solve_closed_form(
    diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device, truth_known: bool = False
) -> Tensor:
    m, _, k = cells[0]
    counts = sorted(G for _, G, _ in cells)
    problem = draw(diagram, m, counts[-1], k, trials, device)
    samples = problem.operators @ problem.truth[:, None] if truth_known else problem.samples
    projectors = closed_form(problem.operators, samples, k, counts).projectors
    return torch.stack([_linear_errors(diagram, problem, projectors[:, counts.index(G)], G, k) for _, G, _ in cells])


def _solve_als(diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device) -> Tensor:
    ((m, G, k),) = cells
    problem = draw(diagram, m, G, k, trials, device)
    start = _starts(diagram, trials, int(diagram.option("als", "starts")), k, device)
    iterations = int(diagram.option("als", "iterations"))
    found = alternating_least_squares(problem.operators, problem.samples, start, iterations)
    return _linear_errors(diagram, problem, found.projectors, G, k)[None]


def _solve_nuclear_norm(diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device) -> Tensor:
    ((m, G, k),) = cells
    problem = draw(diagram, m, G, k, trials, device)
    found = nuclear_norm(problem.operators, problem.samples, int(diagram.option("nuclear_norm", "iterations")))
    if diagram.criterion == "signals":
        return _signal_errors(found.signals, problem.signals)[None]
    return _linear_errors(diagram, problem, found.projectors(k), G, k)[None]


def _solve_dictionary(diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device) -> Tensor:
    ((m, G, k),) = cells
    problem = draw(diagram, m, G, k, trials, device)
    start = _starts(diagram, trials, int(diagram.option("mod", "starts")), diagram.atoms, device)
    found = learn_dictionary(problem.operators, problem.samples, k, start, int(diagram.option("mod", "iterations")))
    return (1 - matched_similarity(found.atoms, problem.truth))[None]


def _solve_generator(
    diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device, method: str
) -> Tensor:
    drawn = [draw(diagram, *cell, trials, device) for cell in cells]
    most = max(m for m, _, _ in cells)
    operators = torch.cat(
        [torch.nn.functional.pad(one.operators, (0, 0, 0, most - one.operators.shape[2])) for one in drawn]
    )
    width = int(diagram.option(method, "width"))
    first = []
    for trial in trials:
        seed = int(_random(diagram, trial, "starts").integers(2**62))
        first.append(initial_networks(torch.Generator().manual_seed(seed), diagram.n, width))
    networks = [torch.stack(tensors).repeat(len(cells), 1, 1).to(device) for tensors in zip(*first, strict=True)]
    signals = torch.cat([one.signals.mT for one in drawn])
    networks = train_networks(
        operators,
        signals,
        networks,
        method,
        steps=int(diagram.option(method, "steps")),
        batch=int(diagram.option(method, "batch")),
        learning_rate=diagram.option(method, "learning_rate"),
    )
    unseen = torch.cat([one.truth for one in drawn]).expand(-1, operators.shape[1], -1, -1)
    return relative_errors(operators, unseen, networks).reshape(len(cells), len(trials))


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "closed_form": _solve_closed_form,
    "direct_test": partial(_solve_closed_form, truth_known=True),
    "als": _solve_als,
    "nuclear_norm": _solve_nuclear_norm,
    "mod": _solve_dictionary,
    **{method: partial(_solve_generator, method=method) for method in METHODS},
}
"""Solver -> function of (diagram, cells, trials, device), the errors (cells, trials)."""


def trial_bytes(diagram: Diagram, solver: str, cells: Cells) -> int:
    """What one trial of some cells holds in memory at the solver's peak, in bytes, counted from its largest arrays."""
    n, N = diagram.n, diagram.samples
    m, G, k = (max(cell[place] for cell in cells) for place in range(3))
    drawn = G * n * n + 2 * G * n * N + 2 * G * m * n
    if solver in ("closed_form", "direct_test"):
        return 8 * (drawn + 3 * G * m * (m + n) + (len(cells) + 6) * n * n)
    if solver == "als":
        starts, r = int(diagram.option("als", "starts")), min(k, m, N)
        each = 4 * (n * k) ** 2 + G * (n * n + 2 * m * n + n * r + 4 * m * k)
        return 8 * (drawn + G * (n * n + n * r) + starts * each)
    if solver == "nuclear_norm":
        return 8 * (drawn + 4 * G * n * n + 8 * G * n * N + 6 * n * n)
    if solver == "mod":
        starts, p = int(diagram.option("mod", "starts")), diagram.atoms
        each = 4 * (n * p) ** 2 + G * (n * n + m * n + 4 * m * N + n * N + p * N * 6 + (k + 2) * m * N)
        return 8 * (drawn + starts * each)
    width, batch = int(diagram.option(solver, "width")), int(diagram.option(solver, "batch"))
    held = 4 * G * n * N + 8 * G * m * n + 8 * 2 * width * (width + 2 * n)
    each = held + max(12 * max(batch, G) * (2 * width + 2 * n), 200 * G * (4 * n + 3 * width))
    return len(cells) * 4 * (2 * drawn + each)


# The sweep ----------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Rates:
    """A finished diagram: ``errors`` (solvers, second axis, m, trials)."""

    diagram: Diagram
    errors: np.ndarray

    @property
    def rates(self) -> np.ndarray:
        """The share of trials that succeeded: (solvers, second axis, m)."""
        return (self.errors < self.diagram.threshold).mean(-1)

    def rows(self) -> list[dict[str, Any]]:
        """One row a solver and cell: the rate with its 95 % Wilson interval, beside the theory's values of m."""
        made = []
        for solver, plane in zip(self.diagram.solvers, self.rates, strict=True):
            for row, line in zip(self.diagram.rows, plane, strict=True):
                G, k = self.diagram.place(row)
                for m, rate in zip(self.diagram.m, line, strict=True):
                    low, high = wilson_interval(rate, self.diagram.trials)
                    cell = {"solver": solver, "m": m, "G": G, "k": k, "rate": float(rate), "low": low, "high": high}
                    made.append(cell | theory(self.diagram, row))
        return made

    def disagreements(self, solver: str) -> list[tuple[int, int, int]]:
        """Cells (m, G, k) where the rate is not exactly 0 below the exact curve or 1 above it."""
        plane = self.rates[self.diagram.solvers.index(solver)]
        found = []
        for row, line in zip(self.diagram.rows, plane, strict=True):
            exact = theory(self.diagram, row)["exact"]
            found += [
                (m, *self.diagram.place(row))
                for m, rate in zip(self.diagram.m, line, strict=True)
                if rate != float(m >= exact)
            ]
        return found


def wilson_interval(rate: float, trials: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson score)."""
    z = 1.959963984540054
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def sweep(
    diagram: Diagram,
    folder: str | Path,
    resume: bool = False,
    batch_size: int | None = None,
    memory_mb: int = 256,
    device: str = "cpu",
) -> Rates:
    """Compute a diagram, unit by unit, each kept in ``folder/parts`` as it finishes; processes of a group share them.

    resume: go on with what is in ``folder``, which must have been made for the same diagram.
    Raises UserError where the folder holds another diagram, or one and ``resume`` is not given.
    """
    folder = Path(folder)
    _claim(diagram, folder, resume)
    everything = list(units(diagram))
    missing = distributed.broadcast([unit for unit in everything if not _part(folder, unit).is_file()])
    for unit in reporting.progress(distributed.share(missing), "sweeping"):
        errors = solve(diagram, unit, batch_size, memory_mb, device)
        with checkpoint.replacing(_part(folder, unit)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, errors=errors, cells=np.array(unit.cells))
    distributed.barrier()
    errors = np.empty((len(diagram.solvers), len(diagram.rows), len(diagram.m), diagram.trials))
    for unit in everything:
        with np.load(_part(folder, unit), allow_pickle=False) as kept:
            for (m, G, k), values in zip(unit.cells, kept["errors"], strict=True):
                row = diagram.rows.index(k if diagram.axis == "k" else G)
                errors[diagram.solvers.index(unit.solver), row, diagram.m.index(m)] = values
    return Rates(diagram, errors)


def _part(folder: Path, unit: Unit) -> Path:
    return folder / "parts" / f"{unit.name}.npz"


def _claim(diagram: Diagram, folder: Path, resume: bool) -> None:
    """Write what is swept into the folder, or find the same there."""
    wanted = json.loads(json.dumps(asdict(diagram)))
    description = folder / "diagram.json"
    if description.is_file():
        if not resume:
            raise UserError(f"{folder} already holds a sweep: add --resume to go on with it, or give another --out")
        known = json.loads(description.read_text())
        changed = sorted(name for name in {*known, *wanted} if known.get(name) != wanted.get(name))
        if changed:
            raise UserError(
                f"{folder} was swept with another {changed[0]} ({known.get(changed[0])}, now {wanted.get(changed[0])}): "
                "give another --out"
            )
    distributed.barrier()
    if distributed.rank() == 0:
        checkpoint.write_json(wanted, description)


def write_results(folder: str | Path, rates: Rates) -> str:
    """``rates.npz``, ``rates.csv`` and ``diagram.png`` into the folder; what was found, as text to print."""
    from incomplete_sensing import figures

    folder, diagram = Path(folder), rates.diagram
    curves = {row: theory(diagram, row) for row in diagram.rows}
    with checkpoint.replacing(folder / "rates.npz") as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            rates=rates.rates,
            errors=rates.errors,
            solvers=np.array(diagram.solvers),
            m=np.array(diagram.m),
            G=np.array(diagram.G),
            k=np.array(diagram.k),
            seed=np.array(diagram.seed),
            **{name: np.array([curve[name] for curve in curves.values()]) for name in curves[diagram.rows[0]]},
        )
    rows = rates.rows()
    with checkpoint.replacing(folder / "rates.csv") as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figures.phase_diagram(folder / "diagram.png", rates)
    return _summary(rates)


def _summary(rates: Rates) -> str:
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
    text = reporting.table(
        lines, "m of the theory, and the smallest m at which a solver succeeds in half of the trials:"
    )
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
