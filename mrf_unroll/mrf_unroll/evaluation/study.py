"""What is compared: a trained network with its baselines, the classical methods, and the data that all of them see."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrf_unroll.arrays import file_digest
from mrf_unroll.data.datamodule import FingerprintingDataModule
from mrf_unroll.data.slices import Slice, disc_slices, map_files, procedural_slices, read_slices
from mrf_unroll.methods import GRIDS, TITLES, Classical, Learnt, Result, tune
from mrf_unroll.pretrained import Trained, load, load_with_baselines
from shared_utils import UserError

log = logging.getLogger(__name__)

Method = Callable[[Tensor, Any, float], Result]
FLOOR = "floor"
_TUNING_SLICES = 8

# Anatomy to test on that is neither a file's nor the training's: discs over the plane of T1 and T2, heads of listed tissue.
PROCEDURAL: dict[str, Callable[[int], list[Slice]]] = {
    "discs": lambda size: disc_slices(size),
    "heads": lambda size: procedural_slices("test", 12, size, 0),
}


@dataclass
class Study:
    """A trained network with its baselines, and the data that they are compared on.

    Args:
        data: as in training, but for what the caller has changed.
        tuned: settings of classical methods by name.
    """

    trained: Trained
    data: FingerprintingDataModule
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.data.seed


def open_study(source: str | Path | None, **changes: Any) -> Study:
    """The network at ``source`` (see ``pretrained.load``) with its baselines and its data.

    Args:
        changes: arguments of the data module that are not as in training; ``protocol`` holds the changed options
            alone.

    Raises:
        UserError: where the network has no data with it (released weights), or the changes do not fit its basis.
    """
    trained = load_with_baselines(source)
    network = trained.unrolled
    options = network.options["data"]
    if options is None or network.sequence is None:
        raise UserError(
            f"{source} has no schedule and no data with it (released weights do not): nothing to evaluate on"
        )
    protocol = {**options["protocol"], **(changes.pop("protocol", None) or {})}
    if options["root"] is None:
        # Of training slices only those that methods are tuned on are made.
        changes["num_train"] = min(options["num_train"], _TUNING_SLICES)
    try:
        data = FingerprintingDataModule.of(options, **{**changes, "protocol": protocol})
    except TypeError as error:
        raise UserError(f"no such option of the protocol: {str(error).rpartition('argument ')[2]}") from None
    network.check_sequence(data.protocol.sequence, "the changed protocol")
    network.check_basis(data.protocol.dictionary.basis, "the changed protocol")
    return Study(trained, data)


def available_methods(study: Study) -> list[str]:
    """What can be compared, the simplest first and the unrolled network last."""
    classical = [name for name in GRIDS if name not in ("mrfresnet", "pnp_admm")]
    if study.trained.prior is not None:
        classical.append("pnp_admm")
    if study.trained.voxelwise is not None:
        classical.append("mrfresnet")
    return [FLOOR, *classical, *[name for name in study.trained.networks if name != "unrolled"], "unrolled"]


def build_methods(study: Study, names: Sequence[str]) -> dict[str, Method | None]:
    """The methods by name, classical ones with the settings in ``study.tuned``; ``floor`` is None."""
    known = available_methods(study)
    for name in names:
        if name not in known:
            raise UserError(f"no method {name} here: there are {', '.join(known)}")
    methods: dict[str, Method | None] = {}
    for name in names:
        if name == FLOOR:
            methods[name] = None
        elif name in study.trained.networks:
            network = study.trained.networks[name]
            same = network.options["trajectory_sha256"] == study.data.protocol.trajectory_hash
            methods[name] = Learnt(name, network, trained_trajectory=same)
        else:
            dictionary, network = study.data.protocol.dictionary, study.trained.network_of(name)
            methods[name] = Classical(name, dictionary, study.tuned.get(name, {}), network)
    return methods


def tune_methods(study: Study, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The best settings of the classical methods among ``names``, on training slices measured as the test is."""
    methods = [method for method in build_methods(study, names).values() if isinstance(method, Classical)]
    tuned: dict[str, dict[str, Any]] = {}
    if not any(GRIDS[method.name] or method.name == "mrfresnet" for method in methods):
        return tuned
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
                tuned.get("low_rank")
                or tune(inner, maps, mask, adjoint, protocol.normal, protocol.norm(adjoint.dtype))[0].options
            )
        elif GRIDS[method.name]:
            trials = tune(method, maps, mask, adjoint, protocol.normal, protocol.norm(adjoint.dtype))
            log.info(
                "%s: best of %d settings on %d training slices: %s", method.name, len(trials), len(maps), trials[0]
            )
        tuned[method.name] = method.options
    return tuned


def title(name: str) -> str:
    """A method as tables name it."""
    return TITLES.get(name, "true time series + DM (floor)" if name == FLOOR else name)


def real_slices(
    source: str | Path | None, maps: str | Path | None, unit_t: str | None, image_size: int | None = None
) -> list[Slice] | None:
    """The slices of ``maps``; None without.

    Args:
        maps: a file or a folder, resampled; or one of ``PROCEDURAL``.
        image_size: None for that of the network at ``source``.
    """
    if maps is None:
        return None
    size = image_size or load(source).options["image_size"][0]
    if maps in PROCEDURAL:
        return PROCEDURAL[str(maps)](size)
    return [one for file in map_files(maps) for one in read_slices(file, size, unit_t, resample=True)]


def describe(
    sources: Sequence[str | Path | None],
    methods: Sequence[str] | None,
    data: str | Path | None,
    unit_t: str | None,
    changes: Mapping[str, Any],
    sweep: str | None,
    limit: int | None,
) -> dict[str, Any]:
    """Everything that a comparison depends on, in plain values; networks and files by their digests."""
    networks = [load_with_baselines(source) for source in sources]
    return {
        "ckpt": [trained.digest for trained in networks],
        "methods": None if methods is None else list(methods),
        "data": _digests(data),
        "training data": [_digests((trained.unrolled.options["data"] or {}).get("root")) for trained in networks],
        "unit_t": unit_t,
        "protocol": dict(changes.get("protocol") or {}),
        "protocol files": {
            name: file_digest(value)
            for name, value in (changes.get("protocol") or {}).items()
            if isinstance(value, str) and Path(value).is_file()
        },
        "noise": changes.get("noise"),
        "sweep": sweep,
        "limit": limit,
    }


def _digests(root: str | Path | None) -> dict[str, str] | None:
    if root in PROCEDURAL:
        return {str(root): "procedural"}
    return None if root is None else {path.name: file_digest(path) for path in map_files(root)}
