"""What is swept: a family of models, its sizes, the solvers and when a trial counts as a success."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from incomplete_sensing.generator import METHODS
from shared_utils import UserError

FAMILIES = {
    "subspace": ("closed_form", "varpro", "als", "nuclear_norm", "direct_test"),
    "matrix_completion": ("closed_form", "varpro", "als", "nuclear_norm", "direct_test"),
    "invariant": ("closed_form", "varpro", "als", "nuclear_norm", "direct_test"),
    "dictionary": ("mod",),
    "generator": METHODS,
}
"""The model families, and the solvers that each has."""

OPTIONS: dict[str, dict[str, float]] = {
    "closed_form": {},
    "direct_test": {},
    "varpro": {"iterations": 60, "starts": 3},
    "als": {"iterations": 150, "starts": 3},
    "nuclear_norm": {"iterations": 300},
    "mod": {"iterations": 40, "starts": 4},
    **{method: {"steps": 1500, "batch": 64, "learning_rate": 2e-3, "width": 48} for method in METHODS},
}
"""The options of each solver, and what they are where not given."""


@dataclass(frozen=True)
class Diagram:
    """What is swept. One of ``G`` and ``k`` has several values: the second axis, beside ``m``.

    Attributes:
        family: ``subspace`` (k-dimensional), ``matrix_completion`` (the same seen through masks of exactly m entries: a
            matrix of rank k with G N columns), ``invariant`` (a subspace invariant to the G circular shifts by n/G, one
            operator), ``dictionary`` (k-sparse in ``atoms`` unit atoms), ``generator`` (x = W_2 relu(W_1 z), z in
            R^k, ``hidden`` units).
        samples: N signals an operator (of the one operator, for ``invariant``).
        operators: ``gaussian`` or ``masks``.
        criterion: of linear families: ``projector``, ||P^ - P||_F / sqrt(2k), or ``signals``, ||X^ - X||_F / ||X||_F. For
            a dictionary the error is 1 - mean |cos| of matched atoms, for a generator the relative error of unseen
            signals.
        threshold: a trial succeeds with an error below it.
        options: of solvers, by name, see ``OPTIONS``.
    """

    family: str = "subspace"
    n: int = 20
    m: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 10, 12)
    G: tuple[int, ...] = (1, 2, 4, 5, 10, 20)
    k: tuple[int, ...] = (2,)
    samples: int = 10
    trials: int = 25
    solvers: tuple[str, ...] = ("closed_form", "als")
    operators: str = "gaussian"
    criterion: str = "projector"
    threshold: float = 1e-3
    seed: int = 0
    atoms: int | None = None
    hidden: int | None = None
    options: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("m", "G", "k", "solvers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check(self)

    @property
    def axis(self) -> str:
        """The second axis: ``G`` or ``k``."""
        return "k" if len(self.k) > 1 else "G"

    @property
    def rows(self) -> tuple[int, ...]:
        """The values of the second axis."""
        return self.k if self.axis == "k" else self.G

    def place(self, row: int) -> tuple[int, int]:
        """(G, k) of a value of the second axis."""
        return (self.G[0], row) if self.axis == "k" else (row, self.k[0])

    @property
    def num_atoms(self) -> int:
        """The atoms of a dictionary, the only family that has some."""
        assert self.atoms is not None
        return self.atoms

    def option(self, solver: str, name: str) -> Any:
        return self.options.get(solver, {}).get(name, OPTIONS[solver][name])


def _check(diagram: Diagram) -> None:
    if diagram.family not in FAMILIES:
        raise UserError(f"unknown family {diagram.family}: one of {', '.join(FAMILIES)}")
    known = FAMILIES[diagram.family]
    for solver in diagram.solvers:
        if solver not in known:
            raise UserError(f"unknown solver {solver} for {diagram.family}: one of {', '.join(known)}")
    for solver, options in diagram.options.items():
        for name in options:
            if name not in OPTIONS.get(solver, {}):
                raise UserError(
                    f"unknown option {solver}.{name}: {solver} has {', '.join(OPTIONS.get(solver, {})) or 'none'}"
                )
    for name in ("m", "G", "k", "solvers"):
        values = getattr(diagram, name)
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} = {list(values)}: give at least one value, each once")
    if len(diagram.G) > 1 and len(diagram.k) > 1:
        raise UserError("both G and k have several values: a diagram is over m and one of them, fix the other")
    for name, value in (("samples", diagram.samples), ("trials", diagram.trials)):
        if value < 1:
            raise UserError(f"{name} = {value}: at least 1 is needed")
    if not 1 <= min(diagram.m) <= max(diagram.m) <= diagram.n:
        raise UserError(f"m = {list(diagram.m)} with n = {diagram.n}: rows lie between 1 and n")
    if not 1 <= min(diagram.k) <= max(diagram.k) < diagram.n:
        raise UserError(f"k = {list(diagram.k)} with n = {diagram.n}: dimensions lie between 1 and n - 1")
    if min(diagram.G) < 1:
        raise UserError(f"G = {list(diagram.G)}: at least one operator is needed")
    if diagram.operators not in ("gaussian", "masks"):
        raise UserError(f"unknown operators {diagram.operators}: gaussian or masks")
    if diagram.family == "matrix_completion" and diagram.operators != "masks":
        raise UserError("matrix completion sees entries: its operators are masks (the family subspace takes gaussian)")
    if diagram.criterion not in ("projector", "signals"):
        raise UserError(f"unknown criterion {diagram.criterion}: projector or signals")
    if diagram.threshold <= 0:
        raise UserError(f"threshold = {diagram.threshold:g}: an error is not below zero, give a positive one")
    if diagram.family == "invariant" and any(diagram.n % order for order in diagram.G):
        raise UserError(f"G = {list(diagram.G)}: shifts by n/G form a group of order G where G divides n = {diagram.n}")
    if diagram.family == "dictionary" and (diagram.atoms or 0) < max(diagram.k):
        raise UserError(f"atoms = {diagram.atoms}: a dictionary needs at least as many atoms as its sparsity k")
    if diagram.family == "generator" and (diagram.hidden or 0) < 1:
        raise UserError(f"hidden = {diagram.hidden}: a generator needs hidden units")
