"""UperNet and the auxiliary head beyond their golden cases: sizes, the batch of one, any number of maps."""

import pytest
import torch

from rmoe.models.upernet import FCNHead, UperNetHead
from shared_utils import UserError


def maps(batch=2, count=4):
    return [torch.randn(batch, 4 * 2**i, max(1, 16 // 2**i), max(1, 20 // 2**i)) for i in range(count)]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_logits_are_at_the_finest_maps_resolution(count):
    head = UperNetHead([4 * 2**i for i in range(count)], 7, channels=6)
    assert head(maps(count=count)).shape == (2, 7, 16, 20)


def test_a_batch_of_one_image_is_refused_in_training_only():
    head = UperNetHead([4, 8, 16, 32], 7, channels=6)
    with pytest.raises(UserError, match="batch size of 2 or more"):
        head(maps(1))
    assert head.eval()(maps(1)).shape == (1, 7, 16, 20)


def test_frozen_batch_norm_takes_a_batch_of_one():
    head = UperNetHead([4, 8, 16, 32], 7, channels=6)
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    assert head(maps(1)).isfinite().all()


def test_the_auxiliary_head_reads_one_map():
    assert FCNHead(16, 7, index=2, channels=6)(maps()).shape == (2, 7, 4, 5)


def test_one_map_is_too_few():
    with pytest.raises(UserError, match="two maps"):
        UperNetHead([4], 7)
