"""The terms of the loss couple what the paper couples."""

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from ict_deepfake.losses import consistency_loss, hinge_loss, ict_loss
from ict_deepfake.margin import build_head
from ict_deepfake.models.ict import Embeddings


def unit(*indices):
    return one_hot(torch.tensor(indices), 4).float()


def test_consistency_couples_the_faces_of_a_person_across_the_pair():
    # Axis 0 is a, axis 1 is b: what a perfect network says of I_ba (inner b, outer a) and of I_ab.
    ba, ab = Embeddings(unit(1), unit(0)), Embeddings(unit(0), unit(1))
    assert consistency_loss(ba, ab) == 0
    # Tokens of one picture that agree are what it must not reward.
    same = Embeddings(unit(0), unit(0)), Embeddings(unit(1), unit(1))
    assert consistency_loss(*same) == 4


def test_gradients_of_consistency_go_from_one_picture_to_the_other():
    ba = Embeddings(*(normalize(torch.randn(1, 4)).requires_grad_() for _ in range(2)))
    ab = Embeddings(*(normalize(torch.randn(1, 4)).requires_grad_() for _ in range(2)))
    consistency_loss(ba, ab).backward()
    torch.testing.assert_close(ab.inner.grad, 2 * (ab.inner - ba.outer).detach())
    torch.testing.assert_close(ba.inner.grad, 2 * (ba.inner - ab.outer).detach())


def test_identity_gives_every_face_its_own_label():
    head = build_head("cosface", 4, 4, scale=50, margin=0.0)
    head.kernel.data = torch.eye(4)
    ba, ab = Embeddings(unit(1), unit(0)), Embeddings(unit(0), unit(1))
    a, b = torch.tensor([0]), torch.tensor([1])
    right = ict_loss(ba, ab, a, b, head, consistency_weight=1.0)
    wrong = ict_loss(ba, ab, b, a, head, consistency_weight=1.0)
    assert right["identity"] < 1e-6 and wrong["identity"] > 40
    assert ict_loss(ba, ab, a, b, head, 1.0, margin=1.1)["identity"] > right["identity"]


def test_the_hinge_pushes_the_faces_of_swapped_pictures_apart_and_leaves_genuine_pairs():
    close = Embeddings(unit(0, 0), unit(0, 0))
    swapped = torch.tensor([True, False])
    assert hinge_loss(close, close, swapped, margin=1.5) == pytest.approx(0.75)
    assert hinge_loss(Embeddings(unit(1), unit(0)), Embeddings(unit(0), unit(1)), swapped[:1], margin=1.5) == 0


def test_the_loss_is_the_weighted_sum():
    torch.manual_seed(0)
    head = build_head("cosface", 4, 4)
    ba, ab = (Embeddings(*(normalize(torch.randn(3, 4)) for _ in range(2))) for _ in range(2))
    a, b = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 2])
    terms = ict_loss(ba, ab, a, b, head, 0.7, hinge_weight=0.3, hinge_margin=2.0)
    expected = terms["identity"] + 0.7 * terms["consistency"] + 0.3 * terms["hinge"]
    torch.testing.assert_close(terms["loss"], expected)
    assert "hinge" not in ict_loss(ba, ab, a, b, head, 0.7)
