"""The statistics of an epoch's labels: what changed, how right it was, what is kept, and going on within an epoch."""

import numpy as np
import pytest
import torch

from luperson_nl.data.corrections import Corrections, sentence

# Ids 0 and 2 are of person 0 (0 is the main one), 1 is of person 1; the last crop of id 0 shows person 1.
LABELS = np.array([0, 0, 0, 2, 1, 1, 0])
TRUE = np.array([0, 0, 0, 0, 1, 1, 1])


def add(log, rows, corrected, max_p=0.9, entropy=0.5):
    rows = torch.tensor(rows)
    log.add(rows, torch.tensor(corrected), torch.full(rows.shape, max_p), torch.full(rows.shape, entropy))


def test_both_accuracies_and_the_precision_of_the_changes():
    log = Corrections(LABELS, 0.5, TRUE)
    # Right: the fragment goes to the main id, the switch to its person; wrong: a crop of person 0 goes to id 1.
    add(log, [3, 6, 0], [0, 1, 1])
    add(log, [1, 2, 4, 5], [0, 0, 1, 1], max_p=0.3, entropy=1.5)
    found = log.finish()
    assert found["changed"] == pytest.approx(3 / 7) and found["precision"] == pytest.approx(2 / 3)
    assert found["right_person_before"] == pytest.approx(6 / 7) and found["right_person"] == pytest.approx(6 / 7)
    assert found["canonical_before"] == pytest.approx(5 / 7) and found["canonical"] == pytest.approx(6 / 7)
    assert found["confident"] == pytest.approx(3 / 7) and found["entropy"] == pytest.approx((3 * 0.5 + 4 * 1.5) / 7)
    line = sentence(found | {"unseen": 2.0, "drift": 0.1})
    assert "42.9% of the labels changed, 66.7% of these to the right person" in line and "2 identities never" in line


def test_only_crops_that_were_seen_count():
    log = Corrections(LABELS, 0.5, TRUE)
    add(log, [3], [0])
    assert log.finish() == pytest.approx(
        {"changed": 1, "precision": 1, "right_person_before": 1, "right_person": 1, "canonical_before": 0}
        | {"canonical": 1, "confident": 1, "entropy": 0.5}
    )
    log.reset()
    assert log.finish() == {}


def test_without_truth_or_correction_less_is_known():
    log = Corrections(LABELS, 0.5)
    rows = torch.arange(7)
    nothing = torch.full((7,), torch.nan)
    log.add(rows, torch.from_numpy(LABELS), nothing, nothing)
    assert log.finish() == {"changed": 0.0}
    assert sentence({"changed": 0.0}) == "0.0% of the labels changed"


def test_crops_of_unknown_persons_are_left_out_of_the_accuracies():
    log = Corrections(np.array([0, 0, 1, 2]), 0.5, np.array([0, 0, -1, 1]))
    add(log, [0, 2, 3], [1, 0, 2])  # id 1 belongs to nobody known
    found = log.finish()
    assert found["changed"] == pytest.approx(2 / 3)
    assert found["right_person_before"] == 1 and found["right_person"] == 0.5 and found["precision"] == 0


def test_the_labels_are_kept_as_a_file(tmp_path):
    keys = np.array([f"crop{number}".encode() for number in range(7)])
    log = Corrections(LABELS, 0.5, TRUE, keys)
    add(log, [3, 6], [0, 1], max_p=0.75)
    log.finish(tmp_path / "labels_epoch03.npz")
    with np.load(tmp_path / "labels_epoch03.npz") as kept:
        assert kept["key"].tolist() == [b"crop3", b"crop6"] and kept["label"].tolist() == [2, 0]
        assert kept["corrected"].tolist() == [0, 1] and kept["max_p"].tolist() == [0.75, 0.75]


def test_an_epoch_goes_on_where_it_was():
    whole, first, second = (Corrections(LABELS, 0.5, TRUE) for _ in range(3))
    for log in (whole, first):
        add(log, [3, 6], [0, 1], entropy=0.25)
    second.load_state_dict(first.state_dict())
    for log in (whole, second):
        add(log, [0, 1], [1, 0])
    assert whole.finish() == second.finish()
