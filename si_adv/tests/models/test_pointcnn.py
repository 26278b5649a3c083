import pytest
import torch

from shared_utils import UserError
from si_adv.geometry import knn
from si_adv.models.pointcnn import PointCNN


def clouds(batch: int, num_points: int = 160) -> torch.Tensor:
    return torch.rand(batch, 3, num_points, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_parameter_count_is_the_published_one():
    assert sum(parameter.numel() for parameter in PointCNN(40).parameters()) == 275_904


def test_a_cloud_has_the_same_logits_alone_and_in_a_batch():
    model, x = PointCNN(10).eval(), clouds(4)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_point_of_a_single_cloud():
    x = clouds(1).requires_grad_()
    (gradient,) = torch.autograd.grad(PointCNN(10).eval()(x).square().sum(), x)
    assert (gradient.abs().amax(1) > 0).all()


def test_every_layer_takes_each_third_neighbour_from_the_points_it_is_given():
    model, seen = PointCNN(10).eval(), []
    for layer in (model.pcnn1, *model.pcnn2):
        layer.pointcnn.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    model(clouds(2))
    assert [tuple(chosen.shape[1:]) for chosen, *_ in seen] == [(160, 3)] * 3 + [(120, 3)] * 2
    for (chosen, points, _, neighbours), k in zip(seen, (8, 8, 8, 12, 12), strict=True):
        assert torch.equal(neighbours, knn(chosen, points, 3 * k + 1)[1][..., 1::3])


def test_first_representatives_give_the_same_logits_every_time():
    model, x = PointCNN(10).eval(), clouds(2)
    assert torch.equal(model(x), model(x))


def test_random_representatives_are_drawn_anew_and_follow_the_seed():
    model, x = PointCNN(10, representatives="random").eval(), clouds(2)
    torch.manual_seed(1)
    first, second = model(x), model(x)
    torch.manual_seed(1)
    assert torch.equal(model(x), first)
    assert not torch.equal(first, second)


def test_a_cloud_smaller_than_the_representatives_keeps_all_its_points():
    assert PointCNN(10).eval()(clouds(1, 60)).shape == (1, 10)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least 37 points, got 30"):
        PointCNN(10)(clouds(1, 30))
    with pytest.raises(UserError, match="choose first or random"):
        PointCNN(10, representatives="fps")
