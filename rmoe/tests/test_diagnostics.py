"""What is reported of a routing, of the residuals, and of the cost."""

import copy
import math

import pytest
import torch

from rmoe.models import backbone
from rmoe.moe import FeedForward, ResidualMoE, convert, diagnostics
from rmoe.moe.convert import from_feed_forward
from rmoe.moe.routing import route


def test_load_dropped_and_entropy():
    spread = diagnostics.load(route(torch.tensor([[5.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 0.0]]), 1, 1.0))
    assert spread.share.tolist() == [0.75, 0.25]
    assert spread.dropped == 0.25
    assert math.isclose(diagnostics.load(route(torch.zeros(9, 4))).entropy, 1, rel_tol=1e-6)
    assert diagnostics.load(route(torch.zeros(0, 4))).dropped == 0


def test_expert_map_of_a_router_that_routes_by_position():
    layer = ResidualMoE(2, 4, 2).eval()
    with torch.no_grad():
        layer.router.weight.copy_(torch.eye(2))
    image = torch.zeros(1, 4, 6, 2)
    image[:, :, :3, 0], image[:, :, 3:, 1] = 1, 1
    layer(image)
    assert diagnostics.expert_map(layer)[0].tolist() == [[0, 0, 0, 1, 1, 1]] * 4


def test_residual_norms_and_cosines():
    layer = from_feed_forward(FeedForward(4, 8), experts=3)
    assert diagnostics.residual_norms(layer).tolist() == [0, 0, 0]
    with torch.no_grad():
        for residual, core in zip(layer.residual.weights(), layer.core_weights(), strict=True):
            residual[0], residual[1] = core, -2 * core
    torch.testing.assert_close(diagnostics.residual_norms(layer), torch.tensor([1.0, 2.0, 0.0]))
    cosines = diagnostics.residual_cosines(layer)
    torch.testing.assert_close(cosines[0, 1], torch.tensor(-1.0))
    assert cosines[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("options", "ffns"), [({"k": 1}, 1), ({"k": 2}, 2), ({"gate": "residual"}, 2)])
def test_active_parameters_are_those_one_token_meets(options, ffns):
    dense = FeedForward(4, 8)
    count = sum(parameter.numel() for parameter in dense.parameters())
    layer = from_feed_forward(dense, experts=5, **options)
    found = diagnostics.parameters(layer)
    assert found.total == 6 * count + 5 * 4
    assert found.active == ffns * count + 5 * 4


def test_operations_of_a_converted_swin_t_are_less_than_3_percent_more():
    dense = backbone("swin_t").eval()
    converted = copy.deepcopy(dense)
    convert(converted, experts=8, router_init_std=1.0)
    x = torch.randn(1, 3, 64, 64)
    before, after = diagnostics.flops(dense, x), diagnostics.flops(converted, x)
    assert 1 < after / before < 1.03
    # The router of each of the four mixtures, and nothing else: 2 T C E.
    routers = sum(2 * layer.routing.logits.shape[0] * layer.dim * 8 for _, layer in diagnostics.moe_layers(converted))
    assert after - before == routers


def test_report_has_a_row_for_each_mixture():
    model = backbone("swin_t", embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 2)).eval()
    convert(model, "last2", experts=4)
    model(torch.randn(1, 3, 64, 64))
    rows = diagnostics.report(model)
    assert len(rows) == 4 and all(row["dropped"] == 0 and 0 <= row["entropy"] <= 1 for row in rows)
