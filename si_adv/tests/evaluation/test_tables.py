"""Tables and the verdict say what the arrays say."""

import json
import math

import numpy as np
import pytest

from si_adv.evaluation import tables


def arrays(success, initial, surface, queries=None):
    success, initial = np.array(success, bool), np.array(initial, bool)
    return {
        "success": success,
        "success_normalised": success & False,
        "initial_success": initial,
        "distance_surface": np.array(surface, np.float32),
        "queries": np.array(queries if queries is not None else [1] * len(success)),
        "steps": np.arange(len(success)),
        "undefined_normals": np.zeros(len(success)),
        "seconds": np.ones(len(success)),
        "cpu_seconds": np.ones(len(success)),
    }


def test_rates_and_means_leave_out_what_was_wrong_before():
    row = tables.summarise(arrays([1, 1, 0, 1], [1, 0, 0, 0], [0.0, 0.2, 0.4, 0.6], [1, 10, 90, 20]))
    assert row["asr"] == pytest.approx(2 / 3) and row["asr_all"] == 0.75
    assert row["asr_low"] < row["asr"] < row["asr_high"]
    assert row["surface"] == pytest.approx(0.4) and row["surface_success"] == pytest.approx(0.4)
    assert row["queries"] == 40 and row["queries_median"] == 20 and row["failures"] == 1


def test_seeds_are_averaged_with_their_spread():
    rows = [{"attack": "a", "seed": seed, "asr": value} for seed, value in enumerate((0.8, 1.0, math.nan))]
    (joined,) = tables.over_seeds(rows, ["attack"])
    assert joined["asr"] == pytest.approx(0.9) and joined["asr_sd"] == pytest.approx(0.1414, abs=1e-4)
    assert joined["runs"] == 3


def test_tables_hold_every_column_and_plain_json(tmp_path):
    tables.write(tmp_path, [{"attack": "a", "asr": math.nan}, {"attack": "b", "asr": 0.5, "extra": 1}])
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "attack,asr,extra"
    assert json.loads((tmp_path / "table.json").read_text())[0]["asr"] is None
    assert (tmp_path / "table.md").is_file()
