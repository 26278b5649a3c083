"""conditions as it is typed: answers, exit statuses, and every kind of bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from incomplete_sensing.commands import conditions
from incomplete_sensing.irreps import named_action


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
    assert status == 0 and "1 x (s=2, c=4)" in out and "cyclic subgroup of 4" in out
    status, out, _ = ask(capsys, "--group", "dihedral", "--shape", "[4,4]", "--m", 7, "--k", 1)
    assert status == 1 and "For C6 an operator needs 1 more row (m >= 8, by its cyclic subgroup of 4 elements)" in out
    group = ("--group", "dihedral", "--shape", "[4,4]")
    status, out, _ = ask(capsys, *group, "--operators", files("one"), "--basis", files("constant"))
    assert status == 0 and "rank [A T_g]_g = 16 of n = 16: holds" in out and "identified, dim X^ = 1" in out


def test_several_operators_and_a_group_are_not_judged_by_c1_alone(capsys, tmp_path, rng):
    """Two operators of 5 rows on 16 pixels: "not identified, by no method" without the group, identified with it."""
    np.save(tmp_path / "two.npy", rng.standard_normal((2, 5, 16)))
    np.save(tmp_path / "flat.npy", np.ones((16, 1)))
    given = ("--operators", tmp_path / "two.npy", "--basis", tmp_path / "flat.npy")
    status, out, _ = ask(capsys, *given)
    assert status == 1 and "not identified, by no method: C1" in out
    status, out, _ = ask(capsys, *given, "--group", "dihedral", "--shape", "[4,4]")
    assert status == 0 and "C4" in out and "by no method" not in out
    assert "rank [A T_g]_g = 16 of n = 16: holds" in out and "your operators: identified" in out


def test_an_invertible_operator_can_be_equivariant_too(capsys, tmp_path):
    response = np.array([1, 0.9, 0.6, 0.5, 0.4, 0.5, 0.6, 0.9])[:, None]
    np.save(tmp_path / "blur.npy", np.fft.ifft(np.fft.fft(np.eye(8), axis=0) * response, axis=0).real)
    status, out, _ = ask(capsys, "--operators", tmp_path / "blur.npy", "--group", "shift", "--shape", "[8]", "--k", 1)
    assert status == 0 and "C5: equivariant to the group, at no loss" in out


def test_colours_and_complex_images_keep_their_channels(capsys, tmp_path):
    bayer = np.zeros((1, 3, 8, 8))
    bayer[0, 0, ::2, ::2] = bayer[0, 1, ::2, 1::2] = bayer[0, 1, 1::2, ::2] = bayer[0, 2, 1::2, 1::2] = 1
    np.savez(tmp_path / "bayer.npz", masks=bayer, image_shape=np.array([3, 8, 8]))
    status, out, _ = ask(capsys, "--operators", tmp_path / "bayer.npz", "--group", "shift", "--k", 3)
    assert "64 elements" in out and "effective orbit: 4 different operators of the 64" in out
    # C6 holds for almost every operator, not for this one: with red and blue as they are and green negated, modulated by a
    # checkerboard, an image looks like itself or its negative through each of the four masks.
    assert "verdict: identified" in out and status == 1 and "these operators are not generic" in out
    np.savez(tmp_path / "mri.npz", masks=np.eye(8)[[0, 3]], kind="mri", image_shape=np.array([2, 6, 8]))
    status, out, _ = ask(capsys, "--operators", tmp_path / "mri.npz", "--group", "shift", "--k", 3)
    assert status == 1 and "n = 96 unknowns, m = 12 rows" in out and "warning: the operator is equivariant" in out


def test_magnitudes_are_told_from_complex_images(capsys, tmp_path):
    """Half of k-space determines a real image: n is H W then, and the conjugate half counts as seen."""
    columns = np.zeros((1, 8))
    columns[0, :5] = 1
    np.savez(tmp_path / "half.npz", masks=columns, kind="mri", image_shape=np.array([2, 8, 8]))
    status, out, _ = ask(capsys, "--operators", tmp_path / "half.npz", "--k", 2)
    assert status == 1 and "n = 128 unknowns, m = 80 rows" in out
    status, out, _ = ask(capsys, "--operators", tmp_path / "half.npz", "--k", 2, "--real_signals", "true")
    assert status == 0 and "n = 64 unknowns, m = 64 rows" in out


def test_every_tangent_has_to_be_identified(capsys, tmp_path, rng):
    """On one of two lines the operators' row spaces, less what the line explains, share two dimensions: it is not."""
    operators = rng.standard_normal((2, 4, 6))
    shared = np.linalg.svd(np.concatenate([np.linalg.svd(one)[2][4:] for one in operators]))[2][4:]
    blind = np.linalg.svd(shared)[2][2:].T @ rng.standard_normal(4)
    places = rng.uniform(-1, 1, (60, 1))
    lines = np.concatenate([places[:30] * rng.standard_normal(6), 50 + places[30:] * blind])
    np.save(tmp_path / "operators.npy", operators)
    np.save(tmp_path / "lines.npy", lines)
    given = ("--operators", tmp_path / "operators.npy", "--k", 1)
    status, out, _ = ask(capsys, *given, "--data", tmp_path / "lines.npy")
    passed = int(out.split("(first order, local): ")[1].split(" of 20")[0])
    assert 0 < passed < 20 and status == 1 and "your operators: not identified" in out
    np.save(tmp_path / "lines.npy", lines[:30])
    assert ask(capsys, *given, "--data", tmp_path / "lines.npy")[0] == 0


