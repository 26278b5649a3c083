"""The claim follows the numbers: every part can fail on its own."""

import copy

import pytest

from luperson_nl import claim
from luperson_nl.comparison import ROWS
from shared_utils import UserError

MAP = {"pnl": 0.5, "supervised": 0.45, "moco": 0.1, "random": 0.02, "histogram": 0.07, "clean": 0.7, "pnl_clean": 0.7}


@pytest.fixture
def results():
    rows = []
    for name in ("pnl", "supervised", "moco", "random", "histogram", "clean", "pnl_clean", "supervised_clean"):
        score = MAP.get(name, 0.7)
        row = {
            "row": name,
            "noise": ROWS[name].noise,
            "epochs": 24,
            "rate": 0.1,
            "weight": None,
            "mAP": [score, score + 0.01],
            "mINP": [0.1, 0.1],
            "rank-1": [score, score],
            "cmc": [[score, 1.0]] * 2,
            "seconds": [1.0, 1.0],
        }
        if ROWS[name].method == "pnl":
            row |= {
                "before": {"right person": [0.86, 0.87], "canonical": [0.66, 0.65]},
                "after": {"right person": [0.93, 0.94], "canonical": [0.77, 0.75]},
                "changed": [0.16, 0.16],
                "precision": [0.9, 0.89],
            }
        rows.append(row)
    noise = [{"noise": level, "crops": [10, 10], "ids": [4, 4]} for level in (0.0, 1.0)]
    grid = [{"method": "pnl", "rate": 0.1, "weight": 0.1, "val": 0.4, "chosen": True}]
    return {"plan": {"seeds": [0, 1]}, "rows": rows, "grid": grid, "noise": noise, "finetuning": []}


def _row(results, name):
    return claim.row_of(results, name)


def test_numbers_like_those_of_the_specification_show_the_claim(results):
    judged = claim.judge(results)
    assert judged.holds and judged.seeds == [0, 1] and "+5.0" in judged.verdict


@pytest.mark.parametrize(
    ("row", "key", "value", "word"),
    [
        ("supervised", "mAP", [0.4, 0.52], "supervised on the noisy ids"),
        ("moco", "mAP", [0.6, 0.1], "MoCo"),
        ("random", "mAP", [0.5, 0.02], "random"),
        ("pnl", "after", {"right person": [0.93, 0.87], "canonical": [0.77, 0.75]}, "right person"),
        ("pnl", "after", {"right person": [0.93, 0.94], "canonical": [0.6, 0.75]}, "canonical"),
        ("pnl", "precision", [0.9, 0.8], "of the changes"),
        ("pnl", "precision", [0.9, None], "no label was changed"),
        ("supervised_clean", "mAP", [0.72, 0.73], "without noise"),
        ("supervised_clean", "mAP", [0.7, 0.0], "do not suit it"),
    ],
)
def test_one_seed_or_part_that_fails_refutes_it_and_is_named(results, row, key, value, word):
    _row(results, row)[key] = value
    judged = claim.judge(results)
    assert not judged.holds and word in judged.verdict


def test_bounds_of_the_street_are_reported_but_decide_nothing(results):
    lines = {line["question"]: line["mAP"] for line in claim.beside(results)}
    assert any("HSV" in question and answer.endswith(": met") for question, answer in lines.items())
    assert any("bound: supervised" in question and answer.endswith("not met") for question, answer in lines.items())


def test_a_comparison_without_the_rows_of_the_claim_is_refused(results):
    fewer = copy.deepcopy(results)
    fewer["rows"] = [row for row in fewer["rows"] if row["row"] != "moco"]
    with pytest.raises(UserError, match="moco"):
        claim.judge(fewer)


def test_a_folder_without_results_names_the_command(tmp_path):
    with pytest.raises(UserError, match="compare"):
        claim.read_results(tmp_path)
