"""Attacks are compared on the same clouds, and a cloud met twice is one draw."""

import numpy as np
import pytest

from si_adv.evaluation import paired


def columns(rows):
    """rows: (attack, seed, cloud, attacked, success, l2)."""
    names = ("attack", "seed", "id", "attacked", "success", "l2")
    return {"victim": ["v"] * len(rows)} | {name: [row[place] for row in rows] for place, name in enumerate(names)}


def test_only_clouds_that_both_attacked_and_fooled_are_compared():
    both = paired.pairs(
        columns(
            [
                *(("a", 0, 1, True, True, 1.0), ("b", 0, 1, True, True, 3.0)),
                *(("a", 1, 1, True, True, 2.0), ("b", 1, 1, True, True, 1.0)),  # the same cloud in another run
                *(("a", 0, 2, True, True, 9.0), ("b", 0, 2, True, False, 9.0)),
                *(("a", 0, 3, True, False, 9.0), ("b", 0, 3, True, True, 9.0)),
                *(("a", 0, 4, False, True, 0.0), ("b", 0, 4, False, True, 0.0)),
                ("a", 0, 5, True, True, 9.0),
                ("c", 0, 5, True, True, 9.0),
            ]
        ),
        "a",
        "b",
        "l2",
    )
    assert both["count"].tolist() == [2, 1, 1] and both["fooled"].tolist() == [2, 0, 0]
    assert (
        both["ours"].tolist() == [3, 0, 0]
        and both["other"].tolist() == [4, 0, 0]
        and both["wins"].tolist() == [1, 0, 0]
    )
    assert both["ours_only"].tolist() == [0, 1, 0] and both["other_only"].tolist() == [0, 0, 1]


def test_the_bootstrap_of_a_ratio_has_its_coverage():
    """Of 200 samples from one population the 95% interval holds the true ratio of means in nearly 95%."""
    rng, covered = np.random.default_rng(0), 0
    weights = paired.resampling(80, 500)
    for _ in range(200):
        below = rng.uniform(1, 2, 80)
        _, low, high = paired.ratio_interval(below * rng.uniform(0.2, 1.2, 80), below, weights)
        covered += low <= 0.7 <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_the_interval_of_a_difference_by_hand():
    middle, low, high = paired.difference_interval(6, 2, 98)
    # (6 - 2) / 100, and sqrt(9 - 16 / 100) / 100 times 1.96 (Agresti and Min 2005).
    assert middle == pytest.approx(4 / 98) and low == pytest.approx(0.04 - 0.058275, abs=1e-5)
    assert high == pytest.approx(0.04 + 0.058275, abs=1e-5)
    assert paired.difference_interval(0, 0, 38)[1] == pytest.approx(-0.049)


def test_the_table_says_ratio_and_wins():
    rows = [("si_ifgm", 0, cloud, True, True, 0.5 + 0.01 * cloud) for cloud in range(20)]
    rows += [("ifgm", 0, cloud, True, True, 0.6) for cloud in range(20)]
    (row,) = paired.paired_table(columns(rows))
    assert (row["against"], row["distance"], row["pairs"], row["clouds"]) == ("ifgm", "l2", 20, 20)
    assert row["ratio"] == pytest.approx(0.595 / 0.6) and row["wins"] == pytest.approx(0.5)
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"] and row["wins_low"] < 0.5 < row["wins_high"]
    assert paired.paired_table(columns([row for row in rows if row[0] == "ifgm"])) == []
