"""Scores: nearest rows exactly and in order, k above 1, what cannot be compared."""

import pytest
import torch
from torch.nn.functional import normalize

from ict_deepfake import scores
from shared_utils import UserError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def rows(count, dim=6):
    return normalize(torch.randn(count, dim))


def test_of_equally_near_references_the_first_is_taken(monkeypatch):
    monkeypatch.setattr(scores, "_CHUNK", 3)
    one = rows(1)
    references = torch.cat([rows(2), one, one, rows(1), one])
    index, distance = scores.nearest(one, references, 3)
    assert index.tolist() == [[2, 3, 5]] and distance.abs().max() < 1e-10


def test_blocks_of_references_give_what_one_matrix_gives(monkeypatch):
    faces, references = rows(7), rows(50)
    expected = torch.cdist(faces.double(), references.double()).square().sort(1)
    monkeypatch.setattr(scores, "_CHUNK", 8)
    index, distance = scores.nearest(faces, references, 4)
    assert torch.equal(index, expected.indices[:, :4])
    torch.testing.assert_close(distance, expected.values[:, :4])


def test_several_neighbours_are_averaged_and_not_normalised_again():
    inner, outer, r_inner, r_outer = rows(5), rows(5), rows(9), rows(9)
    made = scores.reference_scores(inner, outer, r_inner, r_outer, k=3)
    i = torch.cdist(inner, r_inner).topk(3, largest=False).indices
    torch.testing.assert_close(made.outer_of_inner_match, r_outer[i].mean(1))
    torch.testing.assert_close(made.d2, (outer - r_outer[i].mean(1)).square().sum(1))
    torch.testing.assert_close(made.w2, 0.75 / (1 + ((inner - r_inner[i].mean(1)).square().sum(1) / 0.5 - 1).exp()))
    torch.testing.assert_close(made.score, made.w1 * made.d1 + made.w2 * made.d2 + made.w3 * made.d3)
    assert made.inner_match.shape == (5, 3)


def test_a_confident_match_moves_weight_to_the_references():
    reference = rows(1), rows(1)
    known = scores.reference_scores(*reference, *reference)
    far = scores.reference_scores(-reference[0], -reference[1], *reference)
    assert known.w1 < far.w1 and known.score < 2 * known.d1 + 1e-6


def test_a_claim_is_compared_with_the_claimed_person_alone():
    person = rows(3)
    assert scores.claim(person[1:2], person).item() == pytest.approx(0, abs=1e-6)
    assert scores.claim(-person[:1], person[:1]).item() == pytest.approx(4, abs=1e-5)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(UserError, match="length 8 cannot be compared with embeddings of length 6"):
        scores.nearest(rows(2), rows(3, 8))
    with pytest.raises(UserError, match=r"within 1\.\.3"):
        scores.nearest(rows(2), rows(3), 4)
    with pytest.raises(UserError, match="3 inner and 2 outer references"):
        scores.reference_scores(rows(1), rows(1), rows(3), rows(2))
