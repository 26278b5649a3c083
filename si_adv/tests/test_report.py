"""Tables and the verdict say what the arrays say."""

import json
import math

import numpy as np
import pytest

from si_adv import report
from si_adv.comparison import batches, choose


def arrays(success, initial, surface, queries=None):
    success, initial = np.array(success, bool), np.array(initial, bool)
    return {
        "success": success,
        "initial_success": initial,
        "distance_surface": np.array(surface, np.float32),
        "queries": np.array(queries if queries is not None else [1] * len(success)),
        "steps": np.arange(len(success)),
        "undefined_normals": np.zeros(len(success)),
        "seconds": np.ones(len(success)),
        "cpu_seconds": np.ones(len(success)),
    }


def test_rates_and_means_leave_out_what_was_wrong_before():
    row = report.summarise(arrays([1, 1, 0, 1], [1, 0, 0, 0], [0.0, 0.2, 0.4, 0.6], [1, 10, 90, 20]))
    assert row["asr"] == pytest.approx(2 / 3) and row["asr_all"] == 0.75
    assert row["asr_low"] < row["asr"] < row["asr_high"]
    assert row["surface"] == pytest.approx(0.4) and row["surface_success"] == pytest.approx(0.4)
    assert row["queries"] == 40 and row["queries_median"] == 20 and row["failures"] == 1


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
    decided = report.verdict(rows)
    assert decided["holds"] is holds
    assert decided["verdict"] == f"holds in {int(holds)} of 1 runs"


def test_without_the_three_attacks_there_is_no_verdict():
    assert report.verdict([{"attack": "si_ifgm", "seed": 0, "asr": 1.0, "surface": 1.0}]) is None


def test_seeds_are_averaged_with_their_spread():
    rows = [{"attack": "a", "seed": seed, "asr": value} for seed, value in enumerate((0.8, 1.0, math.nan))]
    (joined,) = report.over_seeds(rows, ["attack"])
    assert joined["asr"] == pytest.approx(0.9) and joined["asr_sd"] == pytest.approx(0.1414, abs=1e-4)
    assert joined["runs"] == 3


def test_tables_hold_every_column_and_plain_json(tmp_path):
    report.write_tables(tmp_path, "table", [{"attack": "a", "asr": math.nan}, {"attack": "b", "asr": 0.5, "extra": 1}])
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "attack,asr,extra"
    assert json.loads((tmp_path / "table.json").read_text())[0]["asr"] is None


def test_clouds_are_drawn_class_by_class():
    labels = np.repeat([0, 1, 2], [50, 5, 10])
    chosen = choose(labels, 9, seed=0)
    assert len(set(chosen)) == 9
    assert [labels[chosen[i : i + 3]].tolist() for i in (0, 3, 6)] and set(labels[chosen[:3]]) == {0, 1, 2}
    assert np.bincount(labels[chosen]).tolist() == [3, 3, 3]
    assert choose(labels, 9, seed=0) == chosen != choose(labels, 9, seed=1)
    assert choose(labels, None, seed=0) == list(range(65))


def test_batches_cover_everything_once():
    covered = [row for rows in batches(10, 4) for row in range(10)[rows]]
    assert covered == list(range(10))
