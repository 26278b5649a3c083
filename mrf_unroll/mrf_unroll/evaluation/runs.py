"""Every method on every slice: what is measured of them, and how it is kept until all of it is there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mrf_unroll.data.measure import Batch
from mrf_unroll.data.slices import Slice
from mrf_unroll.evaluation.study import Method, Study, build_methods, tune_methods
from mrf_unroll.methods import Result, match_maps
from mrf_unroll.metrics import data_consistency, map_sums, tissue_sums, tsmi_errors
from shared_utils.logging import progress


class Parts(Protocol):
    """Where finished parts are kept: ``shared_utils.work.Work``, or ``Memory``."""

    def finish(self, names: Sequence[str], compute: Callable[[str], Mapping[str, Any]], description: str = ...) -> None:
        """Compute and keep what is missing of ``names``."""
        ...

    def read(self, name: str) -> Mapping[str, np.ndarray]:
        """The arrays of a part."""
        ...


class Memory:
    """Parts of a comparison that is not kept on disk; on one process."""

    def __init__(self) -> None:
        self.parts: dict[str, Mapping[str, Any]] = {}

    def finish(
        self, names: Sequence[str], compute: Callable[[str], Mapping[str, Any]], description: str = "working"
    ) -> None:
        for name in progress([name for name in names if name not in self.parts], description):
            self.parts[name] = {key: np.asarray(value) for key, value in compute(name).items()}

    def read(self, name: str) -> Mapping[str, np.ndarray]:
        return self.parts[name]


@dataclass
class Record:
    """One method on one slice: ``map_sums`` of all voxels and by tissue, of the time series (|e|^2, |truth|^2), and the rest."""

    method: str
    subject: str
    sums: Tensor
    tissue: Tensor
    series: tuple[float, float]
    consistency: float
    seconds: float
    maps: Tensor | None = None


def run_study(
    study: Study, names: Sequence[str], slices: Sequence[Slice], parts: Parts, prefix: str = "", shown: int = 0
) -> list[Record]:
    """Tune the classical methods, then measure every slice and reconstruct it by every method.

    Args:
        prefix: of the parts' names.
        shown: maps are kept of this many slices.
    """
    build_methods(study, names)  # a name that is not known ends here
    tuning = f"{prefix}tuning"
    parts.finish([tuning], lambda _: {"options": json.dumps(tune_methods(study, names))}, "tuning")
    study.tuned = json.loads(str(parts.read(tuning)["options"]))
    methods = build_methods(study, names)
    places = {f"{prefix}slice_{place:04d}": place for place in range(len(slices))}

    def compute(part: str) -> dict[str, Any]:
        place = places[part]
        return _stacked(measure(study, methods, slices[place], place, keep_maps=place < shown))

    parts.finish(list(places), compute, "reconstructing")
    return [record for part, place in places.items() for record in _records(parts.read(part), names, slices[place])]


def measured(study: Study, one: Slice, place: int) -> Batch:
    """The measurements of the slice in ``place``, which follow from it and the seed of the data."""
    return study.data.measurer.evaluation([one], study.data.seed + 2 + 7919 * place)[0]


def measure(
    study: Study, methods: Mapping[str, Method | None], one: Slice, place: int, keep_maps: bool = False
) -> list[Record]:
    """Measure a slice and reconstruct it by every method."""
    protocol = study.data.protocol
    batch = measured(study, one, place)
    assert batch.adjoint is not None and batch.kspace is not None
    truth = float((batch.tsmi.abs() * batch.mask[:, None]).double().square().sum())
    records = []
    for name, method in methods.items():
        start = time.process_time()
        if method is None:
            result = Result(match_maps(protocol.dictionary, batch.tsmi), batch.tsmi)
        else:
            result = method(batch.adjoint, protocol.normal, protocol.norm(batch.adjoint.dtype))
        seconds = time.process_time() - start
        errors = tsmi_errors(result.tsmi, batch.tsmi, batch.mask)["TSMI_NRMSE"]
        records.append(
            Record(
                name,
                one.subject,
                map_sums(result.maps, batch.maps, batch.mask),
                tissue_sums(result.maps, batch.maps, batch.mask),
                (errors**2 * truth, truth),
                float(data_consistency(protocol.operator(result.tsmi), batch.kspace)),
                seconds,
                result.maps[0] if keep_maps else None,
            )
        )
    return records


def _stacked(records: Sequence[Record]) -> dict[str, Any]:
    """The records of a slice as the arrays of a part, a row a method."""
    arrays: dict[str, Any] = {
        "sums": torch.stack([record.sums for record in records]),
        "tissue": torch.stack([record.tissue for record in records]),
        "series": np.array([record.series for record in records]),
        "consistency": np.array([record.consistency for record in records]),
        "seconds": np.array([record.seconds for record in records]),
    }
    maps = [record.maps for record in records if record.maps is not None]
    return arrays | ({"maps": torch.stack(maps)} if maps else {})


def _records(arrays: Mapping[str, np.ndarray], names: Sequence[str], one: Slice) -> list[Record]:
    """The records of a slice from ``_stacked``."""
    maps = arrays.get("maps")
    return [
        Record(
            name,
            one.subject,
            torch.from_numpy(arrays["sums"][row]),
            torch.from_numpy(arrays["tissue"][row]),
            (float(arrays["series"][row, 0]), float(arrays["series"][row, 1])),
            float(arrays["consistency"][row]),
            float(arrays["seconds"][row]),
            None if maps is None else torch.from_numpy(maps[row]),
        )
        for row, name in enumerate(names)
    ]
