"""The trials of a diagram: models, operators and samples.

A trial is nested over the diagram: G operators are the first G of the trial's family, m rows the first m of theirs, k
dimensions the first k of its basis. Every trial has random numbers of its own, so results do not depend on how many are
computed together, in which order, or by which process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.generator import generate
from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.theory import invariant_multiplicities


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


def random_numbers(diagram: Diagram, trial: int, what: str) -> np.random.Generator:
    streams = ("model", "operators", "samples", "starts", "unseen")
    return np.random.default_rng([diagram.seed, trial, streams.index(what)])


def _draw_operators(diagram: Diagram, m: int, G: int, trial: int) -> np.ndarray:
    rng, n = random_numbers(diagram, trial, "operators"), diagram.n
    if diagram.operators == "gaussian":
        return rng.standard_normal((G, n, n))[:, :m] / math.sqrt(n)
    kept = rng.random((G, n)).argsort(1)[:, :m]
    return np.eye(n)[np.sort(kept, 1)]


def _draw_subspace(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    basis = np.linalg.qr(random_numbers(diagram, trial, "model").standard_normal((diagram.n, diagram.n)))[0][:, :k]
    codes = random_numbers(diagram, trial, "samples").standard_normal((G, diagram.n, diagram.samples))[:, :k]
    return _draw_operators(diagram, m, G, trial), basis @ codes, basis


def _draw_invariant(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    n, step, rng = diagram.n, diagram.n // G, random_numbers(diagram, trial, "model")
    columns = []
    for f, count in invariant_multiplicities(G, step, k).items():
        if 2 * f > G:
            continue  # the conjugate of one that is there
        wave = np.exp(2j * np.pi * f * np.arange(G) / G)
        for _ in range(count):
            profile = rng.standard_normal(step) + 1j * rng.standard_normal(step)
            if f == 0 or 2 * f == G:
                columns.append(np.outer(np.real(wave), np.real(profile)).reshape(n))
            else:
                wide = np.outer(wave, profile).reshape(n)
                columns += [np.real(wide), np.imag(wide)]
    basis = np.linalg.qr(np.stack(columns, 1))[0]
    codes = random_numbers(diagram, trial, "samples").standard_normal((diagram.n, diagram.samples))[:k]
    (operator,) = _draw_operators(diagram, m, 1, trial)
    # A x = A T_g (T_g^-1 x): every T_g^-1 x is a signal of the model, measured by A T_g with the same result.
    shifts = [g * step for g in range(G)]
    signals = np.stack([np.roll(basis @ codes, -shift, axis=0) for shift in shifts])
    return np.stack([np.roll(operator, -shift, axis=1) for shift in shifts]), signals, basis


def _draw_dictionary(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray, ...]:
    atoms = random_numbers(diagram, trial, "model").standard_normal((diagram.n, diagram.num_atoms))
    atoms /= np.linalg.norm(atoms, axis=0)
    rng = random_numbers(diagram, trial, "samples")
    shape = (G, diagram.num_atoms, diagram.samples)
    ranks = rng.random(shape).argsort(1).argsort(1)
    codes = np.where(ranks < k, rng.standard_normal(shape), 0.0)
    return _draw_operators(diagram, m, G, trial), atoms @ codes, atoms


def _draw_generator(diagram: Diagram, m: int, G: int, k: int, trial: int) -> tuple[np.ndarray | Tensor, ...]:
    rng, hidden = random_numbers(diagram, trial, "model"), diagram.hidden
    assert hidden is not None, "a generator has hidden units"
    inner, outer = rng.standard_normal((hidden, diagram.n))[:, :k], rng.standard_normal((diagram.n, hidden))
    weights = torch.as_tensor(inner)[None], torch.as_tensor(outer)[None]
    seen, unseen = (
        random_numbers(diagram, trial, what).standard_normal((count, diagram.n))[:, :k]
        for what, count in (("samples", G * diagram.samples), ("unseen", 200))
    )
    signals = generate(weights, torch.as_tensor(np.concatenate([seen, unseen]))[None])[0]
    measured = signals[: len(seen)].reshape(G, diagram.samples, diagram.n)
    return _draw_operators(diagram, m, G, trial), measured.mT, signals[None, len(seen) :]
