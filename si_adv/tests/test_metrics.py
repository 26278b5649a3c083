import math
from statistics import NormalDist

import pytest
import torch
from attack_toys import toy_clouds

from si_adv import metrics


@pytest.fixture(scope="module")
def pair():
    clean, normals = toy_clouds(3)
    adv = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return adv, clean, normals


def _brute_force(a, b):
    return (a.double()[:, :, None] - b.double()[:, None]).square().sum(-1)


def test_a_cloud_is_at_distance_zero_of_itself(pair):
    _, clean, normals = pair
    values = metrics.distances(clean, clean.clone(), normals)
    for name in (
        "l2",
        "l2_published",
        "chamfer",
        "hausdorff",
        "hausdorff_true",
        "surface",
        "curvature",
        "linf",
        "moved",
    ):
        assert (values[name] == 0).all(), name


def test_duplicate_points_are_at_distance_zero_too(pair):
    _, clean, _ = pair
    doubled = torch.cat((clean, clean), 1)
    assert (metrics.chamfer(doubled, clean) == 0).all()
    assert (metrics.hausdorff_true(clean, doubled) == 0).all()


@pytest.mark.parametrize("num_points", [256, 100])
def test_set_distances_are_those_of_brute_force_in_float64(pair, num_points):
    adv, clean = pair[0][:, :num_points], pair[1]
    squared = _brute_force(adv, clean)
    there, back = squared.amin(2), squared.amin(1)
    expected = {
        "chamfer": (there.mean(1) + back.mean(1)) / 2,
        "hausdorff": (there.amax(1) + back.amax(1)) / 2,
        "hausdorff_true": torch.maximum(there.amax(1), back.amax(1)).sqrt(),
    }
    for name, value in expected.items():
        # 1e-6 relative: the result is returned in float32.
        torch.testing.assert_close(getattr(metrics, name)(adv, clean).double(), value, rtol=1e-6, atol=0)


def test_small_distances_keep_their_digits(pair):
    _, clean, _ = pair
    shifted = clean.clone()
    shifted[:, 7] += 1e-4
    squared = (shifted - clean).double().square().sum(-1).amax(1)
    torch.testing.assert_close(metrics.hausdorff(shifted, clean).double(), squared, rtol=1e-6, atol=0)


def test_l2_is_the_published_one_at_1024_points_only(pair):
    adv, clean, _ = pair
    torch.testing.assert_close(metrics.l2(adv, clean), (adv - clean).flatten(1).norm(dim=1))
    torch.testing.assert_close(metrics.l2_published(adv, clean), 2 * metrics.l2(adv, clean))  # 256 points
    wide = [torch.cat([cloud] * 4, 1) for cloud in (adv, clean)]
    torch.testing.assert_close(metrics.l2_published(*wide), metrics.l2(*wide))


def test_sliding_along_a_plane_leaves_the_surface_and_lifting_does_not():
    plane = torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(plane).clone()
    slid = plane + torch.tensor([0.05, -0.02, 0.0])
    lifted = plane + torch.tensor([0.0, 0.0, 0.03])
    assert metrics.surface(slid, plane, normals) == 0
    torch.testing.assert_close(metrics.surface(lifted, plane, normals), torch.tensor([0.03]))
    normals[:, ::2] *= -1
    torch.testing.assert_close(metrics.surface(lifted, plane, normals), torch.tensor([0.03]))


