"""Queue, prototypes, correction, contrast and stages, each alone."""

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from luperson_nl.pnl import PNL, Prototypes, Queue, Stage, Stages, momentum_update, stage_at
from luperson_nl.pnl.contrast import supcon
from luperson_nl.pnl.correction import correct
from shared_utils import UserError


def test_the_queue_wraps_round_and_keeps_the_newest():
    queue = Queue(10, 3)
    for start in (0, 4, 8):
        queue.enqueue(torch.arange(start, start + 4.0).expand(3, 4).t(), torch.arange(start, start + 4))
    assert queue.ids.tolist() == [10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert torch.equal(queue.keys[0], queue.ids.float()) and queue.pointer.tolist() == [2]


def test_a_batch_that_ends_exactly_at_the_end_leaves_the_pointer_at_0():
    queue = Queue(8, 2)
    for _ in range(2):
        queue.enqueue(torch.ones(4, 2), torch.arange(4))
    assert queue.pointer.tolist() == [0]


def test_a_batch_larger_than_the_queue_is_refused_in_one_line():
    model = PNL("resnet_mini", 3, dim=4, queue_size=4, hidden=8)
    images = torch.zeros(6, 3, 32, 16)
    with pytest.raises(UserError, match="queue_size 4 is smaller than the batch of 6"):
        model.step(images, images, torch.zeros(6, dtype=torch.long))


def test_the_closed_form_equals_the_loop_on_repeated_labels():
    labels = torch.tensor([3, 1, 3, 3, 0, 1, 3])
    queries, start = normalize(torch.randn(7, 16)), normalize(torch.randn(5, 16))
    start[1] = 0
    looped, closed = start.clone(), start.clone()
    for query, label in zip(queries, labels, strict=True):
        looped[label] = 0.9 * looped[label] + 0.1 * query
    momentum_update(closed, queries, labels, 0.9)
    torch.testing.assert_close(closed, normalize(looped, dim=1), rtol=0, atol=1e-6)
    assert torch.equal(closed[[2, 4]], start[[2, 4]])


def test_the_first_sight_of_an_identity_is_its_prototype():
    prototypes, query = Prototypes(4, 8), normalize(torch.randn(1, 8))
    prototypes.update(query, torch.tensor([2]))
    torch.testing.assert_close(prototypes.rows[2:3], query)
    assert prototypes.num_unseen() == 3


def test_means_of_embeddings_replace_the_prototypes_of_identities_that_occurred():
    prototypes, queries = Prototypes(4, 8), normalize(torch.randn(6, 8))
    prototypes.update(queries[:2], torch.tensor([3, 1]))
    prototypes.collect()
    prototypes.update(queries[2:], torch.tensor([1, 1, 0, 1]))
    kept = prototypes.rows[3].clone()
    prototypes.become_means()
    torch.testing.assert_close(prototypes.rows[1], normalize(queries[[2, 3, 5]].mean(0), dim=0))
    torch.testing.assert_close(prototypes.rows[0], queries[4])
    assert torch.equal(prototypes.rows[3], kept) and prototypes.num_unseen() == 1 and prototypes.sums is None


def test_labels_change_only_above_the_threshold():
    logits = torch.tensor([[9.0, 0, 0], [0.0, 0, 0]])
    found = correct(logits, logits, torch.tensor([1, 1]), threshold=0.8)
    assert found.labels.tolist() == [0, 1] and found.max_p[0] > 0.99
    assert found.entropy[1].item() == pytest.approx(torch.log(torch.tensor(3.0)).item())


def test_supcon_with_two_views_alone_is_simclr_by_its_definition():
    first, second = normalize(torch.randn(5, 6)), normalize(torch.randn(5, 6))
    features = torch.cat([first, second])
    logits = features @ features.t() / 0.1
    logits.fill_diagonal_(-torch.inf)
    expected = cross_entropy(logits, torch.arange(10).roll(5))
    torch.testing.assert_close(supcon(first, second, None, 0.1, 0.1), expected)


def test_stages_begin_where_the_published_script_has_them():
    on = {epoch: stage_at(epoch) for epoch in (0, 1, 10, 11, 14, 15)}
    assert on[0] == Stage() and on[1] == on[10] == Stage(prototypes=True)
    assert on[11] == on[14] == Stage(prototypes=True, correction=True) and on[15] == Stage(True, True, True, True)


@pytest.mark.parametrize(
    "make", [lambda: Stage(correction=True), lambda: Stages(prototypes=None), lambda: Stages(0, 12)]
)
def test_correction_without_prototypes_is_refused(make):
    with pytest.raises(UserError, match=r"correction .*prototypes"):
        make()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "byol"}, "method 'byol' is not known"),
        ({"trunk": "resnet51"}, "did you mean 'resnet50'"),
        ({"trunk": "timm:resnet10"}, "timm has no model 'resnet10'"),
        ({"guided_label": "both"}, "guided_label 'both'"),
        ({"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_unknown_settings_are_named(arguments, words):
    with pytest.raises(UserError, match=words):
        PNL(**{"trunk": "resnet_mini", "num_classes": 3, "queue_size": 8, **arguments})
