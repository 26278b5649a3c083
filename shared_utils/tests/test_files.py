"""Files appear whole or not at all; a lock names its holder; an output that exists is refused."""

import os
import socket
import subprocess
import sys

import pytest

from shared_utils import UserError, files


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("one")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half of tw")
        raise ZeroDivisionError
    assert path.read_text() == "one"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_behind_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = socket.gethostname()
    kept = {f".a[1].txt.{here}.{os.getppid()}.tmp", f".a[1].txt.another-machine.{dead.pid}.tmp"}
    for name in (f".a[1].txt.{here}.{dead.pid}.tmp", *kept):
        (tmp_path / name).write_text("half")
    with files.replacing(tmp_path / "a[1].txt") as temporary:
        temporary.write_text("whole")
    assert {each.name for each in tmp_path.iterdir()} == {"a[1].txt", *kept}


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(IsADirectoryError), files.replacing(tmp_path):
        pass


@pytest.mark.parametrize("content", [None, "", "{", "\xff"])
def test_json_that_is_not_whole_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"a\.json .*report"):
        files.read_json(path, "report")


def test_json_comes_back(tmp_path):
    files.write_json({"a": [1, None]}, tmp_path / "a.json")
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None]}


def test_a_lock_is_held_once_and_names_its_holder(tmp_path):
    with (
        files.lock(tmp_path / ".lock", "the run"),
        pytest.raises(UserError, match=f"the run is in use by process {os.getpid()} on "),
        files.lock(tmp_path / ".lock", "the run"),
    ):
        pass
    with files.lock(tmp_path / ".lock", "the run"):
        pass


def test_an_output_that_exists_is_refused_in_one_way(tmp_path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    for path in (tmp_path / "a.csv", tmp_path / "full"):
        with pytest.raises(UserError, match="exists: replace it with --overwrite, or name another --out"):
            files.refuse_existing(path, overwrite=False)
        with pytest.raises(UserError, match="continue it with --resume, replace it with --overwrite"):
            files.refuse_existing(path, overwrite=False, resume_possible=True)
        files.refuse_existing(path, overwrite=True)
    for path in (tmp_path / "empty", tmp_path / "new" / "er"):
        files.refuse_existing(path, overwrite=False)


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match="is a file where a folder is needed"):
        files.check_writable(tmp_path / "a" / "b" / "c")
