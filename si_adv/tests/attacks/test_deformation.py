import torch
from attack_toys import Counting, predicted, toy_clouds

from si_adv.attacks import HiTAdv
from si_adv.attacks.deformation import deformed


def test_points_move_by_the_weighted_mean_of_the_moves():
    """Written out kernel by kernel, as the paper has it."""
    generator = torch.Generator().manual_seed(0)
    points, centres, moves = (torch.randn(2, n, 3, generator=generator) for n in (9, 4, 4))
    widths = 0.3 + torch.rand(2, 4, generator=generator)
    moved, weights = torch.zeros_like(points), torch.zeros(2, 9, 1)
    for centre in range(4):
        distance = torch.linalg.vector_norm(points - centres[:, centre, None], dim=-1)
        weight = (-distance / (2 * widths[:, centre, None] ** 2)).exp()[..., None]
        moved, weights = moved + weight * (points + moves[:, centre, None]), weights + weight
    torch.testing.assert_close(deformed(points, centres, moves, widths), moved / weights)


def test_narrow_kernels_follow_their_centre_and_wide_ones_all_of_them():
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    moves = torch.tensor([[[0.1, 0, 0], [0, 0.3, 0]]])
    narrow = deformed(points, points, moves, torch.full((1, 2), 0.1))
    torch.testing.assert_close(narrow, points + moves)
    wide = deformed(points, points, moves, torch.full((1, 2), 1e3))
    torch.testing.assert_close(wide, points + moves.mean(1, keepdim=True))


def test_kernels_sit_where_the_curvature_varies(victim):
    """A sheet that is flat on one side and folded on the other."""
    grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij"), -1)
    x, y = grid.flatten(0, 1).T
    folded = torch.where(x > 0, 0.1 * (9 * x).sin().abs(), 0.0)
    cloud = torch.stack((x, y, folded), 1)[None]
    attack = HiTAdv(victim, num_candidates=64, num_centres=16)
    normals = torch.tensor([0.0, 0, 1]).expand_as(cloud)
    _, centres, curved = attack._context(cloud, predicted(victim, cloud), normals)
    assert (centres[0, :, 0] > -0.2).all()
    assert curved.shape == (1, 16) and curved.min() == 0 and curved.max() <= 1


def test_moves_and_widths_stay_in_their_bounds_and_every_query_counts(victim):
    clouds, normals = toy_clouds(3)
    labels, counting = predicted(victim, clouds), Counting(victim)
    attack = HiTAdv(
        counting, num_candidates=40, num_centres=20, eps=0.2, iterations=40, search_steps=2, early_stop=False
    )
    result = attack.run(clouds, labels, normals)
    assert result.success.any()
    assert (result.adv - clouds).abs().max() <= 0.2 + 1e-6
    assert torch.equal(predicted(victim, result.adv), result.prediction)
    # One more forward pass a cloud finds the salient points.
    assert counting.clouds == result.queries.sum() + 3
    variable = torch.tensor([[[0.5, -0.5, 0.1, 3.0], [0.0, 0.0, 0.0, 0.0]]])
    kept = attack._project(variable, None)
    torch.testing.assert_close(kept, torch.tensor([[[0.2, -0.2, 0.1, 1.2], [0.0, 0.0, 0.0, 0.1]]]))


def test_the_penalty_asks_for_small_moves_and_narrow_kernels_on_curved_places(victim):
    clouds, normals = toy_clouds(1)
    attack = HiTAdv(victim, num_candidates=30, num_centres=10)
    context = attack._context(clouds, predicted(victim, clouds), normals)
    curved = context[2]

    def penalty(size, widths):
        variable = torch.cat((torch.full((1, 10, 3), size), widths[..., None]), 2)
        return attack._distance(attack._points(variable, *context), variable, *context)

    # Both have the widths 0.1 + 1.1 c in some order: only their place differs.
    on_curved = 0.1 + 1.1 * curved
    order = curved.argsort(dim=1)
    hidden = torch.empty_like(curved).scatter(1, order, on_curved.sort(dim=1, descending=True).values)
    assert penalty(0.1, hidden) < penalty(0.1, on_curved)
    assert penalty(0.1, hidden) < penalty(0.3, hidden)
