"""Methods side by side on the same measurements: the table of one or several seeds, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mrf_unroll import figures
from mrf_unroll.data.measure import Batch
from mrf_unroll.data.slices import Slice
from mrf_unroll.evaluation.runs import Memory, Parts, Record, measured, run_study
from mrf_unroll.evaluation.study import Study, available_methods, open_study, title
from mrf_unroll.evaluation.tables import average, by_tissue, summary, write_scores
from mrf_unroll.metrics import NAMES, errors_of_sums, map_sums
from shared_utils import UserError, distributed, files, logging

RESULTS = "results.json"


@dataclass
class Comparison:
    """A table a seed. tuned: settings of the first seed's classical methods. slices: how many were tested on."""

    seeds: list[int]
    tables: list[list[dict[str, Any]]]
    tuned: dict[str, dict[str, Any]]
    slices: int

    def rows(self) -> list[dict[str, Any]]:
        """The mean table."""
        return average(self.tables)

    def __str__(self) -> str:
        rows = [{key: value for key, value in row.items() if key != "TSMI NRMSE"} for row in self.rows()]
        subject = "several seeds" if len(self.tables) > 1 else "one seed"
        lines = [logging.table(rows, f"errors inside the mask, pooled over {self.slices} slices, {subject}:")]
        for name, options in self.tuned.items():
            if options:
                settings = ", ".join(f"{key} = {value:g}" for key, value in options.items())
                lines.append(f"{title(name)}: {settings} (best on training slices)")
        return "\n".join(lines)


def compare(
    sources: Sequence[str | Path | None],
    out: str | Path,
    methods: Sequence[str] | None = None,
    slices: Sequence[Slice] | None = None,
    limit: int | None = None,
    parts: Parts | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare methods for one or several trained networks (seeds); tables and figures go into ``out``.

    Args:
        sources: see ``pretrained.load``.
        out: folder of ``methods.csv``, ``methods.md``, ``scores.csv``, ``tissue.csv`` (errors by T1 and T2),
            ``results.json`` (what a claim is judged by) and ``figures``.
        methods: None for all there are.
        slices: to test on; the test split of each network's own data where None.
        limit: at most this many slices.
        parts: where finished slices are kept; shared over the ranks where it shares them.
        changes: see ``open_study``.

    Raises:
        UserError: a network cannot be evaluated, or the networks have different baselines.
    """
    parts = Memory() if parts is None else parts
    studies = [open_study(source, **dict(changes or {})) for source in sources]
    names = list(methods) if methods is not None else available_methods(studies[0])
    if methods is None and any(available_methods(study) != names for study in studies):
        raise UserError(
            "the networks have different baselines: compare them one by one, or name --methods that all have"
        )
    tables, scored = [], []
    first: tuple[Study, list[Record], Slice] | None = None
    tested: list[Slice] = []
    for number, study in enumerate(studies):
        tested = list(slices if slices is not None else study.data.slices["test"])[:limit]
        records = run_study(study, names, tested, parts, f"network_{number}/", shown=0 if first else 1)
        tables.append(summary(study, records))
        scored += [(study.seed, record) for record in records]
        first = first or (study, records, tested[0])
    assert first is not None
    seeds = [study.seed for study in studies]
    comparison = Comparison(seeds, tables, first[0].tuned, len(tested))
    if distributed.rank() == 0:
        out = Path(out)
        logging.write_table(comparison.rows(), out / "methods")
        write_scores(scored, out / "scores.csv")
        logging.write_table(by_tissue(record for _, record in scored), out / "tissue")
        _draw(*first, out / "figures")
        files.write_json({"seeds": seeds, "tables": tables}, out / RESULTS)
    return comparison


def read_results(folder: str | Path) -> tuple[list[int], list[list[dict[str, Any]]]]:
    """Seeds and tables of a comparison in ``folder``.

    Raises:
        UserError: where there is none, or it is damaged.
    """
    path = Path(folder) / RESULTS
    content = files.read_json(path, "result of evaluate.py")
    if not isinstance(content, dict) or set(content) != {"seeds", "tables"}:
        raise UserError(f"{path} is not a result of evaluate.py: run it with --out {folder}")
    return content["seeds"], content["tables"]


def _draw(study: Study, records: Sequence[Record], one: Slice, folder: Path) -> None:
    """The first slice by every method."""
    batch = measured(study, one, 0)
    shown = {title(record.method): record.maps for record in records if record.maps is not None}
    figures.map_grid(folder / "maps.png", batch.maps[0], batch.mask[0], shown)
    if title("unrolled") in shown:
        figures.iterations(folder / "iterations.png", iteration_errors(study, batch))
        figures.agreement(folder / "agreement.png", batch.maps[0], shown[title("unrolled")], batch.mask[0])


@torch.no_grad()
def iteration_errors(study: Study, batch: Batch) -> dict[str, list[float]]:
    """NRMSE of every map after each iteration of the unrolled network."""
    protocol, network = study.data.protocol, study.trained.unrolled
    assert batch.adjoint is not None
    iterates = network(batch.adjoint, protocol.normal, protocol.norm(batch.adjoint.dtype))
    errors: dict[str, list[float]] = {name: [] for name in NAMES}
    for maps in iterates.maps:
        own = errors_of_sums(map_sums(maps, batch.maps, batch.mask))
        for name in NAMES:
            errors[name].append(own[f"{name}_NRMSE"])
    return errors
