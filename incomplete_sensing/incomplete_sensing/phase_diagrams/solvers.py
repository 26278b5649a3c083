"""The solvers of a diagram's cells: errors of every trial, and the memory that one trial takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.dictionary import learn_dictionary, matched_similarity
from incomplete_sensing.generator import METHODS, initial_networks, relative_errors, train_networks
from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.draws import Problem, draw, random_numbers
from incomplete_sensing.solvers import alternating_least_squares, closed_form, nuclear_norm, signals_in_model
from incomplete_sensing.variable_projection import variable_projection


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
    draws = [random_numbers(diagram, trial, "starts").standard_normal((count, diagram.n, width)) for trial in trials]
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


def _solve_factors(diagram: Diagram, cells: Cells, trials: Sequence[int], device: torch.device, solver: str) -> Tensor:
    ((m, G, k),) = cells
    problem = draw(diagram, m, G, k, trials, device)
    start = _starts(diagram, trials, int(diagram.option(solver, "starts")), k, device)
    iterations = int(diagram.option(solver, "iterations"))
    minimise = variable_projection if solver == "varpro" else alternating_least_squares
    found = minimise(problem.operators, problem.samples, start, iterations)
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
    start = _starts(diagram, trials, int(diagram.option("mod", "starts")), diagram.num_atoms, device)
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
        seed = int(random_numbers(diagram, trial, "starts").integers(2**62))
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
    "als": partial(_solve_factors, solver="als"),
    "varpro": partial(_solve_factors, solver="varpro"),
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
    if solver == "varpro":
        r = min(k, m, N)
        return 8 * (drawn + 4 * (n * k) ** 2 + 2 * G * (2 * n * n + 3 * m * n + 3 * m * (k + r)))
    if solver == "als":
        starts, r = int(diagram.option("als", "starts")), min(k, m, N)
        each = 4 * (n * k) ** 2 + G * (n * n + 2 * m * n + n * r + 4 * m * k)
        return 8 * (drawn + G * (n * n + n * r) + starts * each)
    if solver == "nuclear_norm":
        return 8 * (drawn + 4 * G * n * n + 8 * G * n * N + 6 * n * n)
    if solver == "mod":
        starts, p = int(diagram.option("mod", "starts")), diagram.num_atoms
        each = 4 * (n * p) ** 2 + G * (n * n + m * n + 4 * m * N + n * N + p * N * 6 + (k + 2) * m * N)
        return 8 * (drawn + starts * each)
    width, batch = int(diagram.option(solver, "width")), int(diagram.option(solver, "batch"))
    held = 4 * G * n * N + 8 * G * m * n + 8 * 2 * width * (width + 2 * n)
    each = held + max(12 * max(batch, G) * (2 * width + 2 * n), 200 * G * (4 * n + 3 * width))
    return len(cells) * 4 * (2 * drawn + each)
