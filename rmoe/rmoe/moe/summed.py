"""core + residual in memory that is used again: on a CPU fresh pages for E whole matrices cost more than the sum.

The system hands out large blocks zeroed, page by page; a layer of few tokens and many weights (the last stage of a Swin)
spends a third of its forward pass on that. On a GPU the caching allocator does the same job.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

FROM = 2**20
"""Numbers in a tensor from which its memory is kept."""


class _Pass:
    """A forward pass whose weights lie in the memory: ``done`` after its backward pass."""

    done = False


class Memory:
    """Of one tensor of a layer. A pass that still waits for its backward pass keeps its memory, the next gets other."""

    def __init__(self) -> None:
        self.block: Tensor | None = None
        self.number = 0
        self._last: weakref.ref[_Pass] | None = None

    def take(self, like: Tensor) -> tuple[Tensor, _Pass]:
        """A tensor of the kept memory to write to, and the pass that has it now."""
        last = None if self._last is None else self._last()
        if (
            self.block is None
            or (last is not None and not last.done)
            or (self.block.shape, self.block.dtype) != (like.shape, like.dtype)
        ):
            self.block = torch.empty_like(like, memory_format=torch.contiguous_format)
        now = _Pass()
        self._last, self.number = weakref.ref(now), self.number + 1
        # ``data``: a later pass's writing is not a change of what this one has saved.
        return self.block.data, now


class _Sum(torch.autograd.Function):
    """core (H, C) + residual (E, H, C)."""

    @staticmethod
    def forward(ctx: Any, core: Tensor, residual: Tensor, memory: Memory) -> Tensor:
        out, ctx.now = memory.take(residual)
        ctx.memory, ctx.block, ctx.number = memory, memory.block, memory.number
        return torch.add(core, residual, out=out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        if ctx.memory.number != ctx.number and ctx.memory.block is ctx.block:
            raise RuntimeError(
                "a second backward pass through a mixture after its next forward pass: the weights of the first are gone"
            )
        ctx.now.done = True
        return gradient.sum(0), gradient, None


def plus(core: Tensor, residual: Tensor, memory: Memory) -> Tensor:
    """core + residual, in kept memory where that is worth it."""
    if residual.device.type != "cpu" or residual.numel() < FROM or torch.compiler.is_compiling():
        return core + residual
    if not torch.is_grad_enabled() or type(residual) not in (Tensor, torch.nn.Parameter):
        return core + residual
    return _Sum.apply(core, residual, memory)
