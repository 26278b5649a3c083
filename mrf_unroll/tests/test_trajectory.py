"""Trajectories, gridded masks and density weights."""

import math

import pytest
import torch

from mrf_unroll.operators import SubspaceOperator
from mrf_unroll.trajectory import (
    golden_angles,
    golden_spiral,
    gridded_spiral_masks,
    mask_positions,
    pipe_menon_dcf,
    radial,
    radial_dcf,
    rotate,
    spiral,
    spiral_dcf,
)


def test_spirals_stay_inside_and_turn_by_the_golden_angle():
    trajectory = golden_spiral(20, 100, 6)
    radius = trajectory.norm(dim=-1)
    assert radius.max() < 0.5 and (radius[:, 0] == 0).all()
    assert torch.allclose(radius, radius[:1].expand(20, -1), atol=1e-6)
    ky, kx = trajectory[:2, 10].unbind(dim=1)
    turned = torch.rad2deg(torch.atan2(ky, kx)).diff() % 360
    assert float(turned) == pytest.approx(222.4922, abs=1e-3)
    assert golden_angles(3).tolist() == pytest.approx([0, 222.4922, 84.9844])


def test_an_interleaf_has_its_turns_and_power():
    points = spiral(200, 3, power=2.0).double()
    t = torch.arange(200) / 200
    assert torch.allclose(points.norm(dim=1), 0.5 * t.double() ** 2, atol=1e-6)
    angle = torch.atan2(points[1:, 0], points[1:, 1])
    total = ((angle.diff() + math.pi) % (2 * math.pi) - math.pi).sum()
    assert float(total) == pytest.approx(2 * math.pi * 3 * 198 / 200, rel=1e-4)


def test_radial_lines_pass_the_centre():
    trajectory = radial(5, 32)
    assert (trajectory[:, 16].abs() < 1e-6).all()
    assert trajectory.norm(dim=-1).max() <= 0.5 + 1e-6
    cross = trajectory[:, 3, 0] * trajectory[:, 20, 1] - trajectory[:, 3, 1] * trajectory[:, 20, 0]
    assert (cross.abs() < 1e-6).all()


def test_rotation_is_from_kx_to_ky():
    assert torch.allclose(
        rotate(torch.tensor([[0.0, 0.3]]), torch.tensor([90.0])), torch.tensor([[[0.3, 0.0]]]), atol=1e-7
    )


def test_masks_hold_the_centre_and_their_shifts():
    masks = gridded_spiral_masks(64, 771, 4)
    assert masks.shape == (4, 64, 64) and masks[:, 0, 0].all(), "the centre of k-space is first in FFT order"
    assert (masks[0] != masks[1]).any()


def test_positions_count_rows_fastest():
    masks = torch.zeros(2, 3, 3, dtype=torch.bool)
    masks[1, 2, 1] = True  # frame 1, row 2, column 1
    assert mask_positions(masks).tolist() == [1 * 9 + 1 * 3 + 2]


@pytest.mark.parametrize("density", [spiral_dcf, radial_dcf, lambda t: pipe_menon_dcf(t, (32, 32), 30)])
def test_weights_make_the_response_to_a_point_sharper(density):
    trajectory = golden_spiral(64, 200, 8)
    weights = density(trajectory)
    assert weights.shape == (64, 200) and float(weights.mean()) == pytest.approx(1, abs=1e-4) and (weights > 0).all()
    point = torch.zeros(1, 1, 32, 32)
    point[..., 16, 16] = 1

    def blur(dcf):
        operator = SubspaceOperator(trajectory, torch.full((64, 1), 0.125), (32, 32), dcf=dcf)
        response = operator.normal(point + 0j)[0, 0].abs() ** 2
        return float(1 - response[16, 16] / response.sum())

    assert blur(weights) < 0.5 * blur(None)


@pytest.mark.parametrize("power", [0.8, 1.5, 2.5])
def test_spiral_weights_are_the_area_that_a_sample_stands_for(power):
    """|k| d|k|/dt with |k| = t^power / 2: t^(2 power - 1), which radius alone is not."""
    weights = spiral_dcf(golden_spiral(6, 400, 8, power)).double()
    assert torch.allclose(weights, weights[:1].expand(6, -1), rtol=1e-3)
    expected = (300 / 100) ** (2 * power - 1)
    assert float(weights[0, 300] / weights[0, 100]) == pytest.approx(expected, rel=0.02)


def test_samples_of_a_resting_read_out_weigh_next_to_nothing():
    trajectory = golden_spiral(4, 100, 6)
    resting = torch.cat([trajectory, trajectory[:, -1:].expand(-1, 50, -1)], dim=1)
    weights = spiral_dcf(resting)
    assert float(weights[:, 105:].max()) < 0.01 * float(weights[:, 50].min())


def test_a_single_sample_has_a_weight():
    assert spiral_dcf(torch.zeros(2, 1, 2)).tolist() == [[1.0], [1.0]]
    assert radial_dcf(torch.zeros(2, 3, 2)).tolist() == [[1.0] * 3] * 2
