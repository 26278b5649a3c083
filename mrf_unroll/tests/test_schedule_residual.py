"""What the centre of k-space knows of the schedule."""

from dataclasses import replace

import numpy as np
import pytest

from mrf_unroll.data.maps import Maps
from mrf_unroll.data.randomised import random_slice
from mrf_unroll.data.simulated import simulate_scan
from mrf_unroll.measurements import schedule_residual
from mrf_unroll.protocol import Protocol, ProtocolOptions
from mrf_unroll.report import explains, verdict


def _scan(coils=1, noise=0.01, angles=1.0, shift=0, **options):
    """A scan that is said to have the usual schedule, whatever it was acquired with."""
    protocol, usual = Protocol(ProtocolOptions(**options)), Protocol(ProtocolOptions()).sequence
    played = protocol.sequence
    protocol.sequence = replace(played, fa_deg=angles * np.roll(played.fa_deg, shift))
    head = random_slice(24, np.random.default_rng(5))
    t1, t2, density = head.maps.astype(float)[:, None]
    return replace(simulate_scan(Maps(t1, t2, density, head.mask[None]), protocol, coils, noise, 5), sequence=usual)


@pytest.mark.parametrize("own", [{}, {"noise": 0.1}, {"coils": 4}, {"trajectory": "radial"}, {"noise": 0.0}])
def test_a_right_schedule_leaves_nothing(own):
    assert schedule_residual(_scan(**own)) < 0.003


@pytest.mark.parametrize(
    "own",
    [
        {"ti_ms": None},
        {"angles": 1.03},
        {"shift": 1},
        {"schedule": "ramp:120"},
        {"angles": 1.03, "noise": 0.05, "coils": 2},
    ],
)
def test_another_schedule_is_seen_and_said(own):
    residual = schedule_residual(_scan(**own))
    assert residual > 0.01
    assert not explains(0.02, 0.05, residual) and "check the inversion, the flip angles" in verdict(
        0.02, 0.05, residual
    )
    assert explains(0.02, 0.05, None) and "check" not in verdict(0.02, 0.05, None)


def test_flip_angles_of_a_given_field_are_right():
    scan = _scan(angles=1.1)
    with_field = replace(scan, b1=np.linspace(1.0, 1.2, 24 * 24).reshape(24, 24).astype(np.float32))
    assert schedule_residual(scan) > 0.05 > 10 * schedule_residual(with_field)


def test_without_samples_at_the_centre_nothing_is_known():
    scan = _scan()
    assert schedule_residual(replace(scan, kspace=scan.kspace[..., 9:], trajectory=scan.trajectory[:, 9:])) is None
