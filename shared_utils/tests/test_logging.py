import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared_utils import UserError, logging


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def watched(total, seconds, capsys, **options):
    """The lines of a loop over ``total`` items that take ``seconds`` each."""
    clock = Clock()
    items = logging.progress(range(total), "counting", clock=clock, **options)
    for _ in items:
        clock.now += seconds
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_run_folders_count_up(tmp_path):
    (tmp_path / "a" / "version_7").mkdir(parents=True)
    assert logging.run_folder("a", tmp_path).name == "version_8"
    assert logging.run_folder("b/c", tmp_path) == tmp_path / "b" / "c" / "version_0"


def test_simultaneous_starts_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: logging.run_folder("a", tmp_path), range(64)))
    assert sorted(int(folder.name[8:]) for folder in folders) == list(range(64))


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../x", "a/../../x", "/tmp/x", "a\0b"])
def test_a_run_stays_under_its_root(tmp_path, name):
    with pytest.raises(UserError, match="is not a name for a run"):
        logging.run_folder(name, tmp_path / "runs")
    with pytest.raises(UserError, match="is not a name for a run"):
        logging.training_loggers(name, tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_a_short_loop_without_a_terminal_prints_nothing(capsys):
    assert watched(3, 9.0, capsys) == []
    assert watched(2, 40.0, capsys)[1:] == ["counting: 2 done in 1 min 20 s"]


def test_a_long_loop_without_a_terminal_prints_a_line_every_thirty_seconds(capsys):
    lines = watched(100, 10.0, capsys)
    assert lines[0] == "counting: 3 of 100, 30 s, about 16 min 10 s left"
    assert lines[-1] == "counting: 100 done in 16 min 40 s"
    assert len(lines) == 34


def test_items_without_a_number_have_no_time_left(capsys):
    clock = Clock()
    for _ in logging.progress(iter(range(4)), "reading", clock=clock):
        clock.now += 2000
    assert capsys.readouterr().err.splitlines() == [
        "reading: 1, 33 min 20 s",
        "reading: 2, 1 h 06 min",
        "reading: 3, 1 h 40 min",
        "reading: 4, 2 h 13 min",
        "reading: 4 done in 2 h 13 min",
    ]


def test_only_the_first_process_of_a_job_shows_its_progress(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert watched(100, 60.0, capsys) == []


def test_a_terminal_shows_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(logging.progress(range(3), "counting")) == [0, 1, 2]
    assert "done in" not in capsys.readouterr().err


def test_loggers_take_a_folder_that_was_made_or_make_one(tmp_path):
    folder = logging.run_folder("a", tmp_path)
    for logger in logging.training_loggers("a", tmp_path, version=0):
        assert logger.log_dir == str(folder)
    for logger in logging.training_loggers("a", tmp_path):
        assert logger.log_dir == str(tmp_path / "a" / "version_1") and os.path.isdir(logger.log_dir)  # noqa: PTH112


def test_loggers_of_a_resumed_run_keep_the_rows_before_the_step(tmp_path):
    folder = logging.run_folder("a", tmp_path)
    (folder / "metrics.csv").write_text("epoch,loss,step\n0,1.0,0\n1,0.5,1\n2,0.2,2\n3,0.")
    logging.training_loggers("a", tmp_path, resume=(0, 2))
    assert [(row["step"], row["loss"]) for row in logging.read_metrics(folder)] == [("0", "1.0"), ("1", "0.5")]


def test_importing_it_loads_neither_torch_nor_matplotlib():
    code = "import sys, shared_utils.logging; print({'torch', 'matplotlib', 'PIL', 'rich'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
