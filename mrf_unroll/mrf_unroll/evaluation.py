"""Methods side by side on the same measurements: tables, figures, and whether the claim holds."""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrf_unroll import figures
from mrf_unroll.data.datamodule import FingerprintingDataModule
from mrf_unroll.data.measure import Batch
from mrf_unroll.data.slices import Slice, map_files, read_slices
from mrf_unroll.methods import GRIDS, TITLES, Classical, Learnt, Result, match_maps, tune
from mrf_unroll.metrics import NAMES, data_consistency, errors_of_sums, map_sums, tsmi_errors
from mrf_unroll.models import Denoiser, MRFResNet
from mrf_unroll.reconstructor import TRAVELLING, Reconstructor, newest_checkpoint
from shared_utils import UserError, checkpoint, distributed
from shared_utils.logging import progress, table

log = logging.getLogger(__name__)

Method = Callable[[Tensor, Any, float], Result]
FLOOR = "floor"
_TUNING_SLICES = 8


@dataclass
class Study:
    """A trained network with its rivals, and the data that they are compared on.

    networks: by name, ``unrolled`` first. steps: of their trainings, where known. voxelwise, prior: of ``mrfresnet`` and
    ``pnp_admm``. data: as in training, but for what the caller has changed.
    """

    networks: dict[str, Reconstructor]
    steps: dict[str, int]
    data: FingerprintingDataModule
    voxelwise: MRFResNet | None = None
    prior: Denoiser | None = None
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.data.seed


def open_study(path: str | Path | None, **changes: Any) -> Study:
    """The network at ``path`` (see ``Reconstructor.load``) with the ``rivals`` beside it.

    changes: arguments of the data module that are not as in training; ``protocol`` holds the changed options alone.

    Raises UserError where the network comes without its data (released weights), or the changes do not fit its basis.
    """
    networks, voxelwise, prior = neighbours(path)
    network = networks["unrolled"]
    options = network.options["data"]
    if options is None or network.sequence is None:
        raise UserError(f"{path} comes without schedule and data (released weights do): nothing to evaluate it on")
    protocol = {**options["protocol"], **(changes.pop("protocol", None) or {})}
    try:
        data = FingerprintingDataModule.of(options, **{**changes, "protocol": protocol})
    except TypeError as error:
        raise UserError(f"no such option of the protocol: {str(error).rpartition('argument ')[2]}") from None
    network.check_sequence(data.protocol.sequence, "the changed protocol")
    network.check_basis(data.protocol.dictionary.basis, "the changed protocol")
    return Study(networks, training_steps(path), data, voxelwise, prior)


def network_folder(path: str | Path | None) -> Path:
    """Where a network's ``rivals`` are: the folder of its run, or of ``save_pretrained``."""
    place = TRAVELLING if path is None else Path(path)
    if (place / "config.json").is_file():
        return place
    return (newest_checkpoint(place) if place.is_dir() else place).parent.parent


def neighbours(path: str | Path | None) -> tuple[dict[str, Reconstructor], MRFResNet | None, Denoiser | None]:
    """The network at ``path``, as ``unrolled``, and the ``rivals`` beside it by name; MRF-ResNet; the denoiser."""
    networks = {"unrolled": Reconstructor.load(path)}
    voxelwise = prior = None
    for config in sorted(network_folder(path).glob("rivals/*/config.json")):
        name = config.parent.name
        if name == "mrfresnet":
            voxelwise = MRFResNet.from_pretrained(config.parent).eval()
        elif name == "denoiser":
            prior = Denoiser.from_pretrained(config.parent).eval()
        else:
            networks[name] = Reconstructor.load(config.parent)
    return networks, voxelwise, prior


def training_steps(path: str | Path | None) -> dict[str, int]:
    """Steps of the trainings of a network and its rivals, where they are known."""
    folder = network_folder(path)
    told = {"unrolled": folder / "training.json"}
    told |= {file.parent.name: file for file in folder.glob("rivals/*/training.json")}
    steps = {name: json.loads(file.read_text())["steps"] for name, file in told.items() if file.is_file()}
    last = folder / "checkpoints" / "last.ckpt"
    if "unrolled" not in steps and last.is_file():
        steps["unrolled"] = int(checkpoint.load_tensors(last)["global_step"])
    if "denoiser" in steps:
        steps["pnp_admm"] = steps.pop("denoiser")
    return steps


def available_methods(study: Study) -> list[str]:
    """What can be compared, the simplest first and the unrolled network last."""
    classical = [name for name in GRIDS if name not in ("mrfresnet", "pnp_admm")]
    if study.prior is not None:
        classical.append("pnp_admm")
    if study.voxelwise is not None:
        classical.append("mrfresnet")
    return [FLOOR, *classical, *[name for name in study.networks if name != "unrolled"], "unrolled"]


