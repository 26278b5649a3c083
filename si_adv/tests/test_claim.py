"""The verdict says what the numbers say."""

import pytest

from shared_utils import UserError
from shared_utils.claim import Claim
from si_adv.claim import can_judge, judge

CASES = [
    ({"si_ifgm": (0.97, 0.5), "ifgm": (1.0, 1.0), "random_tangent": (0.0, 3.0)}, True),
    ({"si_ifgm": (0.90, 0.5), "ifgm": (1.0, 1.0), "random_tangent": (0.0, 3.0)}, False),
    ({"si_ifgm": (1.00, 0.7), "ifgm": (1.0, 1.0), "random_tangent": (0.0, 3.0)}, False),
    ({"si_ifgm": (1.00, 0.5), "ifgm": (1.0, 1.0), "random_tangent": (0.4, 3.0)}, False),
]


@pytest.mark.parametrize(("figures", "holds"), CASES)
def test_the_verdict_follows_from_the_numbers(figures, holds):
    counts = {"seed": 0, "clouds": 100, "attacked": 90}
    rows = [
        {"attack": name, "asr": asr, "asr_low": max(0.0, asr - 0.1), "surface": surface} | counts
        for name, (asr, surface) in figures.items()
    ]
    decided = judge(rows)
    assert decided.holds is holds
    assert decided.verdict.startswith(f"{int(holds)} of 1 runs show it")


def test_without_the_three_attacks_there_is_no_verdict():
    rows = [{"attack": "si_ifgm", "seed": 0, "asr": 1.0, "surface": 1.0}]
    assert not can_judge(rows)
    with pytest.raises(UserError, match="make them by attack --compare"):
        judge(rows)


def test_a_claim_is_written_and_read_back(tmp_path):
    counts = {"victim": "v", "clouds": 100, "attacked": 90}
    rows = [
        {"attack": name, "seed": seed, "asr": asr, "asr_low": max(0.0, asr - 0.1), "surface": surface} | counts
        for name, (asr, surface) in CASES[0][0].items()
        for seed in (0, 1)
    ]
    judged = judge(rows)
    assert judged.seeds == [0, 1] and [len(table.rows) for table in judged.tables] == [2, 3]
    assert Claim.read(judged.write(tmp_path)) == judged
