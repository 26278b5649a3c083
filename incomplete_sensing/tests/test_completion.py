"""Whether a matrix can be completed, from the pattern of its entries."""

import numpy as np
import pytest

from incomplete_sensing.commands import conditions
from incomplete_sensing.identifiability import completion
from shared_utils import UserError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def free_dimensions(seen, k, rng):
    """By the whole derivative of the seen entries of U V^T."""
    n, columns = seen.shape
    left, right = rng.standard_normal((n, k)), rng.standard_normal((columns, k))
    rows = []
    for i, j in np.argwhere(seen):
        row = np.zeros((n + columns, k))
        row[i], row[n + j] = right[j], left[i]
        rows.append(row.reshape(-1))
    return k * (n + columns - k) - np.linalg.matrix_rank(np.stack(rows), tol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_answer_is_that_of_the_whole_derivative(rng, k):
    possible = 0
    for share in np.linspace(0.3, 1, 25):
        n, columns = int(rng.integers(k + 1, 9)), int(rng.integers(k + 1, 9))
        seen = rng.random((n, columns)) < share
        seen[0, 0] = True
        found = completion(seen, k)
        assert found.free == free_dimensions(seen, k, rng)
        possible += found.possible
    assert 3 < possible < 22


def test_rows_and_columns_are_told_apart(rng):
    seen = np.ones((4, 7), bool)
    seen[:, 5] = False
    seen[0, 5] = True
    assert (completion(seen, 2).short_columns, completion(seen, 2).short_rows) == (1, 0)
    assert (completion(seen.T, 2).short_columns, completion(seen.T, 2).short_rows) == (0, 1)
    assert completion(seen, 2).free == completion(seen.T, 2).free == 1


def ask(capsys, *arguments):
    status = conditions.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_as_it_is_typed(capsys, tmp_path, rng):
    matrix = rng.standard_normal((8, 2)) @ rng.standard_normal((2, 9))
    matrix[rng.random((8, 9)) < 0.3] = np.nan
    np.save(tmp_path / "ratings.npy", matrix)
    status, out, _ = ask(capsys, "--completion", tmp_path / "ratings.npy", "--k", 2)
    assert status == 0 and "matrices of rank 2 have 30 dimensions" in out and "This can be completed" in out
    status, out, _ = ask(capsys, "--completion", tmp_path / "ratings.npy", "--k", 6)
    assert status == 1 and "This cannot be completed, by no method" in out
    matrix[3] = np.nan
    np.save(tmp_path / "ratings.npy", matrix)
    status, out, _ = ask(capsys, "--completion", tmp_path / "ratings.npy", "--k", 2)
    assert status == 1 and "1 rows and 0 columns have fewer" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--k", 9), "a 4 x 5 matrix has a rank between 1 and 4"),
        (("--k", 1.5), "a whole number"),
        ((), "give the rank"),
        (("--k", 1, "--G", 2, "--m", 3), "leave m, G out"),
    ],
)
def test_bad_questions_are_one_line(capsys, tmp_path, arguments, message):
    np.save(tmp_path / "small.npy", np.ones((4, 5)))
    status, _, err = ask(capsys, "--completion", tmp_path / "small.npy", *arguments)
    assert status == 2 and message in err and err.count("\n") == 1
    np.save(tmp_path / "small.npy", np.full((4, 5), np.inf))
    assert "infinite entries" in ask(capsys, "--completion", tmp_path / "small.npy", "--k", 1)[2]
    np.save(tmp_path / "small.npy", np.ones(4))
    assert "has shape (4,)" in ask(capsys, "--completion", tmp_path / "small.npy", "--k", 1)[2]


def test_what_is_too_large_says_so():
    with pytest.raises(UserError, match="test a part of the matrix"):
        completion(np.ones((500, 600), bool), 10)