def build_methods(study: Study, names: Sequence[str]) -> dict[str, Method | None]:
    """The methods by name, classical ones tuned on training slices; ``floor`` is None."""
    known = available_methods(study)
    for name in names:
        if name not in known:
            raise UserError(f"no method {name} here: there are {', '.join(known)}")
    methods: dict[str, Method | None] = {}
    to_tune = []
    for name in names:
        if name == FLOOR:
            methods[name] = None
        elif name in study.networks:
            network = study.networks[name]
            same = network.options["trajectory_sha256"] == study.data.protocol.trajectory_hash
            methods[name] = Learnt(name, network, trained_trajectory=same)
        else:
            network = {"mrfresnet": study.voxelwise, "pnp_admm": study.prior}.get(name)
            methods[name] = Classical(name, study.data.protocol.dictionary, network=network)
            to_tune.append(methods[name])
    if any(GRIDS[method.name] or method.name == "mrfresnet" for method in to_tune):
        tune_methods(study, to_tune)
    return methods


def tune_methods(study: Study, methods: Sequence[Classical]) -> None:
    """Choose the settings of classical methods on training slices, measured as the test is. They are kept in ``tuned``."""
    data, protocol = study.data, study.data.protocol
    batches = data.measurer.evaluation(data.slices["train"][:_TUNING_SLICES], data.seed + 3)
    maps, mask, adjoint = (
        torch.cat([getattr(batch, name) for batch in batches]) for name in ("maps", "mask", "adjoint")
    )
    for method in methods:
        if method.name == "mrfresnet":
            # It stands on the low-rank reconstruction as that was tuned for matching.
            inner = Classical("low_rank", method.dictionary)
            method.options = (
                study.tuned.get("low_rank")
                or tune(inner, maps, mask, adjoint, protocol.normal, protocol.norm(adjoint.dtype))[0].options
            )
        elif GRIDS[method.name]:
            trials = tune(method, maps, mask, adjoint, protocol.normal, protocol.norm(adjoint.dtype))
            log.info(
                "%s: best of %d settings on %d training slices: %s", method.name, len(trials), len(maps), trials[0]
            )
        study.tuned[method.name] = method.options


@dataclass
class Record:
    """One method on one slice: ``sums`` of ``map_sums``, of the time series (|e|^2, |truth|^2), and the rest."""

    method: str
    subject: str
    sums: Tensor
    series: tuple[float, float]
    consistency: float
    seconds: float
    maps: Tensor | None = None


def run_methods(
    study: Study, methods: dict[str, Method | None], slices: Sequence[Slice], shown: int = 0
) -> tuple[list[Record], list[Batch]]:
    """Measure every slice and reconstruct it by every method; the slices are shared over the ranks of a group.

    shown: maps are kept of this many slices. Returns the records of all ranks, and the batches of this one.
    """
    protocol, data = study.data.protocol, study.data
    numbered = distributed.share(list(enumerate(slices)))
    records, batches = [], []
    # Measured one at a time: memory does not grow with the number of slices.
    for place, one in progress(numbered, "reconstructing"):
        batch = data.measurer.evaluation([one], data.seed + 2 + 7919 * place)[0]
        if place < shown:
            batches.append(batch)
        for name, method in methods.items():
            start = time.process_time()
            if method is None:
                result = Result(match_maps(protocol.dictionary, batch.tsmi), batch.tsmi)
            else:
                result = method(batch.adjoint, protocol.normal, protocol.norm(batch.adjoint.dtype))
            seconds = time.process_time() - start
            predicted = protocol.operator(result.tsmi)
            errors = tsmi_errors(result.tsmi, batch.tsmi, batch.mask)["TSMI_NRMSE"]
            truth = float((batch.tsmi.abs() * batch.mask[:, None]).double().square().sum())
            records.append(
                Record(
                    name,
                    one.subject,
                    map_sums(result.maps, batch.maps, batch.mask),
                    (errors**2 * truth, truth),
                    float(data_consistency(predicted, batch.kspace)),
                    seconds,
                    result.maps[0] if place < shown else None,
                )
            )
    return [record for part in distributed.gather_objects(records) for record in part], batches


def summary(study: Study, records: Iterable[Record]) -> list[dict[str, Any]]:
    """One row a method: errors pooled over all masked voxels, data consistency, CPU seconds a slice, sizes."""
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.method, []).append(record)
    rows = []
    for name, own in by_method.items():
        errors = errors_of_sums(sum(record.sums for record in own))
        row: dict[str, Any] = {"method": name}
        row |= {f"{map_name} NRMSE": errors[f"{map_name}_NRMSE"] for map_name in NAMES}
        row |= {f"{map_name} MAPE %": errors[f"{map_name}_MAPE_percent"] for map_name in NAMES}
        row["TSMI NRMSE"] = (sum(r.series[0] for r in own) / sum(r.series[1] for r in own)) ** 0.5
        row["|Ax-y|/|y|"] = float(np.mean([record.consistency for record in own]))
        row["CPU s a slice"] = float(np.median([record.seconds for record in own]))
        row["parameters"] = parameters(study, name)
        row["training steps"] = study.steps.get(name)
        rows.append(row)
    return rows


