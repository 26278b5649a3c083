import torch

from si_adv.geometry import knn
from si_adv.models.paconv import PAConv, _assemble


def clouds(batch: int, num_points: int = 128) -> torch.Tensor:
    return torch.rand(batch, 3, num_points, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_parameter_count_is_the_published_one():
    assert sum(parameter.numel() for parameter in PAConv(40).parameters()) == 2_443_912


def test_a_cloud_has_the_same_logits_alone_and_in_a_batch():
    model, x = PAConv(10).eval(), clouds(4)
    torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_point_of_a_single_cloud():
    x = clouds(1).requires_grad_()
    (gradient,) = torch.autograd.grad(PAConv(10).eval()(x).square().sum(), x)
    assert (gradient.abs().amax(1) > 0).all()


def test_assembly_is_the_sum_over_neighbours_and_matrices_of_the_paper():
    torch.manual_seed(0)
    features, bank = torch.randn(2, 30, 5, dtype=torch.float64), torch.randn(10, 4 * 7, dtype=torch.float64)
    scores = torch.rand(2, 30, 6, 4, dtype=torch.float64)
    _, neighbours = knn(features[..., :3], features[..., :3], 6)
    # out_o = sum_{k, m} s_km (P_{idx(k), m, o} - C_{m, o}), P = (x, x) W, C = (x) W's first half
    products = (features.repeat(1, 1, 2) @ bank).view(2, 30, 4, 7)
    centres = (features @ bank[:5]).view(2, 30, 4, 7)
    expected = torch.zeros(2, 30, 7, dtype=torch.float64)
    for cloud in range(2):
        for point in range(30):
            for rank, neighbour in enumerate(neighbours[cloud, point]):
                edge = products[cloud, neighbour] - centres[cloud, point]
                expected[cloud, point] += scores[cloud, point, rank] @ edge
    torch.testing.assert_close(_assemble(features, scores, neighbours, bank), expected)


def test_normals_do_not_change_the_logits():
    model, x = PAConv(10, with_normals=True).eval(), clouds(2)
    with_one, with_other = torch.cat((x, x), 1), torch.cat((x, -x), 1)
    assert torch.equal(model(with_one), model(with_other))
