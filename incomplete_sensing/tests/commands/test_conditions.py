"""conditions.py, estimate_dimension.py and phase_transition.py: answers, exit statuses, and every kind of bad input."""

import os
import subprocess
import sys
from pathlib import Path

import conditions
import estimate_dimension
import numpy as np
import phase_transition
import pytest
from sklearn.datasets import load_digits

from incomplete_sensing.irreps import named_action

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def files(tmp_path, rng):
    """Operators, bases and data sets on disk, by name."""
    arrays = {
        "gaussian": rng.standard_normal((6, 6, 16)),
        "basis": rng.standard_normal((16, 2)),
        "digits": load_digits().images[:600] / 16,
        "for_digits": rng.standard_normal((10, 24, 64)),
        "one": rng.standard_normal((1, 5, 16)),
        "constant": np.ones((16, 1)),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    masks = np.stack([np.isin(np.arange(16), rng.permutation(16)[:7]) for _ in range(4)]).reshape(4, 4, 4)
    np.savez(tmp_path / "masks.npz", masks=masks.astype(float))
    return lambda name: str(next(tmp_path.glob(f"{name}.np*")))


def ask(capsys, *arguments):
    status = conditions.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# Answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "G", "status", "answers"),
    [
        (100, 40, 0, ["verdict: identified", "Smallest G for m = 100: 9; smallest m for G = 40: 32"]),
        (24, 40, 1, ["verdict: left open", "26 more operators (G >= 66), or m >= 32"]),
        (100, 1, 1, ["verdict: not identified, by no method", "8 more operators (G >= 9)"]),
    ],
)
def test_numbers_alone(capsys, m, G, status, answers):
    found, out, _ = ask(capsys, "--n", 784, "--m", m, "--G", G, "--k", 12)
    assert found == status
    assert all(text in out for text in (*answers, "C1", "C2", "C3", "C7", "C9", "C10", "almost every operator"))


def test_given_operators_are_tested_directly(capsys, files):
    status, out, _ = ask(capsys, "--operators", files("gaussian"), "--basis", files("basis"))
    assert status == 0
    assert "n = 16 unknowns, m = 6 rows, G = 6 operators, model dimension k = 2" in out
    assert "the subspace: identified, dim X^ = 2 for k = 2" in out and "smallest retained singular value" in out


def test_masks_are_not_generic_and_both_answers_are_printed(capsys, files, tmp_path):
    masks = np.load(files("masks"))["masks"]
    masks[:, 0, 0] = 0
    np.savez(tmp_path / "holes.npz", masks=masks)
    status, out, _ = ask(capsys, "--operators", tmp_path / "holes.npz", "--basis", files("basis"))
    assert "verdict: identified by almost every choice" in out and "masks are not generic" in out
    assert status == 1 and "entries are seen by no operator" in out
    assert "The direct test disagrees with the theorem, and is right" in out and "C10" in out


def test_k_and_its_interval_from_data_with_tests_on_tangents(capsys, files):
    status, out, _ = ask(capsys, "--operators", files("for_digits"), "--data", files("digits"))
    assert status == 0
    assert "k estimated from 600 samples" in out and "over the whole interval of k" in out
    assert "20 of 20 identified" in out
    status, out, _ = ask(capsys, "--m", 14, "--G", 10, "--data", files("digits"))
    assert "depends on where in its interval k lies" in out


def test_groups(capsys, files):
    status, out, _ = ask(capsys, "--group", "rot90", "--shape", "[5,5]", "--m", 11, "--k", 1)
    assert status == 0 and "m >= 7 necessary (n/|G| = 6.25)" in out and "C6" in out
    status, out, _ = ask(capsys, "--group", "dihedral", "--shape", "[4,4]", "--m", 8, "--k", 1)
    assert status == 1 and "1 x (s=2, c=4)" in out and "cyclic groups only" in out
    group = ("--group", "dihedral", "--shape", "[4,4]")
    status, out, _ = ask(capsys, *group, "--operators", files("one"), "--basis", files("constant"))
    assert status == 0 and "rank [A T_g]_g = 16 of n = 16: holds" in out and "identified, dim X^ = 1" in out


