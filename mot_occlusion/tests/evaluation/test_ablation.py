"""The ablation: what its parts hold, and that they are neither lost nor mixed."""

import json

import numpy as np
import pytest
import torch
from scenes import rows

from mot_occlusion.commands import ablate as ablate_command
from mot_occlusion.data.mot_format import read_gt
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.detections import Detections
from mot_occlusion.evaluation import ablation, measure, prepare
from mot_occlusion.evaluation.arms import recovered_overlap
from mot_occlusion.models.tracking_model import TrackingModel
from mot_occlusion.pretrained import BUNDLED, load_model
from mot_occlusion.tracking import LOST, TRACKED

ARGUMENTS = ["--sequences", "1", "--tuning", "1", "--frames", "8", "--device", "cpu"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """An ablation of the bundled network and of one of random weights, which stand for two seeds."""
    folder = tmp_path_factory.mktemp("ablation")
    torch.manual_seed(1)
    model = load_model()
    other = TrackingModel(model.backbone, model.heads, model.input_size, head_channels=model.network.hm[0].out_channels)
    other.save_pretrained(folder / "other")
    assert ablate_command.main([str(folder / "out"), "--ckpt", networks(folder), *ARGUMENTS]) == 0
    return folder / "out"


def networks(folder):
    return f"{BUNDLED},{folder / 'other'}"


def test_ablation_leaves_results_tables_and_figures(out):
    content = json.loads((out / "ablation.json").read_text())
    assert len(content["arms"]["+ re-ID"]) == len(content["rank1"]) == 2 and content["chosen"] in content["arms"]
    assert np.shape(content["rank1_untrained"]) == (2, 2)
    for name in ("people.csv", "people.md", "trackers.csv", "trackers.md", "ablation.png", "windows.png"):
        assert 0 < (out / name).stat().st_size < 500_000
    assert not (out / "claim.json").exists()


def test_what_is_done_is_not_done_again(out, monkeypatch):
    monkeypatch.setattr(ablation, "detect", lambda *arguments: pytest.fail("detected again"))
    before = (out / "ablation.json").read_text()
    assert ablate_command.main([str(out), "--ckpt", networks(out.parent), *ARGUMENTS, "--resume"]) == 0
    assert (out / "ablation.json").read_text() == before


def test_results_of_other_networks_or_crowds_are_not_taken_for_these(out, capsys):
    before = (out / "ablation.json").read_text()
    arguments = [str(out), *ARGUMENTS, "--resume"]
    assert ablate_command.main([*arguments, "--ckpt", f"{BUNDLED},{BUNDLED}"]) == 2
    assert "was begun as another job (weights" in capsys.readouterr().err
    assert ablate_command.main([*arguments, "--ckpt", networks(out.parent), "--crowd-seed", "7"]) == 2
    assert "crowd_seed 100, now 7" in capsys.readouterr().err
    assert ablate_command.main([str(out), "--ckpt", networks(out.parent), *ARGUMENTS]) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    assert (out / "ablation.json").read_text() == before


def test_two_ablations_do_not_write_to_one_folder(out, monkeypatch, capsys):
    (out / "parts" / "1-CROWD-02.npz").unlink()
    second, real = [], ablation.detect

    def meanwhile(*arguments):
        if not second:
            for flag in ("--resume", "--overwrite"):
                second.append(ablate_command.main([str(out), "--ckpt", networks(out.parent), *ARGUMENTS, flag]))
        return real(*arguments)

    monkeypatch.setattr(ablation, "detect", meanwhile)
    before = (out / "ablation.json").read_text()
    assert ablate_command.main([str(out), "--ckpt", networks(out.parent), *ARGUMENTS, "--resume"]) == 0
    assert second == [2, 2] and "in use by process" in capsys.readouterr().err
    assert (out / "ablation.json").read_text() == before


def test_parts_come_back_as_they_were():
    part = {"rank1": [(1, 2), (3, 4)], "arms": {"+ occlusion, window 1": {"counts": {"hota": {"TP": np.arange(3)}}}}}
    again = ablation.nest(ablation.flatten(part))
    assert again["rank1"].tolist() == [[1, 2], [3, 4]]
    assert again["arms"]["+ occlusion, window 1"]["counts"]["hota"]["TP"].tolist() == [0, 1, 2]


def test_a_perfect_detector_tracks_everybody_it_is_shown(tmp_path):
    """True boxes, an embedding an identity: no false alarm but in frames where a box is repeated, and no switch."""
    (folder,) = write_crowd(tmp_path, 1, 25, seed=3)
    truth = read_gt(folder / "gt" / "gt.txt")
    directions = np.random.default_rng(0).standard_normal((truth.ids.max() + 1, 64)).astype(np.float32)
    detections = []
    for frame in range(1, 26):
        now = truth.select((truth.frames == frame) & (truth.visibility > 0.3))
        boxes = now.xyxy().astype(np.float32)
        detections.append(Detections(boxes, np.ones(len(boxes), np.float32), directions[now.ids], np.zeros((0, 2))))
    results = ablation.run_arms(detections, folder)["+ re-ID"]
    found = ablation.arm_scores([{"arms": {"+ re-ID": results}}], "+ re-ID")
    assert found["IDSW"] == 0 and found["CLR_FP"] <= 2 and found["MOTA"] > 0.6


def scored(mota):
    """The part of one sequence in which every arm scores what ``mota`` says of it, by its false negatives."""
    gt = rows(np.arange(1, 101), np.ones(100, int), np.tile([0.0, 0, 10, 30], (100, 1)))

    def arm(value):
        kept = gt.select(np.arange(100) < round(100 * value))
        return {"counts": measure(prepare(gt, kept, 100)), "recovered": [0.0, 0]}

    return {
        "arms": {name: arm(value) for name, value in mota.items()},
        "rank1": [(9, 10), (10, 10)],
        "rank1_untrained": [(3, 10), (4, 10)],
    }


def test_the_arm_is_chosen_on_the_tuning_sequences_and_reported_on_the_others():
    names = ("+ re-ID", "+ occlusion, window 1", "+ occlusion, window 5")
    held_out = scored(dict(zip(names, (0.5, 0.9, 0.4), strict=True)))
    tuning = scored(dict(zip(names, (0.99, 0.6, 0.7), strict=True)))
    found = ablation.summarise([[held_out]], [[tuning]])
    assert found["chosen"] == "+ occlusion, window 5"
    assert found["arms"]["+ occlusion, window 5"][0]["MOTA"] == pytest.approx(0.4)


def test_the_tuning_sequences_are_other_ones_than_those_reported(out, monkeypatch):
    """The first CROWDs tune; what is reported holds none of them, whatever the networks."""
    given, real = [], ablation.summarise
    monkeypatch.setattr(ablation, "summarise", lambda *parts: given.append(parts) or real(*parts))
    assert ablate_command.main([str(out), "--ckpt", networks(out.parent), *ARGUMENTS, "--resume"]) == 0
    ((held_out, tuning),) = given
    for seed in range(2):
        first, second = (np.load(out / "parts" / f"{seed}-CROWD-0{number}.npz") for number in (1, 2))
        for (part,), saved in ((tuning[seed], first), (held_out[seed], second)):
            flat = ablation.flatten(part)
            assert all(np.array_equal(flat[name], saved[name]) for name in saved.files)


def test_a_recovered_box_counts_by_the_person_it_stands_for():
    """It covers another person exactly: that is no overlap with its own person."""
    boxes = {1: [0.0, 0, 20, 60], 2: [100.0, 0, 20, 60]}
    gt = rows([1, 1, 2, 2], [1, 2, 1, 2], [boxes[1], boxes[2], boxes[1], boxes[2]])
    results = rows([1, 2], [7, 7], [boxes[1], boxes[2]])
    assert recovered_overlap(gt, results, np.array([TRACKED, LOST]), 2) == 0
    right = rows([1, 2], [7, 7], [boxes[1], [5.0, 0, 20, 60]])
    assert recovered_overlap(gt, right, np.array([TRACKED, LOST]), 2) == pytest.approx(15 / 25)
