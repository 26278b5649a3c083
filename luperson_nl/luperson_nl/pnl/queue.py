"""The queue of keys and their identities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from shared_utils import UserError


class Queue(nn.Module):
    """The last ``size`` keys with their identities, -1 where there is none yet; it wraps round.

    Buffers: ``keys`` (dim, size), random unit columns at first; ``ids`` (size,) int64; ``pointer`` (1,) int64, the next
    place, always below ``size``.
    """

    keys: Tensor
    ids: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("ids", torch.full((size,), -1))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    @property
    def size(self) -> int:
        return self.ids.shape[0]

    def check(self, batch: int) -> None:
        """Raise UserError where a batch (over all ranks) does not fit."""
        if batch > self.size:
            raise UserError(
                f"queue_size {self.size} is smaller than the batch of {batch} over all processes: "
                f"set queue_size to {batch} or more, or make the batch smaller"
            )

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor) -> None:
        """Overwrite the oldest entries with keys (n, dim) and ids (n,), in order.

        Raises:
            UserError: n is above the size.
        """
        self.check(len(keys))
        places = (self.pointer + torch.arange(len(keys), device=self.ids.device)) % self.size
        self.keys[:, places] = keys.t().to(self.keys.dtype)
        self.ids[places] = ids
        self.pointer.add_(len(keys)).remainder_(self.size)
