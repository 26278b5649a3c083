import re

from shared_utils import logging


def test_table_aligns_and_rounds():
    text = logging.table(
        [{"attack": "ifgm", "l2": 0.53104, "n": 30, "x": None}, {"attack": "si", "l2": 1.2e-4, "n": 5, "x": 2.0}]
    )
    assert text.splitlines() == [
        "attack         l2   n       x",
        "ifgm       0.5310  30       -",
        "si      1.200e-04   5  2.0000",
    ]


def test_run_folders_count_up(tmp_path):
    (tmp_path / "a" / "version_7").mkdir(parents=True)
    assert logging.run_folder("a", tmp_path).name == "version_8"
    assert logging.run_folder("b", tmp_path).name == "version_0"


def test_progress_passes_every_item_and_is_silent_without_a_terminal(capsys):
    assert list(logging.progress(range(3), "counting")) == [0, 1, 2]
    printed = capsys.readouterr()
    assert printed.out == "" and re.fullmatch(r"\s*", printed.err)
