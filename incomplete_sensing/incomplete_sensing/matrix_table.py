"""Products of a batch with matrices that are shared by some of its rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def apply_matrices(table: Tensor, values: Tensor, g: int | Tensor) -> Tensor:
    """Row b of the result is table[g[b]] @ values[b]. table: (G, p, q), values: (B, q). Returns (B, p).

    On the CPU the samples are sorted by matrix, so that each is read once; on an accelerator, and where every sample
    may have its own, one batched product saves the waits.
    """
    if not isinstance(g, Tensor):
        return F.linear(values, table[g])
    if values.device.type != "cpu" or 16 < len(values) <= len(table):
        return torch.bmm(table[g], values[:, :, None])[:, :, 0]
    first = int(g[0]) if len(g) else 0
    if bool((g == first).all()):
        return F.linear(values, table[first])
    order = g.argsort()
    operators, counts = torch.unique_consecutive(g[order], return_counts=True)
    parts = values[order].split(counts.tolist())
    products = [F.linear(part, table[operator]) for part, operator in zip(parts, operators.tolist(), strict=True)]
    return torch.cat(products)[order.argsort()]
