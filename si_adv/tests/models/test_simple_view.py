import pytest
import torch

from si_adv.models.simple_view import CAMERA_DISTANCE, SimpleView, _view_rotations, depth_images


def clouds(batch: int, num_points: int = 64) -> torch.Tensor:
    return torch.rand(batch, 3, num_points, generator=torch.Generator().manual_seed(0)) - 0.5


def images(*points: tuple[float, float, float]) -> torch.Tensor:
    return depth_images(torch.tensor([points]), _view_rotations())[:, 0]


def test_parameter_count_is_the_published_one():
    assert sum(parameter.numel() for parameter in SimpleView(40).parameters()) == 803_992


def test_a_cloud_has_the_same_logits_alone_and_in_a_batch():
    torch.manual_seed(0)
    model, x = SimpleView(10).eval(), clouds(3)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_point_of_a_single_cloud():
    model, x = SimpleView(10).eval(), clouds(1).requires_grad_()
    for module in model.modules():  # fresh blocks are identities that see one pixel of 64
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    (gradient,) = torch.autograd.grad(model(x).square().sum(), x)
    assert (gradient.abs().amax(1) > 0).all()


def test_the_origin_is_the_middle_pixel_of_six_views_at_the_distance_of_the_camera():
    for image in images((0.0, 0.0, 0.0)):
        assert image.nonzero().tolist() == [[64, 64]]
        assert image[64, 64] == pytest.approx(CAMERA_DISTANCE)


def test_the_six_views_look_along_the_six_half_axes():
    depths = {round(image.max().item(), 3) for image in images((0.1, 0.02, 0.3))}
    assert depths == {round(CAMERA_DISTANCE + offset, 3) for offset in (0.1, -0.1, 0.02, -0.02, 0.3, -0.3)}


def test_a_pixel_holds_the_harmonic_mean_of_its_depths():
    front = images((0.0, 0.0, 0.5), (0.0, 0.0, -0.3))[0]
    assert front[64, 64] == pytest.approx(2 / (1 / 1.9 + 1 / 1.1), rel=1e-6)


def test_points_behind_the_camera_or_outside_the_image_are_left_out():
    assert images((0.0, 0.0, -1.5))[0].abs().max() == 0
    assert images((1.5, 0.0, 0.0))[0].abs().max() == 0


def test_the_gradient_of_a_depth_is_one_along_the_line_of_sight():
    points = torch.tensor([[[0.1, 0.2, 0.3]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(depth_images(points, _view_rotations())[0].sum(), points)
    torch.testing.assert_close(gradient[0, 0], torch.tensor([0.0, 0.0, 1.0]), rtol=0, atol=1e-5)


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, N\)"):
        SimpleView(10)(torch.rand(1, 6, 64))
