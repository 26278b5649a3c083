"""Learn a sparse dictionary from incomplete samples: greedy sparse codes and a least-squares dictionary, by turns.

Signals are x = D c with c of ``sparsity`` nonzeros and D (n, p); the model is a union of subspaces of that dimension.
Batched over trials like ``incomplete_sensing.solvers``: ``operators`` (T, G, m, n), ``samples`` (T, G, m, N), float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from incomplete_sensing.solvers import RTOL, factor_update


@dataclass(frozen=True)
class LearnedDictionary:
    """Dictionaries with unit atoms (T, n, p) and their relative residuals (T,), the best of all starts."""

    atoms: Tensor
    residual: Tensor


def sparse_codes(dictionary: Tensor, samples: Tensor, sparsity: int) -> Tensor:
    """Orthogonal matching pursuit: codes (B, p, N) with ``sparsity`` nonzeros for samples (B, m, N) in (B, m, p)."""
    batch, _, p = dictionary.shape
    norms = dictionary.norm(dim=1).clamp_min(1e-12)
    unit = (dictionary / norms[:, None]).mT
    residual = samples
    taken = torch.zeros(batch, p, samples.shape[2], dtype=torch.bool, device=samples.device)
    support = taken.new_zeros(batch, 0, samples.shape[2], dtype=torch.long)
    everyone = torch.arange(batch, device=samples.device)[:, None, None]
    for _ in range(sparsity):
        place = (unit @ residual).abs().masked_fill(taken, -1).argmax(1, keepdim=True)
        taken = taken.scatter(1, place, True)
        support = torch.cat([support, place], 1)
        chosen = unit[everyone, support.mT]  # (B, N, s, m)
        gram = chosen @ chosen.mT
        gram.diagonal(dim1=2, dim2=3).add_(1e-10)
        weights = torch.linalg.solve(gram, chosen @ samples.mT[..., None])
        residual = samples - (chosen.mT @ weights)[..., 0].mT
    codes = samples.new_zeros(batch, p, samples.shape[2]).scatter(1, support, weights[..., 0].mT)
    return codes / norms[..., None]


def learn_dictionary(
    operators: Tensor, samples: Tensor, sparsity: int, start: Tensor, iterations: int = 60
) -> LearnedDictionary:
    """Alternate matching pursuit through A_g D with the least-squares dictionary (MOD), from several starts.

    In the first three quarters of the iterations every other one replaces an atom that is hardly used, or parallel to
    one used more, by the least-norm signal of one of the worst fitted samples: most local minima end there.

    Args:
        operators, samples: (T, G, m, n), (T, G, m, N).
        start: (T, R, n, p), the first dictionary of each of R starts.
    """
    trials, starts, n, p = start.shape
    families, m = operators.shape[1:3]
    batch = trials * starts
    trial = torch.arange(batch, device=start.device) // starts
    everyone = torch.arange(batch, device=start.device)
    atoms = _unit(start.reshape(batch, n, p))
    normal = (operators.mT @ operators).flatten(2)[trial]
    back = (operators.mT @ samples)[trial]
    pinned = (torch.linalg.pinv(operators, rtol=RTOL) @ samples).transpose(1, 2).flatten(2)
    measured, seen = samples[trial].reshape(batch * families, m, -1), operators[trial]
    energy = samples.square().sum((1, 2, 3)).clamp_min(torch.finfo(start.dtype).tiny)[trial]
    best, lowest = atoms, energy.new_full((batch,), torch.inf)
    for step in range(iterations):
        image = (seen @ atoms[:, None]).reshape(batch * families, m, p)
        codes = sparse_codes(image, measured, sparsity)
        misfit = (measured - image @ codes).square().sum(1).reshape(batch, -1)
        codes = codes.reshape(batch, families, p, -1)
        residual = (misfit.sum(1) / energy).sqrt()
        better = residual < lowest
        lowest = torch.where(better, residual, lowest)
        best = torch.where(better[:, None, None], atoms, best)
        atoms = _unit(factor_update(normal, (back @ codes.mT).sum(1), codes, atoms, damping=1e-4))
        if step % 2 == 0 and step < 0.75 * iterations:
            place, replace = _superfluous(atoms, codes)
            # Of the worst fitted samples another one each time, so that a bad choice is not repeated.
            ranked = misfit.argsort(dim=1, descending=True, stable=True)
            signal = ranked[:, (step // 2) % min(8, ranked.shape[1])]
            fresh = _unit(pinned[trial, :, signal][..., None])[..., 0]
            atoms[everyone[replace], :, place[replace]] = fresh[replace]
    winner = lowest.reshape(trials, starts).argmin(1)
    chosen = torch.arange(trials, device=start.device) * starts + winner
    return LearnedDictionary(best[chosen], lowest[chosen])


def _unit(atoms: Tensor) -> Tensor:
    return atoms / atoms.norm(dim=1, keepdim=True).clamp_min(1e-12)


def _superfluous(atoms: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """The atom (B,) that is missed least, and whether (B,) it is hardly used or nearly parallel to one used more."""
    use = codes.abs().sum((1, 3))
    use = use / use.mean(1, keepdim=True).clamp_min(1e-12)
    parallel = (atoms.mT @ atoms).abs() > 0.9
    copy = (parallel & (use[:, None] > use[:, :, None])).any(2)
    idle = use < 0.3
    badness = 2.0 * copy + idle * (2 - use)
    return badness.argmax(1), (copy | idle).any(1)


def matched_similarity(atoms: Tensor, truth: Tensor) -> Tensor:
    """Mean |cos| (T,) between atoms and true atoms (T, n, p), matched one to one as well as possible (Hungarian)."""
    from scipy.optimize import linear_sum_assignment

    cosines = (_unit(atoms).mT @ _unit(truth)).abs()
    means = [trial[linear_sum_assignment(trial, maximize=True)].mean() for trial in cosines.cpu().numpy()]
    return torch.tensor(means, dtype=atoms.dtype)
