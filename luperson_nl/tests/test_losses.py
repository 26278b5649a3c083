"""What the golden numbers of the losses do not show: odd batches, masks, terms."""

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from luperson_nl import losses
from luperson_nl.models.reid import build_reid


def test_smoothing_of_0_is_plain_cross_entropy():
    logits, labels = torch.randn(6, 5), torch.randint(0, 5, (6,))
    torch.testing.assert_close(losses.cross_entropy_smooth(logits, labels, 0.0), cross_entropy(logits, labels))


def test_the_hardest_pairs_are_taken_for_identities_of_any_size():
    features, labels = torch.randn(7, 4), torch.tensor([0, 0, 0, 1, 2, 2, 1])
    expected = []
    for anchor in range(7):
        apart = (features[anchor] - features).norm(dim=1)
        gap = apart[labels == labels[anchor]].max() - apart[labels != labels[anchor]].min()
        expected.append(torch.stack([softplus(gap), (gap + 0.3).clamp(min=0)]))
    soft, hard = torch.stack(expected).mean(0)
    torch.testing.assert_close(losses.triplet(features, labels, None), soft, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses.triplet(features, labels, 0.3), hard, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mining", ["hard", "weighted"])
def test_a_batch_of_one_identity_has_no_triplet(mining):
    features = torch.randn(4, 3, requires_grad=True)
    loss = losses.triplet(features, torch.zeros(4, dtype=torch.long), 0.3, mining)
    loss.backward()
    assert loss == 0 and torch.isfinite(features.grad).all()


def test_circle_ignores_what_has_no_pair():
    features, labels = torch.randn(5, 6), torch.tensor([0, 0, 1, 1, 2])
    alone = features.clone().requires_grad_()
    losses.circle(alone, labels).backward()
    assert torch.isfinite(alone.grad).all()
    assert losses.circle(features, torch.arange(5)) == 0


@pytest.mark.parametrize(("kind", "size", "terms"), [("bot", (32, 16), 2), ("agw", (32, 16), 2), ("mgn", (96, 16), 13)])
def test_terms_sum_to_a_loss_that_reaches_every_trained_parameter(kind, size, terms):
    network = build_reid(kind, "resnet_mini", 3).train()
    found = losses.reid_loss(kind, network(torch.randn(6, 3, *size)), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert len(found) == terms
    torch.stack(list(found.values())).sum().backward()
    idle = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not idle
    with torch.no_grad():
        assert network.eval()(torch.randn(2, 3, *size)).shape == (2, network.num_features)
