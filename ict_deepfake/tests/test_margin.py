"""Margin heads: the fallback beyond pi - m, finite gradients, Partial FC."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from ict_deepfake.margin import build_head
from shared_utils import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def rows(count=6, dim=8):
    return normalize(torch.randn(count, dim))


def test_the_margin_makes_the_true_class_harder_and_may_be_changed():
    head, embeddings, labels = build_head("arcface", 8, 5, scale=4, margin=0.3), rows(), torch.arange(6) % 5
    plain = head.logits(embeddings, labels, margin=0.0)
    harder = head.logits(embeddings, labels)
    true = torch.zeros_like(plain, dtype=torch.bool).scatter(1, labels[:, None], True)
    torch.testing.assert_close(plain[~true], harder[~true])
    assert (harder[true] < plain[true]).all()
    angles = torch.acos(plain[true] / 4)
    torch.testing.assert_close(harder[true], 4 * torch.cos(angles + 0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradients_are_finite_where_an_embedding_is_its_centre_or_opposite(kind, sign):
    head = build_head(kind, 8, 3)
    embeddings = (sign * normalize(head.kernel.detach(), dim=0).t()).requires_grad_()
    loss = head(embeddings, torch.arange(3))
    loss.sum().backward()
    assert torch.isfinite(embeddings.grad).all() and torch.isfinite(head.kernel.grad).all()
    if sign < 0 and kind == "arcface":
        expected = 64 * (-1 - 0.35 * math.sin(0.35))
        true = head.logits(embeddings, torch.arange(3)).diagonal()
        torch.testing.assert_close(true, torch.full((3,), expected), atol=1e-3, rtol=1e-4)


def test_half_precision_is_computed_in_single():
    head = build_head("cosface", 8, 5)
    assert head(rows().bfloat16(), torch.zeros(6, dtype=torch.long)).dtype == torch.float32


def test_partial_fc_compares_with_the_classes_of_the_batch_and_a_share_of_the_others():
    head, labels = build_head("cosface", 8, 100, sample=0.1).train(), torch.tensor([7, 42, 7, 99])
    seen = []
    for _ in range(2):
        embeddings = rows(4).requires_grad_()
        loss = head(embeddings, labels)
        loss.sum().backward()
        used = (head.kernel.grad != 0).any(0).nonzero()[:, 0]
        assert len(used) == 10 and {7, 42, 99} <= set(used.tolist())
        chosen = head.kernel[:, used]
        columns = torch.searchsorted(used, labels)
        torch.testing.assert_close(
            loss, cross_entropy(head.logits(embeddings, columns, None, chosen), columns, reduction="none")
        )
        seen.append(used)
        head.kernel.grad = None
    assert not torch.equal(*seen) and int(head.steps) == 2


def test_partial_fc_draws_the_same_when_it_goes_on_from_a_saved_state():
    labels, embeddings = torch.tensor([3, 4]), rows(2)
    first = build_head("cosface", 8, 50, sample=0.2).train()
    first(embeddings, labels)
    again = build_head("cosface", 8, 50, sample=0.2).train()
    again.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(embeddings, labels), again(embeddings, labels))


def test_a_batch_of_more_classes_than_the_share_keeps_them_all_and_evaluation_uses_every_class():
    head, labels = build_head("cosface", 8, 10, sample=0.1), torch.arange(6)
    embeddings = rows()
    assert torch.isfinite(head.train()(embeddings, labels)).all()
    expected = cross_entropy(head.logits(embeddings, labels), labels, reduction="none")
    torch.testing.assert_close(head.eval()(embeddings, labels), expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("softmax", 8, 5), "use cosface or arcface"),
        (("cosface", 8, 0), "0 classes"),
        (("cosface", 8, 5, 64, 0.35, 0.0), "share of 0.0"),
    ],
)
def test_heads_that_cannot_be_built(arguments, words):
    with pytest.raises(UserError, match=words):
        build_head(*arguments)
