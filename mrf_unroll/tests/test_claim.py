"""The claim, judged by tables of errors."""

import pytest

from mrf_unroll.claim import ORDER, judge, verdict
from mrf_unroll.evaluation import Comparison
from shared_utils import UserError


@pytest.fixture
def rows():
    """A table in which the order holds."""
    errors = dict(zip(ORDER, (0.05, 0.1, 0.2, 0.4), strict=True))
    return [{"method": name, "T1 NRMSE": value, "T2 NRMSE": value} for name, value in errors.items()]


def test_the_claim_holds_only_in_the_order_that_it_states(rows):
    assert judge([rows, rows], [0, 1]).holds
    reversed_in_t2 = [{**row, "T2 NRMSE": 0.01} if row["method"] == "low_rank" else row for row in rows]
    claim = judge([rows, reversed_in_t2], [0, 1])
    assert not claim.holds and "T2: " in claim.verdict and "T1: " not in claim.verdict
    with pytest.raises(UserError, match="needs unet"):
        judge([[row for row in rows if row["method"] != "unet"]] * 2, [0, 1])


def test_a_verdict_needs_several_seeds_and_every_method_of_the_order(rows):
    assert verdict(Comparison([0, 1], [rows, rows], {}, 3)).startswith("the claim holds: T1: ")
    assert verdict(Comparison([0], [rows], {}, 3)) == ""
    assert verdict(Comparison([0, 1], [rows[:2], rows[:2]], {}, 3)) == ""
