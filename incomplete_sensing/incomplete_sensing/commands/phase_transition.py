"""Sweep how often a model is recovered, over (m, G) or (m, k), beside what the theory says."""

import os
import sys
from pathlib import Path
from typing import Any

from shared_utils import arguments, cli

DEFAULT = "subspace.yaml"


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
    device: str = "auto",
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
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
        solvers: panels side by side: closed_form, varpro, als, nuclear_norm, direct_test (the truth known); mod for a
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
        device: cpu, cuda, mps; auto is cpu, where many small matrices are faster.
        out: folder for the results; a new runs/phase_transition/version_N where not given.
        resume: continue the sweep in --out, whose finished cells are kept.
        overwrite: begin again where --out holds a sweep or anything else.
    """
    from incomplete_sensing.phase_diagrams.diagram import Diagram
    from incomplete_sensing.phase_diagrams.results import summary
    from incomplete_sensing.phase_diagrams.sweep import sweep
    from shared_utils import UserError, distributed, logging

    chosen: dict[str, Any] = {name: value for name, value in locals().items() if name in Diagram.__dataclass_fields__}
    diagram = Diagram(**{**chosen, "options": options or {}})
    if (batch_size is not None and batch_size < 1) or memory_mb < 1:
        raise UserError(f"batch_size = {batch_size}, memory_mb = {memory_mb}: both are at least 1")
    if resume and out is None:
        raise UserError("--resume continues the sweep of a folder: name it with --out")
    with distributed.process_group():
        folder: str = (
            out
            if out is not None
            else distributed.broadcast(str(logging.run_folder("phase_transition")) if distributed.rank() == 0 else None)
        )
        rates = sweep(diagram, folder, resume, overwrite, batch_size, memory_mb, "cpu" if device == "auto" else device)
        if distributed.rank() == 0:
            print(f"{summary(rates)}\n\nresults: {folder}")


def with_quick(words: list[str]) -> list[str]:
    """``--quick`` lays the ``_quick.yaml`` beside the config over it, before what is typed, which still wins."""
    if "--quick" not in words:
        return words
    words = arguments.with_default_config(words, arguments.configs_of("incomplete_sensing") / DEFAULT)
    place = max(place for place, word in enumerate(words) if word.partition("=")[0] == "--config")
    separate = words[place] == "--config"
    name = words[place + 1] if separate else words[place].partition("=")[2]
    after = place + 1 + separate
    return [*words[:after], "--config", str(Path(name).with_stem(f"{Path(name).stem}_quick")), *words[after:]]


def main(argv: list[str] | None = None) -> int:
    # Before MKL is loaded: the same matrix gives the same bits wherever it lies in memory, so that results do not depend
    # on how many trials are computed at once.
    os.environ.setdefault("MKL_CBWR", "AUTO")
    words = with_quick(list(sys.argv[1:] if argv is None else argv))
    return cli.run(phase_transition, words, default_config=DEFAULT)
