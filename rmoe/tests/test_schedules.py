"""The step schedule by hand, and the ends of the others (poly has a golden case)."""

import pytest

from rmoe.schedules import linear, poly, step


def test_step_falls_by_ten_at_each_milestone_and_warms_up():
    factor = step([8000, 11000])
    assert factor(0) == pytest.approx(0.001)
    assert factor(250) == pytest.approx(0.001 + 0.999 / 2)
    assert factor(500) == factor(7999) == 1
    assert factor(8000) == pytest.approx(0.1) and factor(11000) == pytest.approx(0.01)


def test_poly_ends_at_zero_and_stays_there():
    factor = poly(100, warmup_iterations=0)
    assert factor(0) == 1 and factor(50) == 0.5 and factor(100) == factor(150) == 0


def test_linear_rises_in_its_warm_up_then_falls():
    factor = linear(120, warmup_iterations=20)
    assert factor(0) == 0.05 and factor(19) == 1 and factor(20) == 1 and factor(70) == 0.5 and factor(120) == 0
