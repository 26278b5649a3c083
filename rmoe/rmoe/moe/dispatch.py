"""Feed-forward layers of many experts over rows sorted by expert: four back ends behind one signature.

All give the same output and gradients. ``grouped`` is torch's grouped matrix product, ``unbind`` a loop over weights
taken apart once (``W[e]`` in a loop would make autograd allocate the gradient of all experts for each), ``bmm`` pads
every group to the largest, ``loop`` is the plain reference. What ``F.grouped_mm`` does not take (torch 2.15: float64,
rows whose length in bytes is no multiple of 16, half precision on some devices) goes to another back end where the
choice is automatic; asked for by name it is an error that says what is at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional

Backend = Literal["auto", "grouped", "unbind", "bmm", "loop"]
BACKENDS = get_args(Backend)
_grouped_mm = getattr(functional, "grouped_mm", None)


class ExpertWeights(NamedTuple):
    """The weights of E feed-forward layers, in the layout of ``nn.Linear``."""

    fc1_weight: Tensor
    """(E, H, C)"""
    fc1_bias: Tensor | None
    """(E, H)"""
    fc2_weight: Tensor
    """(E, C, H)"""
    fc2_bias: Tensor | None
    """(E, C)"""

    def to(self, dtype: torch.dtype) -> ExpertWeights:
        """The same in another precision."""
        return self.map(lambda tensor: tensor.to(dtype))

    def map(self, change: Callable[[Tensor], Tensor]) -> ExpertWeights:
        """The same tensors, each changed; a bias that is not there stays so."""
        fc1_bias = None if self.fc1_bias is None else change(self.fc1_bias)
        fc2_bias = None if self.fc2_bias is None else change(self.fc2_bias)
        return ExpertWeights(change(self.fc1_weight), fc1_bias, change(self.fc2_weight), fc2_bias)

    def plus(
        self, other: ExpertWeights, fc1_weight: Tensor | None = None, fc2_weight: Tensor | None = None
    ) -> ExpertWeights:
        """The sums; both have the same biases. ``fc1_weight``, ``fc2_weight``: sums that are there already."""
        fc1_weight = self.fc1_weight + other.fc1_weight if fc1_weight is None else fc1_weight
        fc2_weight = self.fc2_weight + other.fc2_weight if fc2_weight is None else fc2_weight
        fc1_bias = None if self.fc1_bias is None or other.fc1_bias is None else self.fc1_bias + other.fc1_bias
        fc2_bias = None if self.fc2_bias is None or other.fc2_bias is None else self.fc2_bias + other.fc2_bias
        return ExpertWeights(fc1_weight, fc1_bias, fc2_weight, fc2_bias)

    def pairs(self, other: ExpertWeights) -> Iterator[tuple[Tensor, Tensor]]:
        """(own, other's) of every tensor that is there; both have the same biases."""
        for own, its in zip(self, other, strict=True):
            if own is not None and its is not None:
                yield own, its


class _Reorder(torch.autograd.Function):
    """Rows in another order, each of them ``repeats`` times; backward gathers too, instead of adding row by row.

    ``order`` (n,) points into the repeated rows (choice-major: row t of choice c is c T + t); what it leaves out
    receives no gradient.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, repeats: int) -> Tensor:
        ctx.save_for_backward(order)
        ctx.tokens, ctx.repeats = len(rows), repeats
        return rows.index_select(0, order if repeats == 1 else order % max(1, len(rows)))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (order,) = ctx.saved_tensors
        return _placed(gradient, order, ctx.tokens, ctx.repeats), None, None


class _Restore(torch.autograd.Function):
    """The inverse of ``_Reorder`` without the sum over choices: (n, C) to (repeats, T, C), zeros where nothing comes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, tokens: int, repeats: int) -> Tensor:
        ctx.save_for_backward(order)
        out = rows.new_empty if len(order) == tokens * repeats else rows.new_zeros
        return out((repeats * tokens, rows.shape[1])).index_copy_(0, order, rows).view(repeats, tokens, rows.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (order,) = ctx.saved_tensors
        return gradient.reshape(-1, gradient.shape[-1]).index_select(0, order), None, None, None


def _placed(rows: Tensor, order: Tensor, tokens: int, repeats: int) -> Tensor:
    make = rows.new_empty if len(order) == tokens * repeats else rows.new_zeros
    out = make((repeats * tokens, rows.shape[1])).index_copy_(0, order, rows)
    return out if repeats == 1 else out.view(repeats, tokens, rows.shape[1]).sum(0)


def reorder(rows: Tensor, order: Tensor, repeats: int = 1) -> Tensor:
    """Rows sorted by expert: (T, C) -> (n, C); ``order`` (n,) points into the k T choices, choice-major."""
    if torch.compiler.is_compiling():
        return rows.index_select(0, order if repeats == 1 else order % rows.shape[0])
    return _Reorder.apply(rows, order, repeats)


def restore(rows: Tensor, order: Tensor, tokens: int, repeats: int = 1) -> Tensor:
    """Outputs back at their tokens: (n, C) -> (repeats, T, C), zeros where ``order`` leaves a choice out."""
    if torch.compiler.is_compiling():
        empty = rows.new_zeros((repeats * tokens, rows.shape[1]))
        return empty.index_copy(0, order, rows).view(repeats, tokens, rows.shape[1])
    return _Restore.apply(rows, order, tokens, repeats)


class _Contiguous(torch.autograd.Function):
    """Identity whose gradient is contiguous: the backward of ``grouped_mm`` refuses an expanded one, as of ``sum``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class _AddBias(torch.autograd.Function):
    """Add each expert's bias to its rows in place, group by group; ``grouped_mm`` itself takes none (torch 2.15)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, bias: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        for group, added in zip(rows.split(counts), bias, strict=True):
            group.add_(added)
        ctx.mark_dirty(rows)
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        # As in ``_Contiguous``.
        gradient = gradient.contiguous()
        return gradient, torch.stack([group.sum(0) for group in gradient.split(ctx.counts)]), None


def why_not_grouped(dtype: torch.dtype, device: torch.device, dim: int, hidden: int) -> str | None:
    """What keeps ``F.grouped_mm`` from running, in words; None where nothing does."""
    if _grouped_mm is None:
        return f"torch {torch.__version__} has no grouped_mm"
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"grouped_mm does not take {str(dtype).removeprefix('torch.')}"
    if device.type not in ("cpu", "cuda"):
        return f"grouped_mm does not run on {device.type}"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "grouped_mm needs a GPU of compute capability 8.0 or higher"
    step = 16 // dtype.itemsize
    for name, width in (("dim", dim), ("hidden", hidden)):
        if width % step:
            return f"grouped_mm needs rows of a multiple of 16 bytes, {name} = {width} is no multiple of {step}"
    return None


def choose_backend(backend: Backend, dtype: torch.dtype, device: torch.device, dim: int, hidden: int) -> Backend:
    """``auto`` resolved by width, precision and device; another name as it is.

    Raises:
        ValueError: ``backend`` is unknown, or ``grouped`` was asked for by name and cannot run; the sentence says why.
    """
    if backend not in BACKENDS:
        raise ValueError(f"dispatch back end {backend!r} is unknown: choose of {', '.join(BACKENDS)}")
    if backend not in ("auto", "grouped"):
        return backend
    reason = why_not_grouped(dtype, device, dim, hidden)
    if backend == "grouped" and reason:
        raise ValueError(f"the dispatch back end grouped cannot run here: {reason}; use backend='auto'")
    if reason or (device.type == "cpu" and dtype != torch.float32):
        return "unbind"
    return "grouped"


def apply_experts(
    rows: Tensor,
    counts: Tensor,
    weights: ExpertWeights,
    activation: Callable[[Tensor], Tensor],
    backend: Backend = "auto",
) -> Tensor:
    """fc2_e(activation(fc1_e(row))) of rows sorted by expert.

    Args:
        rows: (N, C), the rows of expert 0 first. N = 0 is allowed.
        counts: (E,) integers, how many rows each expert has; their sum is N. A group may be empty: the gradient of its
            weights is then zero.
        weights: of the E experts, in the precision of ``rows``.
        activation: element-wise (dropout included).
        backend: ``auto``, ``grouped``, ``unbind``, ``bmm`` or ``loop``.

    Returns:
        (N, C).

    Raises:
        ValueError: see ``choose_backend``.
    """
    _, hidden, dim = weights.fc1_weight.shape
    chosen = choose_backend(backend, rows.dtype, rows.device, dim, hidden)
    return _RUN[chosen](rows, counts, weights, activation)


def _grouped(rows: Tensor, counts: Tensor, weights: ExpertWeights, activation: Callable[[Tensor], Tensor]) -> Tensor:
    assert _grouped_mm is not None  # ``choose_backend`` has asked
    product = _grouped_mm
    ends = counts.cumsum(0).to(torch.int32)
    # On a CPU the counts are known without waiting for anything, and groups are cheaper than gathered rows.
    known = counts.tolist() if rows.device.type == "cpu" and not torch.compiler.is_compiling() else None

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = product(x, weight.transpose(1, 2), offs=ends)
        if bias is not None and known is not None:
            return _AddBias.apply(y, bias, known)
        y = y if torch.compiler.is_compiling() else _Contiguous.apply(y)
        return y if bias is None else y + bias.repeat_interleave(counts, dim=0, output_size=x.shape[0])

    hidden = activation(linear(rows, weights.fc1_weight, weights.fc1_bias))
    return linear(hidden, weights.fc2_weight, weights.fc2_bias)


def _unbind(rows: Tensor, counts: Tensor, weights: ExpertWeights, activation: Callable[[Tensor], Tensor]) -> Tensor:
    groups = rows.split(counts.tolist())
    parts = [len(groups) * (None,) if tensor is None else tensor.unbind(0) for tensor in weights]
    # Empty groups stay in: their weights' gradient is zero, not missing.
    return torch.cat(
        [
            functional.linear(activation(functional.linear(group, fc1, bias1)), fc2, bias2)
            for group, fc1, bias1, fc2, bias2 in zip(groups, *parts, strict=True)
        ]
    )


def _loop(rows: Tensor, counts: Tensor, weights: ExpertWeights, activation: Callable[[Tensor], Tensor]) -> Tensor:
    outputs = []
    for expert, group in enumerate(rows.split(counts.tolist())):
        own = weights.map(lambda tensor, expert=expert: tensor[expert])
        hidden = activation(functional.linear(group, own.fc1_weight, own.fc1_bias))
        outputs.append(functional.linear(hidden, own.fc2_weight, own.fc2_bias))
    return torch.cat(outputs)


def _bmm(rows: Tensor, counts: Tensor, weights: ExpertWeights, activation: Callable[[Tensor], Tensor]) -> Tensor:
    experts, _, dim = weights.fc1_weight.shape
    longest = int(counts.max())
    expert = torch.arange(experts, device=rows.device).repeat_interleave(counts, output_size=rows.shape[0])
    place = torch.arange(rows.shape[0], device=rows.device) - (counts.cumsum(0) - counts)[expert]
    cell = expert * longest + place
    # Zeros, not empty memory: what is in a padding row meets the weights' gradient.
    buffer = rows.new_zeros((experts * longest, dim)).index_copy(0, cell, rows).view(experts, longest, dim)

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if bias is None:
            return x @ weight.transpose(1, 2)
        return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))

    hidden = activation(linear(buffer, weights.fc1_weight, weights.fc1_bias))
    return linear(hidden, weights.fc2_weight, weights.fc2_bias).view(-1, dim).index_select(0, cell)


_RUN: dict[str, Callable[..., Tensor]] = {"grouped": _grouped, "unbind": _unbind, "bmm": _bmm, "loop": _loop}
