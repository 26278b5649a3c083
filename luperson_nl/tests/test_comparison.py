"""The comparison on a tiny street: what is chosen where, what is kept, and how a killed run goes on."""

import json

import numpy as np
import pytest

from luperson_nl.commands import claim as claim_command
from luperson_nl.commands import compare
from luperson_nl.comparison import TRIES, Comparison, Plan, Settings, grid, pretrain, training
from luperson_nl.data.street import Street
from shared_utils import UserError, work

TINY = ["--seeds", "0", "--epochs", "1", "--short", "1", "--persons", "6", "--held", "6", "--height", "16"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    rows = "pnl,supervised,moco,random,histogram,pnl_clean,supervised_clean"
    with pytest.MonkeyPatch.context() as fewer:
        for method, tries in TRIES.items():
            fewer.setitem(TRIES, method, tries[:2])
        fewer.setattr(grid, "FINETUNING_RATES", (1e-3,))
        assert compare.main(["--out", str(out), "--rows", rows, *TINY, "--finetuning_epochs", "1"]) == 0
    return out


def test_compare_writes_every_row_the_grid_and_pictures(compared):
    results = json.loads((compared / "results.json").read_text())
    assert [row["row"] for row in results["rows"]][:3] == ["pnl", "supervised", "moco"]
    assert {tried["method"] for tried in results["grid"]} == set(TRIES)
    assert all(0 <= score <= 1 for row in results["rows"] for score in row["mAP"])
    assert [row["start"] for row in results["finetuning"]] == ["pnl", "supervised", "moco", "scratch"]
    assert {"cmc.png", "tsne.png", "tracks.png", "corrections.png"} <= {
        p.name for p in (compared / "figures").iterdir()
    }


def test_every_method_has_as_many_tries():
    assert len({len(tries) for tries in TRIES.values()}) == 1


def test_settings_are_chosen_on_the_tuning_street_alone(compared):
    for part in (compared / "parts").rglob("*.npz"):
        names = np.load(part).files
        held = part.stem == "seed_100"
        assert ("val_mAP" in names) == held and ("test_mAP" in names) == (not held)


def test_claim_judges_the_folder(compared, capsys):
    assert claim_command.main([str(compared)]) == 0
    judged = json.loads((compared / "claim.json").read_text())
    assert isinstance(judged["holds"], bool) and judged["figures"]
    assert claim_command.main([str(compared)]) == 2
    assert "overwrite" in capsys.readouterr().err


def test_a_killed_run_trains_only_what_is_missing(compared, tmp_path, monkeypatch):
    plan = Plan(("supervised", "random"), (0,), epochs=1, short=1, persons=6, held=6, size=(16, 8), finetuning_epochs=0)
    trained = []
    true = training.pretrain
    monkeypatch.setattr(grid.training, "pretrain", lambda *args: trained.append(args[2].rate) or true(*args))
    with work.begin(tmp_path / "out", plan.description()) as job:
        first = Comparison(plan, job).run()
    count = len(trained)
    next((tmp_path / "out" / "parts").rglob("supervised/try_1/seed_100.npz")).unlink()
    with work.begin(tmp_path / "out", plan.description(), resume=True) as job:
        again = Comparison(plan, job).run()
    assert trained[count:] == [TRIES["supervised"][1].rate]
    assert again["rows"] == first["rows"]


@pytest.mark.parametrize("dead", [0.0, np.nan])
def test_a_network_that_has_died_finds_nobody_and_the_comparison_goes_on(dead, tmp_path, monkeypatch):
    plan = Plan(("supervised",), (0,), epochs=1, short=1, persons=6, held=6, size=(16, 8), finetuning_epochs=0)
    true, rates = training.embed, iter(TRIES["supervised"])

    def embed(*args):
        found = true(*args)
        found[-1] = found[-1] if alive else dead
        return found

    def train(*args):
        nonlocal alive
        alive = next(rates, None) is TRIES["supervised"][1]
        return done

    alive = True
    done = pretrain(Street(seed=0, persons=6, size=(16, 8)).train(), "supervised", Settings(epochs=1), seed=0)
    monkeypatch.setattr(grid.training, "embed", embed)
    monkeypatch.setattr(grid.training, "pretrain", train)
    with work.begin(tmp_path / "out", plan.description()) as job:
        results = Comparison(plan, job).run()
    assert [tried["val"] > 0 for tried in results["grid"]] == [
        number == 1 for number in range(len(TRIES["supervised"]))
    ]
    assert results["rows"][0]["mAP"] == [0] and results["rows"][0]["rate"] == TRIES["supervised"][1].rate


def test_training_is_repeatable_and_correction_is_counted():
    crops = Street(seed=1, persons=6, size=(16, 8), cameras=2).train()
    settings = Settings(epochs=2, batch=16, queue=32, stages=training.Stages(0, 0, 1, 1), threshold=0.0)
    first, again = (pretrain(crops, "pnl", settings, seed=3) for _ in range(2))
    assert np.array_equal(first.losses, again.losses)
    assert first.labels[0, 4] == 0 and first.labels[1, 4] > 0
    assert np.array_equal(first.corrected, again.corrected)


def test_a_tuning_seed_among_the_reported_ones_is_refused():
    with pytest.raises(UserError, match="tuning seed 1"):
        Plan(seeds=(0, 1), tuning=1)


def test_an_unknown_row_is_named(tmp_path, capsys):
    assert compare.main(["--out", str(tmp_path / "x"), "--rows", "pnl,swav"]) == 2
    assert "swav" in capsys.readouterr().err
