"""What ``conditions`` answers: the theorems for the numbers, the direct test for what is given, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from incomplete_sensing.data.arrays import read_basis, read_group, read_matrices, read_signals
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
    repeated,
    row_space,
    splitting_coverage,
    stacked_rank,
)
from incomplete_sensing.irreps import Action, Irreps, irreps
from shared_utils import UserError, logging


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
    """Everything that can be said from what is given; see ``commands.conditions`` for the arguments.

    Raises UserError for what is missing or does not fit together.
    """
    made = Answer()
    matrices = None
    if operators is not None:
        n, m, G, matrices = _sizes_of(made, operators, read_matrices(operators, real_signals), n, m, G)
    directions = None if basis is None else column_space(read_basis(basis, n))
    signals = None if data is None else read_signals(data, n)
    n = n or (len(directions) if directions is not None else signals.shape[1] if signals is not None else None)
    if n is None and shape is not None:
        n = math.prod(shape)
    action = None if group is None else read_group(group, shape, step, n)
    n = n or (action.n if action is not None else None)
    if action is not None and G is None:
        G = 1
    if n is None or m is None or (G is None and not isinstance(m, list)):
        missing = [name for name, value in (("n", n), ("m", m)) if value is None]
        raise UserError(f"{' and '.join(missing) or 'G'} not given: give --n, --m and --G, or --operators")
    interval = None
    if k is None and directions is not None:
        k = directions.shape[1]
    elif k is None and signals is not None:
        estimate = estimate_dimension(signals)
        k, interval = estimate.k, (max(0.0, estimate.low), min(estimate.high, n - 1))
        made.say(f"k estimated from {len(signals)} samples: {k:.1f}, in [{interval[0]:.1f}, {interval[1]:.1f}] (95 %)")
    if k is None:
        raise UserError("k not given: give --k, or --data with samples to estimate it from (estimate_dimension)")
    rows = repeated(m, G)
    decomposed = None
    if group is not None and action is not None:
        decomposed = irreps(action)
        _describe_group(made, group, decomposed)
    _by_theorems(made, n, rows, k, interval, decomposed)
    if matrices is not None:
        _directly(made, matrices, k, directions, signals, action)
    return made


def _sizes_of(
    made: Answer,
    path: str,
    matrices: list[np.ndarray],
    n: int | None,
    m: int | list[int] | None,
    G: int | None,
) -> tuple[int, int | list[int], int, list[np.ndarray]]:
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
            "the basis does not span an invariant model: some T_g moves it out of its span; correct it, or leave --group out"
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
