"""From the command's arguments to models and a set."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import torch

from av_deepfake import pretrained
from av_deepfake.data.layouts import Layout, open_set
from av_deepfake.evaluation.suspects import DrawnSuspects, Protocol, Suspects, VideoSuspects
from av_deepfake.preprocessing import Settings
from shared_utils import UserError

log = logging.getLogger(__name__)
_PER_CLASS = 40


@dataclass(frozen=True)
class Wanted:
    """Which videos, and how: see the arguments of the command ``evaluate``."""

    data: str | None = None
    layout: Layout | None = None
    split: str = "test"
    compression: str = "c23"
    base: str | None = None
    mouths: str | None = None
    protocol: Protocol = "exact"
    trim_silence: bool = False
    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn"
    mesh: str | None = None
    landmarks: str | None = None
    aligned: bool = False
    limit: int | None = None
    seed: int = 0


def load_models(ckpt: str | None, device: torch.device) -> dict[str, pretrained.MouthModel]:
    """The models of ``--ckpt``, several with commas between, by name.

    Raises:
        UserError: one has no detector, or they read clips in different ways.
    """
    sources: list[str | None] = [None] if ckpt is None else [part.strip() for part in ckpt.split(",")]
    found: dict[str, pretrained.MouthModel] = {}
    for source in sources:
        name = "bundled" if source is None else source.rstrip("/").removesuffix(".ckpt")
        if name in found:
            raise UserError(f"--ckpt names {name} twice")
        model = pretrained.load(source, device)
        if model.detector is None:
            raise UserError(
                f"{source or 'the bundled model'} has no detector yet: fine-tune it first, train --config detect.yaml --weights "
                f"{source or 'bundled'}"
            )
        found[name] = model
    first, *others = found.items()
    for name, model in others:
        for key in ("frames", "crop_size", "variant"):
            a, b = first[1].preprocessing.get(key), model.preprocessing.get(key)
            if a != b:
                raise UserError(f"{first[0]} has {key} {a}, {name} has {b}: evaluate them one by one")
    return found


def chosen(wanted: Wanted, model: pretrained.MouthModel, degraded: bool = False) -> tuple[Suspects, list[str]]:
    """The set, and which of its videos are missing.

    Args:
        wanted: see ``Wanted``.
        model: whose clips they are made for.
        degraded: they are to be degraded.
    """
    facts: dict[str, Any] = model.preprocessing
    if degraded and (wanted.data is None or wanted.mouths is not None):
        raise UserError("--degrade perturbs videos before faces are looked for: give --data, and leave --mouths out")
    if wanted.data is None:
        return _drawn(wanted, facts), []
    if facts.get("variant") == "drawn":
        log.warning("the model was trained on procedural mouths only: what it says of real videos means little")
    groups = wanted.compression.split(",")
    sets = {group: open_set(wanted.data, wanted.layout, wanted.split, group, wanted.base).checked() for group in groups}
    if len(sets) == 1:
        sets = {next(iter(sets.values())).name: next(iter(sets.values()))}
    settings = Settings(
        **{"detector": wanted.detector, "model": wanted.mesh, "landmarks": wanted.landmarks, "aligned": wanted.aligned},
        variant=facts["variant"] if facts.get("variant") in ("2020", "2021", "subpixel") else "subpixel",
    )
    suspects = VideoSuspects(sets, settings, facts["frames"], wanted.protocol, wanted.trim_silence, wanted.mouths)
    return suspects.limited(wanted.limit), [name for each in sets.values() for name in each.missing]


def _drawn(wanted: Wanted, facts: dict[str, Any]) -> DrawnSuspects:
    if wanted.split not in ("val", "test"):
        raise UserError(f"--split {wanted.split}: procedural clips have val and test")
    given = {
        "--layout": wanted.layout,
        "--base": wanted.base,
        "--mouths": wanted.mouths,
        "--landmarks": wanted.landmarks,
        "--mesh": wanted.mesh,
    }
    given |= {"--trim_silence": wanted.trim_silence, "--aligned": wanted.aligned}
    for name, value in given.items():
        if value:
            raise UserError(f"{name} is of videos: give --data, or leave it out")
    count = _PER_CLASS if wanted.limit is None else wanted.limit
    if count < 1:
        raise UserError(f"--limit must be 1 or more, got {count}")
    return DrawnSuspects(facts["crop_size"], wanted.seed, wanted.split, count)
