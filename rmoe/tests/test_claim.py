"""What the claim says of results that are made up: each part of it can fail."""

import copy
import json

import pytest

from rmoe import claim
from rmoe.commands.claim import main
from shared_utils import UserError
from shared_utils.claim import Claim

LEVELS = {"scratch": 0.5, "dense": 0.7, "rmoe_d": 0.8, "rmoe_i": 0.82, "moe": 0.83, "upcycled": 0.75, "wide": 0.85}


def result(row, steps, world="rules", base=None):
    base = LEVELS[row] if base is None else base
    starts = row != "scratch"
    return {
        "world": world,
        "row": row,
        "steps": steps,
        "rate": 8e-3,
        "miou": [base, base + 0.01, base - 0.01],
        "upstream accuracy": [0.9] * 3 if starts else None,
        "seconds": {"upstream": 6.0 * starts, "intermediate": 0.0, "downstream": 4.0},
        "flops": {"upstream": 6e9 * starts, "intermediate": 0.0, "downstream": 4e9},
        "forward flops": 1010 if row.startswith("rmoe") else 1000,
        "total": 10,
        "active": 10,
    }


@pytest.fixture
def results():
    rows = [result(row, steps) for steps in (250, 80) for row in LEVELS]
    rows += [result(row, steps, "one_rule", 0.9) for steps in (250, 80) for row in ("dense", "rmoe_d")]
    grid = [{"world": "rules", "stage": "upstream", "row": "dense", "rate": 8e-3, "chosen": True, "val": [0.9]}]
    plan = {"seeds": [0, 1, 2], "rates": [8e-3], "downstream_steps": [250, 80]}
    return {"plan": plan, "rows": rows, "grid": grid, "conversion": 1e-6}


def changed(results, row, values, steps=250, world="rules"):
    results = copy.deepcopy(results)
    claim.row_of(results, row, steps, world)["miou"] = values
    return results


def test_what_the_paper_says_holds(results):
    judged = claim.judge(results)
    assert judged.holds and judged.seeds == [0, 1, 2] and len(judged.tables) == 5
    assert "RMoE-D - dense +10.0" in judged.verdict


@pytest.mark.parametrize(
    ("row", "values", "world", "sentence"),
    [
        ("dense", [0.7, 0.5, 0.7], "rules", "dense - dense from scratch"),
        ("rmoe_d", [0.9, 0.9, 0.6], "rules", "RMoE-D - dense"),
        ("rmoe_i", [0.75, 0.75, 0.75], "rules", "RMoE-I - RMoE-D"),
        ("moe", [0.8, 0.8, 0.8], "rules", "MoE pre-trained - RMoE-I"),
        ("rmoe_d", [0.96, 0.97, 0.95], "one_rule", "one rule for all domains"),
    ],
)
def test_every_part_can_fail(results, row, values, world, sentence):
    judged = claim.judge(changed(results, row, values, world=world))
    assert not judged.holds and sentence in judged.verdict


def test_a_tie_is_not_a_loss(results):
    assert claim.judge(changed(results, "rmoe_i", [0.795, 0.805, 0.785])).holds


def test_a_conversion_that_changes_outputs_or_costs_too_much_fails(results):
    assert not claim.judge({**results, "conversion": 1e-3}).holds
    claim.row_of(results, "rmoe_d", 250)["forward flops"] = 1040
    assert "4.0 % more operations" in claim.judge(results).verdict


def test_costs_tell_a_given_dense_model_from_none(results):
    rows = {row["pipeline"]: row for row in claim.cost_table(results, 250)}
    assert rows["RMoE-D"]["CPU s"] == 10 and rows["RMoE-D"]["CPU s, dense model given"] == 4
    assert rows["RMoE-D"]["of MoE, dense model given"] == "-60 %" and rows["MoE pre-trained"]["CPU s"] == 10
    assert rows["RMoE-D"]["paper"] and not rows["dense"]["paper"]


def test_what_was_not_run_is_named(results):
    results["rows"] = [row for row in results["rows"] if row["world"] == "rules"]
    with pytest.raises(UserError, match="no dense, rmoe_d at 250 steps"):
        claim.judge(results)


def test_the_command_writes_the_claim_and_does_not_replace_it(results, tmp_path, capsys):
    (tmp_path / claim.RESULTS).write_text(json.dumps(results))
    assert main([str(tmp_path)]) == 0
    assert Claim.read(tmp_path).holds and "The claim holds" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([str(tmp_path), "--overwrite"]) == 0


def test_a_folder_without_results_is_named(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "results.json not found" in capsys.readouterr().err
