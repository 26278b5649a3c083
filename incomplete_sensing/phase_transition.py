"""How often a model is recovered from incomplete measurements, over (m, G) or (m, k), beside what the theory says."""

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "subspace.yaml"


def phase_transition(
    family: str,
    n: int,
    m: list[int],
    G: list[int],
    k: list[int],
    samples: int,
    trials: int,
    solvers: list[str],
    threshold: float,
    operators: str = "gaussian",
    criterion: str = "projector",
    seed: int = 0,
    atoms: int | None = None,
    hidden: int | None = None,
    options: dict[str, dict[str, Any]] | None = None,
    quick: bool = False,
    batch_size: int | None = None,
    memory_mb: int = 256,
    device: str = "cpu",
    out: str | None = None,
    resume: bool = False,
) -> None:
    """Sweep a phase diagram: rates as .npz and .csv, and a picture with the theory's curves over them.

    Without --config that is configs/subspace.yaml; --quick lays the smaller configs/subspace_quick.yaml over it (for any
    config the file beside it whose name ends in _quick.yaml): a diagram in less than a minute.

    Args:
        family: subspace, matrix_completion, invariant, dictionary, generator.
        n: entries of a signal.
        m: rows of an operator, the first axis.
        G: numbers of operators (for invariant, orders of the group); one, or the second axis.
        k: dimensions of the model (sparsity of a dictionary); one, or the second axis.
        samples: signals measured by each operator.
        trials: independent draws a cell.
        solvers: panels side by side: closed_form, als, nuclear_norm, direct_test (the truth known); mod for a
            dictionary; mc, moi, supervised for a generator.
        threshold: the error below which a trial succeeds.
        operators: gaussian or masks.
        criterion: error of linear models: projector or signals (relative).
        seed: of all draws.
        atoms: atoms of a dictionary.
        hidden: hidden units of a generator.
        options: of solvers, e.g. {als: {iterations: 150, starts: 3}}.
        quick: the smaller diagram of the config's _quick.yaml.
        batch_size: trials computed at once; as many as fit memory_mb where not given. Results do not depend on it.
        memory_mb: bound on the arrays of a solver, as long as one trial fits it.
        device: auto, cpu, cuda.
        out: folder for the results; a new runs/phase_transition/version_N where not given.
        resume: go on with the sweep in --out, whose finished cells are kept.
    """
    from incomplete_sensing.phase_transition import Diagram, sweep, write_results
    from shared_utils import UserError, distributed, logging

    chosen = {name: value for name, value in locals().items() if name in Diagram.__dataclass_fields__}
    diagram = Diagram(**chosen | {"options": options or {}})
    if (batch_size is not None and batch_size < 1) or memory_mb < 1:
        raise UserError(f"batch_size = {batch_size}, memory_mb = {memory_mb}: both are at least 1")
    if resume and out is None:
        raise UserError("--resume goes on with the sweep of a folder: name it with --out")
    with distributed.process_group():
        folder = (
            Path(out)
            if out
            else distributed.broadcast(logging.run_folder("phase_transition") if distributed.rank() == 0 else None)
        )
        rates = sweep(diagram, folder, resume, batch_size, memory_mb, device)
        if distributed.rank() == 0:
            print(write_results(folder, rates))
            print(f"\nresults: {folder}")


def with_quick(arguments: list[str]) -> list[str]:
    """``--quick`` lays the ``_quick.yaml`` beside the config over it, before what is typed, which still wins."""
    if "--quick" not in arguments:
        return arguments
    files = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("--config=")]
    files += [following for argument, following in pairwise(arguments) if argument == "--config"]
    rest = [argument for argument in arguments if argument not in files and not argument.startswith("--config")]
    overlay = Path(files[-1])
    files.append(str(overlay.with_name(f"{overlay.stem}_quick{overlay.suffix}")))
    return [part for file in files for part in ("--config", file)] + rest


def main(argv: list[str] | None = None) -> int:
    # Before MKL is loaded: the same matrix gives the same bits wherever it lies in memory, so that results do not depend
    # on how many trials are computed at once.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    arguments = cli.with_default_config(sys.argv[1:] if argv is None else argv, DEFAULT)
    return cli.run(phase_transition, with_quick(arguments))


if __name__ == "__main__":
    sys.exit(main())
