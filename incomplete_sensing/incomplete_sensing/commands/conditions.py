"""Say whether a model can be learned from these measurements at all."""

from shared_utils import cli


def conditions(
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
    completion: str | None = None,
) -> None:
    """Is the signal model identified by incomplete measurements, is recovery unique, what is missing?

    From numbers (--n 784 --m 100 --G 40 --k 12) by the theorems, which are for almost every operator; with --operators
    by a direct test of exactly these. Exit status: 0 identified, 1 not identified or left open, 2 bad input.

    Args:
        n: entries of a signal (complex problems count real dimensions).
        m: rows of an operator, or a list of one count an operator.
        G: number of different operators.
        k: dimension of the model; from --basis or --data where not given.
        operators: .npy (G, m, n), or .npz of matrices, masks (G, H, W) or any layout of the README.
        basis: .npy (n, k), columns that span a linear model.
        data: .npy (N, n) or images (N, H, W), samples of the signals: for k, and for tests on tangents.
        group: the model is invariant to shift, rot90, flip, dihedral, trivial, or to the elements in a .npy file.
        shape: what the group acts on, [H,W], [C,H,W] or [n]; channels keep their places.
        step: of the shifts.
        real_signals: signals are real although the operators are complex.
        completion: another question: can the matrix (n, N) in this .npy, NaN where an entry is missing, be completed at rank k?
    """
    from incomplete_sensing.completion_report import completion_answer
    from incomplete_sensing.identifiability_report import answer
    from shared_utils import UserError

    if completion is not None:
        others = {"n": n, "m": m, "G": G, "operators": operators, "basis": basis, "data": data, "group": group}
        if given := [name for name, value in others.items() if value is not None]:
            raise UserError(f"--completion asks about a matrix and takes --k alone: leave {', '.join(given)} out")
        lines, identified = completion_answer(completion, k)
    else:
        found = answer(n, m, G, k, operators, basis, data, group, shape, step, real_signals)
        lines, identified = found.lines, found.identified
    print("\n".join(lines))
    if not identified:
        raise SystemExit(1)


def main(argv: list[str] | None = None) -> int:
    # "Not identified" is an answer, not an error: it has an exit status of its own.
    try:
        return cli.run(conditions, argv)
    except SystemExit as answered:
        return answered.code if isinstance(answered.code, int) else int(answered.code is not None)
