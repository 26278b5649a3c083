"""What ``conditions`` answers: the theorems for the numbers, in words; ``direct_report`` for what is given."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from incomplete_sensing.data.arrays import read_basis, read_given, read_group, read_signals
from incomplete_sensing.dimension import estimate_dimension
from incomplete_sensing.direct_report import by_direct_tests
from incomplete_sensing.identifiability import (
    STATEMENTS,
    Assessment,
    Given,
    RowCounts,
    SelectingOperators,
    assess,
    column_space,
    row_counts,
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

    def __str__(self) -> str:
        return "\n".join(self.lines)


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
    given = None
    if operators is not None:
        n, m, G, given = _sizes_of(made, operators, read_given(operators, real_signals), n, m, G)
        if shape is None and isinstance(given, SelectingOperators) and len(given.shape) > 1:
            shape = list(given.shape)
    directions = None if basis is None else column_space(read_basis(basis, n))
    signals = None if data is None else read_signals(data, n)
    if n is None:
        n = len(directions) if directions is not None else None if signals is None else signals.shape[1]
    if n is None and shape is not None:
        n = math.prod(shape)
    action = None if group is None else read_group(group, shape, step, n)
    n = action.n if n is None and action is not None else n
    if action is not None and G is None and not isinstance(m, list):
        G = 1
    if n is None or m is None or (G is None and not isinstance(m, list)):
        missing = [name for name, value in (("n", n), ("m", m)) if value is None]
        raise UserError(f"{' and '.join(missing) or 'G'} not given: give --n, --m and --G, or --operators")
    interval = None
    if k is None and directions is not None:
        k = directions.shape[1]
    elif k is None and signals is not None:
        estimate = estimate_dimension(signals)
        top = n - 1
        k, interval = min(estimate.k, top), (min(max(0.0, estimate.low), top), min(estimate.high, top))
        made.say(f"k estimated from {len(signals)} samples: {k:.1f}, in [{interval[0]:.1f}, {interval[1]:.1f}] (95 %)")
    if k is None:
        raise UserError("k not given: give --k, or --data with samples to estimate it from (estimate_dimension)")
    if directions is not None and k != directions.shape[1]:
        raise UserError(f"k = {k:g} is given, but {basis} spans {directions.shape[1]} dimensions: leave --k out")
    _judge(made, n, row_counts(m, G), k, interval, (group, action), given, directions, signals)
    return made


def answer_operators(
    given: Given,
    k: float,
    interval: tuple[float, float] | None = None,
    group: str | None = None,
    action: Action | None = None,
) -> Answer:
    """The same for operators in memory, a model of dimension k in an interval, and perhaps the action of a group."""
    made = Answer()
    n, m, G, given = _sizes_of(made, "the family", given, None, None, None)
    _judge(made, n, row_counts(m, G), k, interval, (group, action), given, None, None)
    return made


def _judge(
    made: Answer,
    n: int,
    rows: RowCounts,
    k: float,
    interval: tuple[float, float] | None,
    symmetry: tuple[str | None, Action | None],
    given: Given | None,
    directions: np.ndarray | None,
    signals: np.ndarray | None,
) -> None:
    """Theorems, then the direct tests, which have the last word."""
    group, action = symmetry
    decomposed = None
    if group is not None and action is not None:
        decomposed = irreps(action)
        _describe_group(made, group, decomposed)
    _by_theorems(made, n, rows, k, interval, decomposed)
    if given is not None:
        tested = by_direct_tests(given, k, directions, signals, action, made.identified)
        made.say("", "your operators, tested directly:", *tested.lines)
        made.identified = tested.identified


def _sizes_of(
    made: Answer, path: str, given: Given, n: int | None, m: int | list[int] | None, G: int | None
) -> tuple[int, int | list[int], int, Given]:
    """n, m and G of given operators: m counts independent rows, and a repeated operator counts once."""
    kept, total = given.different(), given.num_operators
    if len(kept) < total:
        made.say(f"warning: {total - len(kept)} of {total} operators repeat another: effective G = {len(kept)}")
        given = given.subset(kept)
    counts = given.counts
    rows = counts[0] if len(set(counts)) == 1 else counts
    for name, wanted, found in (("n", n, given.n), ("m", m, rows), ("G", G, len(counts))):
        if wanted is not None and wanted != found:
            raise UserError(f"{name} = {wanted} is given, but {path} has {name} = {_short(found)}: leave it out")
    return given.n, rows, len(counts), given


def _short(found: int | list[int]) -> str:
    return str(found) if isinstance(found, int) or len(found) <= 6 else f"{min(found)} to {max(found)}"


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
    made: Answer, n: int, rows: RowCounts, k: float, interval: tuple[float, float] | None, decomposed: Irreps | None
) -> None:
    counts = f"m = {rows.least}" if rows.same else f"m from {rows.least} to {rows.most}"
    made.say(f"n = {n} unknowns, {counts} rows, G = {rows.G} operator{'s' * (rows.G > 1)}, model dimension k = {k:.4g}")

    def assessed(dimension: float) -> Assessment:
        return assess(n, rows, None, dimension, decomposed)

    found = assessed(k)
    made.say("", table(found), "", f"verdict: {found.verdict}.", *found.advice)
    if interval is not None:
        ends = [assessed(end).identified for end in interval]
        made.say(
            "The verdict on identification is the same over the whole interval of k."
            if ends == [found.identified] * 2
            else "The verdict on identification depends on where in its interval k lies: more samples, or a larger m or G."
        )
    made.say("", "The theorems are for almost every operator (generic, real); masks and Fourier rows are not generic.")
    made.say(*(f"{name}: {text}" for name, text in STATEMENTS.items()))
    made.identified = found.identified
