"""Products of a batch with matrices that are shared by some of its rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COPIES = 2**20


def apply_matrices(table: Tensor, values: Tensor, g: int | Tensor) -> Tensor:
    """Row b of the result is table[g[b]] @ values[b]. table: (G, p, q), values: (B, q). Returns (B, p).

    On the CPU the samples are sorted by matrix, so that each is read once; on an accelerator one batched product saves
    the waits.
    """
    if not isinstance(g, Tensor):
        return F.linear(values, table[g])
    if values.device.type != "cpu":
        return _gathered(table, values, g)
    first = int(g[0]) if len(g) else 0
    if bool((g == first).all()):
        return F.linear(values, table[first])
    order = g.argsort()
    operators, counts = torch.unique_consecutive(g[order], return_counts=True)
    parts = values[order].split(counts.tolist())
    # Unbound, for the gradient of every table[operator] would be a whole table of zeros.
    matrices = table.unbind() if table.requires_grad else table
    products = [F.linear(part, matrices[operator]) for part, operator in zip(parts, operators.tolist(), strict=True)]
    return torch.cat(products)[order.argsort()]


def apply_small(table: Tensor, values: Tensor, g: Tensor) -> Tensor:
    """``apply_matrices`` where matrices may be small or many: a copy for every sample, unless that is too large."""
    if len(values) * table.shape[1] * table.shape[2] <= COPIES or len(values) <= len(table):
        return _gathered(table, values, g)
    return apply_matrices(table, values, g)


def _gathered(table: Tensor, values: Tensor, g: Tensor) -> Tensor:
    return torch.bmm(table[g], values[:, :, None])[:, :, 0]
