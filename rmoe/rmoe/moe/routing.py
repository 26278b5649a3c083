"""Which experts a token goes to, in which order tokens claim an expert's slots, and what weight an output gets.

The order of claims and the capacity are tutel's (published code: tutel ``extract_critical``), the priority V-MoE's as
Swin-MoE uses it; of the gates, ``prob`` and ``normalized`` are published (Switch Transformer, tutel), the other two
are ours: how the RMoE paper gates is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Gate = Literal["straight_through", "prob", "normalized", "residual"]
Overflow = Literal["core", "zero", "next"]
GATES, OVERFLOWS = get_args(Gate), get_args(Overflow)


@dataclass(frozen=True)
class Routing:
    """What the router decided about T tokens, E experts and k choices.

    Attributes:
        logits: (T, E) without noise; float32, or float64 where the tokens are.
        noisy_logits: (T, E) what was routed by; the same tensor where there is no noise.
        probability: (T, E) softmax of ``noisy_logits``.
        expert: (T, k) the experts chosen, best first; after overflow ``next`` the ones that had room.
        first_choice: (T,) before anything was dropped or sent on.
        slot: (T, k) place among the claims of the expert, kept or not; None where nothing limits them.
        kept: (T, k) whether the slot was below the capacity.
        capacity: slots an expert has; None where nothing limits them (dropless).
        counted: (T,) tokens that count in losses and statistics; None: all.
    """

    logits: Tensor
    noisy_logits: Tensor
    probability: Tensor
    expert: Tensor
    first_choice: Tensor
    slot: Tensor | None
    kept: Tensor
    capacity: int | None
    counted: Tensor | None = None


class LinearRouter(nn.Module):
    """L = X Wg^T without bias, in float32 whatever autocast says: half-precision logits flip experts near ties.

    Args:
        dim: C.
        experts: E.
        init_std: Wg ~ N(0, init_std), cut off at two standard deviations. Zero would send every token to expert 0.
    """

    def __init__(self, dim: int, experts: int, init_std: float = 0.02) -> None:
        super().__init__()
        if init_std <= 0:
            raise ValueError("router_init_std must be positive: a zero router sends every token to expert 0")
        self.weight = nn.Parameter(torch.empty(experts, dim))
        nn.init.trunc_normal_(self.weight, std=init_std, a=-2 * init_std, b=2 * init_std)

    def forward(self, x: Tensor) -> Tensor:
        """(T, C) -> (T, E)."""
        kind = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            return functional.linear(x.to(kind), self.weight.to(kind))


class CosineRouter(nn.Module):
    """Scaled cosine of the projected token and one vector an expert (published code: tutel ``CosineTopKGate``).

    Args:
        dim: C.
        experts: E.
        projection: width of the projection.
        temperature: initial t of logits = cosine / t, t at least 0.01.
    """

    def __init__(self, dim: int, experts: int, projection: int = 256, temperature: float = 0.5) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.log(torch.full((1,), 1.0 / temperature)))
        self.projector = nn.Linear(dim, projection)
        self.sim_matrix = nn.Parameter(0.01 * torch.randn(projection, experts))

    def forward(self, x: Tensor) -> Tensor:
        """(T, C) -> (T, E)."""
        kind = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            projected = functional.linear(x.to(kind), self.projector.weight.to(kind), self.projector.bias.to(kind))
            cosine = functional.normalize(projected, dim=1) @ functional.normalize(self.sim_matrix.to(kind), dim=0)
            return cosine * self.temperature.to(kind).clamp(max=4.605170185988092).exp()


def top_experts(scores: Tensor, k: int) -> Tensor:
    """The k largest of each row, best first, ties by the lower index: (T, E) -> (T, k).

    ``topk`` breaks ties in any order it likes; ``argmax`` and a stable sort keep the lower index.
    """
    if k == 1:
        return scores.argmax(dim=1, keepdim=True)
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]


def expert_capacity(tokens: int, experts: int, k: int, factor: float | None) -> int | None:
    """Slots an expert has: k int(factor ceil(T / E)), as tutel counts; None where factor is 0 or None (dropless)."""
    if not factor or factor < 0:
        return None
    return k * int(factor * -(-tokens // experts))


def claim_slots(expert: Tensor, experts: int, order: Tensor | None = None) -> Tensor:
    """The place of each choice among the claims of its expert: (T, k) -> (T, k).

    All first choices of all tokens claim before all second ones, so that a second choice starts after the count of
    all first choices of that expert, kept or not (published code: tutel ``extract_critical``).

    Args:
        expert: (T, k).
        experts: E.
        order: (T,) the order in which tokens claim; None: as they stand.
    """
    tokens, k = expert.shape
    claims = (expert if order is None else expert[order]).T.reshape(-1)
    sorted_claims = claims.argsort(stable=True)
    counts = claims.bincount(minlength=experts)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(claims)
    place[sorted_claims] = torch.arange(len(claims), device=claims.device) - starts[claims[sorted_claims]]
    place = place.reshape(k, tokens).T
    if order is None:
        return place.contiguous()
    slot = torch.empty_like(expert)
    slot[order] = place
    return slot


def send_on(
    scores: Tensor, expert: Tensor, kept: Tensor, slot: Tensor, capacity: int, order: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Give dropped choices to the next best expert with room that the token has not: (expert, kept, slot).

    Choices are placed one after the other in the order of claims; what finds no room stays dropped at its first expert.
    """
    tokens, experts = scores.shape
    expert, kept, slot = expert.clone(), kept.clone(), slot.clone()
    filled = expert[kept].bincount(minlength=experts)
    ranked = scores.sort(dim=1, descending=True, stable=True).indices
    position = torch.arange(tokens, device=scores.device) if order is None else order
    for choice in range(expert.shape[1]):
        for rank in range(experts):
            # In this order of claims: the tokens whose choice has no place yet.
            waiting = position[~kept[position, choice]]
            if len(waiting) == 0 or int(filled.min()) >= capacity:
                break
            candidate = ranked[waiting, rank]
            new = (expert[waiting] != candidate[:, None]).all(dim=1)
            waiting, candidate = waiting[new], candidate[new]
            place = filled[candidate] + claim_slots(candidate[:, None], experts)[:, 0]
            fits = place < capacity
            waiting, candidate = waiting[fits], candidate[fits]
            expert[waiting, choice], slot[waiting, choice], kept[waiting, choice] = candidate, place[fits], True
            filled += candidate.bincount(minlength=experts)
    return expert, kept, slot


