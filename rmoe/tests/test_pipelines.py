"""The comparison of pipelines: what is trained, what is chosen, that it can be continued. Mechanics only, no ranking."""

import json

import pytest
import torch
import two_ranks

from rmoe import cost, stages
from rmoe.commands.pipeline import main
from rmoe.data.mosaic import Mosaic
from rmoe.evaluation.experts import shared_information
from rmoe.models.mosaic_net import MosaicNet
from rmoe.moe import moe_layers
from rmoe.pipelines import ROWS, Comparison, Plan
from shared_utils import UserError, work

TINY = Plan(
    rows=("scratch", "dense", "rmoe_d", "rmoe_i", "moe", "upcycled", "wide"),
    worlds=("rules", "one_rule"),
    seeds=(0, 1),
    rates=(4e-3, 8e-3),
    upstream_steps=2,
    intermediate_steps=1,
    downstream_steps=(2, 1),
    upstream_images=32,
    scenes=32,
    held=8,
    mosaic={"image_size": 16},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder, comparison, results) of a comparison that trains two steps."""
    folder = tmp_path_factory.mktemp("pipelines")
    with work.begin(folder, TINY.description()) as job:
        comparison = Comparison(TINY, job)
        results = comparison.run()
        job.complete()
    return folder, comparison, results


def test_every_row_has_a_score_a_seed(finished):
    rows = finished[2]["rows"]
    assert {row["row"] for row in rows if row["world"] == "rules" and row["steps"] == 2} == set(TINY.rows)
    assert {row["row"] for row in rows if row["world"] == "one_rule"} == {"dense", "rmoe_d"}
    assert all(len(row["miou"]) == 2 and all(0 <= score <= 1 for score in row["miou"]) for row in rows)


def test_the_rate_is_chosen_on_validation_of_the_tuning_seeds(finished):
    for group in {(each["world"], each["stage"], each["row"]) for each in finished[2]["grid"]}:
        own = [each for each in finished[2]["grid"] if (each["world"], each["stage"], each["row"]) == group]
        assert [len(each["val"]) for each in own] == [1, 1]
        best = max(own, key=lambda each: (sum(each["val"]), -each["rate"]))
        assert best["chosen"] and sum(each["chosen"] for each in own) == 1


def test_other_seeds_are_trained_at_the_chosen_rate_only(finished):
    folder = finished[0]
    grid = {each["rate"]: each for each in finished[2]["grid"] if each["stage"] == "upstream" and each["row"] == "moe"}
    for rate, each in grid.items():
        place = folder / "parts" / "rules" / "upstream" / "moe" / f"rate_{rate:g}"
        assert (place / "seed_0.npz").is_file() and (place / "seed_1.npz").is_file() == each["chosen"]


def test_conversion_changes_nothing(finished):
    assert finished[2]["conversion"] <= 1e-6


def test_what_was_finished_is_not_trained_again(finished, monkeypatch):
    folder, _, results = finished
    monkeypatch.setattr(Comparison, "_train", lambda self, cell: pytest.fail(f"{cell.name} was trained again"))
    with work.begin(folder, TINY.description(), resume=True) as job:
        again = Comparison(TINY, job).run()
    assert [row["miou"] for row in again["rows"]] == [row["miou"] for row in results["rows"]]


def test_a_part_that_is_missing_is_trained_to_the_same_numbers(finished):
    folder, _, results = finished
    part = folder / "parts" / "rules" / "downstream_1" / "rmoe_i"
    file = next(part.glob("*/seed_1.npz"))
    file.unlink()
    with work.begin(folder, TINY.description(), resume=True) as job:
        again = Comparison(TINY, job).run()
    assert [row["miou"] for row in again["rows"]] == [row["miou"] for row in results["rows"]]


def test_rows_start_from_what_they_say(finished):
    _, comparison, _ = finished
    dense, direct, upcycled, fresh = (
        comparison.start("rules", row, 0) for row in ("dense", "rmoe_d", "upcycled", "moe")
    )
    image = torch.zeros(1, 3, 16, 16)
    assert torch.allclose(dense.eval()(image)[0], direct.eval()(image)[0], atol=1e-6)
    assert not torch.allclose(dense(image)[0], upcycled.eval()(image)[0], atol=1e-6), "its gate changes the function"
    assert next(moe_layers(upcycled))[1].param == "merged" and next(moe_layers(fresh))[1].param == "factored"
    assert comparison.start("rules", "wide", 0).blocks[0].mlp.fc1.out_features == 64


def test_costs_add_up(finished):
    rows = {row["row"]: row for row in finished[2]["rows"] if row["world"] == "rules" and row["steps"] == 2}
    assert rows["scratch"]["flops"]["upstream"] == 0 and rows["dense"]["flops"]["upstream"] > 0
    assert rows["rmoe_d"]["flops"]["intermediate"] == 0 and rows["rmoe_i"]["flops"]["intermediate"] > 0
    assert 1 < rows["rmoe_d"]["forward flops"] / rows["dense"]["forward flops"] < 1.03
    assert rows["rmoe_d"]["total"] - rows["dense"]["total"] == 8 * (32 * 8 + 8 + 8 * 32 + 32) + 8 * 32
    assert rows["rmoe_d"]["active"] == rows["dense"]["total"] + 8 * 32


def test_operations_are_counted_by_hand():
    net = MosaicNet(dim=8, hidden=4, depth=1, heads=2)
    image, tokens = torch.zeros(1, 3, 32, 32), 64
    linear = tokens * (3 * 16 * 8 + 3 * 8 * 8 + 8 * 8 + 2 * 8 * 4)
    attention = 2 * tokens * tokens * 8
    assert cost.forward_flops(net, image) == 2 * (linear + attention)
    assert cost.training_flops(cost.forward_flops(net, image), 4, 10) == 3 * 2 * (linear + attention) * 40


def test_a_training_lowers_its_loss():
    mosaic = Mosaic(domains=2, textures=2, classes=2)
    model = stages.segmenter(stages.backbone(8, {"experts": 2}), mosaic)
    tensors = stages.scene_tensors(mosaic, "train", 64)[:2]
    losses, seconds = stages.train(model, tensors, stages.segmentation_loss, stages.Fit(30, 1e-2, 0))
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5]) and seconds > 0
    images, labels, _, _ = stages.scene_tensors(mosaic, "val", 32)
    assert stages.patch_miou(stages.predicted_patches(model, images, labels), labels, 2) > 0.5


def test_patch_miou_and_information_are_right_where_they_are_known():
    labels = torch.tensor([[0, 0, 1, 1]])
    assert stages.patch_miou(torch.tensor([[0, 0, 1, 0]]), labels, 3) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert shared_information(torch.eye(4)) == pytest.approx(1) and shared_information(
        torch.ones(4, 4)
    ) == pytest.approx(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ("dense", "best")}, "'best' is unknown"),
        ({"worlds": ("real",)}, "'real' is unknown"),
        ({"seeds": ()}, "needs a seed"),
        ({"tuning": (7,)}, "must be some of the seeds"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Plan(**changes)


def test_names_of_rows_are_those_of_the_figures():
    assert len({row.title for row in ROWS.values()}) == len(ROWS)


def work_on(rank, arguments):
    assert main(arguments) == 0


def test_two_processes_get_the_numbers_of_one(tmp_path):
    arguments = [
        "--which",
        "scratch,dense",
        "--worlds",
        "rules",
        "--seeds",
        "0",
        "--rates",
        "4e-3,8e-3",
        "--steps",
        "2",
    ]
    arguments += ["--upstream_steps", "1", "--upstream_images", "32", "--scenes", "32", "--held", "8"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    two_ranks.run(work_on, [*arguments, "--out", str(tmp_path / "two")])
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert [row["miou"] for row in one["rows"]] == [row["miou"] for row in two["rows"]]
    assert one["grid"] == two["grid"]
