"""Who is chosen, in which order slots are claimed, what weight an output gets."""

import pytest
import torch

from rmoe.moe.routing import (
    CosineRouter,
    LinearRouter,
    claim_slots,
    expert_capacity,
    gate_values,
    route,
    top_experts,
)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_go_to_the_lower_index(k):
    assert top_experts(torch.zeros(3, 8), k).tolist() == [list(range(k))] * 3
    scores = torch.full((5, 8), 0.1)
    scores[:, [3, 5]] = 0.3
    assert top_experts(scores, k)[:, 0].tolist() == [3] * 5


def test_topk_would_not_keep_the_lower_index():
    """The fact about torch that ``top_experts`` is there for; should it ever fail, torch has become kinder."""
    chosen = torch.zeros(3, 8).topk(2, dim=1).indices
    if chosen.tolist() == [[0, 1]] * 3:
        pytest.skip("this torch breaks ties by the lower index")
    assert chosen.tolist() != [[0, 1]] * 3


def test_capacity_counts_as_tutel():
    assert expert_capacity(122, 8, 1, 1.25) == int(1.25 * 16)
    assert expert_capacity(120, 6, 2, 1.25) == 2 * int(1.25 * 20)
    assert expert_capacity(100, 8, 1, 0) is None and expert_capacity(100, 8, 1, None) is None
    assert expert_capacity(10, 8, 1, 0.1) == 0


def test_second_choices_claim_after_all_first_ones():
    expert = torch.tensor([[0, 1], [1, 0], [0, 1]])
    # Expert 0: first choices of tokens 0 and 2, then the second choice of token 1; expert 1: token 1, then 0 and 2.
    assert claim_slots(expert, 2).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_priority_lets_the_surest_token_claim_first():
    logits = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    assert route(logits, 1, capacity_factor=1.0).kept[:, 0].tolist() == [True, True, False]
    assert route(logits, 1, capacity_factor=1.0, priority=True).kept[:, 0].tolist() == [False, True, True]


def test_dropless_with_priority_loses_no_token():
    """tutel's combination of the two drops tokens silently (its capacity is read from an unsorted table)."""
    routing = route(torch.randn(90, 6), 2, capacity_factor=0, priority=True)
    assert routing.kept.all() and routing.capacity is None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overflow", ["core", "next"])
def test_what_is_kept_and_dropped_adds_up(seed, overflow):
    generator = torch.Generator().manual_seed(seed)
    tokens = int(torch.randint(0, 60, (), generator=generator))
    experts = int(torch.randint(1, 9, (), generator=generator))
    k = int(torch.randint(1, experts + 1, (), generator=generator))
    factor = float(2 * torch.rand((), generator=generator))
    logits = 2 * torch.randn(tokens, experts, generator=generator)
    routing = route(logits, k, factor, priority=bool(seed % 2), overflow=overflow)
    kept = routing.expert[routing.kept].bincount(minlength=experts)
    assert int(kept.sum()) + int((~routing.kept).sum()) == k * tokens
    assert (kept <= routing.capacity).all()
    # No token goes twice to the same expert, and no slot is given twice.
    assert all(len(set(row)) == k for row in routing.expert.tolist())
    taken = list(zip(routing.expert[routing.kept].tolist(), routing.slot[routing.kept].tolist(), strict=True))
    assert len(set(taken)) == len(taken)


def test_overflow_next_uses_all_the_room_there_is():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).expand(8, 4)
    routing = route(logits, 1, capacity_factor=1.0, overflow="next")
    assert routing.kept.all()
    assert routing.expert[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert routing.first_choice.tolist() == [0] * 8


def test_gate_values():
    routing = route(torch.randn(20, 5, requires_grad=True), 1)
    chosen = routing.probability.gather(1, routing.expert)
    assert torch.equal(gate_values(routing, "straight_through"), torch.ones(20, 1))
    assert torch.equal(gate_values(routing, "normalized"), torch.ones(20, 1))
    assert torch.equal(gate_values(routing, "prob"), chosen)
    two = route(torch.randn(20, 5), 2)
    for gate in ("straight_through", "normalized"):
        torch.testing.assert_close(gate_values(two, gate).sum(1), torch.ones(20))


def test_straight_through_trains_the_router_and_normalized_top1_does_not():
    logits = torch.randn(20, 5, requires_grad=True)
    weight = torch.randn(20, 1)
    (gradient,) = torch.autograd.grad((gate_values(route(logits, 1), "straight_through") * weight).sum(), logits)
    (of_prob,) = torch.autograd.grad((gate_values(route(logits, 1), "prob") * weight).sum(), logits)
    assert gradient.abs().max() > 0 and torch.equal(gradient, of_prob)
    assert not gate_values(route(logits, 1), "normalized").requires_grad


@pytest.mark.parametrize("router", [LinearRouter(16, 4), CosineRouter(16, 4, projection=8)])
def test_router_is_the_same_under_autocast(router):
    hidden = torch.randn(200, 16).bfloat16()
    wanted = router(hidden.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = router(hidden)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


def test_a_router_of_zeros_is_refused():
    with pytest.raises(ValueError, match="every token to expert 0"):
        LinearRouter(4, 2, init_std=0.0)


def test_more_choices_than_experts_are_refused():
    with pytest.raises(ValueError, match="k must be between 1"):
        route(torch.randn(3, 2), 3)
