"""The comparison over seeds, with trainings of a few steps: what is tried, reported, judged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_comparison import compare, mouths, shrink

from av_deepfake import claim
from av_deepfake.commands.claim import main as claim_main
from av_deepfake.comparison import ROWS, Comparison, Plan, measuring, statistics, training
from av_deepfake.comparison.plan import CHANGES, KINDS, LEFT_OUT, SHUFFLED_FRAMES, STATISTICS, STRENGTHS, TITLES
from shared_utils import UserError, work


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "out"
    patch = pytest.MonkeyPatch()
    shrink(patch)
    assert compare(folder) == 0
    yield folder
    patch.undo()


def test_every_row_has_a_value_a_seed(compared):
    results = claim.read_results(compared)
    assert [row["row"] for row in results["rows"]] == list(TITLES)
    for row in results["rows"]:
        left_out = ROWS[row["row"]].left_out if row["row"] in ROWS else LEFT_OUT
        assert set(row["auc"]) == {f"{change}/{each}" for change in CHANGES for each in (*left_out, "seen")}
        assert all(len(values) == len(row["seeds"]) and min(values) >= 0 for values in row["auc"].values())
    assert [found["name"] for found in results["pretrainings"]] == ["pretrained", "noisy", "shuffled"]
    plan = Plan(seeds=(1, 2), side_seeds=(1,))
    assert plan.pretrained_for("shuffled") == (1, 2) and plan.pretrained_for("noisy") == plan.seeds_of("long") == (1,)


def test_each_way_to_train_has_the_same_tries_on_the_tuning_seed(compared):
    tries = claim.read_results(compared)["tries"]
    expected = [(kind, rate) for kind in KINDS for rate in (0.001, 0.003)]
    assert [(each["kind"], each["value"]) for each in tries] == expected + [(STATISTICS, each) for each in STRENGTHS]
    for kind in (*KINDS, STATISTICS):
        own = [each for each in tries if each["kind"] == kind]
        assert [each["chosen"] for each in own].count(True) == 1
        assert max(own, key=lambda each: each["val_auc"])["chosen"]


def test_its_claim_is_judged_and_its_figures_are_there(compared, tmp_path, capsys):
    assert claim_main([str(compared), "--out", str(tmp_path / "claim")]) == 0
    content = json.loads((tmp_path / "claim" / "claim.json").read_text())
    assert {figure["file"] for figure in content["figures"]} == {f"figures/{name}" for name in claim.CAPTIONS}
    assert content["seeds"] == [0] and len(content["tables"][0]["rows"]) == len(claim.PARTS)
    assert claim_main([str(compared), "--out", str(tmp_path / "claim")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_dear_rows_that_are_not_finished_yet_are_left_out(compared):
    small = {"speakers": 8, "per_speaker": 1, "train": 4, "test": 4}
    plan = Plan((0,), (0,), rates=(0.001, 0.003), **small)
    with (
        work.begin(compared, plan.description(), resume=True, overwrite=False) as job,
        pytest.MonkeyPatch.context() as patch,
    ):
        comparison, has = Comparison(plan, job), job.has
        patch.setattr(job, "has", lambda name: not name.startswith(("row/long/0/C", "shuffled")) and has(name))
        results = comparison.results()
    assert [row["row"] for row in results["rows"]] == [name for name in TITLES if name != "long"]
    assert [found["name"] for found in results["pretrainings"]] == ["pretrained", "noisy"]


def test_another_comparison_is_not_mixed_with_it(compared, capsys):
    assert compare(compared, "--seeds", "1", "--side_seeds", "1", "--resume") == 2
    assert "seeds" in capsys.readouterr().err


RANK = """
import sys
sys.path.insert(0, sys.argv[1])
import pytest
import torch
from small_comparison import compare, shrink
torch.set_num_threads(1)
patch = pytest.MonkeyPatch()
shrink(patch)
patch.setattr("av_deepfake.comparison.report.draw", lambda *_: None)
sys.exit(compare("out"))
"""


def test_two_processes_share_the_trainings_and_find_what_one_finds(compared, tmp_path, processes):
    processes.group(RANK, Path(__file__).parent, cwd=tmp_path)
    alone, shared = claim.read_results(compared), claim.read_results(tmp_path / "out")
    for results in (alone, shared):
        for each in results["pretrainings"]:
            del each["seconds"]
    assert shared == alone


def results_of(**values):
    """Results in which a row has one AUC everywhere, 0.5 where not given; ``row=(clean, compressed)``, two seeds."""
    rows = []
    for name in TITLES:
        pair = values.get(name, (0.5, 0.5))
        left_out = ROWS[name].left_out if name in ROWS else LEFT_OUT
        side = name in ROWS and ROWS[name].side
        auc = {
            f"{c}/{m}": [v] * (1 if side else 2)
            for c, v in zip(CHANGES, pair, strict=True)
            for m in (*left_out, "seen")
        }
        rows.append({"row": name, "seeds": [0] if side else [0, 1], "auc": auc})
    own = {"easy_va": [0.9, 0.9], "easy_av": [0.9, 0.9], "hard_va": [0.4, 0.4], "hard_av": [0.4, 0.4]}
    own |= {
        "easy_offset": [1.0, 1.0],
        "hard_offset": [0.6, 0.6],
        "jaw": [0.8, 0.8],
        "spread": [0.5, 0.5],
        "seconds": [9.0, 9.0],
    }
    nothing = {key: [value[0] * 0.01] for key, value in own.items()}
    noisy = {"name": "noisy", "seeds": [0], **nothing}
    shuffled = {"name": "shuffled", "seeds": [0], **nothing, **values.get("others", {})}
    pretrained = {"name": "pretrained", "seeds": [0, 1], **own, **values.get("known", {})}
    blurred = values.get("blurred", {change: [0.5, 0.5] for change in CHANGES})
    return {
        "plan": {"seeds": [0, 1]},
        "rows": rows,
        "pretrainings": [pretrained, noisy, shuffled],
        "tries": [],
        "blurred": blurred,
    }


GOOD = {
    "pretrained": (0.9, 0.8),
    "scratch": (0.7, 0.6),
    "long": (0.8, 0.7),
    "noisy": (0.8, 0.7),
    STATISTICS: (0.7, 0.6),
}


def test_the_claim_holds_where_every_part_does():
    judged = claim.judge(results_of(**GOOD))
    assert judged.holds and "pre-trained - from scratch: clean +0.200" in judged.verdict


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"scratch": (0.85, 0.6)}, claim.scratch),
        ({"long": (0.88, 0.7)}, claim.scratch_longer),
        ({"random": (0.5, 0.75)}, claim.random_frozen),
        ({STATISTICS: (0.95, 0.6)}, claim.statistics),
        ({"single": (0.7, 0.5)}, claim.motion_alone),
        ({SHUFFLED_FRAMES: (0.5, 0.65)}, claim.motion_alone),
        ({"blurred": {"clean": [0.8, 0.8], "compressed": [0.5, 0.5]}}, claim.motion_alone),
        ({"known": {"hard_va": [0.1, 0.1]}}, claim.found_by_sound),
        ({"known": {"easy_offset": [0.8, 0.8]}}, claim.found_by_sound),
        ({"others": {"easy_va": [0.2]}}, claim.others_sound),
        ({"noisy": (0.9, 0.8)}, claim.hard_clips),
    ],
)
def test_each_part_can_fail(changed, part):
    worse = results_of(**{**GOOD, **changed})
    assert part(results_of(**GOOD)).holds and not part(worse).holds
    assert not claim.judge(worse).holds


def test_a_claim_without_its_rows_is_refused():
    results = results_of(**GOOD)
    results["rows"] = [row for row in results["rows"] if row["row"] != "long"]
    with pytest.raises(UserError, match="ten times the steps.*--resume"):
        claim.judge(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (0, 100)}, "tuning seed 100"),
        ({"seeds": ()}, "tuning seed"),
        ({"side_seeds": (5,)}, "some of the seeds"),
        ({"rates": ()}, "no rate"),
    ],
)
def test_plans_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Plan(**options)


def test_a_frozen_front_end_stays_bit_for_bit_and_its_features_may_be_cached():
    clips = mouths().detection("train", 4)
    found = []
    for cached in (False, True):
        model = training.detector(training.networks(0).video, 1)
        before = {name: value.clone() for name, value in model.frontend.state_dict().items()}
        features = training.both_ways(model, clips.pictures) if cached else None
        done = training.tune(model, clips, training.Tuning(2, batch_size=4), 0, features)
        assert all(torch.equal(before[name], value) for name, value in done.model.frontend.state_dict().items())
        found.append(training.logits(done.model, clips.pictures))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_controls_change_the_order_of_frames_and_nothing_else():
    pictures = np.arange(2 * 25 * 4, dtype=np.uint8).reshape(2, 25, 2, 2)
    mixed = measuring.shuffled_frames(pictures, 0)
    assert not np.array_equal(mixed, pictures)
    np.testing.assert_array_equal(np.sort(mixed, 1), np.sort(pictures, 1))
    np.testing.assert_array_equal(measuring.single_frames(pictures)[:, 3], pictures[:, 12])


def test_hand_made_statistics_see_jitter_and_not_brightness():
    smooth = np.full((1, 25, 24, 24), 100, np.uint8)
    smooth[:, :, 10:14, 8:16] = 60
    rough = smooth.copy()
    rough[:, ::2, 10:16, 8:16] = 60
    values = [statistics.motion_statistics(each) for each in (smooth, rough, smooth + 9)]
    assert np.abs(values[0] - values[1]).max() > 5 > 0.01 > np.abs(values[0] - values[2]).max()
