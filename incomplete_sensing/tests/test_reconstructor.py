"""How a trained network is used."""

import torch

from incomplete_sensing import OperatorOptions, Reconstructor, draw_operators
from incomplete_sensing.losses import draw_splits


def test_a_network_of_splitting_predicts_the_mean_over_several_splits():
    operators = draw_operators(OperatorOptions("gaussian", num_operators=2, num_measurements=6), (1, 4, 4))
    torch.manual_seed(0)
    network = {"name": "mlp", "hidden": [16]}
    one, five = (Reconstructor.of(operators, network, split_share=0.5, splits=count) for count in (1, 5))
    five.load_state_dict(one.state_dict())
    g = torch.tensor([0, 1, 1])
    y = operators(torch.randn(3, 1, 4, 4), g)
    generator = torch.Generator().manual_seed(0)
    splits = [draw_splits(operators, g, 0.5, generator) for _ in range(5)]
    each = torch.stack([five(split * y, g) for split in splits])
    assert torch.equal(one.predict(y, g), each[0])
    assert torch.allclose(five.predict(y, g), each.mean(0)) and not torch.allclose(each.mean(0), each[0], atol=1e-3)
