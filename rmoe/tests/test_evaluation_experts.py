"""Expert maps of a router that routes by position, sums over a set, and the information that experts share with groups."""

import numpy as np
import pytest
import small_models
import torch

from rmoe.evaluation.experts import ExpertStatistics, colours, contingency, expert_maps, shared_information
from rmoe.models import CvTBackbone
from rmoe.moe import convert, moe_layers
from shared_utils import UserError


class ByColumn(torch.nn.Module):
    """Logits that choose the expert by the column of the token's cell: a router made by hand."""

    def __init__(self, columns, experts):
        super().__init__()
        self.columns, self.experts = columns, experts

    def forward(self, x):
        column = torch.arange(len(x)) % self.columns
        return 10.0 * torch.nn.functional.one_hot(column % self.experts, self.experts).float()


def model():
    network = small_models.backbone()
    convert(network, experts=4)
    return network.eval()


@torch.no_grad()
def test_the_map_of_a_router_by_position_shows_the_positions():
    network, images = model(), torch.randn(2, 3, 64, 100)
    name, layer = next(moe_layers(network))
    columns = 7  # of stride 16: ceil(100 / 16)
    layer.router = ByColumn(columns, 4)
    network(images)
    shown = expert_maps(network, (64, 100))[name]
    assert shown.shape == (2, 64, 100)
    assert torch.equal(shown[1, 10], torch.arange(100) // 16 % 4)


@torch.no_grad()
def test_a_class_token_is_left_out_of_the_map():
    network = CvTBackbone(dims=(8, 16, 32), num_heads=(1, 1, 2), depths=(1, 1, 2)).eval()
    convert(network, "all", experts=4)
    network(torch.randn(1, 3, 50, 70))
    maps = expert_maps(network, (50, 70))
    assert len(maps) == 4 and all(shown.shape == (1, 50, 70) for shown in maps.values())


@torch.no_grad()
def test_statistics_over_a_set_weigh_batches_by_their_tokens():
    network = model()
    name, layer = next(moe_layers(network))
    statistics = ExpertStatistics(network)
    shares, tokens = [], []
    for size in ((64, 64), (64, 160)):
        network(torch.randn(1, 3, *size))
        statistics.update()
        shares.append(layer.routing.expert.flatten().bincount(minlength=4))
        tokens.append(len(layer.routing.expert))
    rows = [row for row in statistics.expert_rows() if row["layer"] == name]
    wanted = sum(shares) / sum(tokens)
    np.testing.assert_allclose([row["load"] for row in rows], wanted.numpy(), rtol=1e-6)
    (row,) = [row for row in statistics.rows() if row["layer"] == name]
    assert row["tokens"] == sum(tokens) and row["dropped"] == 0 and row["residual / core"] == 0
    assert 0 < row["entropy"] <= 1 + 1e-6


@torch.no_grad()
def test_dropped_tokens_and_residual_norms_are_counted():
    network = small_models.backbone()
    convert(network, experts=4, capacity_factor=0.25, residual_init="noise:0.5")
    network.train()(torch.randn(2, 3, 64, 64))
    statistics = ExpertStatistics(network)
    statistics.update()
    for row in statistics.rows():
        assert row["dropped"] > 0.5 and 0.2 < row["residual / core"] < 1


def test_a_dense_model_has_no_experts_to_show():
    with pytest.raises(UserError, match="convert it first"):
        ExpertStatistics(small_models.backbone())
    with pytest.raises(UserError, match="convert it first"):
        expert_maps(small_models.backbone(), (32, 32))


def test_information_is_one_where_the_expert_tells_the_group_and_zero_where_it_does_not():
    assert shared_information(10 * torch.eye(4)) == pytest.approx(1)
    assert shared_information(torch.ones(4, 3)) == pytest.approx(0, abs=1e-12)
    assert shared_information(torch.zeros(4, 3)) == 0
    assert 0.1 < shared_information(torch.tensor([[8, 2], [2, 8]])) < 0.5


def test_contingency_counts_pixels_and_images():
    experts = torch.tensor([[[0, 1], [1, 1]], [[2, 2], [0, 0]]])
    labels = torch.tensor([[[0, 0], [1, 255]], [[1, 1], [0, 0]]])
    assert contingency(experts, labels, 3, 2).tolist() == [[3, 0], [1, 1], [0, 2]]
    assert contingency(experts, torch.tensor([0, 1]), 3, 2).tolist() == [[1, 2], [3, 0], [0, 2]]


def test_every_expert_has_its_own_colour():
    image = colours(np.arange(8)[None], 8)
    assert image.shape == (1, 8, 3) and len({tuple(colour) for colour in image[0]}) == 8
