import pytest
import torch
from torch import Tensor

from shared_utils import UserError
from si_adv.losses import chamfer_distance
from si_adv.models.autoencoder import PointAutoencoder, load_autoencoder


def clouds(batch: int = 3, num_points: int = 64) -> Tensor:
    return torch.randn(batch, num_points, 3, generator=torch.Generator().manual_seed(0))


def test_the_order_and_the_number_of_points_do_not_matter():
    net, x = PointAutoencoder(50).eval(), clouds()
    out = net(x)
    assert out.shape == (3, 50, 3)
    assert torch.equal(net(x.flip(1)), out)
    torch.testing.assert_close(net(x.repeat(1, 2, 1)), out)
    torch.testing.assert_close(net(x[1:2]), out[1:2], rtol=1e-5, atol=1e-6)


def test_training_on_the_chamfer_distance_covers_the_clouds():
    torch.manual_seed(0)
    net, x = (
        PointAutoencoder(64, code=32, width=32),
        torch.nn.functional.normalize(clouds(), dim=-1) * torch.tensor([0.3, 0.6, 1.0]),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = chamfer_distance(net(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_chamfer_adds_both_directions_and_stands_for_a_cloud():
    line = torch.zeros(2, 12, 3)
    line[:, :, 0] = torch.arange(12.0)
    # Every point of the half lies on the line; of the line, the last six are 1, 4, 9, ... from the half.
    expected = torch.tensor([sum(i * i for i in range(1, 7)) / 12] * 2)
    torch.testing.assert_close(chamfer_distance(line[:, :6], line), expected)
    torch.testing.assert_close(chamfer_distance(line, line[:, :6]), expected)


def test_an_autoencoder_comes_back_as_it_was_saved(tmp_path):
    net = PointAutoencoder(40, code=16, width=8).eval()
    net.save_pretrained(tmp_path / "a")
    loaded = load_autoencoder(tmp_path / "a")
    assert not loaded.training
    assert torch.equal(loaded(clouds()), net(clouds()))


def test_what_holds_no_autoencoder_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_autoencoder(tmp_path)
    PointAutoencoder(40, code=16, width=8).save_pretrained(tmp_path / "a")
    for config in ("{}", "[3]", '{"model": "pointnet"}', '{"code": 16, "num_points": -1, "width": 8}'):
        (tmp_path / "a" / "config.json").write_text(config)
        with pytest.raises(UserError, match="is not of an autoencoder"):
            load_autoencoder(tmp_path / "a")
    with pytest.raises(UserError, match="not found"):
        load_autoencoder(tmp_path / "none" / "at_all")


def test_the_bundled_one_knows_the_embedded_shapes():
    """What it makes of a cloud lies nearer to it than to the next cloud of the class."""
    from si_adv.data.procedural import ProceduralShapes

    shapes = ProceduralShapes("test", 20)
    x = torch.stack([shapes[index].points for index in range(20)])
    with torch.no_grad():
        made = load_autoencoder()(x)
    near = chamfer_distance(made, x)
    assert near.mean() < 0.01
    assert (near < chamfer_distance(made, x.roll(10, 0))).float().mean() > 0.9
