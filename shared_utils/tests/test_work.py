"""The store of finished work: one policy for what exists, a lock, parts that are whole or computed again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared_utils import UserError, work

JOB = {"method": "low_rank", "rank": 10, "options": {"weight": 0.1}}


def squares(names, computed=None):
    def compute(name):
        if computed is not None:
            computed.append(name)
        return {"value": np.arange(int(name)) ** 2}

    return compute


def run(folder, job=JOB, names=("1", "2", "3"), computed=None, complete=True, **flags):
    with work.begin(folder, job, **flags) as current:
        current.finish(list(names), squares(names, computed))
        if complete:
            current.complete()
        return {name: current.read(name)["value"].tolist() for name in names}


def test_a_job_keeps_its_parts_and_says_that_it_is_finished(tmp_path):
    assert run(tmp_path / "out") == {"1": [0], "2": [0, 1], "3": [0, 1, 4]}
    with work.begin(tmp_path / "out", JOB, resume=True) as again:
        assert again.finished and again.resumed


def test_resume_computes_only_what_is_missing(tmp_path):
    run(tmp_path / "out", names=("1", "2"), complete=False)
    computed = []
    run(tmp_path / "out", computed=computed, resume=True)
    assert computed == ["3"]


def test_resume_begins_where_nothing_is(tmp_path):
    assert run(tmp_path / "out", resume=True)
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", resume=True)


def test_what_exists_is_refused_and_both_ways_on_are_named(tmp_path):
    run(tmp_path / "out")
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        run(tmp_path / "out")


def test_a_folder_with_other_files_is_refused_and_never_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    for flags in ({}, {"resume": True}):
        with pytest.raises(UserError, match="--overwrite"):
            run(tmp_path, **flags)
    run(tmp_path, overwrite=True)
    run(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "lrtv"}, 'method "low_rank", now "lrtv"'),
        ({"rank": 5}, "rank 10, now 5"),
        ({"options": {"weight": 0.2}}, "options"),
        ({"reference": "maps.npz"}, 'reference null, now "maps.npz"'),
    ],
)
def test_another_job_is_never_continued_and_every_difference_is_named(tmp_path, change, named):
    run(tmp_path / "out", complete=False)
    with pytest.raises(UserError) as refused:
        run(tmp_path / "out", JOB | change | {"seed": 3}, resume=True)
    assert named in str(refused.value) and "seed null, now 3" in str(refused.value)
    assert run(tmp_path / "out", resume=True)


def test_overwrite_forgets_the_parts_of_the_old_job(tmp_path):
    run(tmp_path / "out")
    computed = []
    run(tmp_path / "out", JOB | {"method": "lrtv"}, computed=computed, overwrite=True)
    assert computed == ["1", "2", "3"]


def test_resume_and_overwrite_together_are_a_contradiction(tmp_path):
    with pytest.raises(UserError, match="one of them"):
        run(tmp_path / "out", resume=True, overwrite=True)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text"])
def test_a_damaged_part_is_computed_again(tmp_path, damage, caplog):
    run(tmp_path / "out")
    path = tmp_path / "out" / "parts" / "2.npz"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 0xFF
    path.write_bytes({"empty": b"", "cut": bytes(content[:-30]), "flipped": bytes(content), "text": b"hello"}[damage])
    computed = []
    assert run(tmp_path / "out", computed=computed, resume=True)["2"] == [0, 1]
    assert computed == ["2"] and "2.npz is damaged" in caplog.text


@pytest.mark.parametrize("content", ["", "[1]", '{"job": 3}', "{"])
def test_a_damaged_description_is_not_continued(tmp_path, content):
    run(tmp_path / "out")
    (tmp_path / "out" / "job.json").write_text(content)
    with pytest.raises(UserError, match="job"):
        run(tmp_path / "out", resume=True)


def test_a_part_that_is_a_folder_counts_once_it_is_marked(tmp_path):
    with work.begin(tmp_path / "out", JOB) as job:
        (job.place("shot/1") / "frame.png").write_bytes(b"picture")
        assert not job.has("shot/1")
        job.mark("shot/1")
        assert job.has("shot/1")
        job.remove()
    assert not (tmp_path / "out").exists()


def test_objects_are_not_parts(tmp_path):
    with work.begin(tmp_path / "out", JOB) as job, pytest.raises(TypeError, match="objects"):
        job.write("a", value=np.array([{}], dtype=object))


HOLD = """
import sys
from shared_utils import work
with work.begin(sys.argv[1], {"a": 1}, resume=True) as job:
    job.write("first", value=[1.0])
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has begun the job in tmp_path / "out" and holds it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_a_job_that_another_process_holds_is_left_alone_and_the_holder_is_named(tmp_path, holder, flag):
    with pytest.raises(UserError, match=f"in use by process {holder.pid} on "):
        run(tmp_path / "out", {"a": 1}, **{flag: True})
    assert (tmp_path / "out" / "parts" / "first.npz").is_file()


def test_a_killed_process_leaves_a_job_that_can_be_continued(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with work.begin(tmp_path / "out", {"a": 1}, resume=True) as job:
        assert job.resumed and not job.finished and job.has("first")


def test_ranks_share_the_parts_and_all_see_a_refusal(tmp_path):
    script = Path(__file__).parent / "toy" / "ranks.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    done = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("rank*.json"))]
    assert sorted(seen[0]["computed"] + seen[1]["computed"]) == ["0", "1", "2", "3", "4"]
    assert seen[0]["computed"] and seen[1]["computed"]
    assert all("--resume" in rank["refused"] for rank in seen)
    # A part is one rank's own: inside it there is no group, after it there is.
    assert all(set(map(tuple, rank["processes"])) == {(1,)} and rank["ranks"] == 2 for rank in seen)
