import pytest
import torch

from mot_occlusion.metrics import average_precision, match_boxes, rank1


def test_rank1_counts_only_people_who_are_there_again():
    query, gallery = torch.eye(4)[:3], torch.eye(4)
    assert rank1(query, torch.tensor([1, 2, 9]), gallery, torch.tensor([1, 7, 3, 2])) == (1, 2)
    assert rank1(query, torch.tensor([5, 6, 9]), gallery, torch.tensor([1, 7, 3, 2])) == (0, 0)


def test_average_precision_of_a_known_ranking():
    verdicts = torch.tensor([1, 0, 1, -1])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.95])
    assert average_precision(scores, verdicts, 2) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_each_truth_is_found_once_and_free_ones_do_not_count():
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    assert match_boxes(boxes, truth, torch.tensor([False, True])).tolist() == [1, 0, -1, 0]
