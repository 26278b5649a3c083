"""What losses, metrics and commands need of torch.distributed. On one process everything here is a no-op.

Scale-out itself is Lightning's (DDP, FSDP, SLURM) and torchrun's; nothing here launches processes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from shared_utils import UserError

Item = TypeVar("Item")
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized() and not _alone.get()


def rank() -> int:
    """This process's rank; 0 on one process."""
    return dist.get_rank() if _in_group() else 0


def world_size() -> int:
    """How many processes take part; 1 on one process."""
    return dist.get_world_size() if _in_group() else 1


@contextmanager
def alone() -> Iterator[None]:
    """For the length of the block this process is on its own, whoever else is in its group.

    For work that ranks share whole, such as a training each: its batches are not divided, and it waits for nobody.
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that ``torchrun`` describes in the environment, for the length of the block.

    Without ``torchrun`` (no ``WORLD_SIZE`` above 1), or inside a group, nothing happens.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or dist.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share(items: Sequence[Item]) -> list[Item]:
    """The items that fall to this rank: every ``world_size``-th, beginning with the rank's own."""
    return list(items[rank() :: world_size()])


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def broadcast(value: Any) -> Any:
    """The first rank's value (any picklable object) on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def sum_over_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of the ranks' tensors (equal shapes); without gradient."""
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: torch.Tensor) -> torch.Tensor:
        size = torch.tensor([local.shape[0]], device=local.device)
        sizes = [torch.zeros_like(size) for _ in range(world_size())]
        dist.all_gather(sizes, size)
        ctx.counts = [int(count) for count in sizes]
        longest = max(ctx.counts)
        padded = local.new_zeros((longest, *local.shape[1:]))
        padded[: local.shape[0]] = local
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        # Every rank's loss may depend on every rank's rows, so what a row receives is the sum over the ranks.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        start = sum(ctx.counts[: rank()])
        return total[start : start + ctx.counts[rank()]]


def gather(local: torch.Tensor) -> torch.Tensor:
    """The rows of all ranks, in rank order, with gradients to the ranks that own them.

    Args:
        local: (n_r, ...); n_r may differ between ranks (0 included), the other dimensions may not.

    Returns:
        (sum n_r, ...). A row's gradient is the sum over the ranks' losses; with DDP, which averages the gradients of the
        parameters, a loss that every rank computes from all rows so has exactly the gradient it has on one process.
    """
    return local if world_size() == 1 else _Gather.apply(local)


def gather_objects(value: Any) -> list[Any]:
    """The ranks' values (any picklable object), in rank order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def shuffle(local: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Exchange rows between ranks at random (batch-norm shuffling); no gradient.

    Args:
        local: (n, ...), n the same on every rank.
        generator: seeded alike on every rank.

    Returns:
        This rank's new rows, (n, ...), and the order to give to ``unshuffle``.
    """
    rows = gather(local.detach())
    order = torch.randperm(rows.shape[0], generator=generator).to(local.device)
    start = rank() * local.shape[0]
    return rows[order[start : start + local.shape[0]]], order


def unshuffle(local: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Undo ``shuffle``: every row goes back to its rank and place."""
    rows = gather(local.detach())
    start = rank() * local.shape[0]
    return rows[torch.argsort(order)[start : start + local.shape[0]]]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch on this process; every rank gets numbers of its own, the first those of ``seed``."""
    if rank() > 0:
        # Not seed + rank: that would be the next run's seed on its first rank.
        seed = int(np.random.SeedSequence([seed % 2**64, rank()]).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (libraries draw from the global state)
    torch.manual_seed(seed)


def choose_device(name: str = "auto") -> torch.device:
    """The device that ``--device`` names.

    Args:
        name: ``auto`` for this rank's GPU, else Apple's, else the CPU; or ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name} is not a device: use auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: no CUDA GPU here; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: there are {torch.cuda.device_count()} GPUs here, from cuda:0; use auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device {name}: no Apple GPU here; use auto or cpu")
    return device
