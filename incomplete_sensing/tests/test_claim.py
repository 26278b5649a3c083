"""The claim is judged from the numbers: it holds for good ones, and each part can fail."""

import json
from dataclasses import replace

import numpy as np
import pytest

from incomplete_sensing.claim import judge_diagram, judge_training, write_claim
from incomplete_sensing.method_comparison import MethodComparison
from incomplete_sensing.phase_diagrams.diagram import Diagram
from incomplete_sensing.phase_diagrams.rates import Rates
from incomplete_sensing.phase_diagrams.sweep import sweep
from shared_utils import UserError
from shared_utils.logging import write_table

DIAGRAM = Diagram(n=12, k=(2,), m=(2, 4, 6, 7, 8), G=(2, 5), trials=3, solvers=("closed_form",))


def comparison(**changed):
    """Rows of a comparison whose claim holds, but for ``method_G="values by seed"``."""
    values = {"mc_1": "8.0 8.2", "moi_1": "8.1 8.1", "sup_1": "20 21", "mc_10": "8.4 8.3", "moi_10": "14 15"}
    values |= {"mc_2": "8.5 8.6", "moi_2": "10 11", "sup_2": "19 20", "sup_10": "17 18", **changed}
    verdicts = {"1": "impossible", "2": "impossible", "10": "identified"}
    rows = []
    for name, psnr in values.items():
        method, count = name.split("_")
        ceiling = {"1": "8.50 8.40", "2": "12.00 13.00"}.get(count, "-") if method != "sup" else "-"
        numbers = {
            "A^+ y": "8.30",
            "psnr": "9.0",
            "std": "0.1",
            "gain": "0.7",
            "ceiling": ceiling[:5],
            "psnr by seed": psnr,
        }
        theory = "-" if method == "sup" else verdicts[count]
        rows.append({"G": count, "theory": theory, "method": method, **numbers})
        rows[-1] |= {"A^+ y by seed": "8.2 8.4", "ceiling by seed": ceiling, "seeds": "3 4"}
    return rows


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """(training, diagram): folders as the two commands leave them."""
    folder = tmp_path_factory.mktemp("measured")
    for version, rows in (("version_2", comparison(moi_10="9 9")), ("version_10", comparison())):
        (folder / "training" / version).mkdir(parents=True)
        write_table(rows, folder / "training" / version / "comparison")
    sweep(DIAGRAM, folder / "diagram")
    return folder / "training", folder / "diagram"


def test_the_rows_are_those_that_the_comparison_writes():
    from incomplete_sensing.data.datamodule import MeasurementDataModule
    from incomplete_sensing.operators import OperatorOptions
    from incomplete_sensing.transforms import GROUPS

    data = MeasurementDataModule(operators=OperatorOptions("gaussian", 10, 24), model_dimension=8)
    values = [{"test_psnr": 14.0, "test_psnr_start": 8.0}, {"test_psnr": 15.0, "test_psnr_start": 8.5}]
    row = MethodComparison(seeds=(3, 4))._row(data, 10, "moi", GROUPS["shift"], values)
    assert list(row) == list(comparison()[0])
    assert (row["theory"], row["psnr by seed"], row["A^+ y by seed"]) == ("identified", "14.00 15.00", "8.00 8.50")


def test_good_numbers_hold(measured, tmp_path, capsys, run, fails):
    training, diagram = measured
    # The newest version is judged: version_10, not version_2, whose numbers fail.
    arguments = ("--training", training, "--diagram", diagram, "--out", tmp_path / "claim")
    assert run("claim", *arguments) == 0
    assert "The claim holds" in capsys.readouterr().out
    written = json.loads((tmp_path / "claim" / "claim.json").read_text())
    assert written["holds"] and written["seeds"] == [3, 4] and "+5.60 to +6.70 dB from MC" in written["verdict"]
    assert "10 of 10 cells" in written["verdict"]
    for figure in written["figures"]:
        assert (tmp_path / "claim" / figure["file"]).read_bytes()[:4] == b"\x89PNG" and figure["caption"]
    for table in written["tables"]:
        assert table["title"] and len({tuple(row) for row in table["rows"]}) == 1
    fails("claim.json exists: replace it with --overwrite", "claim", *arguments)
    assert run("claim", *arguments, "--overwrite") == 0


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"moi_10": "14 12.2"}, "G = 10 (identified): MOI is +3.90"),
        ({"moi_1": "8.1 8.8"}, "G = 1 (impossible): MOI is +0.10 to +0.60"),
        ({"moi_2": "12.6 12"}, "G = 2 (impossible): MOI is at most +0.60 dB from the ceiling"),
        ({"sup_10": "17 14.9"}, "G = 10: supervised is at least -0.10"),
        ({"mc_1": "8.8 8.2", "moi_1": "8.8 8.2"}, "G = 1: MC is at most +0.60"),
    ],
)
def test_one_seed_that_differs_fails_its_part_alone(changed, sentence):
    failed = [finding.sentence for finding in judge_training(comparison(**changed)) if not finding.holds]
    assert len(failed) == 1 and sentence in failed[0]


def test_one_trial_on_the_wrong_side_of_the_exact_curve_fails(measured):
    rates = Rates(DIAGRAM, np.load(measured[1] / "rates.npz")["errors"])
    assert judge_diagram(rates).holds
    for error, cell in ((0.0, (0, 0, 0, 1)), (1.0, (0, 1, 4, 2))):
        wrong = rates.errors.copy()
        wrong[cell] = error
        finding = judge_diagram(Rates(DIAGRAM, wrong))
        assert not finding.holds and "9 of 10 cells" in finding.sentence


def test_a_failed_part_is_the_verdict(measured, tmp_path):
    training = tmp_path / "run"
    training.mkdir()
    write_table(comparison(moi_10="9 9"), training / "comparison")
    write_claim(training, measured[1], tmp_path)
    written = json.loads((tmp_path / "claim.json").read_text())
    assert not written["holds"] and written["verdict"].startswith("G = 10 (identified)")
    assert "closed form" not in written["verdict"]


def test_what_cannot_be_judged_is_named(measured, tmp_path, fails):
    training, diagram = map(str, measured)
    out = tmp_path / "out"
    for arguments, message in (
        ((str(tmp_path), diagram), "comparison.csv not found"),
        ((training, str(tmp_path)), "diagram.json not found"),
    ):
        fails(message, "claim", "--training", arguments[0], "--diagram", arguments[1], "--out", out)
        assert not out.exists()
    with pytest.raises(UserError, match="no sup at G = 10"):
        judge_training([row for row in comparison() if (row["method"], row["G"]) != ("sup", "10")])
    with pytest.raises(UserError, match="no number of operators"):
        judge_training([row for row in comparison() if row["G"] == "1"])
    with pytest.raises(UserError, match="Gaussian operators"):
        judge_diagram(Rates(replace(DIAGRAM, operators="masks"), np.zeros((1, 2, 5, 3))))
