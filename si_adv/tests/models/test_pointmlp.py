import pytest
import torch

from si_adv.models import build_victim
from si_adv.models.pointmlp import Grouper
from si_adv.published import import_published


def lively(name):
    torch.manual_seed(0)
    model = build_victim(name, 5).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, Grouper):
            torch.nn.init.uniform_(module.affine_alpha, 0.5, 1.5)
            torch.nn.init.uniform_(module.affine_beta, -0.2, 0.2)
    return model.requires_grad_(False)


def test_groups_are_relative_to_their_centre_at_unit_deviation_over_the_cloud():
    points, features = torch.randn(2, 60, 3), torch.randn(2, 60, 4) * torch.tensor([[[1.0]], [[50.0]]])
    grouper = Grouper(4, 10, 6, "first")
    centres, groups = grouper(points, features)
    relative, of_centre = groups.chunk(2, -1)
    torch.testing.assert_close(relative.flatten(1).std(1), torch.ones(2), rtol=1e-3, atol=0)
    # The nearest of a centre's neighbours is itself.
    assert relative[:, :, 0].abs().max() == 0
    for cloud in range(2):
        for place, centre in enumerate(centres[cloud]):
            order = torch.linalg.vector_norm(points[cloud] - centre, dim=1).argsort()[:6]
            torch.testing.assert_close(of_centre[cloud, place, 0], features[cloud, order[0]])
            expected = features[cloud, order] - features[cloud, order[0]]
            scale = expected[1].norm() / relative[cloud, place, 1].norm()
            torch.testing.assert_close(relative[cloud, place] * scale, expected, rtol=1e-3, atol=1e-3)


def test_groups_are_scaled_and_shifted_by_channel():
    points, features = torch.randn(1, 30, 3), torch.randn(1, 30, 4)
    grouper = Grouper(4, 5, 6, "first")
    plain = grouper(points, features)[1][..., :4]
    with torch.no_grad():
        grouper.affine_alpha.copy_(torch.tensor([1.0, 2, -1, 0]))
        grouper.affine_beta.copy_(torch.tensor([0.0, 1, 0, 3]))
    changed = grouper(points, features)[1][..., :4]
    torch.testing.assert_close(changed, plain * torch.tensor([1.0, 2, -1, 0]) + torch.tensor([0.0, 1, 0, 3]))


def test_a_cloud_gets_the_same_output_alone_and_in_a_batch():
    model = lively("pointmlp_elite")
    clouds = torch.rand(2, 3, 1024) * torch.tensor([[[1.0]], [[0.2]]])
    torch.testing.assert_close(model(clouds)[1:], model(clouds[1:]))


def test_the_order_of_the_points_does_not_matter_but_for_the_first():
    model, cloud = lively("pointmlp_elite"), torch.rand(1, 3, 1024)
    order = torch.cat((torch.zeros(1, dtype=torch.int64), 1 + torch.randperm(1023)))
    torch.testing.assert_close(model(cloud[..., order]), model(cloud), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "parameters"), [("pointmlp", 13_238_504), ("pointmlp_elite", 716_232)])
def test_published_files_are_recognised(name, parameters):
    """Sizes are those of the published layers: 13.2 and 0.72 million at 40 classes."""
    model = build_victim(name, 40)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    content = {"net": {f"module.{entry}": tensor for entry, tensor in model.state_dict().items()}, "epoch": 3}
    back, report = import_published(content)
    assert report.architecture == name and report.num_classes == 40
    assert all(torch.equal(tensor, back.state_dict()[entry]) for entry, tensor in model.state_dict().items())


def test_entries_have_the_published_names():
    names = build_victim("pointmlp", 40).state_dict()
    for name in (
        *("embedding.net.0.weight", "embedding.net.1.running_mean", "local_grouper_list.3.affine_alpha"),
        *("pre_blocks_list.0.transfer.net.0.weight", "pre_blocks_list.3.operation.1.net1.0.weight"),
        *("pos_blocks_list.2.operation.1.net2.1.bias", "classifier.8.weight"),
    ):
        assert name in names
    assert "embedding.net.0.bias" not in names and not any(name.startswith("pre_blocks_list.4") for name in names)