def test_an_equivariant_operator_is_warned_about(capsys, tmp_path):
    blur = np.fft.ifft(np.fft.fft(np.eye(8), axis=0) * np.array([1, 1, 0, 0, 0, 0, 0, 1])[:, None], axis=0).real
    np.save(tmp_path / "blur.npy", blur)
    status, out, _ = ask(capsys, "--operators", tmp_path / "blur.npy", "--group", "shift", "--shape", "[8]", "--k", 1)
    assert status == 1 and "warning: the operator is equivariant" in out and "rank [A T_g]_g = 3 of n = 8: fails" in out


def test_a_group_from_a_file_and_complex_operators(capsys, tmp_path, rng):
    np.save(tmp_path / "group.npy", named_action("rot90", [4, 4]).elements)
    np.save(tmp_path / "fourier.npy", np.fft.fft(np.eye(16))[None, rng.permutation(16)[:6]] / 4)
    status, out, _ = ask(
        capsys,
        "--operators",
        tmp_path / "fourier.npy",
        "--real_signals",
        "true",
        "--group",
        tmp_path / "group.npy",
        "--k",
        1,
    )
    assert "group" in out and "n = 16 unknowns" in out and status in (0, 1)


def test_repeated_operators_count_once(capsys, files, tmp_path):
    np.save(tmp_path / "twice.npy", np.repeat(np.load(files("gaussian")), 2, 0))
    status, out, _ = ask(capsys, "--operators", tmp_path / "twice.npy", "--k", 2)
    assert status == 0 and "6 of 12 operators repeat another: effective G = 6" in out


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--n 10 --m 11 --G 2 --k 1", "m = 11 with n = 10"),
        ("--n 10 --m 5 --G 2 --k 10", "k = 10 with n = 10"),
        ("--n 10 --m 5 --G 0 --k 1", "G = 0: at least one operator"),
        ("--n 10 --m 5 --k 1", "G not given"),
        ("--m 5 --G 2 --k 1", "n not given"),
        ("--n 10 --m 5 --G 2", "k not given"),
        ("--n ten --m 5 --G 2 --k 1", "ten"),
        ("--n 10 --m 5 --G 2 --kk 1", "unknown argument kk: did you mean k?"),
        ("--operators {nowhere}", "nowhere.npy not found"),
        ("--operators {gaussian} --G 5 --k 1", "G = 5 is given, but"),
        ("--operators {gaussian} --basis {digits}", "a basis is (16, k)"),
        ("--operators {gaussian} --data {digits}", "signals of 64 entries, expected n = 16"),
        ("--operators {nan} --k 1", "holds NaN"),
        ("--operators {tall} --k 1", "(3, 5, 4): operators are (G, m, n) or (m, n) with m <= n"),
        ("--operators {zero} --k 1", "operator 1 is zero"),
        ("--operators {text} --k 1", "not a readable"),
        ("--operators {grey} --k 1", "0 and 1"),
        ("--operators {empty} --k 1", "empty"),
        ("--group spin --shape [4,4] --m 3 --k 1", "unknown group spin"),
        ("--group rot90 --shape [4,5] --m 3 --k 1", "square"),
        ("--group {half} --m 3 --k 1", "no group"),
        ("--group {gaussian} --m 3 --k 1", "a group is permutations"),
        ("--operators {one} --group rot90 --shape [4,4] --basis {basis}", "does not span an invariant model"),
    ],
)
def test_bad_input_is_one_line_and_status_two(capsys, files, tmp_path, arguments, message):
    np.save(tmp_path / "nan.npy", np.full((2, 3, 16), np.nan))
    np.save(tmp_path / "tall.npy", np.ones((3, 5, 4)))
    np.save(tmp_path / "zero.npy", np.stack([np.ones((2, 4)), np.zeros((2, 4))]))
    np.save(tmp_path / "half.npy", np.array([[0, 1, 2], [1, 2, 0]]))
    (tmp_path / "text.npy").write_text("0 1 2")
    np.savez(tmp_path / "grey.npz", masks=np.full((2, 4, 4), 0.5))
    np.savez(tmp_path / "empty.npz", masks=np.stack([np.ones((4, 4)), np.zeros((4, 4))]))
    names = {path.stem: str(path) for path in tmp_path.glob("*.np*")} | {"nowhere": str(tmp_path / "nowhere.npy")}
    status, _, err = ask(capsys, *arguments.format(**names).split())
    assert status == 2
    assert message in err and err.count("\n") == 1


