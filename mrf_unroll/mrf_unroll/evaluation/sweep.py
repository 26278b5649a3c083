"""Methods over the values of one option of the measurement, the networks trained once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mrf_unroll import figures
from mrf_unroll.data.slices import Slice
from mrf_unroll.evaluation.runs import Memory, Parts, run_study
from mrf_unroll.evaluation.study import available_methods, open_study, title
from mrf_unroll.evaluation.tables import summary
from shared_utils import UserError, distributed, logging


def parse_sweep(option: str) -> tuple[str, list[float]]:
    """``samples:24,32,48`` as the option's name and its values.

    Raises:
        UserError: for anything else.
    """
    key, _, listed = option.partition(":")
    try:
        return key, [float(value) if "." in value or "e" in value else int(value) for value in listed.split(",")]
    except ValueError:
        raise UserError(f"--sweep {option}: give an option and its values, as samples:24,32,48") from None


def sweep(
    source: str | Path | None,
    out: str | Path,
    option: str,
    methods: Sequence[str] | None = None,
    slices: Sequence[Slice] | None = None,
    limit: int | None = None,
    parts: Parts | None = None,
    changes: Mapping[str, Any] | None = None,
) -> str:
    """Compare methods at every value of ``option``: sweep.csv, sweep.md and figures/sweep.png in ``out``; the table.

    Args:
        option: see ``parse_sweep``; the rest as in ``compare``.
    """
    key, values = parse_sweep(option)
    parts, changes = Memory() if parts is None else parts, dict(changes or {})
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[float]]] = {}
    for value in values:
        protocol = dict(changes.get("protocol") or {})
        own = {**changes, key: value} if key == "noise" else {**changes, "protocol": {**protocol, key: value}}
        study = open_study(source, **own)
        tested = list(slices if slices is not None else study.data.slices["test"])[:limit]
        names = list(methods) if methods is not None else available_methods(study)
        for row in summary(study, run_study(study, names, tested, parts, f"{key}_{value}/")):
            name = title(row["method"])
            rows.append({key: value, "method": name, **{column: row[column] for column in row if column != "method"}})
            for map_name in ("T1", "T2"):
                curves.setdefault(name, {}).setdefault(map_name, []).append(row[f"{map_name} NRMSE"])
    if distributed.rank() == 0:
        logging.write_table(rows, Path(out) / "sweep")
        figures.sweep(Path(out) / "figures" / "sweep.png", key, values, curves)
    shown = [{column: row[column] for column in row if "MAPE" not in column and column != "TSMI NRMSE"} for row in rows]
    return logging.table(shown, f"errors over {key}, the networks trained once:")
