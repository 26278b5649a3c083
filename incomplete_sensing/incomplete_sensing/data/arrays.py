"""Arrays on disk: signals, bases, operators as plain matrices, and the elements of a group."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from incomplete_sensing.identifiability import real_form
from incomplete_sensing.irreps import GROUPS, Action, named_action
from shared_utils import UserError

_LIMIT = 2**28
"""Largest number of entries of operators that the direct test takes, 2 GiB in float64."""


def read_array(path: str | Path, what: str) -> np.ndarray:
    """The one numeric array of a ``.npy`` or ``.npz`` file, without NaN. Raises UserError naming the file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.ndarray):
            with loaded:
                if len(loaded.files) != 1:
                    raise UserError(f"{path} holds {', '.join(loaded.files) or 'nothing'}: {what} is a single array")
                loaded = loaded[loaded.files[0]]
    except (ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable .npy or .npz file: {what} is an array in one") from error
    if loaded.dtype.kind not in "fiubc":
        raise UserError(f"{path} holds {loaded.dtype} entries: {what} is an array of numbers")
    if not np.isfinite(loaded).all():
        raise UserError(f"{path} holds NaN or infinite entries: {what} must be finite")
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
    """A basis (n, k), one direction a column."""
    basis = read_array(path, "a basis")
    if basis.ndim != 2 or (n is not None and len(basis) != n):
        raise UserError(f"{path} has shape {basis.shape}: a basis is ({n or 'n'}, k), one direction a column")
    return basis


def read_matrices(path: str | Path, real_signals: bool = False) -> list[np.ndarray]:
    """Operators as float64 matrices (m_g, n), complex ones over the reals.

    Matrices are read in their own precision, for rank decisions; any other layout through the reader of operators.
    """
    matrices = _stored_matrices(Path(path))
    if matrices is None:
        from incomplete_sensing.operators import read_operators

        family = read_operators(path).as_matrices(_LIMIT)
        if family is None:
            raise UserError(f"{path}: these operators are too large for the direct test ({_LIMIT} entries): use fewer")
        return [matrix.double().numpy() for matrix in family]
    if matrices.ndim == 2:
        matrices = matrices[None]
    if matrices.ndim != 3 or not matrices.size or matrices.shape[1] > matrices.shape[2]:
        raise UserError(f"{path} has shape {matrices.shape}: operators are (G, m, n) or (m, n) with m <= n")
    for g, matrix in enumerate(matrices):
        if not matrix.any():
            raise UserError(f"{path}: operator {g} is zero: it measures nothing, leave it out")
    return [real_form(matrix, real_signals) for matrix in matrices]


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
        except (ValueError, EOFError) as error:
            raise UserError(f"{path} is not a readable .npz file: save the operators again") from error
        if found is not None and not np.isfinite(found).all():
            raise UserError(f"{path} holds NaN or infinite entries: operators must be finite")
        return found
    return None


def read_group(name: str, shape: list[int] | None, step: int, n: int | None) -> Action:
    """A group by name and shape, or from a .npy file of permutations (|G|, n) or matrices (|G|, n, n)."""
    if name in GROUPS:
        if not shape:
            if n is None:
                raise UserError(f"the group {name} needs the shape it acts on: give --shape [28,28]")
            side = round(math.sqrt(n))
            shape = [side, side] if side * side == n else [n]
        action = named_action(name, shape, step)
    elif Path(name).suffix != ".npy":
        raise UserError(f"unknown group {name}: one of {', '.join(GROUPS)}, or a .npy file of its elements")
    else:
        elements = read_array(name, "a group")
        square = elements.ndim == 3 and elements.shape[1] == elements.shape[2]
        whole = elements.ndim == 2 and elements.dtype.kind in "iu"
        if not (square or whole):
            raise UserError(
                f"{name} has shape {elements.shape}: a group is permutations (|G|, n) or matrices (|G|, n, n)"
            )
        action = Action(elements.astype(np.float64) if square else elements)
    if n is not None and action.n != n:
        raise UserError(f"the group {name} acts on {action.n} entries, the signals have n = {n}: check --shape")
    return action