def parameters(study: Study, name: str) -> int | None:
    """Trained parameters of a method; None where nothing is trained."""
    if name in study.networks:
        return study.networks[name].num_parameters
    network = {"mrfresnet": study.voxelwise, "pnp_admm": study.prior}.get(name)
    return None if network is None else sum(value.numel() for value in network.parameters())


def title(name: str) -> str:
    return TITLES.get(name, "true time series + DM (floor)" if name == FLOOR else name)


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


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """``path``.csv and ``path``.md."""
    names = list(rows[0])
    with checkpoint.replacing(path.with_suffix(".csv")) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)

    def cell(value: Any) -> str:
        if value is None:
            return ""
        return (
            f"{value:.1f}"
            if isinstance(value, float) and value >= 10
            else f"{value:.3f}"
            if isinstance(value, float)
            else str(value)
        )

    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
    with checkpoint.replacing(path.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def write_scores(records: Iterable[tuple[int, Record]], path: Path) -> None:
    """A row a seed, slice and method."""
    with checkpoint.replacing(path) as temporary, temporary.open("w", newline="") as file:
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


def compare(
    paths: Sequence[str | Path | None],
    out: str | Path,
    methods: Sequence[str] | None = None,
    slices: Sequence[Slice] | None = None,
    limit: int | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Compare methods for one or several trained networks (seeds); tables and figures in ``out``; the mean table.

    methods: None for all there are. slices: to test on; the test split of each network's own data where None. limit: at
    most this many slices. changes: see ``open_study``. With several networks ``claim.json`` is written too.
    """
    out = Path(out)
    tables, scored, seeds, first = [], [], [], None
    for path in paths:
        study = open_study(path, **dict(changes))
        names = list(methods) if methods is not None else available_methods(study)
        chosen = build_methods(study, names)
        tested = list(slices if slices is not None else study.data.slices["test"])[:limit]
        records, batches = run_methods(study, chosen, tested, shown=1 if first is None else 0)
        tables.append(summary(study, records))
        scored += [(study.seed, record) for record in records]
        seeds.append(study.seed)
        first = first or (study, records, batches)
    if len({tuple(row["method"] for row in rows) for rows in tables}) > 1:
        raise UserError("the networks have different rivals: compare them one by one, or name --methods that all have")
    rows = average(tables)
    if distributed.rank() != 0:
        return rows
    write_table(rows, out / "methods")
    write_scores(scored, out / "scores.csv")
    study, records, batches = first
    shown = {title(record.method): record.maps for record in records if record.maps is not None}
    folder = out / "figures"
    figures.map_grid(folder / "maps.png", batches[0].maps[0], batches[0].mask[0], shown)
    if title("unrolled") in shown:
        figures.iterations(folder / "iterations.png", iteration_errors(study, batches[0]))
        own = shown[title("unrolled")]
        figures.agreement(folder / "agreement.png", batches[0].maps[0], own, batches[0].mask[0])
    subject = "several seeds" if len(tables) > 1 else "one seed"
    print(table([_short(row) for row in rows], f"errors inside the mask, pooled over {len(tested)} slices, {subject}:"))
    for name, options in study.tuned.items():
        if options:
            print(
                f"{title(name)}: {', '.join(f'{key} = {value:g}' for key, value in options.items())} (best on training slices)"
            )
    if len(tables) > 1:
        claim = judge(tables, seeds, rows)
        checkpoint.write_json(claim, out / "claim.json")
        print(claim["verdict"])
    print(f"wrote {out / 'methods.csv'}, {out / 'methods.md'}, {out / 'scores.csv'} and {folder}")
    return rows


def _short(row: dict[str, Any]) -> dict[str, Any]:
    left_out = ("TSMI NRMSE",)
    return {key: value for key, value in row.items() if key not in left_out}


@torch.no_grad()
def iteration_errors(study: Study, batch: Batch) -> dict[str, list[float]]:
    """NRMSE of every map after each iteration of the unrolled network."""
    protocol, network = study.data.protocol, study.networks["unrolled"]
    iterates = network(batch.adjoint, protocol.normal, protocol.norm(batch.adjoint.dtype))
    errors: dict[str, list[float]] = {name: [] for name in NAMES}
    for maps in iterates.maps:
        own = errors_of_sums(map_sums(maps, batch.maps, batch.mask))
        for name in NAMES:
            errors[name].append(own[f"{name}_NRMSE"])
    return errors


# The claim ----------------------------------------------------------------------------------------------------------------

ORDER = ("unrolled", "unet", "low_rank", "svd_mrf")
CLAIM = (
    "At the same undersampling the unrolled network is better than a U-Net trained end to end, the U-Net than low-rank"
    " inversion with dictionary matching, and that than zero-filled matching, in the NRMSE of T1 and of T2 and in every"
    " seed; LRTV, PnP-ADMM and MRF-ResNet are worse than the unrolled network too, although they are tuned on the training"
    " slices; and leaving data consistency out makes it worse."
)


def judge(tables: Sequence[list[dict[str, Any]]], seeds: Sequence[int], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of ``claim.json``: whether the order of methods holds in T1 and T2 and every seed."""
    findings: list[tuple[bool, str]] = []
    by_seed = [{row["method"]: row for row in one} for one in tables]
    pairs = list(pairwise(ORDER))
    pairs += [("unrolled", name) for name in by_seed[0] if name not in (*ORDER, FLOOR)]
    if missing := [name for name in ORDER if name not in by_seed[0]]:
        raise UserError(f"the claim needs {', '.join(missing)} in the table: compare all methods")
    for better, worse in pairs:
        for name in ("T1", "T2"):
            ratios = [own[worse][f"{name} NRMSE"] / own[better][f"{name} NRMSE"] for own in by_seed]
            holds = min(ratios) > 1
            findings.append(
                (
                    holds,
                    f"{name}: {title(worse)} has {min(ratios):.2f} to {max(ratios):.2f} times the error of {title(better)}",
                )
            )
    failed = [sentence for holds, sentence in findings if not holds]
    sentences = failed or [sentence for _, sentence in findings]
    return {
        "claim": CLAIM,
        "holds": not failed,
        "verdict": ("does not hold: " if failed else "holds: ") + "; ".join(sentences),
        "tables": [
            {"title": "Errors on test heads that training has not seen, mean over the seeds", "rows": rows},
            {
                "title": "T1 and T2 NRMSE by seed",
                "rows": [
                    {"method": title(name)}
                    | {
                        f"{map_name}, seed {seed}": own[name][f"{map_name} NRMSE"]
                        for map_name in ("T1", "T2")
                        for seed, own in zip(seeds, by_seed, strict=True)
                    }
                    for name in by_seed[0]
                ],
            },
        ],
        "figures": [
            {"file": "figures/maps.png", "caption": "one test slice by every method, and its errors, in fixed windows"},
            {"file": "figures/iterations.png", "caption": "NRMSE after each iteration of the unrolled network"},
        ],
        "seeds": list(seeds),
    }


def real_slices(path: str | Path | None, maps: str | Path | None, unit_t: str | None) -> list[Slice] | None:
    """The slices of ``maps`` (a file or a folder), resampled to the image size of the network at ``path``; None without."""
    if maps is None:
        return None
    size = Reconstructor.load(path).options["image_size"][0]
    return [one for file in map_files(maps) for one in read_slices(file, size, unit_t, resample=True)]


def sweep(
    path: str | Path | None,
    out: str | Path,
    option: str,
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    maps: str | Path | None = None,
    unit_t: str | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Methods over the values of one option, ``samples:24,32,48``: sweep.csv, sweep.md and figures/sweep.png in ``out``."""
    key, _, listed = option.partition(":")
    try:
        values = [float(value) if "." in value or "e" in value else int(value) for value in listed.split(",")]
    except ValueError:
        raise UserError(f"--sweep {option}: give an option and its values, as samples:24,32,48") from None
    slices = real_slices(path, maps, unit_t)
    rows, curves = [], {}
    for value in values:
        protocol = dict(changes.get("protocol") or {})
        own = {**changes, key: value} if key == "noise" else {**changes, "protocol": {**protocol, key: value}}
        study = open_study(path, **own)
        chosen = build_methods(study, list(methods) if methods is not None else available_methods(study))
        tested = list(slices if slices is not None else study.data.slices["test"])[:limit]
        records, _ = run_methods(study, chosen, tested)
        for row in summary(study, records):
            name = title(row["method"])
            rows.append({key: value, "method": name, **{column: row[column] for column in row if column != "method"}})
            for map_name in ("T1", "T2"):
                curves.setdefault(name, {}).setdefault(map_name, []).append(row[f"{map_name} NRMSE"])
    if distributed.rank() == 0:
        out = Path(out)
        write_table(rows, out / "sweep")
        figures.sweep(out / "figures" / "sweep.png", key, values, curves)
        shown = [
            {column: row[column] for column in row if "MAPE" not in column and column != "TSMI NRMSE"} for row in rows
        ]
        print(table(shown, f"errors over {key}, the networks trained once:"))
        print(f"wrote {out / 'sweep.csv'}, {out / 'sweep.md'} and {out / 'figures' / 'sweep.png'}")
    return rows
