"""Killed, resumed, started twice: nothing is lost and nothing is mixed."""

import os
import threading
import time

import cv2
import films
import numpy as np
import pytest

from old_films_rtn.commands import colorize, restore
from old_films_rtn.inference import colouring, restoration
from old_films_rtn.inference.restoration import Restoration
from old_films_rtn.inference.workers import in_processes, shares
from old_films_rtn.video.io import open_film
from shared_utils import UserError

RESTORE = "import sys; from old_films_rtn.commands import restore; sys.exit(restore.main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return films.write_model(tmp_path_factory.mktemp("model") / "rtn.safetensors")


@pytest.fixture
def film(tmp_path, model):
    """The arguments of restoring two shots of six frames into ``out``."""
    films.write_folder(tmp_path / "in", [*films.moving(6), *films.moving(6, 9)])
    return [tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, "--chunk", 3]


def run(*arguments):
    return restore.main([str(argument) for argument in arguments])


def pictures(path):
    return np.stack([frame.luma for frame in open_film(path).frames()])


def error_of(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    return line


def stop_at_the_assembly(monkeypatch):
    """Everything is kept, and the run ends before the film is written."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(restoration, "write_film", interrupt)


@pytest.mark.parametrize("passed", [0, 1])
def test_killed_half_way_through_a_pass_and_resumed_the_file_is_the_same(tmp_path, model, processes, capsys, passed):
    source = films.write_video(tmp_path / "a.mp4", [*films.moving(14), *films.moving(5, 9)])
    arguments = [source, "--ckpt", model, "--chunk", 4, "--device", "cpu"]
    assert run(*arguments, "--out", tmp_path / "whole.mp4") == 0
    # It stops by itself where it is to be killed, so that no machine is too fast or too slow for the test.
    hold = (
        "import sys, time\n"
        "from old_films_rtn.commands import restore\n"
        "from old_films_rtn.inference.kept import Shot\n"
        "finish = Shot.finish\n"
        "def finish_and_wait(shot, originals):\n"
        "    finish(shot, originals)\n"
        f"    if originals >= 8 and shot.passed == {passed}:\n"
        "        print('here', flush=True)\n"
        "        time.sleep(600)\n"
        "Shot.finish = finish_and_wait\n"
        "restore.main(sys.argv[1:])"
    )
    process = processes.start(hold, *arguments, "--out", tmp_path / "cut.mp4")
    while "here\n" not in processes.printed(process):
        assert process.exitcode is None, processes.printed(process)
        time.sleep(0.05)
    for flag in ("--resume", "--overwrite"):
        capsys.readouterr()
        assert run(*arguments, "--out", tmp_path / "cut.mp4", flag) == 2  # the other one is still at it
        assert f"process {process.pid} on" in error_of(capsys)
    process.kill()
    process.join()
    work = tmp_path / ".cut.mp4.work"
    kept = {file: file.stat().st_mtime_ns for file in work.glob("parts/shot_00000/luma_*.png")}
    assert len(kept) == (8 if passed else 0) and not (tmp_path / "cut.mp4").exists()
    assert (work / "parts/shot_00000/pass_1.raw").stat().st_size == (14 if passed else 8) * 48 * 64
    assert run(*arguments, "--out", tmp_path / "cut.mp4") == 2  # it says that there is something to resume
    assert all(file.stat().st_mtime_ns == before for file, before in kept.items())
    assert run(*arguments, "--out", tmp_path / "cut.mp4", "--resume") == 0
    assert (tmp_path / "cut.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not work.exists()
    assert run(*arguments, "--out", tmp_path / "cut.mp4", "--resume") == 0  # nothing left to do


def test_what_was_finished_is_not_done_again(tmp_path, film, monkeypatch):
    original, worked_on = Restoration.shot, []

    def until_the_second_shot(process, shot, stream):
        if shot.number == 1:
            raise KeyboardInterrupt
        yield from original(process, shot, stream)

    def counted(process, shot, stream):
        worked_on.append(shot.number)
        yield from original(process, shot, stream)

    monkeypatch.setattr(Restoration, "shot", until_the_second_shot)
    assert run(*film) == 130
    monkeypatch.setattr(Restoration, "shot", counted)
    assert run(*film, "--resume") == 0
    assert worked_on == [1] and len(pictures(tmp_path / "out")) == 12


OTHER_JOBS = [
    (["--strength", 0.5], "compositing"),
    (["--dedup", "off"], "dedup"),
    (["--frames", "0:7"], "span"),
    (["--flow", "none"], "flow"),
    (["--chunk", 4], "chunk"),
    (["--protect", "shield.png"], "protect"),
    (["--mask", "shield.png"], "mask"),
    (["--passes", 3], "passes"),
    (["--ckpt", "other.safetensors"], "weights"),
]


def test_a_run_is_not_resumed_as_another_job(tmp_path, film, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("shield.png", np.zeros((48, 64), np.uint8))
    films.write_model(tmp_path / "other.safetensors", seed=1)
    stop_at_the_assembly(monkeypatch)
    assert run(*film) == 130
    for other, key in OTHER_JOBS:
        capsys.readouterr()
        assert run(*film, "--resume", *other) == 2
        message = error_of(capsys)
        assert f"({key} " in message and "another job" in message and "--overwrite" in message
    assert not (tmp_path / "out").exists()


def test_a_file_that_the_job_names_is_compared_by_its_content(tmp_path, film, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("shield.png", np.zeros((48, 64), np.uint8))
    (tmp_path / "cuts.csv").write_text("0\n")
    stop_at_the_assembly(monkeypatch)
    given = [*film, "--protect", "shield.png", "--cuts", "cuts.csv"]
    assert run(*given) == 130
    cv2.imwrite("shield.png", np.full((48, 64), 255, np.uint8))
    (tmp_path / "cuts.csv").write_text("0\n2\n")
    capsys.readouterr()
    assert run(*given, "--resume") == 2
    message = error_of(capsys)
    assert "protect " in message and "files " in message


def test_an_interrupted_run_is_begun_again_with_overwrite(tmp_path, film, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stop_at_the_assembly(patched)
        assert run(*film) == 130
    capsys.readouterr()
    assert run(*film) == 2
    message = error_of(capsys)
    assert "--resume" in message and "--overwrite" in message
    assert run(*film, "--overwrite", "--strength", 0) == 0
    assert np.array_equal(pictures(tmp_path / "in"), pictures(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_resumed_colouring_with_other_key_frames_is_refused(tmp_path, monkeypatch, capsys):
    films.write_folder(tmp_path / "in", films.moving(3))
    (tmp_path / "keys").mkdir()
    key = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "keys" / "0.png"), key)
    arguments = [tmp_path / "in", "--keyframes", tmp_path / "keys", "--out", tmp_path / "out"]
    monkeypatch.setattr(colouring, "write_film", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert colorize.main([str(argument) for argument in arguments]) == 130
    capsys.readouterr()
    cv2.imwrite(str(tmp_path / "keys" / "0.png"), 255 - key)
    assert colorize.main([*map(str, arguments), "--resume"]) == 2
    assert "(keys " in error_of(capsys)


def test_two_commands_on_one_output(tmp_path, film, monkeypatch, capsys):
    """The second is refused while the first works, and the first is not disturbed."""
    begun, released = threading.Event(), threading.Event()
    original, first = Restoration.shot, []

    def held(process, shot, stream):
        begun.set()
        assert released.wait(120)
        yield from original(process, shot, stream)

    monkeypatch.setattr(Restoration, "shot", held)
    thread = threading.Thread(target=lambda: first.append(run(*film)))
    thread.start()
    assert begun.wait(120)
    second = run(*film, "--overwrite")
    released.set()
    thread.join()
    assert second == 2 and f"process {os.getpid()} on" in error_of(capsys)
    assert first == [0] and len(pictures(tmp_path / "out")) == 12


def test_several_starts_at_once_leave_one_whole_film(tmp_path, film, processes):
    starts = [processes.start(RESTORE, *film, "--device", "cpu") for _ in range(2)]
    for process in starts:
        process.join()
    assert sorted(process.exitcode for process in starts)[0] == 0, [*map(processes.printed, starts)]
    alone = [*film[:2], tmp_path / "alone", *film[3:]]
    assert run(*alone) == 0
    assert np.array_equal(pictures(tmp_path / "out"), pictures(tmp_path / "alone"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "in", "out"]


def test_two_workers_share_the_shots_and_make_the_same_film(tmp_path, film, processes, monkeypatch, capsys):
    three = films.write_folder(tmp_path / "three", [*films.moving(6), *films.moving(5, 9), *films.moving(3, 5)])
    arguments = [three, *film[3:], "--device", "cpu"]
    assert run(*arguments, "--out", tmp_path / "alone") == 0
    with monkeypatch.context() as patched:
        stop_at_the_assembly(patched)
        assert run(*arguments, "--out", tmp_path / "shared", "--workers", 2) == 130
    # Processes of their own have done it all: this one has only to put the film together.
    monkeypatch.setattr(Restoration, "shot", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(*arguments, "--out", tmp_path / "shared", "--workers", 2, "--resume") == 0
    assert np.array_equal(pictures(tmp_path / "alone"), pictures(tmp_path / "shared"))
    assert not (tmp_path / ".shared.work").exists()


def test_shots_are_dealt_evenly():
    assert shares({0: 10, 1: 90, 2: 40, 3: 50}, 2) == [[0, 1], [2, 3]]
    assert shares({4: 7}, 3) == [[4]] and shares({}, 2) == []


def test_what_goes_wrong_in_a_worker_is_one_line(tmp_path, processes):
    with pytest.raises(UserError, match="shot 1 is wrong"):
        in_processes(fails_at_one, [[0], [1]])
    with pytest.raises(UserError, match="killed, out of memory most likely: go on with --resume and fewer --workers"):
        in_processes(dies_at_one, [[0], [1]])


def fails_at_one(numbers):
    if 1 in numbers:
        raise UserError("shot 1 is wrong")


def dies_at_one(numbers):
    if 1 in numbers:
        os._exit(9)


def test_work_goes_on_under_another_name_where_it_is_the_same_job(tmp_path, film, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        stop_at_the_assembly(patched)
        assert run(*film) == 130
    assert (tmp_path / ".out.work").is_dir()
    named = [*film[:2], tmp_path / "other", *film[3:]]
    with monkeypatch.context() as patched:
        # Nothing is computed again. Another job begins anew, and leaves the first alone.
        patched.setattr(Restoration, "shot", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*named, "--strength", 0.5, "--resume") == 130
        assert (tmp_path / ".out.work").is_dir()
        capsys.readouterr()
        assert run(*[*film[:2], tmp_path / "third", *film[3:]], "--resume") == 0
    assert not (tmp_path / ".out.work").exists() and not (tmp_path / ".third.work").exists()
    assert len(pictures(tmp_path / "third")) == 12
