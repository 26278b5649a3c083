"""The back ends agree with the loop in outputs and every gradient, and each fact about torch they work around holds."""

import pytest
import torch
from torch.nn import functional

from rmoe.moe.dispatch import ExpertWeights, apply_experts, choose_backend, reorder, restore, why_not_grouped

CPU = torch.device("cpu")
CASES = [
    # experts, dim, hidden, rows an expert
    (4, 8, 16, [5, 0, 3, 9]),
    (4, 8, 16, [0, 0, 17, 0]),
    (3, 12, 20, [1, 1, 1]),
    (1, 4, 8, [7]),
    (2, 4, 8, [0, 0]),
    (8, 16, 32, [1, 0, 0, 0, 0, 0, 0, 0]),
]


def drawn(experts, dim, hidden, counts, dtype, bias=True):
    rows = torch.randn(sum(counts), dim, dtype=dtype, requires_grad=True)
    shapes = [(experts, hidden, dim), (experts, hidden), (experts, dim, hidden), (experts, dim)]
    tensors = [torch.randn(*shape, dtype=dtype, requires_grad=True) / shape[-1] ** 0.5 for shape in shapes]
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    if not bias:
        tensors[1] = tensors[3] = None
    return rows, torch.tensor(counts), ExpertWeights(*tensors)


def outputs_and_gradients(rows, counts, weights, backend, gradient):
    y = apply_experts(rows, counts, weights, functional.gelu, backend)
    inputs = [rows, *(tensor for tensor in weights if tensor is not None)]
    return [y, *torch.autograd.grad(y, inputs, gradient)]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("unbind", torch.float64, 1e-12),
        ("bmm", torch.float64, 1e-12),
        ("auto", torch.float64, 1e-12),
        ("grouped", torch.float32, 1e-5),
        ("unbind", torch.float32, 1e-5),
        ("bmm", torch.float32, 1e-5),
    ],
)
def test_back_ends_equal_the_loop(backend, dtype, tolerance, case, bias):
    rows, counts, weights = drawn(*case, dtype, bias)
    gradient = torch.randn_like(rows)
    wanted = outputs_and_gradients(rows, counts, weights, "loop", gradient)
    found = outputs_and_gradients(rows, counts, weights, backend, gradient)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["grouped", "unbind", "bmm", "loop"])
def test_an_expert_without_rows_has_zero_gradient(backend):
    rows, counts, weights = drawn(4, 8, 16, [5, 0, 3, 0], torch.float32)
    gradients = outputs_and_gradients(rows, counts, weights, backend, torch.randn_like(rows))[2:]
    for gradient in gradients:
        assert (gradient[[1, 3]] == 0).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("backend", ["grouped", "unbind", "bmm", "loop"])
def test_sum_backward_runs(backend):
    """The expanded gradient of a sum makes ``grouped_mm`` raise, were it not made contiguous."""
    for bias in (True, False):
        rows, counts, weights = drawn(3, 8, 16, [4, 5, 6], torch.float32, bias)
        apply_experts(rows, counts, weights, functional.gelu, backend).sum().backward()
        assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize(("dim", "hidden"), [(30, 64), (32, 47), (3, 8)])
def test_widths_that_no_kernel_takes_go_elsewhere_by_themselves(dim, hidden):
    assert choose_backend("auto", torch.float32, CPU, dim, hidden) == "unbind"
    rows, counts, weights = drawn(4, dim, hidden, [5, 0, 3, 9], torch.float32)
    gradient = torch.randn_like(rows)
    wanted = outputs_and_gradients(rows, counts, weights, "loop", gradient)
    for ours, theirs in zip(outputs_and_gradients(rows, counts, weights, "auto", gradient), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_asking_for_grouped_by_name_says_what_is_at_fault():
    with pytest.raises(ValueError, match="dim = 30 is no multiple of 4"):
        choose_backend("grouped", torch.float32, CPU, 30, 64)
    with pytest.raises(ValueError, match="hidden = 47 is no multiple of 8"):
        choose_backend("grouped", torch.bfloat16, CPU, 32, 47)
    with pytest.raises(ValueError, match="float64"):
        choose_backend("grouped", torch.float64, CPU, 32, 64)
    with pytest.raises(ValueError, match="choose of auto"):
        choose_backend("fast", torch.float32, CPU, 32, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_on_the_cpu(dtype):
    rows, counts, weights = drawn(4, 16, 32, [5, 0, 3, 9], torch.float32)
    wanted = apply_experts(rows, counts, weights, functional.gelu, "loop")
    found = apply_experts(rows.to(dtype), counts, weights.to(dtype), functional.gelu, "auto")
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, rtol=3e-2, atol=3e-2)


@pytest.mark.skipif(not hasattr(functional, "grouped_mm"), reason="this torch has no grouped_mm")
class TestGroupedMM:
    """Facts about ``F.grouped_mm`` (torch 2.15, CPU) that the grouped back end relies on or works around."""

    ends = torch.tensor([2, 2, 5], dtype=torch.int32)

    def test_it_takes_no_bias(self):
        with pytest.raises(RuntimeError, match=r"[Bb]ias"):
            functional.grouped_mm(
                torch.randn(5, 8), torch.randn(3, 8, 4), offs=self.ends, bias=torch.randn(3, 4), out_dtype=None
            )

    def test_it_takes_no_float64_and_no_odd_width(self):
        assert why_not_grouped(torch.float64, CPU, 8, 8) and why_not_grouped(torch.float32, CPU, 30, 8)
        with pytest.raises(RuntimeError):
            functional.grouped_mm(torch.randn(5, 8).double(), torch.randn(3, 8, 4).double(), offs=self.ends)
        with pytest.raises(RuntimeError):
            functional.grouped_mm(torch.randn(5, 30), torch.randn(3, 30, 8), offs=self.ends)

    def test_its_ends_are_int32(self):
        with pytest.raises(RuntimeError):
            functional.grouped_mm(torch.randn(5, 8), torch.randn(3, 8, 4), offs=self.ends.long())

    def test_it_equals_the_loop_to_the_bit(self):
        x, w = torch.randn(5, 8), torch.randn(3, 4, 8)
        found = functional.grouped_mm(x, w.transpose(1, 2), offs=self.ends)
        assert torch.equal(found, torch.cat([x[:2] @ w[0].T, x[2:] @ w[2].T]))


def test_rows_that_nothing_writes_are_never_read():
    """Zero times NaN is NaN: no padding row may meet a product. bmm's are zeros, the others have none."""
    rows, counts, weights = drawn(4, 8, 16, [9, 0, 1, 2], torch.float32)
    torch.full((4 * 9, 8), float("nan"))  # freed at once: what new memory would hold
    for found in outputs_and_gradients(rows, counts, weights, "bmm", torch.randn_like(rows)):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("repeats", [1, 2])
def test_reorder_and_restore_are_adjoint_to_their_gradients(repeats):
    tokens = 6
    order = torch.randperm(repeats * tokens)[: repeats * tokens - 2]
    rows = torch.randn(tokens, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reorder(x, order, repeats), rows)
    some = torch.randn(len(order), 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: restore(x, order, tokens, repeats), some)
    back = restore(reorder(rows, order, repeats), order, tokens, repeats)
    left_out = sorted(set(range(repeats * tokens)) - set(order.tolist()))
    flat = back.reshape(-1, 3)
    assert (flat[left_out] == 0).all()
    assert torch.equal(flat[order], rows.repeat(repeats, 1)[order])