def test_the_normal_that_counts_is_that_of_the_nearest_clean_point():
    """Two walls; a point of the one has moved beside a point of the other, off its wall by 0.1."""
    clean = torch.tensor([[(0.0, 0.0, 0.0), (5.0, 5.0, 5.0)]])
    normals = torch.tensor([[(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]])
    adv = torch.tensor([[(5.0, 5.2, 5.1), (5.0, 5.0, 5.0)]])
    # Its own normal would say 0; beside the other's 0.1, of two points.
    torch.testing.assert_close(metrics.surface(adv, clean, normals), torch.tensor([0.05]))
    values = metrics.distances(adv, clean, normals)
    torch.testing.assert_close(values["surface"], torch.tensor([0.05]))
    torch.testing.assert_close(values["surface_max"], torch.tensor([0.1]))


def test_curvature_is_compared_with_that_of_the_nearest_clean_point():
    """The points of a bent strip in another order are the same cloud, of the same curvature."""
    generator = torch.Generator().manual_seed(0)
    grid = torch.cartesian_prod(torch.arange(6.0), torch.arange(6.0))
    grid += 0.3 * torch.rand(36, 2, generator=generator)  # no two neighbours at equal distance
    clean = torch.cat([grid, (grid[:, :1] - 2.5) ** 2], 1)[None]
    normals = torch.nn.functional.normalize(
        torch.stack([-2 * (grid[:, 0] - 2.5), 0 * grid[:, 0], 1 + 0 * grid[:, 0]], 1), dim=1
    )
    order = torch.randperm(36, generator=generator)
    assert metrics.curvature(clean[:, order], clean, normals[None], 8) < 1e-12
    assert metrics.curvature(clean * torch.tensor([1.0, 1.0, 1.3]), clean, normals[None], 8) > 1e-4


def test_moved_and_linf_say_how_many_and_how_far(pair):
    _, clean, _ = pair
    adv = clean.clone()
    adv[:, 3, 1] += 0.25
    adv[:, 9, 0] -= 0.1
    adv[:, 11, 2] += 2e-7  # below what counts as motion
    assert metrics.moved(adv, clean).tolist() == [2, 2, 2]
    torch.testing.assert_close(metrics.linf(adv, clean), torch.full((3,), 0.25))


def test_far_points_raise_the_threshold_of_a_cloud_and_not_that_of_the_clean_one(pair):
    _, clean, _ = pair
    adv = clean.clone()
    adv[:, :5] += torch.tensor([2.0, 2.0, 2.0]) + torch.arange(5.0)[:, None]
    assert (metrics.outliers(adv) < metrics.outliers(clean)).all()
    assert (metrics.outliers_clean_threshold(adv, clean) > metrics.outliers(clean)).all()
    assert torch.equal(metrics.outliers_clean_threshold(clean, clean), metrics.outliers(clean))


def test_distances_holds_what_each_function_gives(pair):
    adv, clean, normals = pair
    values = metrics.distances(adv, clean, normals)
    for name in ("surface", "curvature"):
        mean, percentile, most = (values.pop(f"{name}{end}") for end in ("", "_p99", "_max"))
        assert (mean < percentile).all() and (percentile <= most).all()
        values[name] = mean
    for name, value in values.items():
        arguments = {"surface": (adv, clean, normals), "curvature": (adv, clean, normals), "outliers": (adv,)}
        expected = getattr(metrics, name)(*arguments.get(name, (adv, clean)))
        assert value.shape == (3,)
        torch.testing.assert_close(value, expected, msg=name)


def test_distances_of_a_cloud_do_not_depend_on_its_batch(pair):
    whole = metrics.distances(*pair)
    alone = metrics.distances(*(tensor[1:2] for tensor in pair))
    for name, value in alone.items():
        assert torch.equal(value, whole[name][1:2]), name


def test_normals_are_estimated_where_none_are_given(pair):
    adv, clean, normals = pair
    given, estimated = metrics.distances(adv, clean, normals), metrics.distances(adv, clean)
    torch.testing.assert_close(estimated["surface"], given["surface"], rtol=0.3, atol=0)


def test_distances_of_corresponding_points_need_as_many_of_them(pair):
    adv, clean, _ = pair
    with pytest.raises(ValueError, match="corresponding points are needed"):
        metrics.l2(adv[:, :100], clean)


def test_wilson_interval_is_the_textbook_one():
    low, high = metrics.wilson_interval(8, 10)
    # Solutions of (p - 0.8)^2 = z^2 p (1 - p) / 10.
    for bound in (low, high):
        assert math.isclose(
            (bound - 0.8) ** 2, NormalDist().inv_cdf(0.975) ** 2 * bound * (1 - bound) / 10, rel_tol=1e-9
        )
    assert low < 0.8 < high
    assert metrics.wilson_interval(0, 30)[0] == 0
    assert metrics.wilson_interval(30, 30)[1] == 1
    assert metrics.wilson_interval(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="successes"):
        metrics.wilson_interval(3, 2)


def test_success_is_reported_on_both_denominators():
    success = torch.tensor([True, True, False, True, False])
    attacked = torch.tensor([True, True, True, False, True])
    rates = metrics.success_rates(success, attacked)
    assert (rates["asr"], rates["num_attacked"]) == (0.5, 4)
    assert (rates["asr_all"], rates["num_clouds"]) == (0.6, 5)
    assert rates["asr_interval"] == metrics.wilson_interval(2, 4)
    assert rates["asr_all_interval"] == metrics.wilson_interval(3, 5)
    assert math.isnan(metrics.success_rates(success, torch.zeros(5, dtype=torch.bool))["asr"])


def test_success_within_a_budget_counts_successes_that_cost_no_more():
    success, queries = torch.tensor([True, False, True, True]), torch.tensor([1, 5, 10, 11])
    curve = metrics.success_within(success, queries, [0, 1, 5, 10, 100])
    assert curve.tolist() == [0, 0.25, 0.25, 0.5, 0.75]
