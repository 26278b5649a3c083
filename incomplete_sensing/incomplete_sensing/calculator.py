"""What ``conditions.py`` answers: the theorems for the numbers, the direct test for what is at hand, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from incomplete_sensing.dimension import estimate_dimension
from incomplete_sensing.identifiability import (
    STATEMENTS,
    Assessment,
    assess,
    column_space,
    consistent_set,
    different_operators,
    equivariance_defect,
    equivariance_warning,
    local_tests,
    orbit,
    real_form,
    repeated,
    row_space,
    splitting_coverage,
    stacked_rank,
)
from incomplete_sensing.irreps import GROUPS, Action, Irreps, irreps, named_action
from shared_utils import UserError, logging

_LIMIT = 2**28
"""Largest number of entries of operators that the direct test takes, 2 GiB in float64."""


# What users hand in -------------------------------------------------------------------------------------------------


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
        signals = np.concatenate([signals.real, signals.imag], axis=1)
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
        if shape is None and n is None:
            raise UserError(f"the group {name} needs the shape it acts on: give --shape [28,28]")
        side = round(math.sqrt(n)) if shape is None else 0
        guessed = [side, side] if shape is None and side * side == n else [n]
        action = named_action(name, shape or guessed, step)
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


# The answer ---------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """Lines to print, and whether the model is identified (None: left open)."""

    lines: list[str] = field(default_factory=list)
    identified: bool | None = None

    def say(self, *lines: str) -> None:
        self.lines += lines


def table(assessment: Assessment) -> str:
    """The conditions of an assessment as a text table."""
    return logging.table(
        [
            {
                "condition": condition.name,
                "inequality": condition.statement,
                "kind": condition.kind,
                "for": condition.assumes,
                "bound": f"{condition.bound:.4g}",
                "here": f"{condition.here:.4g}",
                "margin": f"{condition.margin:+.4g}",
                "holds": "yes" if condition.holds else "no",
            }
            for condition in assessment.conditions
        ]
    )


def answer(
    n: int | None = None,
    m: int | list[int] | None = None,
    G: int | None = None,
    k: float | None = None,
    operators: str | None = None,
    basis: str | None = None,
    data: str | None = None,
    group: str | None = None,
    shape: list[int] | None = None,
    step: int = 1,
    real_signals: bool = False,
) -> Answer:
    """Everything that can be said from what is given; see ``conditions.py`` for the arguments.

    Raises UserError for what is missing or does not fit together.
    """
    made = Answer()
    matrices = None if operators is None else read_matrices(operators, real_signals)
    if matrices is not None:
        n, m, G, matrices = _sizes_of(made, operators, matrices, n, m, G)
    directions = None if basis is None else column_space(read_basis(basis, n))
    signals = None if data is None else read_signals(data, n)
    n = n or (len(directions) if directions is not None else signals.shape[1] if signals is not None else None)
    if n is None and shape is not None:
        n = math.prod(shape)
    action = None if group is None else read_group(group, shape, step, n)
    n = n or (action.n if action is not None else None)
    if action is not None and G is None:
        G = 1
    missing = [name for name, value in (("n", n), ("m", m)) if value is None]
    if missing or (G is None and not isinstance(m, list)):
        raise UserError(f"{' and '.join(missing) or 'G'} not given: give --n, --m and --G, or --operators")
    interval = None
    if k is None and directions is not None:
        k = directions.shape[1]
    elif k is None and signals is not None:
        estimate = estimate_dimension(signals)
        k, interval = estimate.k, (max(0.0, estimate.low), min(estimate.high, n - 1))
        made.say(f"k estimated from {len(signals)} samples: {k:.1f}, in [{interval[0]:.1f}, {interval[1]:.1f}] (95 %)")
    if k is None:
        raise UserError("k not given: give --k, or --data with samples to estimate it from (estimate_dimension.py)")
    rows = repeated(m, G)
    decomposed = None
    if action is not None:
        decomposed = irreps(action)
        _describe_group(made, group, decomposed)
    _by_theorems(made, n, rows, k, interval, decomposed)
    if matrices is not None:
        _directly(made, matrices, k, directions, signals, action)
    return made


def _sizes_of(made: Answer, path: str, matrices: list[np.ndarray], n, m, G):
    """n, m and G of given operators: m counts independent rows, and a repeated operator counts once."""
    kept = different_operators(matrices)
    if len(kept) < len(matrices):
        made.say(
            f"warning: {len(matrices) - len(kept)} of {len(matrices)} operators repeat another: effective G = {len(kept)}"
        )
    matrices = [matrices[g] for g in kept]
    counts = [len(row_space(matrix)) for matrix in matrices]
    width, rows = matrices[0].shape[1], counts[0] if len(set(counts)) == 1 else counts
    for name, given, found in (("n", n, width), ("m", m, rows), ("G", G, len(matrices))):
        if given is not None and given != found:
            raise UserError(f"{name} = {given} is given, but {path} has {name} = {found}: leave it out")
    return width, rows, len(matrices), matrices


def _describe_group(made: Answer, name: str, found: Irreps) -> None:
    kinds = dict.fromkeys(zip(found.dimensions, found.multiplicities, strict=True), 0)
    for kind in zip(found.dimensions, found.multiplicities, strict=True):
        kinds[kind] += 1
    listed = ", ".join(f"{count} x (s={s}, c={c})" for (s, c), count in list(kinds.items())[:6])
    made.say(
        f"group {name}: {found.order} elements{' (cyclic)' if found.cyclic else ''} on n = {found.n}; irreps: {listed}"
        f"{', ...' if len(kinds) > 6 else ''}; m >= {found.necessary_rows} necessary (n/|G| = {found.n / found.order:.4g})"
    )


def _by_theorems(
    made: Answer, n: int, rows: list[int], k: float, interval: tuple[float, float] | None, decomposed: Irreps | None
) -> None:
    counts = f"m = {rows[0]}" if len(set(rows)) == 1 else f"m from {min(rows)} to {max(rows)}"
    made.say(
        f"n = {n} unknowns, {counts} rows, G = {len(rows)} operator{'s' * (len(rows) > 1)}, model dimension k = {k:.4g}"
    )
    if decomposed is not None and len(rows) > 1:
        made.say("C4 and C6 are about one operator: with several and a group, only the direct test decides.")
        decomposed = None
    found = assess(n, rows, None, k, decomposed)
    made.say("", table(found), "", f"verdict: {found.verdict}.", *found.advice)
    if interval is not None:
        ends = [assess(n, rows, None, end, decomposed).identified for end in interval]
        made.say(
            "The verdict on identification is the same over the whole interval of k."
            if ends == [found.identified] * 2
            else "The verdict on identification depends on where in its interval k lies: more samples, or a larger m or G."
        )
    made.say("", "The theorems are for almost every operator (generic, real); masks and Fourier rows are not generic.")
    made.say(*(f"{name}: {text}" for name, text in STATEMENTS.items()))
    made.identified = found.identified


def _directly(
    made: Answer,
    matrices: list[np.ndarray],
    k: float,
    directions: np.ndarray | None,
    signals: np.ndarray | None,
    action: Action | None,
) -> None:
    """Test the operators themselves; what they say stands above the theorems."""
    n, seen, by_theorem = matrices[0].shape[1], matrices, made.identified
    made.say("", "your operators, tested directly:")
    if action is not None:
        seen = [moved for matrix in matrices for moved in orbit(matrix, action)]
        made.say(*_equivariance(matrices, action))
    rank = stacked_rank([row_space(matrix) for matrix in seen])
    condition = "C1: rank [A_1; ...; A_G]" if action is None else "C4: rank [A T_g]_g"
    made.say(
        f"  {condition} = {rank} of n = {n}: {'holds' if rank == n else 'fails, no method can identify any model'}"
    )
    if masks := _as_masks(matrices):
        missed = int((~np.any(masks, axis=0)).sum())
        made.say(
            f"  masks: {missed or 'no'} entries are seen by no operator; masks are not generic, C2 decides nothing here"
        )
        share = splitting_coverage(np.stack(masks))
        made.say(f"  C10: {share:.0%} of random half splits leave every entry learnable for a splitting loss")
    if directions is not None:
        if action is not None:
            _check_invariant(directions, action)
        tests, what = [consistent_set(seen, directions)], "the subspace"
    elif signals is not None:
        tests, what = local_tests(seen, signals, max(1, math.ceil(k))), "tangents of the data"
    else:
        whole = math.ceil(k)
        drawn = np.random.default_rng(0).standard_normal((n, whole))
        tests, what = [consistent_set(seen, drawn)], f"a random subspace of dimension {whole}"
        if action is not None:
            made.say("  no --basis or --data: whether an invariant model is identified is not tested")
            made.identified = False if rank < n else by_theorem
            return
    passed = sum(test.identified for test in tests)
    worst = max(tests, key=lambda test: (test.dimension - test.k, -test.smallest_kept))
    if len(tests) == 1:
        word = "identified" if passed else "not identified"
        made.say(
            f"  {what}: {word}, dim X^ = {worst.dimension} for k = {worst.k}"
            + ("" if passed else f" ({worst.dimension - worst.k} directions too many)")
        )
    else:
        made.say(
            f"  {what} (first order, local): {passed} of {len(tests)} identified, worst dim X^ = {worst.dimension} for {worst.k}"
        )
    if passed:
        weakest = min((test for test in tests if test.identified), key=lambda test: test.smallest_kept)
        made.say(
            f"  stability: smallest retained singular value {weakest.smallest_kept:.2g} of the largest (1 is best, 0 is "
            f"lost), largest dropped {weakest.largest_dropped:.1g}"
        )
    blind = sum(not all(test.recoverable) for test in tests)
    made.say(
        "  recovery: every operator is one-to-one on it"
        if not blind
        else f"  recovery: {len(worst.recoverable) - sum(worst.recoverable)} of {len(worst.recoverable)} operators are not "
        "one-to-one on it"
    )
    made.identified = passed == len(tests)
    if by_theorem is not None and by_theorem != made.identified:
        made.say(
            "  The direct test disagrees with the theorem, and is right: these operators are not generic."
            if by_theorem
            else "  The direct test disagrees with the numbers: check that k is right."
        )
    made.say(f"your operators: {'identified' if made.identified else 'not identified'}")


def _equivariance(matrices: list[np.ndarray], action: Action, most: int = 64) -> list[str]:
    """C5 for each operator, on at most ``most`` elements of the group."""
    chosen = np.random.default_rng(0).permutation(action.order)[:most]
    transforms = [lambda v, g=int(g): action.left_product(g, v) for g in chosen]
    probe = np.random.default_rng(1).standard_normal((action.n, 1))
    defects = []
    for matrix in matrices:
        rows = row_space(matrix)
        defects.append(
            equivariance_defect(lambda v, a=rows: a @ v, lambda y, a=rows: a.conj().T @ y, transforms, [probe])
        )
    blind = all(len(row_space(matrix)) < action.n for matrix in matrices)
    warning = equivariance_warning(max(defects)) if blind else None
    return [f"  warning: {warning}"] if warning else [f"  C5: not equivariant to the group (defect {max(defects):.2g})"]


def _check_invariant(directions: np.ndarray, action: Action) -> None:
    moved = max(
        np.linalg.norm(turned - directions @ (directions.conj().T @ turned))
        for turned in (action.left_product(g, directions) for g in range(action.order))
    )
    if moved > 1e-6:
        raise UserError(
            "the basis does not span an invariant model: some T_g moves it out of its span; mend it, or leave --group out"
        )


def _as_masks(matrices: list[np.ndarray]) -> list[np.ndarray] | None:
    """The entries that each operator keeps, where all of them only select entries."""
    masks = []
    for matrix in matrices:
        rows = matrix[matrix.any(axis=1)]
        if ((rows != 0).sum(axis=1) != 1).any() or (rows.sum(axis=1) != 1).any():
            return None
        masks.append(rows.any(axis=0))
    return masks
