"""Tables of a comparison: a row a method, pooled over slices and averaged over seeds; a row a slice."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrf_unroll.evaluation.runs import Record
from mrf_unroll.evaluation.study import Study, title
from mrf_unroll.metrics import NAMES, TISSUE_EDGES, errors_of_sums
from shared_utils import files


def summary(study: Study, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row a method: errors pooled over all masked voxels, data consistency, CPU seconds a slice, sizes."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.method, []).append(record)
    rows = []
    for name, own in by_method.items():
        errors = errors_of_sums(sum((record.sums for record in own), torch.zeros((), dtype=torch.float64)))
        row: dict[str, Any] = {"method": name}
        row |= {f"{map_name} NRMSE": errors[f"{map_name}_NRMSE"] for map_name in NAMES}
        row |= {f"{map_name} MAPE %": errors[f"{map_name}_MAPE_percent"] for map_name in NAMES}
        row["TSMI NRMSE"] = (sum(r.series[0] for r in own) / sum(r.series[1] for r in own)) ** 0.5
        row["|Ax-y|/|y|"] = float(np.mean([record.consistency for record in own]))
        row["CPU s a slice"] = float(np.median([record.seconds for record in own]))
        row["parameters"] = study.trained.parameters(name)
        row["training steps"] = study.trained.steps.get(name)
        rows.append(row)
    return rows


def average(tables: Sequence[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several seeds as one table: means, and the standard deviation of each NRMSE beside it."""
    rows = []
    for places in zip(*tables, strict=True):
        row: dict[str, Any] = {"method": title(places[0]["method"])}
        for key in places[0]:
            values = [place[key] for place in places]
            if key == "method":
                continue
            if not isinstance(values[0], float):
                row[key] = values[0]
                continue
            row[key] = float(np.mean(values))
            if "NRMSE" in key and key != "TSMI NRMSE" and len(tables) > 1:
                row[f"{key.split()[0]} +-"] = float(np.std(values))
        rows.append(row)
    return rows


def write_scores(records: Iterable[tuple[int, Record]], path: Path) -> None:
    """A row a seed, slice and method."""
    with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{name}_{kind}" for name in NAMES for kind in ("NRMSE", "MAPE_percent", "MAE", "RMSE", "bias")]
        writer.writerow(["seed", "subject", "method", *columns, "consistency", "cpu_seconds"])
        for seed, record in records:
            errors = errors_of_sums(record.sums)
            writer.writerow(
                [
                    *(seed, record.subject, record.method),
                    *(f"{errors[name]:.6g}" for name in columns),
                    *(f"{record.consistency:.6g}", f"{record.seconds:.4g}"),
                ]
            )


def by_tissue(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row a method and bin of true T1 and T2 that has voxels: NRMSE of each map, pooled over its voxels."""
    pooled: dict[str, torch.Tensor] = {}
    for record in records:
        pooled[record.method] = pooled.get(record.method, torch.zeros((), dtype=torch.float64)) + record.tissue
    ranges = [[_range_ms(low, high) for low, high in pairwise(edges)] for edges in TISSUE_EDGES]
    rows = []
    for one, other in product(range(len(ranges[0])), range(len(ranges[1]))):
        for method, sums in pooled.items():
            own = sums[one, other]
            voxels = int(own[0, 0])
            if not voxels:
                continue
            errors = errors_of_sums(own)
            row: dict[str, Any] = {"T1 [ms]": ranges[0][one], "T2 [ms]": ranges[1][other], "method": title(method)}
            row |= {f"{name} NRMSE": errors[f"{name}_NRMSE"] for name in NAMES}
            rows.append({**row, "voxels": voxels})
    return rows


def _range_ms(low: float, high: float) -> str:
    return f"{1000 * low:g} to {1000 * high:g}" if np.isfinite(high) else f"above {1000 * low:g}"
