"""Arrays on disk: signals, bases, operators as plain matrices, and the elements of a group."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from incomplete_sensing.identifiability import FunctionOperators, Given, MatrixOperators, SelectingOperators, real_form
from incomplete_sensing.irreps import GROUPS, Action, named_action
from shared_utils import UserError

_WIDTH = 2048
"""Widest matrices whose singular values are computed; wider ones are tested by conjugate gradients."""
UNREADABLE = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What numpy raises for a file that is damaged, or is something else."""


def read_array(path: str | Path, what: str, missing: bool = False) -> np.ndarray:
    """The one numeric array of a ``.npy`` or ``.npz`` file; NaN is refused but where entries may be ``missing``.

    Raises UserError naming the file.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                names = loaded.files
                loaded = loaded[names[0]] if len(names) == 1 else None
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npy or .npz file: {what} is an array in one") from error
    if loaded is None:
        raise UserError(f"{path} holds {', '.join(names) or 'nothing'}: {what} is a single array")
    if loaded.dtype.kind not in "fiubc":
        raise UserError(f"{path} holds {loaded.dtype} entries: {what} is an array of numbers")
    if not (np.isfinite(loaded) | (missing & np.isnan(loaded))).all():
        found = "infinite entries" if missing else "NaN or infinite entries"
        raise UserError(f"{path} holds {found}: {what} must be finite")
    return loaded


def read_signals(path: str | Path, n: int | None = None) -> np.ndarray:
    """Signals (N, n) float64 from a file of (N, n) or of images (N, ..., H, W), complex ones as real pairs."""
    signals = read_array(path, "a data set")
    if signals.ndim < 2:
        raise UserError(f"{path} has shape {signals.shape}: a data set is (N, n), one signal a row")
    signals = signals.reshape(len(signals), -1)
    if np.iscomplexobj(signals):
        signals = np.concatenate([np.real(signals), np.imag(signals)], axis=1)
    if n is not None and signals.shape[1] != n:
        raise UserError(f"{path} has signals of {signals.shape[1]} entries, expected n = {n}")
    return signals.astype(np.float64)


def read_basis(path: str | Path, n: int | None = None) -> np.ndarray:
    """A basis (n, k), one direction a column; complex directions of complex signals as pairs over the reals."""
    basis = read_array(path, "a basis")
    if basis.ndim == 2 and np.iscomplexobj(basis) and n == 2 * len(basis):
        basis = real_form(basis)
    if basis.ndim != 2 or not basis.size or (n is not None and len(basis) != n):
        raise UserError(f"{path} has shape {basis.shape}: a basis is ({n or 'n'}, k), one direction a column")
    return basis


def read_given(path: str | Path, real_signals: bool = False) -> Given:
    """Operators from a file, as the direct tests take them, complex ones over the reals.

    Matrices are read in their own precision, which rank decisions follow; any other layout through the reader of
    operators.
    """
    matrices = _stored_matrices(Path(path))
    if matrices is None:
        from incomplete_sensing.given_operators import given_operators
        from incomplete_sensing.operators import read_operators

        return given_operators(read_operators(path), real_signals)
    if matrices.ndim == 2:
        matrices = matrices[None]
    if matrices.ndim != 3 or not matrices.size or matrices.shape[1] > matrices.shape[2]:
        raise UserError(f"{path} has shape {matrices.shape}: operators are (G, m, n) or (m, n) with m <= n")
    for g, matrix in enumerate(matrices):
        if not matrix.any():
            raise UserError(f"{path}: operator {g} is zero: it measures nothing, leave it out")
    if real_signals and not np.iscomplexobj(matrices):
        raise UserError(f"{path} holds real operators: leave --real_signals out")
    if (masks := _as_masks(matrices)) is not None:
        return SelectingOperators(masks, matrices.shape[2:])
    if matrices.shape[2] > _WIDTH:
        return _as_functions([real_form(matrix, real_signals) for matrix in matrices])
    return MatrixOperators([real_form(matrix, real_signals) for matrix in matrices])


def _as_masks(matrices: np.ndarray) -> np.ndarray | None:
    """The entries (G, n) that each operator keeps, where all of them only select entries."""
    single = ((matrices != 0).sum(2) <= 1).all() and ((matrices == 0) | (matrices == 1)).all()
    return np.asarray(matrices.any(axis=1)) if single else None


def _as_functions(matrices: list[np.ndarray]) -> FunctionOperators:
    pairs = [(lambda x, a=matrix: a @ x, lambda y, a=matrix: a.T @ y) for matrix in matrices]
    counts = [len(matrix) for matrix in matrices]
    return FunctionOperators(pairs, matrices[0].shape[1], counts)


def _stored_matrices(path: Path) -> np.ndarray | None:
    if path.suffix == ".npy":
        return read_array(path, "a stack of operators (G, m, n)")
    if path.suffix == ".npz" and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as archive:
                names = [
                    name for name in ("matrices", "matrix") if name in archive.files and "rows" not in archive.files
                ]
                found = archive[names[0]] if names else None
        except UNREADABLE as error:
            raise UserError(f"{path} is not a readable .npz file: save the operators again") from error
        if found is not None and found.dtype.kind not in "fiubc":
            raise UserError(f"{path} holds {found.dtype} entries: operators are arrays of numbers")
        if found is not None and not np.isfinite(found).all():
            raise UserError(f"{path} holds NaN or infinite entries: operators must be finite")
        return found
    return None


def read_group(name: str, shape: list[int] | None, step: int, n: int | None) -> Action:
    """A group by name and shape, or from a .npy file of permutations (|G|, n) or matrices (|G|, n, n).

    Where n is a multiple of H W, the signals are images of several channels (complex ones of two), which keep their places.
    """
    if name in GROUPS:
        if not shape:
            if n is None:
                raise UserError(f"the group {name} needs the shape it acts on: give --shape [28,28]")
            side = math.isqrt(n)
            shape = [side, side] if side * side == n else [n]
        size = math.prod(shape)
        if n is not None and len(shape) == 2 and 0 < size < n and n % size == 0:
            shape = [n // size, *shape]
        action = named_action(name, shape, step)
    elif Path(name).suffix != ".npy":
        raise UserError(f"unknown group {name}: one of {', '.join(GROUPS)}, or a .npy file of its elements")
    else:
        elements = read_array(name, "a group")
        square = elements.ndim == 3 and elements.shape[1] == elements.shape[2]
        whole = elements.ndim == 2 and elements.dtype.kind in "iu"
        if not elements.size or not (square or whole):
            raise UserError(
                f"{name} has shape {elements.shape}: a group is permutations (|G|, n) or matrices (|G|, n, n)"
            )
        action = Action(elements.astype(np.float64) if square else elements)
    if n is not None and action.n != n:
        raise UserError(f"the group {name} acts on {action.n} entries, the signals have n = {n}: check --shape")
    return action