def route(
    logits: Tensor,
    k: int = 1,
    capacity_factor: float | None = None,
    priority: bool = False,
    overflow: Overflow = "core",
    noise: Tensor | None = None,
    selection_bias: Tensor | None = None,
    counted: Tensor | None = None,
) -> Routing:
    """Choose k experts a token and let the tokens claim their slots.

    Args:
        logits: (T, E), float32 or float64.
        k: choices a token, at most E.
        capacity_factor: see ``expert_capacity``; 0 or None: dropless.
        priority: tokens with the highest largest probability claim first (batch-prioritised, V-MoE), not the first.
        overflow: ``next`` sends a choice without a slot to the next best expert that has room.
        noise: (T, E) added to the logits.
        selection_bias: (E,) added to the probabilities where experts are chosen, nowhere else (``balance: bias``).
        counted: (T,) tokens that count in losses and statistics; None: all.

    Returns:
        The routing; of tokens that find no slot, ``kept`` is False.
    """
    tokens, experts = logits.shape
    if not 1 <= k <= experts:
        raise ValueError(f"k = {k} experts a token of {experts}: k must be between 1 and the number of experts")
    noisy = logits if noise is None else logits + noise
    probability = noisy.softmax(dim=1)
    scores = probability.detach()
    if selection_bias is not None:
        scores = scores + selection_bias
    expert = top_experts(scores, k)
    first_choice = expert[:, 0]
    capacity = expert_capacity(tokens, experts, k, capacity_factor)
    slot, kept = None, torch.ones((), dtype=torch.bool, device=logits.device).expand(tokens, k)
    if capacity is not None:
        order = probability.detach().amax(dim=1).argsort(descending=True, stable=True) if priority else None
        slot = claim_slots(expert, experts, order)
        kept = slot < capacity
        if overflow == "next":
            expert, kept, slot = send_on(scores, expert, kept, slot, capacity, order)
    return Routing(logits, noisy, probability, expert, first_choice, slot, kept, capacity, counted)


def gate_values(routing: Routing, gate: Gate) -> Tensor:
    """The weight of each choice's output: (T, k).

    ``prob``: P, as Switch and tutel: it multiplies a converted model's FFN by about 1 / E. ``normalized``: P over the
    sum of the chosen, which for k = 1 is the constant 1 and leaves the router without gradient of the task.
    ``straight_through`` [ours]: for k = 1 the value 1 with the gradient of P, else as ``normalized``. ``residual``
    [ours]: P, for the layer's core + sum P (expert - core).
    """
    chosen = routing.probability.gather(1, routing.expert)
    if gate in ("prob", "residual"):
        return chosen
    if chosen.shape[1] == 1:
        return 1 + (chosen - chosen.detach()) if gate == "straight_through" else torch.ones_like(chosen)
    return chosen / chosen.sum(dim=1, keepdim=True).clamp(min=torch.finfo(chosen.dtype).eps)
