"""How precisely a schedule can measure a tissue: the Cramer-Rao bound, which no unbiased method beats (Zhao 2019)."""

from __future__ import annotations

import torch

from mrf_unroll.epg import fisp_signal
from mrf_unroll.sequence import Sequence

# Relative steps of the central differences: their error is of the order of its square.
_STEP = 1e-4
TISSUES_MS = {"white matter": (830.0, 75.0), "grey matter": (1350.0, 100.0), "cerebrospinal fluid": (3500.0, 800.0)}


def precision_rows(sequence: Sequence, noise_std: float) -> list[dict[str, str]]:
    """``cramer_rao_bound`` of ``TISSUES_MS`` as the rows of a table."""
    t1, t2 = torch.tensor(list(TISSUES_MS.values())).unbind(dim=1)
    bounds = cramer_rao_bound(t1, t2, sequence, noise_std)
    return [
        {
            "tissue": name,
            "T1 [ms]": f"{own_t1:g} +- {dt1:.1f}",
            "T2 [ms]": f"{own_t2:g} +- {dt2:.2f}",
            "PD": f"1 +- {dpd:.4f}",
        }
        for (name, (own_t1, own_t2)), (dt1, dt2, dpd) in zip(TISSUES_MS.items(), bounds.tolist(), strict=True)
    ]


@torch.no_grad()
def cramer_rao_bound(
    t1_ms: torch.Tensor, t2_ms: torch.Tensor, sequence: Sequence, noise_std: float, pd: float = 1.0
) -> torch.Tensor:
    """(K, 3) least standard deviations of T1 [ms], T2 [ms] and PD of fully sampled fingerprints.

    The unknowns are T1, T2 and a complex PD; the bound is the root of the diagonal of the inverse Fisher matrix, and
    infinite where too few pulses determine nothing.

    Args:
        t1_ms, t2_ms: (K,).
        noise_std: of the real and of the imaginary part of every one of the N samples, in units of ``pd``.
    """
    t1_ms, t2_ms = (torch.as_tensor(value, dtype=torch.float64).reshape(-1) for value in (t1_ms, t2_ms))

    def signal(t1, t2):
        # All states: truncation errors would enter the differences.
        return pd * fisp_signal(t1, t2, sequence, n_states=len(sequence) + 1)

    columns = [
        (signal((1 + _STEP) * t1_ms, t2_ms) - signal((1 - _STEP) * t1_ms, t2_ms)) / (2 * _STEP),
        (signal(t1_ms, (1 + _STEP) * t2_ms) - signal(t1_ms, (1 - _STEP) * t2_ms)) / (2 * _STEP),
        signal(t1_ms, t2_ms),
        1j * signal(t1_ms, t2_ms),
    ]
    # In relative units (d/d log T, PD in its own size) the Fisher matrix is well scaled.
    jacobian = torch.view_as_real(torch.stack(columns, dim=1)).flatten(2)
    fisher = jacobian @ jacobian.mT
    determined = torch.linalg.matrix_rank(fisher, rtol=1e-12, hermitian=True) == len(columns)
    inverse = torch.linalg.pinv(fisher, rtol=1e-12, hermitian=True).diagonal(dim1=1, dim2=2)
    variance = torch.where(determined[:, None], noise_std**2 * inverse, torch.inf)
    return variance[:, :3].sqrt() * torch.stack([t1_ms, t2_ms, torch.full_like(t1_ms, pd)], dim=1)
