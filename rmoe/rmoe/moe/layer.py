"""The residual mixture of experts: a feed-forward layer whose experts are a shared core and a residual each.

theta_e = theta_core + r_e for every tensor of the layer (the paper's idea, abstract), evaluated as one feed-forward
layer per chosen expert. How the paper gates, what it does with tokens beyond an expert's capacity and how it starts the
residuals is not known: those are switches, and their defaults are ours, chosen so that a converted model computes
what the dense one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rmoe.moe.dispatch import Backend, ExpertWeights, apply_experts, choose_backend, reorder, restore
from rmoe.moe.experts import ExpertTensors, LowRankResidual
from rmoe.moe.feed_forward import FeedForward
from rmoe.moe.routing import GATES, OVERFLOWS, CosineRouter, Gate, LinearRouter, Overflow, Routing, gate_values, route
from rmoe.moe.summed import Memory, plus
from shared_utils import distributed

Param = Literal["factored", "merged", "frozen_core"]
Form = Literal["factorised", "side_branch"]
Router = Literal["linear", "cosine"]
Balance = Literal["loss", "bias"]


class ResidualMoE(nn.Module):
    """y_t = sum over the k chosen experts of g_te f(x_t; theta_core + r_e).

    Parameters are named ``core.fc1.weight`` (H, C), ``core.fc1.bias`` (H,), ``core.fc2.weight`` (C, H),
    ``core.fc2.bias`` (C,), ``residual.fc1_weight`` (E, H, C), ``residual.fc1_bias`` (E, H), ``residual.fc2_weight``
    (E, C, H), ``residual.fc2_bias`` (E, C) and ``router.weight`` (E, C); merged: ``experts.*`` in place of
    ``residual.*``. After a forward pass ``routing`` holds what was decided, for losses and diagnostics, and
    ``token_shape`` the shape of the input without channels.

    Args:
        dim: C, width of the tokens.
        hidden: H.
        experts: E.
        k: experts a token.
        act: element-wise activation; GELU where not given.
        bias: whether fc1 and fc2 have one.
        dropout: after the activation, and of the output.
        gate: see ``routing.gate_values``; ``residual`` is y = core + sum P (expert - core), two evaluations.
        overflow: a choice beyond the capacity gets the ``core``'s output, ``zero`` (tutel, Swin-MoE), or the ``next``
            best expert with room (then the core, if even that fails and there is one).
        capacity_factor: in training; 0: dropless.
        eval_capacity_factor: in evaluation; 0 (dropless), so that an image's result does not depend on its batch.
        priority: tokens with the highest probability claim slots first (V-MoE, Swin-MoE).
        param: ``factored`` trains core and residuals; ``frozen_core`` residuals only; ``merged`` has whole weights W_e
            (sparse upcycling), with a frozen core only where overflow or gate needs one.
        residual_init: ``zero``, or ``noise:s``: r ~ N(0, s std(core tensor)), once the core is set.
        residual_rank: r_e = A_e B_e of this rank; None: whole residuals.
        router: ``linear``, or ``cosine`` (tutel).
        router_init_std: of the linear router; not 0.
        router_noise: in training, normal noise times router_noise / E on the logits (tutel, Swin-MoE).
        form: ``factorised``; ``side_branch`` is core(x) + sum P f(x; own weights of the expert), an ablation (DeepSpeed
            PR-MoE) that costs twice the operations.
        balance: ``loss``: by auxiliary losses only; ``bias``: also by a bias per expert on the selection, moved by
            ``update_balance`` (no gradient).
        balance_rate: how far one update moves it.
        backend: see ``dispatch.apply_experts``.

    Raises:
        ValueError: a switch has no such value, k > E, or the switches do not fit together.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        experts: int = 8,
        k: int = 1,
        *,
        act: Callable[[Tensor], Tensor] | None = None,
        bias: tuple[bool, bool] = (True, True),
        dropout: tuple[float, float] = (0.0, 0.0),
        gate: Gate = "straight_through",
        overflow: Overflow = "core",
        capacity_factor: float = 1.25,
        eval_capacity_factor: float = 0.0,
        priority: bool = False,
        param: Param = "factored",
        residual_init: str = "zero",
        residual_rank: int | None = None,
        router: Router = "linear",
        router_init_std: float = 0.02,
        router_noise: float = 1.0,
        form: Form = "factorised",
        balance: Balance = "loss",
        balance_rate: float = 1e-3,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("gate", gate, GATES),
            ("overflow", overflow, OVERFLOWS),
            ("param", param, get_args(Param)),
            ("router", router, get_args(Router)),
            ("form", form, get_args(Form)),
            ("balance", balance, get_args(Balance)),
        ):
            if value not in allowed:
                raise ValueError(f"{name} {value!r} is unknown: choose of {', '.join(allowed)}")
        if not 1 <= k <= experts:
            raise ValueError(f"k = {k} experts a token of {experts}: k must be between 1 and the number of experts")
        if param == "merged" and (residual_rank is not None or form == "side_branch"):
            raise ValueError(
                "param 'merged' has whole weights: it goes neither with residual_rank nor with side_branch"
            )
        self._noise_scale(residual_init)
        self.dim, self.hidden, self.num_experts, self.k = dim, hidden, experts, k
        self.bias, self.dropout = (bias[0], bias[1]), (dropout[0], dropout[1])
        self.gate: Gate = gate
        self.overflow: Overflow = overflow
        self.priority = priority
        self.capacity_factor, self.eval_capacity_factor = capacity_factor, eval_capacity_factor
        self.param: Param = param
        self.form: Form = form
        self.residual_init, self.residual_rank = residual_init, residual_rank
        self.router_kind, self.router_init_std, self.router_noise = router, router_init_std, router_noise
        self.balance, self.balance_rate = balance, balance_rate
        choose_backend(backend if backend != "grouped" else "auto", torch.float32, torch.device("cpu"), dim, hidden)
        self.backend: Backend = backend

        self.act = nn.GELU() if act is None else act
        self.drop1, self.drop2 = nn.Dropout(dropout[0]), nn.Dropout(dropout[1])
        needs_core = param != "merged" or overflow == "core" or gate == "residual"
        # The output's dropout is the layer's: it comes after the sum over experts.
        self.core = FeedForward(dim, hidden, self.act, self.bias, (dropout[0], 0.0)) if needs_core else None
        self.experts: ExpertTensors
        self.residual: ExpertTensors | LowRankResidual
        if param == "merged":
            self.experts = ExpertTensors(experts, dim, hidden, self.bias)
        elif residual_rank is not None and form == "factorised":
            self.residual = LowRankResidual(experts, dim, hidden, residual_rank, self.bias)
        else:
            self.residual = ExpertTensors(experts, dim, hidden, self.bias)
        if self.core is not None and param != "factored":
            self.core.requires_grad_(False)
        self.router = LinearRouter(dim, experts, router_init_std) if router == "linear" else CosineRouter(dim, experts)
        self.selection_bias: Tensor
        self.observed_load: Tensor
        if balance == "bias":
            self.register_buffer("selection_bias", torch.zeros(experts))
            self.register_buffer("observed_load", torch.zeros(experts), persistent=False)
        self.routing: Routing | None = None
        self.token_shape: tuple[int, ...] = ()
        self.exchange: Callable[..., Tensor] | None = None
        self._merged: tuple[tuple, ExpertWeights] | None = None
        self._memory = (Memory(), Memory())
        self.dense_form: tuple[nn.Module, tuple[str, str]] | None = None
        self.reset_experts()

    def options(self) -> dict[str, Any]:
        """The constructor's switches as plain values, without the widths, the activation and what a dense layer tells."""
        return {
            "experts": self.num_experts,
            "k": self.k,
            "gate": self.gate,
            "overflow": self.overflow,
            "capacity_factor": self.capacity_factor,
            "eval_capacity_factor": self.eval_capacity_factor,
            "priority": self.priority,
            "param": self.param,
            "residual_init": self.residual_init,
            "residual_rank": self.residual_rank,
            "router": self.router_kind,
            "router_init_std": self.router_init_std,
            "router_noise": self.router_noise,
            "form": self.form,
            "balance": self.balance,
            "balance_rate": self.balance_rate,
            "backend": self.backend,
        }

    @staticmethod
    def _noise_scale(residual_init: str) -> float:
        if residual_init == "zero":
            return 0.0
        name, _, scale = residual_init.partition(":")
        try:
            if name == "noise" and float(scale) >= 0:
                return float(scale)
        except ValueError:
            pass
        raise ValueError(f"residual_init {residual_init!r} is unknown: give zero, or noise:s with a number s")

    def core_module(self) -> FeedForward:
        """The core. Raises ValueError where there is none."""
        if self.core is None:
            raise ValueError("this layer has no core (param 'merged'): factor it first")
        return self.core

    def core_weights(self) -> ExpertWeights:
        """The core's tensors, without a leading dimension. Raises ValueError where there is no core."""
        core = self.core_module()
        fc1, fc2 = core.fc1, core.fc2
        return ExpertWeights(fc1.weight, fc1.bias, fc2.weight, fc2.bias)

    @torch.no_grad()
    def reset_experts(self) -> None:
        """Start the experts from the core as ``residual_init`` says: after the core's weights were set."""
        if self.param == "merged":
            if self.core is not None:
                self.experts.set(self.core_weights())
            else:
                for tensor in (self.experts.fc1_weight, self.experts.fc2_weight):
                    nn.init.trunc_normal_(tensor, std=0.02)
        elif self.form == "side_branch":
            # The branch begins as a copy of the core whose last matrix is zero: it adds nothing, and can learn.
            core = self.core_weights()
            nothing = core.map(torch.zeros_like)
            self.whole_residual().set(core._replace(fc2_weight=nothing.fc2_weight, fc2_bias=nothing.fc2_bias))
        else:
            self.residual.reset()
        if self.core is not None and (scale := self._noise_scale(self.residual_init)) > 0:
            # A core of one value (a bias of zeros) has no spread, and gets no noise.
            stds = self.core_weights().map(lambda tensor: scale * tensor.std(correction=0))
            (self.experts if self.param == "merged" else self.residual).add_noise(stds)

    def whole_residual(self) -> ExpertTensors:
        """The residuals as whole tensors. Raises ValueError where they are low-rank products."""
        if isinstance(self.residual, LowRankResidual):
            raise ValueError("the residuals of this layer are low-rank products")
        return self.residual

    def expert_weights(self) -> ExpertWeights:
        """W_e = core + r_e of the experts that are on this process: (E, H, C), (E, H), (E, C, H), (E, C).

        Without gradients the sum is kept until a parameter changes.
        """
        if self.param == "merged":
            return self.experts.weights()
        if self.form == "side_branch":
            return self.residual.weights()
        cached = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        core = self.core_weights()
        parameters = [*(each for each in core if each is not None), *self.residual.parameters()]
        cached = cached and not any(parameter.is_inference() for parameter in parameters)
        key = tuple((p.data_ptr(), p._version, p.dtype) for p in parameters) if cached else ()
        if cached and self._merged is not None and self._merged[0] == key:
            return self._merged[1]
        residual = self.residual.weights()
        if cached:
            self._memory = (Memory(), Memory())  # of training: not held beside what is kept now
            merged = core.plus(residual)
            self._merged = (key, merged)
            return merged
        fc1_weight = plus(core.fc1_weight, residual.fc1_weight, self._memory[0])
        fc2_weight = plus(core.fc2_weight, residual.fc2_weight, self._memory[1])
        merged = core.plus(residual, fc1_weight, fc2_weight)
        self._merged = None
        return merged

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Route every token and return the weighted outputs.

        Args:
            x: (..., C); every position is a token.
            padding: (...) bool, True where a position is padding of the batch: routed like any other, but left out of
                losses and statistics (``mask_padding``). None: all count.

        Returns:
            (..., C).
        """
        tokens = x.reshape(-1, self.dim)
        routing = self._route(tokens, None if padding is None else ~padding.reshape(-1))
        self.routing, self.token_shape = routing, x.shape[:-1]
        gates = gate_values(routing, "prob" if self.form == "side_branch" else self.gate)
        if torch.is_autocast_enabled(x.device.type):
            # grouped_mm is not among the operations that autocast covers.
            tokens = tokens.to(torch.get_autocast_dtype(x.device.type))
        y = self._mix(tokens, routing, gates.to(tokens.dtype))
        return self.drop2(y).reshape(x.shape)

    def _route(self, tokens: Tensor, counted: Tensor | None) -> Routing:
        logits = self.router(tokens)
        noise = None
        if self.training and self.router_noise > 0:
            noise = torch.randn_like(logits) * (self.router_noise / self.num_experts)
        routing = route(
            logits,
            self.k,
            self.capacity_factor if self.training else self.eval_capacity_factor,
            self.priority,
            self.overflow,
            noise,
            self.selection_bias if self.balance == "bias" else None,
            counted,
        )
        if self.training and self.balance == "bias":
            chosen = routing.expert if counted is None else routing.expert[counted]
            self.observed_load += chosen.reshape(-1).bincount(minlength=self.num_experts).to(self.observed_load)
        return routing

    def _mix(self, tokens: Tensor, routing: Routing, gates: Tensor) -> Tensor:
        """sum over choices of gate times output: (T, C)."""
        num_tokens, k, num_experts = tokens.shape[0], self.k, self.num_experts
        expert = routing.expert.T.reshape(-1)
        if routing.capacity is not None:
            # What found no slot makes a group of its own behind the experts.
            expert = torch.where(routing.kept.T.reshape(-1), expert, num_experts)
        order = expert.argsort(stable=True)
        counts = expert.bincount(minlength=num_experts + 1)
        num_kept = expert.shape[0] if routing.capacity is None else expert.shape[0] - int(counts[-1])
        twice = self.gate == "residual" or self.form == "side_branch"
        placed = order if num_kept == expert.shape[0] else order[:num_kept]
        out = self._experts(reorder(tokens, placed, k), counts[:-1])
        if num_kept < expert.shape[0] and self.core is not None and self.overflow != "zero" and not twice:
            out = torch.cat([out, self.core(reorder(tokens, order[num_kept:], k)).to(out.dtype)])
            placed = order
        y = restore(out, placed, num_tokens, k)
        if twice:
            core = self.core_module()(tokens)
            if self.form == "factorised":
                y = y - core
                if routing.capacity is not None:
                    y = y * routing.kept.T[:, :, None]
            return core + (y * gates.T[:, :, None]).sum(0)
        if self.gate == "normalized" and k == 1:
            return y[0]
        return y[0] * gates if k == 1 else (y * gates.T[:, :, None]).sum(0)

    def _experts(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The experts' outputs of rows sorted by expert, on this process or where the experts are."""
        weights = self.expert_weights()
        if weights.fc1_weight.dtype != rows.dtype:
            weights = weights.to(rows.dtype)

        def run(rows: Tensor, counts: Tensor) -> Tensor:
            return apply_experts(rows, counts, weights, self._activate, self.backend)

        return run(rows, counts) if self.exchange is None else self.exchange(rows, counts, run)

    def _activate(self, hidden: Tensor) -> Tensor:
        return self.drop1(self.act(hidden))

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle has neither the last routing, which hangs on a graph, nor the sum of the weights.
        return {**super().__getstate__(), "routing": None, "_merged": None, "_memory": (Memory(), Memory())}

    def extra_repr(self) -> str:
        """Widths and switches."""
        return (
            f"dim={self.dim}, hidden={self.hidden}, experts={self.num_experts}, k={self.k}, gate={self.gate}, "
            f"overflow={self.overflow}, param={self.param}"
        )


def moe_layers(model: nn.Module) -> Iterator[tuple[str, ResidualMoE]]:
    """(name, layer) of every residual mixture in a model, in the order of its modules."""
    for name, module in model.named_modules():
        if isinstance(module, ResidualMoE):
            yield name, module


@torch.no_grad()
def update_balance(model: nn.Module) -> None:
    """Move the selection bias of layers with ``balance: bias`` by rate sign(mean load - load); after each step.

    The load is what was chosen since the last update, over all ranks (torchtitan's rule, without auxiliary loss).
    """
    for _, layer in moe_layers(model):
        if layer.balance != "bias":
            continue
        load = layer.observed_load
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(load)
        if load.sum() > 0:
            layer.selection_bias += layer.balance_rate * (load.mean() - load).sign()
        load.zero_()
