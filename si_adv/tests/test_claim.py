"""The verdict says what the clouds say, all runs pooled."""

import numpy as np
import pytest

from shared_utils import UserError
from shared_utils.claim import Claim
from si_adv.claim import can_judge, decide, error_rates, judge
from si_adv.evaluation.paired import pairs, resampling

SIZE = 60


def measured(ours=0.6, spread=0.2, missed=0, chance=0.05, clouds=SIZE, seeds=(0, 1), true=True):
    """Rows of the table, and per-cloud columns: si_ifgm's distance is ``ours`` of I-FGM's, with a spread a cloud."""
    rng = np.random.default_rng(0)
    columns = {
        name: [] for name in ("victim", "attack", "seed", "id", "attacked", "success", "surface", "true_surface")
    }
    rows = []
    for seed in seeds:
        free = rng.uniform(1, 2, clouds)
        values = {
            "si_ifgm": free * (ours + spread * rng.standard_normal(clouds)),
            "ifgm": free,
            "random_tangent": 5 + free,
        }
        for name, distance in values.items():
            success = np.arange(clouds) >= {"si_ifgm": missed, "ifgm": 0, "random_tangent": clouds * (1 - chance)}[name]
            columns["victim"] += ["v"] * clouds
            columns["attack"] += [name] * clouds
            columns["seed"] += [seed] * clouds
            columns["id"] += range(clouds)
            columns["attacked"] += [True] * clouds
            columns["success"] += success.tolist()
            columns["surface"] += (2 * distance).tolist()
            columns["true_surface"] += distance.tolist() if true else [None] * clouds
            rows.append(
                {
                    "victim": "v",
                    "attack": name,
                    "seed": seed,
                    "asr": success.mean(),
                    "clouds": clouds,
                    "attacked": clouds,
                }
            )
    return rows, columns


@pytest.mark.parametrize(
    ("case", "holds"),
    [
        ({}, True),
        ({"ours": 0.99}, False),  # no nearer to the surface
        ({"ours": 1.3}, False),
        ({"missed": 12}, False),  # a fifth of the clouds is missed
        ({"chance": 0.7}, False),  # chance does nearly as well
        ({"clouds": 6, "seeds": (0,)}, False),  # six clouds show nothing
    ],
)
def test_the_verdict_follows_from_the_clouds(case, holds):
    rows, clouds = measured(**case)
    assert judge(rows, clouds).holds is holds


def test_the_surface_is_the_true_one_where_it_is_known():
    rows, clouds = measured()
    judged = judge(rows, clouds)
    assert "of I-FGM's distance from the true surface" in judged.verdict
    assert judged.verdict.startswith(f"2 runs pooled, 240 attacks on {SIZE} clouds".replace("240", "120"))
    rows, clouds = measured(true=False)
    assert "normals that no attack used" in judge(rows, clouds).verdict


def test_a_run_without_all_three_attacks_is_left_out():
    rows, clouds = measured()
    one = [row for row in rows if not (row["seed"] == 1 and row["attack"] == "ifgm")]
    assert judge(one, clouds).verdict.startswith(f"1 runs pooled, {SIZE} attacks")


def test_without_the_three_attacks_there_is_no_verdict():
    rows = [{"attack": "si_ifgm", "seed": 0, "asr": 1.0}]
    assert not can_judge(rows)
    with pytest.raises(UserError, match="make them by attack --compare"):
        judge(rows, {})
    rows, clouds = measured()
    clouds["attacked"] = [False] * len(clouds["attacked"])
    with pytest.raises(UserError, match="wrong on every cloud"):
        judge(rows, clouds)


def test_simulations_tell_power_and_false_verdicts():
    def rates(**case):
        _, clouds = measured(**case)
        return error_rates(*(pairs(clouds, "si_ifgm", other, "true_surface") for other in ("ifgm", "random_tangent")))

    power, false = rates()
    assert power > 0.95 and false < 0.1
    power, false = rates(ours=0.97, spread=0.3)
    assert power < 0.7 and false < 0.1
    assert rates(ours=1.3) == (0, pytest.approx(0.025, abs=0.04))


def test_the_decision_needs_all_of_its_intervals():
    _, clouds = measured()
    free, chance = (pairs(clouds, "si_ifgm", other, "true_surface") for other in ("ifgm", "random_tangent"))
    decided = decide(free, chance, resampling(SIZE))
    assert decided.holds and decided.surface[0] == pytest.approx(0.6, abs=0.05)
    assert decided.surface[1] < decided.surface[0] < decided.surface[2] < 0.7
    assert decided.success[0] == 0 and -0.05 < decided.success[1] < 0 < decided.success[2]
    assert decided.lead[0] == pytest.approx(0.95)


def test_a_claim_is_written_and_read_back(tmp_path):
    judged = judge(*measured())
    assert judged.seeds == [0, 1] and [len(table.rows) for table in judged.tables] == [2, 4, 3]
    assert Claim.read(judged.write(tmp_path)) == judged
