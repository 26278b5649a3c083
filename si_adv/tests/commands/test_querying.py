"""``query``, ``transfer`` and ``defend`` on the bundled victim."""

from pathlib import Path

import pytest
from result_tables import table

from si_adv import load_victim
from si_adv.commands import defend, query, transfer

pytestmark = pytest.mark.usefixtures("scratch")


def test_queries_are_drawn_and_tabled():
    few = ["--limit", "3", "--num_points", "256", "--max_queries", "60"]
    assert query.main([*few, "--out", "q"]) == 0
    rows = {row["attack"]: row for row in table("q")}
    assert set(rows) == {"si_query", "simba", "simba_pp"}
    assert all(1 < float(row["queries"]) <= 60 for row in rows.values())
    assert Path("q/success_over_queries.png").is_file() and Path("q/queries.png").is_file()


def test_transfer_to_itself_is_the_success_of_the_attack():
    load_victim().save_pretrained("v")
    assert transfer.main(["--surrogates", "v,b=v", "--limit", "4", "--num_points", "512", "--out", "m"]) == 0
    rows = table("m")
    assert len(rows) == 4 and len({row["transfer"] for row in rows}) == 1
    assert float(rows[0]["transfer"]) >= 0.8
    assert Path("m/matrix_si_ifgm.png").is_file()


def test_a_transferred_attack_has_its_own_options(capsys):
    few = ["--surrogates", "pointnet", "--limit", "2", "--num_points", "256", "--attack", "advpc"]
    assert transfer.main([*few, "--options", "{advpc: {autoencoder: runs/none/made}}", "--out", "n"]) == 2
    assert "runs/none/made not found" in capsys.readouterr().err
    assert transfer.main([*few, "--options", "{advpc: {iterations: 2, search_steps: 1}}", "--out", "m"]) == 0
    assert {row["attack"] for row in table("m")} == {"advpc"}


def test_defences_are_tabled_for_clouds_that_an_attack_wrote(compared, capsys):
    (clouds,) = (compared.folder / "clouds").glob("*-si_ifgm-0.npz")
    assert defend.main(["--clouds", str(clouds), "--out", "d"]) == 0
    rows = {row["defence"]: row for row in table("d")}
    assert set(rows) == {"none", "srs", "sor"}
    assert float(rows["none"]["asr"]) >= 0.8
