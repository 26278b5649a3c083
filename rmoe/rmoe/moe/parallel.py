"""Experts spread over processes: rank r of W owns experts [r E/W, (r+1) E/W), router and core are on every rank.

Rows go to their experts and outputs come back by all-to-all with the true counts: no padding, ranks may have any number
of tokens, none too. Counts are exchanged first and every rank takes part in every call, so that ranks with nothing to
send do not leave others waiting. Scale-out itself is Lightning's and torchrun's.

How gradients add up. Each rank's loss is its own, and what counts is their mean over all ranks (DDP's rule). A row's
gradient comes back to its owner summed over the ranks, so the experts' gradients are sums of all losses that reach them
and must be divided by the number of ranks: ``finish_gradients``. The core takes part on every rank (in its own experts'
weights and in overflow), which DDP averages like any other parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rmoe.moe.dispatch import reorder, restore
from rmoe.moe.layer import ResidualMoE, moe_layers
from shared_utils import UserError

OptimizerState = tuple[list[nn.Parameter], dict[str, Any]]


class _AllToAll(torch.autograd.Function):
    """Rows to other ranks; backward is the same with the split lists swapped.

    An own function: torch's differentiable all-to-all is private, and slower.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
        ctx.splits, ctx.group = (received, sent), group
        return _exchange(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        sent, received = ctx.splits
        return _exchange(gradient, sent, received, ctx.group), None, None, None


def _exchange(rows: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
    out = rows.new_empty((sum(received), *rows.shape[1:]))
    dist.all_to_all_single(out, rows.contiguous(), received, sent, group=group)
    return out


class ExpertExchange:
    """Runs rows on the ranks that own their experts: what a sharded layer calls in place of its own experts.

    Args:
        group: the ranks that share the experts; None: all.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group

    def __call__(self, rows: Tensor, counts: Tensor, run: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Send, run, return.

        Args:
            rows: (N, C) sorted by expert.
            counts: (E,) of all experts.
            run: (rows, counts of the local experts) -> outputs.

        Returns:
            (N, C) outputs in the order of ``rows``.
        """
        ranks = dist.get_world_size(self.group)
        local = len(counts) // ranks
        arriving = torch.empty_like(counts)
        dist.all_to_all_single(arriving, counts.contiguous(), group=self.group)
        arriving = arriving.view(ranks, local)
        sent, received = counts.view(ranks, local).sum(1).tolist(), arriving.sum(1).tolist()
        rows = _AllToAll.apply(rows, sent, received, self.group)
        # They come a rank after the other, each sorted by expert; the experts want theirs together.
        expert = torch.arange(local, device=rows.device).repeat(ranks).repeat_interleave(arriving.reshape(-1))
        order = expert.argsort(stable=True)
        out = run(reorder(rows, order), arriving.sum(0))
        out = restore(out, order, rows.shape[0])[0]
        return _AllToAll.apply(out, received, sent, self.group)

    def __deepcopy__(self, memo: dict) -> ExpertExchange:
        # A process group is not copied: a copy of a layer works in the same one.
        return self


def _experts_of(layer: ResidualMoE) -> nn.Module:
    return layer.experts if layer.param == "merged" else layer.residual


def shard_experts(model: nn.Module, group: dist.ProcessGroup | None = None) -> list[str]:
    """Keep only this rank's experts in every mixture, in place: before the optimiser and DDP are made.

    Args:
        model: the same weights on every rank.
        group: the ranks that share the experts; None: all.

    Returns:
        The names of the parameters that are now sharded, along their first dimension.

    Raises:
        UserError: the experts do not divide evenly over the ranks.
    """
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    for name, layer in moe_layers(model):
        if layer.num_experts % ranks:
            raise UserError(
                f"{name} has {layer.num_experts} experts, which do not divide evenly over {ranks} processes: use a "
                f"number of processes that divides {layer.num_experts}"
            )
    for _, layer in moe_layers(model):
        local = layer.num_experts // ranks
        experts = _experts_of(layer)
        for name, parameter in list(experts.named_parameters()):
            part = parameter.detach()[rank * local : (rank + 1) * local].clone()
            setattr(experts, name, nn.Parameter(part, requires_grad=parameter.requires_grad))
        layer.exchange = ExpertExchange(group)
        layer._merged = None
    return [name for name, _ in sharded_parameters(model)]


def sharded_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of what differs between ranks."""
    for prefix, layer in moe_layers(model):
        if layer.exchange is not None:
            for name, parameter in _experts_of(layer).named_parameters():
                kind = "experts" if layer.param == "merged" else "residual"
                yield f"{prefix}.{kind}.{name}" if prefix else f"{kind}.{name}", parameter


def ignore_in_ddp(module: nn.Module) -> None:
    """Keep DDP from averaging the shards: call on the module that DDP will wrap (a LightningModule: in ``setup``)."""
    names = [name for name, _ in sharded_parameters(module)]
    known = getattr(module, "_ddp_params_and_buffers_to_ignore", [])
    object.__setattr__(module, "_ddp_params_and_buffers_to_ignore", [*known, *names])


@torch.no_grad()
def finish_gradients(model: nn.Module, replicas: dist.ProcessGroup | None = None) -> None:
    """Make the shards' gradients those of the mean loss over all ranks; after backward, before clipping and the step.

    Args:
        model: sharded.
        replicas: the ranks that own the same experts (``dp`` of a dp x ep mesh); None: there are none.
    """
    copies = 1 if replicas is None else dist.get_world_size(replicas)
    for (_, parameter), group in zip(sharded_parameters(model), _groups(model), strict=True):
        if parameter.grad is None:
            continue
        if copies > 1:
            dist.all_reduce(parameter.grad, group=replicas)
        parameter.grad /= copies * dist.get_world_size(group)


def _groups(model: nn.Module) -> Iterator[dist.ProcessGroup | None]:
    for _, layer in moe_layers(model):
        if isinstance(layer.exchange, ExpertExchange):
            for _ in _experts_of(layer).parameters():
                yield layer.exchange.group


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float, group: dist.ProcessGroup | None = None) -> Tensor:
    """Clip by the norm over all parameters, shards of every rank included; the norm before.

    Args:
        model: sharded; its gradients are finished.
        max_norm: largest norm.
        group: the ranks that share the experts.
    """
    shards = {id(parameter) for _, parameter in sharded_parameters(model)}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    device = gradients[0].device if gradients else torch.device("cpu")
    own, common = torch.zeros((), device=device), torch.zeros((), device=device)
    for parameter in model.parameters():
        if parameter.grad is not None:
            square = parameter.grad.float().square().sum()
            own, common = (own + square, common) if id(parameter) in shards else (own, common + square)
    dist.all_reduce(own, group=group)
    norm = (own + common).sqrt()
    for gradient in gradients:
        gradient *= (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return norm


def gather_state(model: nn.Module, state: dict[str, Any], optimizers: Iterable[OptimizerState] = ()) -> None:
    """Make a state dict, and those of optimisers, whole: the entries of one process. Every rank calls it; in place.

    Args:
        model: sharded, or one that holds such models.
        state: its state dict.
        optimizers: (parameters in the order of its groups, state dict) of each optimiser; entries in the shape of a shard
            (moments) are gathered like it.
    """
    groups = {id(p): g for (_, p), g in zip(sharded_parameters(model), _groups(model), strict=True)}
    for name, parameter in sharded_parameters(model):
        state[name] = _gathered(parameter.detach(), groups[id(parameter)])
    for parameters, entries in optimizers:
        for parameter, own in _entries(parameters, entries):
            for key, value in own.items() if id(parameter) in groups else ():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    own[key] = _gathered(value, groups[id(parameter)])


def scatter_state(model: nn.Module, state: dict[str, Any], optimizers: Iterable[OptimizerState] = ()) -> None:
    """The inverse of ``gather_state``: keep this rank's part of whole state dicts, in place."""
    places = {}
    for (name, parameter), group in zip(sharded_parameters(model), _groups(model), strict=True):
        first = dist.get_rank(group) * len(parameter)
        places[id(parameter)] = slice(first, first + len(parameter))
        state[name] = state[name][places[id(parameter)]]
    for parameters, entries in optimizers:
        for parameter, own in _entries(parameters, entries):
            for key, value in own.items() if id(parameter) in places else ():
                if isinstance(value, Tensor) and value.shape[1:] == parameter.shape[1:] and value.ndim:
                    own[key] = value[places[id(parameter)]]


def _gathered(part: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, part.contiguous(), group=group)
    return torch.cat(parts)


def _entries(parameters: list[nn.Parameter], entries: dict[str, Any]) -> Iterator[tuple[nn.Parameter, dict[str, Any]]]:
    """(parameter, its entries), numbered as torch's optimisers do; the entries may be changed."""
    entries["state"] = {number: dict(own) for number, own in entries["state"].items()}
    for number, own in entries["state"].items():
        yield parameters[number], own


def sharded_state_dict(model: nn.Module, mesh: Any) -> dict[str, Any]:
    """The state dict with shards as DTensors (Shard(0)), for ``torch.distributed.checkpoint``.

    What is saved so can be loaded on any number of processes, one too. To load into a sharded model, give this dict to
    ``torch.distributed.checkpoint.load``: it fills the parameters in place.

    Args:
        model: sharded.
        mesh: the one-dimensional device mesh of the ranks that share the experts, or that of ``fully_shard_around``.
    """
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard

    state = dict(model.state_dict())
    if mesh.ndim == 1:
        for name, parameter in sharded_parameters(model):
            state[name] = DTensor.from_local(parameter.detach(), mesh, [Shard(0)], run_check=False)
        return state
    # FSDP knows a rank's experts as whole tensors, the same name for other experts on each rank of ``ep``: left so, all
    # but one of them would be lost. First the experts are split over ``ep``, then each part over ``dp``.
    turned = DeviceMesh(mesh.device_type, mesh.mesh.T, mesh_dim_names=("ep", "dp"))
    for name, parameter in sharded_parameters(model):
        assert isinstance(parameter, DTensor)
        shape = torch.Size((parameter.shape[0] * turned.size(0), *parameter.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        local = parameter.to_local().detach()
        state[name] = DTensor.from_local(local, turned, [Shard(0)] * 2, run_check=False, shape=shape, stride=stride)
    return state


def fully_shard_around(model: nn.Module, mesh: Any) -> None:
    """FSDP2 around experts over processes, in place: the experts on ``dp`` only, everything else over all ranks.

    Afterwards ``finish_gradients`` makes the experts' gradients those of the mean loss, as without FSDP.

    Args:
        model: the same weights on every rank, on the mesh's device.
        mesh: device mesh with the dimensions ``dp`` (replicas) and ``ep`` (ranks that share the experts).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    shard_experts(model, mesh.get_group("ep"))
    for _, layer in moe_layers(model):
        experts = _experts_of(layer)
        # The layer asks for its weights and uses them afterwards: they stay whole until its backward.
        fully_shard(experts, mesh=mesh["dp"], reshard_after_forward=False)
        register_fsdp_forward_method(experts, "weights")
    fully_shard(model, mesh=init_device_mesh(mesh.device_type, (mesh.size(),), mesh_dim_names=("all",)))