def test_dimension_of_digits(capsys, files, tmp_path):
    assert estimate_dimension.main(["--data", files("digits"), "--out", str(tmp_path / "k.png")]) == 0
    out = capsys.readouterr().out
    assert "600 samples of 64 entries" in out and "k = " in out and "conditions.py --n 64" in out
    assert (tmp_path / "k.png").read_bytes()[:4] == b"\x89PNG"
    assert estimate_dimension.main(["--data", files("digits"), "--limit", "100"]) == 0
    assert "100 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data {nowhere}", "nowhere.npy not found"),
        ("--data {flat}", "a data set is (N, n)"),
        ("--data {few}", "need at least 21"),
        ("--data {few} --neighbours [1]", "at least 2 neighbours"),
    ],
)
def test_bad_data_for_the_dimension(capsys, tmp_path, arguments, message):
    np.save(tmp_path / "flat.npy", np.ones(8))
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((8, 3)))
    names = {path.stem: str(path) for path in tmp_path.glob("*.npy")} | {"nowhere": str(tmp_path / "nowhere.npy")}
    assert estimate_dimension.main(arguments.format(**names).split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1


# Sweeps -------------------------------------------------------------------------------------------------------------

TINY = ["--n", "6", "--m", "[2,4]", "--G", "[2,4]", "--k", "[1]", "--samples", "3", "--trials", "2"]
TINY += ["--solvers", "[closed_form]", "--options", "{}"]


@pytest.mark.parametrize("config", sorted(path.stem for path in (PROJECT / "configs").glob("*_quick.yaml")))
def test_every_config_and_its_quick_version_describe_a_diagram(config, monkeypatch):
    swept = []

    def stop(diagram, *_):
        swept.append(diagram)
        raise KeyboardInterrupt

    monkeypatch.setattr("incomplete_sensing.phase_diagrams.sweep.sweep", stop)
    full = str(PROJECT / "configs" / f"{config.removesuffix('_quick')}.yaml")
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
        "diagram.json",
        "diagram.png",
        "parts",
        "rates.csv",
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


def test_an_existing_sweep_is_not_overwritten(capsys, tmp_path):
    out = ["--out", str(tmp_path / "run")]
    assert phase_transition.main([*TINY, *out]) == 0
    before = (tmp_path / "run" / "rates.csv").read_text()
    assert phase_transition.main([*TINY, *out]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert phase_transition.main([*TINY, *out, "--resume", "true", "--seed", "1"]) == 2
    assert "another seed" in capsys.readouterr().err
    assert (tmp_path / "run" / "rates.csv").read_text() == before


# The shell ------------------------------------------------------------------------------------------------------------


def test_two_processes_sweep_what_one_does(tmp_path):
    # From a file: torchrun would take --n for an option of its own.
    config = tmp_path / "tiny.yaml"
    config.write_text("\n".join(f"{name[2:]}: {value}" for name, value in zip(TINY[::2], TINY[1::2], strict=True)))
    command = [
        "phase_transition.py",
        "--config",
        str(PROJECT / "configs" / "subspace.yaml"),
        "--config",
        str(config),
        "--out",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    both = subprocess.run(
        [*launcher, *command, str(tmp_path / "two")], cwd=PROJECT, env=environment, capture_output=True
    )
    assert both.returncode == 0, both.stderr.decode()[-2000:]
    assert phase_transition.main([*command[1:], str(tmp_path / "one")]) == 0
    one, two = (np.load(tmp_path / name / "rates.npz") for name in ("one", "two"))
    assert np.array_equal(one["rates"], two["rates"])


@pytest.mark.parametrize("verb", ["conditions", "estimate_dimension", "phase_transition"])
def test_help_answers_without_torch(verb):
    code = (
        f"import sys; sys.argv[0] = '{verb}.py'; import {verb}; {verb}.main(['--help']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("False"), done.stdout[-300:] + done.stderr


def test_conditions_as_a_command_needs_no_torch_and_has_three_statuses():
    run = [sys.executable, "-X", "importtime", "conditions.py", "--n", "784", "--G", "40", "--k", "12", "--m"]
    statuses = []
    for m in ("100", "24", "800"):
        done = subprocess.run([*run, m], cwd=PROJECT, capture_output=True, text=True)
        statuses.append(done.returncode)
        assert " torch\n" not in done.stderr
    assert statuses == [0, 1, 2]
