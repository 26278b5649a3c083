import pytest
import torch

from si_adv.models.punet import PUNet, punet_losses, sparse_input


def points(batch: int, num_points: int = 64) -> torch.Tensor:
    x = torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(0))
    return x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("num_points", [5, 64, 100])
def test_the_output_has_up_ratio_times_the_points_whatever_their_number(num_points):
    assert PUNet(64, up_ratio=3).eval()(points(2, num_points)).shape == (2, 3 * num_points, 3)


def test_the_output_is_ordered_by_branch():
    torch.manual_seed(0)
    net, x = PUNet(64).eval(), points(1)
    before = net(x)
    with torch.no_grad():
        net.FC_Modules[1].layer1.conv.bias.add_(1)
    changed = (net(x) != before).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == list(range(64, 128))


def test_a_cloud_is_up_sampled_alike_alone_and_in_a_batch():
    net, x = PUNet(64).eval(), points(4)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_point():
    x = points(1).requires_grad_()
    (gradient,) = torch.autograd.grad(PUNet(64).eval()(x).square().sum(), x)
    assert (gradient.abs().amax(-1) > 0).all()


def test_chamfer_is_zero_on_the_dense_cloud_itself_and_counts_both_directions():
    dense = torch.zeros(1, 12, 3)
    dense[0, :, 0] = torch.arange(12.0)
    assert punet_losses(dense, dense)["chamfer"] == 0
    # every prediction lies on a point; of the dense points, the last six are 1, 4, 9, ... away from the nearest
    half = punet_losses(dense[:, :6], dense, num_neighbours=2)["chamfer"]
    assert half == pytest.approx(sum(i * i for i in range(1, 7)) / 12)


def test_repulsion_drives_close_points_apart():
    pair = torch.tensor([[[0.0, 0.0, 0.0], [0.01, 0.0, 0.0]]], requires_grad=True)
    repulsion = punet_losses(pair, torch.zeros(1, 1, 3), num_neighbours=1)["repulsion"]
    (gradient,) = torch.autograd.grad(repulsion, pair)
    assert gradient[0, 0, 0] > 0 > gradient[0, 1, 0]  # descent moves them the other way


def test_losses_stay_finite_where_points_coincide():
    x = points(1).repeat(1, 2, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(punet_losses(x, points(1))["loss"], x)
    assert torch.isfinite(gradient).all()


def test_the_sparse_input_is_a_quarter_of_the_cloud_drawn_from_the_generator():
    dense = points(3, 40)
    draws = [sparse_input(dense, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    distances = torch.cdist(draws[0], dense)
    assert draws[0].shape == (3, 10, 3)
    assert all(len(set(row.tolist())) == 10 for row in distances.argmin(-1))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    net, dense = PUNet(32, up_ratio=2), points(2)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        loss = punet_losses(net(sparse_input(dense, 2)), dense)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
