"""The claim, by made-up results of an ablation, and its verb."""

import json

import pytest

from mot_occlusion.claim import judge
from mot_occlusion.commands import claim as claim_command
from mot_occlusion.evaluation.arms import FAIR, IOU, REID, WINDOWS

CHOSEN = f"+ occlusion, window {WINDOWS[0]}"


def results(**changes):
    """Two networks in which every step gains; ``changes`` by arm."""
    names = [IOU, FAIR, REID, *(f"+ occlusion, window {window}" for window in WINDOWS)]

    def row(step, seed):
        scores = {name: 0.3 + 0.02 * step + 0.002 * seed for name in ("HOTA", "AssA", "IDF1", "MOTA")}
        return scores | {"CLR_FN": 900 - 50 * step, "CLR_FP": 10, "IDSW": 5, "recovered": 7, "recovered IoU": 0.5}

    arms = {name: [row(step, seed) for seed in range(2)] for step, name in enumerate(names)}
    return {
        "arms": arms | changes,
        "chosen": CHOSEN,
        "seen": [0.5, 0.8],
        "rank1_untrained": [[0.4, 0.5], [0.4, 0.55]],
        "rank1": [[0.86, 0.94], [0.87, 0.95]],
    }


def write(folder, content):
    folder.mkdir()
    (folder / "ablation.json").write_text(json.dumps(content))


def test_a_claim_that_shows_in_every_network_holds():
    claim = judge(results())
    assert claim.holds and "larger than its spread" in claim.verdict and claim.seeds == [0, 1]
    people, trackers = claim.tables
    assert people.rows[1]["seen to 0.8, trained"] == 0.95 and people.rows[0]["seen to 0.5, untrained"] == 0.4
    assert [row["tracker"] for row in trackers.rows][:4] == [IOU, FAIR, REID, f"{CHOSEN} (chosen)"]
    assert trackers.rows[0]["HOTA"] == "30.1 ± 0.1" and trackers.rows[0]["CLR_FN"] == "900 ± 0"


def test_a_step_that_one_network_lacks_is_named():
    content = results()
    content["arms"][CHOSEN][1]["MOTA"] = content["arms"][REID][1]["MOTA"] - 0.01
    claim = judge(content)
    assert not claim.holds and claim.verdict.endswith("not all is there: MOTA: occlusion over re-ID")


def test_of_one_network_there_is_no_spread_and_no_claim():
    content = results()
    content["arms"] = {name: rows[:1] for name, rows in content["arms"].items()}
    content |= {name: content[name][:1] for name in ("rank1", "rank1_untrained")}
    claim = judge(content)
    assert not claim.holds and "a second network" in claim.verdict
    assert claim.tables[1].rows[0]["HOTA"] == "30.0" and "±" not in claim.tables[1].title


def test_bars_begin_at_zero(tmp_path, monkeypatch):
    """Or a difference of one percent looks like one of half."""
    from mot_occlusion import figures

    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, *rest, **more: drawn.append(figure))
    figures.bars(
        "a.png", [{"arm": name, "seed": 0, "HOTA": value} for name, value in (("a", 48.0), ("b", 49.0))], ["HOTA"]
    )
    low, high = drawn[0].axes[0].get_ylim()
    assert low == 0 and high > 49


def test_a_network_that_has_not_learned_is_named():
    content = results()
    content["rank1"][1][1] = 0.6
    claim = judge(content)
    assert not claim.holds and "rank-1 of people seen nearly whole" in claim.verdict


def test_the_verb_writes_the_claim_beside_the_results_or_elsewhere(scratch, capsys):
    write(scratch / "a", results())
    assert claim_command.main(["a"]) == 0
    assert "The claim holds" in capsys.readouterr().out
    content = json.loads((scratch / "a" / "claim.json").read_text())
    assert content["holds"] is True and len(content["tables"]) == 2
    assert all((scratch / "a" / figure["file"]).is_file() for figure in content["figures"])
    assert claim_command.main(["a"]) == 2 and "claim.json exists: replace it" in capsys.readouterr().err
    assert claim_command.main(["a", "--overwrite"]) == 0
    assert claim_command.main(["--results", "a/ablation.json", "--out", "b"]) == 0
    assert json.loads((scratch / "b" / "claim.json").read_text()) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "ablation.json not found: it should be a result of ablate.py"),
        ("{", "is not a whole result of ablate.py"),
        ("{}", "is not a result of ablate.py: give the folder that it wrote"),
    ],
)
def test_what_is_not_a_result_is_named(scratch, capsys, content, message):
    (scratch / "a").mkdir()
    if content is not None:
        (scratch / "a" / "ablation.json").write_text(content)
    assert claim_command.main(["a"]) == 2
    assert message in capsys.readouterr().err and not (scratch / "a" / "claim.json").exists()
