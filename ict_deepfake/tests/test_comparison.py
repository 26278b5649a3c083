"""The comparison over seeds, with trainings of a few steps: what is tried, reported, judged."""

import json

import cv2
import numpy as np
import pytest

from ict_deepfake import claim, swapping
from ict_deepfake.commands.claim import main as claim_main
from ict_deepfake.commands.compare import main as compare_main
from ict_deepfake.comparison import ROWS, TRAININGS, Plan, Settings, scoring
from ict_deepfake.comparison.training import train
from ict_deepfake.data.crops import Crops
from ict_deepfake.data.identities import DrawnIdentities
from ict_deepfake.data.pairs import PairBatches
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.procedural import Population
from shared_utils import UserError

SMALL = [
    "--steps",
    "2",
    "--persons",
    "6",
    "--pictures",
    "3",
    "--size",
    "16",
    "--batch_size",
    "6",
    "--rates",
    "0.001,0.004",
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of two seeds, killed after its first parts, and continued."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    patch = pytest.MonkeyPatch()
    real = Population.__init__

    def small(self, *arguments, **options):
        real(self, *arguments, **{**options, "validation": (3, 2), "test": (4, 2), "cache": None})

    patch.setattr(Population, "__init__", small)
    assert compare_main(["--out", str(folder), "--seeds", "0,1", *SMALL]) == 0
    yield folder
    patch.undo()


def test_every_row_has_a_value_a_seed(compared):
    results = claim.read_results(compared)
    assert [row["row"] for row in results["rows"]] == list(ROWS)
    for row in results["rows"]:
        assert set(row["auc"]) == {f"{change}/{kind}" for change in scoring.CHANGES for kind in scoring.KINDS}
        assert all(len(values) == 2 and min(values) >= 0 for values in row["auc"].values())


def test_each_method_has_the_same_tries_on_the_tuning_seed(compared):
    tries = claim.read_results(compared)["tries"]
    assert [(each["method"], each["rate"]) for each in tries] == [
        (method, rate) for method in ("binary", "ict") for rate in (0.001, 0.004)
    ]
    for method in ("binary", "ict"):
        own = [each for each in tries if each["method"] == method]
        assert [each["chosen"] for each in own] == [
            each["val_auc"] == max(e["val_auc"] for e in own) and each is max(own, key=lambda e: e["val_auc"])
            for each in own
        ]


def test_its_claim_is_judged_and_its_figures_are_there(compared, tmp_path, capsys):
    assert claim_main([str(compared), "--out", str(tmp_path / "claim")]) == 0
    content = json.loads((tmp_path / "claim" / "claim.json").read_text())
    assert {figure["file"] for figure in content["figures"]} == {f"figures/{name}" for name in claim.CAPTIONS}
    assert content["seeds"] == [0, 1] and len(content["tables"][0]["rows"]) == len(claim.PARTS)
    assert claim_main([str(compared), "--out", str(tmp_path / "claim")]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_another_comparison_is_not_mixed_with_it(compared, capsys):
    assert compare_main(["--out", str(compared), "--seeds", "0", "--resume", *SMALL]) == 2
    assert "seeds" in capsys.readouterr().err


def test_the_control_learns_what_a_swap_is_on_an_easy_set():
    """Hard edges in smooth shades; a network that stays at log 2 has learnt nothing."""
    rng = np.random.default_rng(0)
    identity, alignment = np.repeat(np.arange(80), 5), Alignment().scaled(16)
    shades = [cv2.resize(each, (16, 16), interpolation=cv2.INTER_CUBIC) for each in rng.normal(0, 40, (400, 4, 4, 3))]
    images = np.clip(rng.integers(60, 200, (80, 3))[identity][:, None, None] + np.stack(shades), 0, 255)
    points = np.repeat(np.array(alignment.template, np.float32)[None], 400, 0)
    crops = Crops(DrawnIdentities(images.astype(np.uint8), identity, points), alignment)
    batches = PairBatches(crops, 16, swapping.Recipe(blends=(1, 0, 0, 0), colours=(1, 0, 0)), None, 0, matched=True)
    losses = train(batches, "binary", Settings(100), 0).losses
    assert losses[0] > 0.6 and losses[-4:].mean() < 0.45


def rows(**values):
    """Results in which each case of a row has the values of ``row__change_kind``, and 0.5 elsewhere."""
    cases = [f"{change}/{kind}" for change in scoring.CHANGES for kind in scoring.KINDS]
    found = []
    for name in ROWS:
        found.append({"row": name, "auc": {case: list(values.get(name, {}).get(case, (0.5, 0.5))) for case in cases}})
    return {"plan": {"seeds": [0, 1]}, "rows": found, "tries": []}


GOOD = {
    "binary": {"clean/blend": (0.85, 0.85), "blur/blend": (0.78, 0.78), "noise/blend": (0.8, 0.8)},
    "ict": {
        **{"clean/blend": (0.86, 0.87), "blur/blend": (0.84, 0.84), "noise/blend": (0.85, 0.85)},
        "clean/rerender": (0.65, 0.62),
    },
    "ref": {"clean/blend": (0.94, 0.93), "clean/rerender": (0.82, 0.8)},
    "ref_absent": {"clean/blend": (0.85, 0.85), "clean/rerender": (0.63, 0.6)},
    "ict_lambda_0": {"clean/blend": (0.8, 0.82)},
}


def test_the_claim_holds_where_every_part_does():
    judged = claim.judge(rows(**GOOD))
    assert judged.holds and "re-renders, ICT - binary +0.135" in judged.verdict


@pytest.mark.parametrize(
    ("row", "case", "values", "part"),
    [
        ("ict", "clean/rerender", (0.7, 0.49), claim.unseen_swaps),
        ("ref", "clean/rerender", (0.54, 0.54), claim.references_and_unseen),
        ("binary", "clean/rerender", (0.65, 0.62), claim.unseen_by_binary),
        ("ict", "blur/blend", (0.6, 0.6), claim.copies),
        ("ict", "clean/self_blend", (0.6, 0.6), claim.controls),
        ("ref", "clean/reenact", (0.42, 0.42), claim.controls),
        ("ref", "clean/blend", (0.94, 0.86), claim.references),
        ("ref_absent", "clean/blend", (0.7, 0.7), claim.absent),
        ("ict_lambda_0", "clean/blend", (0.9, 0.9), claim.consistency),
    ],
)
def test_each_part_can_fail(row, case, values, part):
    changed = {**GOOD, row: {**GOOD.get(row, {}), case: values}}
    assert part(rows(**GOOD)).holds and not part(rows(**changed)).holds
    assert not claim.judge(rows(**changed)).holds


def test_a_claim_without_its_trainings_is_refused():
    results = rows(**GOOD)
    results["rows"] = [row for row in results["rows"] if row["row"] != "binary"]
    with pytest.raises(UserError, match="binary real/fake.*run all trainings"):
        claim.judge(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (0, 100)}, "tuning seed 100"),
        ({"seeds": ()}, "tuning seed"),
        ({"trainings": ("ict", "unary")}, "'unary' is unknown"),
        ({"rates": ()}, "no rate"),
    ],
)
def test_plans_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Plan(**options)


def test_variants_of_ict_have_no_tries_of_their_own():
    assert Plan().tuned == ["binary", "ict"] and set(Plan().rows) == set(ROWS) and len(TRAININGS) == 5


def test_changes_are_the_same_for_genuine_pictures_and_fakes_and_repeatable():
    images = np.full((2, 16, 16, 3), 100, np.uint8)
    images[:, 4:8] = 200
    for change in scoring.CHANGES:
        made = scoring.changed(images, change, 3)
        assert made.dtype == np.uint8 and np.array_equal(made, scoring.changed(images, change, 3))
        assert np.array_equal(made, images) == (change == "clean")
