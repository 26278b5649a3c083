"""phase_transition as it is typed."""

from pathlib import Path

import numpy as np
import pytest

from incomplete_sensing.commands import phase_transition

CONFIGS = Path(phase_transition.__file__).parents[1] / "configs"
TINY = ["--n", "6", "--m", "[2,4]", "--G", "[2,4]", "--k", "[1]", "--samples", "3", "--trials", "2"]
TINY += ["--solvers", "[closed_form]", "--options", "{}"]


@pytest.mark.parametrize("config", sorted(path.stem for path in CONFIGS.glob("*_quick.yaml")))
def test_every_config_and_its_quick_version_describe_a_diagram(config, monkeypatch):
    swept = []

    def stop(diagram, *_):
        swept.append(diagram)
        raise KeyboardInterrupt

    monkeypatch.setattr("incomplete_sensing.phase_diagrams.sweep.sweep", stop)
    full = f"configs/{config.removesuffix('_quick')}.yaml"
    assert phase_transition.main(["--config", full, "--out", "unused"]) == 130
    assert phase_transition.main([f"--config={full}", "--trials", "3", "--quick", "--out", "unused"]) == 130
    assert swept[0].family == swept[1].family and swept[0].n > swept[1].n
    assert swept[1].trials == 3


def test_the_quick_default_is_the_diagram_of_the_papers_claim(tmp_path, capsys):
    arguments = ["--quick", "--solvers", "[closed_form]", "--options", "{}", "--out", str(tmp_path / "run")]
    assert phase_transition.main(arguments) == 0
    out = capsys.readouterr().out
    assert "exactly 0 below and 1 above the exact curve in every cell" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".lock",
        "diagram.json",
        "diagram.png",
        "job.json",
        "parts",
        "rates.csv",
        "rates.md",
        "rates.npz",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--m [7]", "m = [7] with n = 6"),
        ("--family ball", "unknown family ball"),
        ("--solvers [omp]", "unknown solver omp"),
        ("--trials 0", "trials = 0"),
        ("--batch_size 0", "batch_size = 0"),
        ("--config nowhere.yaml", "config nowhere.yaml not found"),
        ("--resume true", "name it with --out"),
        ("--kind gaussian", "unknown argument kind"),
    ],
)
def test_bad_sweeps_are_one_line_and_write_nothing(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert phase_transition.main([*TINY, *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_sweep_is_continued_or_replaced_only_on_request(fails, run, tmp_path):
    out = ["--out", str(tmp_path / "run")]
    assert run("phase_transition", *TINY, *out) == 0
    before = (tmp_path / "run" / "rates.csv").read_text()
    fails("continue it with --resume, replace it with --overwrite", "phase_transition", *TINY, *out)
    fails("begun as another job (seed 0, now 1)", "phase_transition", *TINY, *out, "--resume", "--seed", "1")
    assert (tmp_path / "run" / "rates.csv").read_text() == before
    assert run("phase_transition", *TINY, *out, "--resume") == 0
    assert run("phase_transition", *TINY, *out, "--overwrite", "--seed", "1") == 0
    assert '"seed": 1' in (tmp_path / "run" / "diagram.json").read_text()


def test_two_commands_on_one_folder_do_not_mix(fails, tmp_path):
    from shared_utils import work

    with work.begin(tmp_path / "run", {}):
        for flags in ([], ["--resume"], ["--overwrite"]):
            fails("in use by process", "phase_transition", *TINY, "--out", tmp_path / "run", *flags)


def test_two_processes_sweep_what_one_does(tmp_path, run, two_processes):
    # From a file: torchrun would take --n for an option of its own.
    config = tmp_path / "tiny.yaml"
    config.write_text("\n".join(f"{name[2:]}: {value}" for name, value in zip(TINY[::2], TINY[1::2], strict=True)))
    arguments = ("--config", "subspace.yaml", "--config", config, "--out")
    two_processes("phase_transition.py", *arguments, tmp_path / "two")
    assert run("phase_transition", *arguments, tmp_path / "one") == 0
    one, two = (np.load(tmp_path / name / "rates.npz") for name in ("one", "two"))
    assert np.array_equal(one["rates"], two["rates"])
