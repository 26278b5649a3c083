"""A claim is validated when it is made, written only with its figures, and read back the same."""

import json

import numpy as np
import pytest

from shared_utils import UserError
from shared_utils.claim import (
    Claim,
    Figure,
    Finding,
    Table,
    conclude,
    copy_figures,
    of_findings,
    read_results,
    verdict,
    write_judged,
    write_tables,
)


def a_claim(**changes):
    options = {
        "claim": "a is below b",
        "holds": True,
        "verdict": "in 3 of 3 seeds",
        "tables": [Table("errors", [{"method": "a", "error": 0.5}, {"method": "b", "error": None}])],
        "figures": [Figure("figures/a.png", "errors")],
        "seeds": [0, 1, 2],
    }
    return Claim(**options | changes)


def test_a_claim_is_read_as_it_was_written(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"picture")
    path = a_claim().write(tmp_path)
    assert path == tmp_path / "claim.json"
    assert Claim.read(path) == Claim.read(tmp_path) == a_claim()


def test_numbers_of_numpy_are_plain_and_what_is_not_finite_is_null(tmp_path):
    rows = [{"a": np.float32(0.5), "b": np.int64(3), "c": float("nan")}]
    a_claim(tables=[Table("t", rows)], figures=[]).write(tmp_path)
    assert json.loads((tmp_path / "claim.json").read_text())["tables"][0]["rows"] == [{"a": 0.5, "b": 3, "c": None}]


@pytest.mark.parametrize(
    "changes",
    [
        {"claim": ""},
        {"verdict": " "},
        {"holds": "yes"},
        {"tables": []},
        {"tables": [Table("empty", [])]},
        {"tables": [Table("uneven", [{"a": 1}, {"b": 1}])]},
        {"seeds": [0.5]},
    ],
)
def test_what_is_not_a_claim_is_refused(changes):
    with pytest.raises(ValueError):
        a_claim(**changes)


def test_a_claim_without_its_figure_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"figures/a\.png is not in"):
        a_claim().write(tmp_path)
    assert not (tmp_path / "claim.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"claim": "a"}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "claim.json").write_text(content)
    with pytest.raises(UserError, match=r"claim\.json"):
        Claim.read(tmp_path)


def test_a_claim_prints_its_tables_and_its_verdict():
    printed = str(a_claim())
    assert "a is below b" in printed and "0.5000" in printed and "The claim holds: in 3 of 3 seeds" in printed
    assert "The claim does not hold" in str(a_claim(holds=False))


def test_a_verdict_names_the_parts_that_fail_or_all():
    good, bad = Finding(True, "a < b"), Finding(False, "c > d")
    assert verdict([good, good]) == (True, "a < b; a < b")
    assert verdict([good, bad]) == (False, "c > d")


def test_figures_are_copied_into_another_folder_and_left_where_they_are(tmp_path):
    (tmp_path / "a" / "figures").mkdir(parents=True)
    (tmp_path / "a" / "figures" / "x.png").write_bytes(b"picture")
    captions = {"x.png": "a picture", "y.png": "not drawn"}
    assert copy_figures(captions, tmp_path / "a", tmp_path / "b") == [Figure("figures/x.png", "a picture")]
    assert (tmp_path / "b" / "figures" / "x.png").read_bytes() == b"picture"
    assert copy_figures(captions, tmp_path / "a", tmp_path / "a") == [Figure("figures/x.png", "a picture")]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found: make it with"), ("[]", "not a result of compare"), ('{"rows": 1}', "not a result of compare")],
)
def test_results_that_are_missing_or_of_something_else_are_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_results(tmp_path / "results.json", "compare", "python compare.py", {"rows", "plan"})
    (tmp_path / "results.json").write_text('{"rows": 1, "plan": 2}')
    assert read_results(tmp_path / "results.json", "compare", "", {"rows", "plan"}) == {"rows": 1, "plan": 2}


def of_two(second, shown=()):
    findings = [Finding(True, "a 1"), Finding(second, "b 2")]
    return of_findings("a and b", findings, [Table("numbers", [{"a": 1}])], shown, [3])


def test_a_claim_of_parts_holds_where_all_do_and_lists_them():
    holding, failing = of_two(True), of_two(False)
    assert holding.holds and holding.verdict == "a 1; b 2" and holding.seeds == [3]
    assert not failing.holds and failing.verdict == "b 2"
    assert [table.title for table in failing.tables] == ["Parts of the claim", "numbers"]
    assert failing.tables[0].rows == [{"holds": True, "measured": "a 1"}, {"holds": False, "measured": "b 2"}]


def test_a_judged_claim_takes_its_figures_along(tmp_path):
    (tmp_path / "source" / "figures").mkdir(parents=True)
    (tmp_path / "source" / "figures" / "a.png").write_bytes(b"picture")
    write_judged(lambda shown: of_two(True, shown), {"a.png": "a", "b.png": "b"}, tmp_path / "source", tmp_path / "out")
    assert Claim.read(tmp_path / "out").figures == [Figure("figures/a.png", "a")]
    assert (tmp_path / "out" / "figures" / "a.png").read_bytes() == b"picture"


def test_what_cannot_be_judged_leaves_nothing_behind(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"picture")

    def judge(shown):
        raise UserError("a row is missing")

    with pytest.raises(UserError, match="a row is missing"):
        write_judged(judge, {"a.png": "a"}, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_verb_concludes_where_the_results_are_and_does_not_replace(tmp_path, capsys):
    def write(source, out):
        judged = a_claim(verdict=f"of {source}", figures=[])
        judged.write(out)
        return judged

    conclude(write, tmp_path, None, overwrite=False)
    printed = capsys.readouterr().out
    assert f"The claim holds: of {tmp_path}" in printed and f"wrote {tmp_path / 'claim.json'}" in printed
    with pytest.raises(UserError, match="exists: replace it with --overwrite"):
        conclude(write, "elsewhere", tmp_path, overwrite=False)
    assert Claim.read(tmp_path).verdict == f"of {tmp_path}"
    conclude(write, "elsewhere", tmp_path, overwrite=True)
    assert Claim.read(tmp_path).verdict == "of elsewhere"


def test_tables_are_written_by_number_and_printed(tmp_path, capsys):
    write_tables([Table("first", [{"a": 1}]), Table("second", [{"b": 2.5}])], tmp_path)
    assert (tmp_path / "table_1.csv").read_text().split() == ["b", "2.5"]
    assert "first" in capsys.readouterr().out and {path.stem for path in tmp_path.iterdir()} == {"table_0", "table_1"}