def test_a_model_that_holds_what_nobody_sees_is_not_identified(capsys, tmp_path, rng):
    """X^ = X there, but X without that direction has the same measurements: C1 decides."""
    masks = np.ones((3, 4, 4))
    masks[:, 0, 0] = 0
    masks[0, 1], masks[1, 2], masks[2, 3] = 0, 0, 0
    np.savez(tmp_path / "masks.npz", masks=masks)
    np.save(tmp_path / "basis.npy", np.stack([np.eye(16)[0], rng.standard_normal(16)], 1))
    status, out, _ = ask(capsys, "--operators", tmp_path / "masks.npz", "--basis", tmp_path / "basis.npy")
    assert "the subspace: identified, dim X^ = 2" in out
    assert status == 1 and "fails, no method can identify any model" in out and "your operators: not identified" in out


def test_numerically_not_identified_is_an_answer(capsys, tmp_path, rng):
    first = rng.standard_normal((5, 8))
    np.save(tmp_path / "near.npy", np.stack([first, first + 4e-7 * rng.standard_normal((5, 8))]))
    status, out, _ = ask(capsys, "--operators", tmp_path / "near.npy", "--k", 1)
    assert status == 1 and "numerically" in out and "your operators: identified" not in out


def test_a_hundred_million_operators_and_a_dimension_that_is_not_whole(capsys, files):
    status, out, _ = ask(capsys, "--n", 784, "--m", 13, "--G", 10**8, "--k", 11.5)
    assert status == 0 and "G = 100000000 operators" in out
    status, out, _ = ask(capsys, "--operators", files("gaussian"), "--k", 1.5)
    assert status == 0 and "a random subspace of dimension 2: identified" in out


def test_wide_operators_are_tested_as_functions(capsys, tmp_path, rng, monkeypatch):
    monkeypatch.setattr("incomplete_sensing.data.arrays._WIDTH", 20)
    np.save(tmp_path / "wide.npy", rng.standard_normal((4, 12, 30)))
    status, out, _ = ask(capsys, "--operators", tmp_path / "wide.npy", "--k", 2)
    assert status == 0 and "singular value at most" in out


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
        ("--operators {cut} --k 1", "not a readable"),
        ("--operators {torn} --k 1", "not a readable"),
        ("--operators {words} --k 1", "entries: operators are arrays of numbers"),
        ("--operators {gaussian} --real_signals true --k 1", "leave --real_signals out"),
        ("--operators {pixels} --real_signals true --k 1", "take real ones already"),
        ("--operators {gaussian} --basis {basis} --k 3", "spans 2 dimensions: leave --k out"),
        ("--operators {gaussian} --basis {nothing}", "a basis is (16, k)"),
        ("--n 10 --m 5 --G 2 --k .nan", "k = nan with n = 10"),
        ("--n 0 --m 5 --G 2 --k 1", "n = 0"),
        ("--group shift --shape [4,4] --step 0 --m 3 --k 1", "do not close"),
        ("--group shift --shape [4,0] --m 3 --k 1", "a group acts on"),
        ("--group {nobody} --m 3 --k 1", "a group is permutations"),
        ("--group spin --shape [4,4] --m 3 --k 1", "unknown group spin"),
        ("--group rot90 --shape [4,5] --m 3 --k 1", "square"),
        ("--group {half} --m 3 --k 1", "not a group"),
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
    np.save(tmp_path / "nobody.npy", np.zeros((0, 4), int))
    np.save(tmp_path / "nothing.npy", np.zeros((16, 0)))
    np.savez(tmp_path / "words.npz", matrices=np.array([["a"]]))
    np.savez(tmp_path / "pixels.npz", masks=np.ones((2, 4, 4)))
    (tmp_path / "cut.npy").write_bytes(Path(files("gaussian")).read_bytes()[:200])
    np.savez_compressed(tmp_path / "torn.npz", matrices=np.random.default_rng(0).standard_normal((2, 3, 16)))
    content = bytearray((tmp_path / "torn.npz").read_bytes())
    content[200:260] = bytes(60)
    (tmp_path / "torn.npz").write_bytes(content)
    names = {path.stem: str(path) for path in tmp_path.glob("*.np*")} | {"nowhere": str(tmp_path / "nowhere.npy")}
    status, _, err = ask(capsys, *arguments.format(**names).split())
    assert status == 2
    assert message in err and err.count("\n") == 1


def test_conditions_as_a_command_needs_no_torch_and_has_three_statuses(project):
    run = [sys.executable, "-X", "importtime", "conditions.py", "--n", "784", "--G", "40", "--k", "12", "--m"]
    statuses = []
    for m in ("100", "24", "800"):
        done = subprocess.run([*run, m], cwd=project, capture_output=True, text=True)
        statuses.append(done.returncode)
        assert " torch\n" not in done.stderr
    assert statuses == [0, 1, 2]
